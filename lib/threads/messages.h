/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ring messages: what other instances of this engine send (IORING_OP_MSG_RING), from any thread or process. An instance
 * that wants any has a pair of sockets: others write to one end, a datagram for each message, and the other is in its
 * epoll set.
 *
 * A sender has nothing but a descriptor, so that has to say all: its name, that it is such an end, and whose; and
 * O_NONBLOCK, which all see who have that end, that its instance has been run, since before that a ring takes no messages.
 */
#ifndef IOU_LIB_THREADS_MESSAGES_H
#define IOU_LIB_THREADS_MESSAGES_H

#include <sys/un.h>

#include "../cq.h"
#include "watches.h"

struct messages {
	struct watches *watches;
	int fd;                  /* others write to it, or -1 */
	int inbox;               /* the other end, or -1 */
	struct sockaddr_un name; /* of the first */
	struct cq kept;          /* those that have been taken and not been delivered, in its copies */
	bool is_enabled;
	bool has_some; /* the epoll set has told of some, and none of the looks since then was in vain */
};

/* What the epoll set tells of the inbox. */
#define MESSAGES_CAME WATCHES_FOREIGN(2)

void iou__messages_init(struct messages *messages, struct watches *watches);

/* Nobody is told: in a forked child both ends are the parent's as well. */
void iou__messages_destroy(struct messages *messages);

/* What others write to, made the first time. -1: it could not be made, and the next call tries again. */
int iou__messages_fd(struct messages *messages);

/* The instance runs. */
void iou__messages_enable(struct messages *messages);

/* Take one, if there is one. */
bool iou__messages_take(struct messages *messages, struct cqe *message);

/*
 * A message may bear the identity of any op, of one that does not live yet as well. So in the CQ there is this in place of it,
 * which is no op's, and the message is kept aside until it is delivered: whose it is is decided then.
 */
#define MESSAGES_MARK 0

/* False: there is no memory. */
bool iou__messages_keep(struct messages *messages, const struct cqe *message);

/* The one that was kept first; there must be one. */
struct cqe iou__messages_pop(struct messages *messages);

/* The sender's side. */

/* Whose this descriptor is: 1: ours; 0: another's; -EBADFD: no instance's; -EBADF: it is none. */
int iou__messages_owner(const struct messages *messages, int fd);

/* Whether messages to some instance can be written to it. */
bool iou__messages_are_for(int fd);

/* Whether its instance takes any yet. */
bool iou__messages_are_taken(int fd);

/* 0; -EAGAIN: not before fd can be written to; -EBADFD: the instance has been freed; or another -errno. */
int iou__messages_send(int fd, const struct cqe *message);

#endif
