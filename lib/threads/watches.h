/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that wait until a descriptor is ready. epoll takes a descriptor once, so each has a watch with all that wait
 * for it.
 *
 * A watch is armed for one event (EPOLLONESHOT) or, as long as a multishot poll is among those that wait, or one that
 * has been woken before, for each change (EPOLLET). As the program may close the descriptor and get the same number
 * again, whoever begins to wait says so to epoll anew, and what it tells is believed only if it is of this generation.
 *
 * What is armed for each change stays so when the last request has been woken, which may soon be back, and is disarmed by
 * the next event if none is. Until then it is for the file that was there when it was armed: a request that has been
 * watched since its file was there can rely on it, and no other.
 */
#ifndef IOU_LIB_THREADS_WATCHES_H
#define IOU_LIB_THREADS_WATCHES_H

#include "request.h"

struct watch {
	struct queue requests;
	uint32_t
		armed; /* the events that epoll has been told, with its flags; 0: none. Of requests or, if there are none, before */
	uint32_t generation;
	bool is_known; /* epoll has it, as far as we know */
};

struct watches {
	struct watch **by_fd;
	size_t n;
	int epoll_fd;
	unsigned n_waiting;
};

/* What the epoll set tells of descriptors that are not watched: the engine's own. */
#define WATCHES_FOREIGN(n) (UINT64_MAX - (n))

int iou__watches_init(struct watches *watches);
void iou__watches_destroy(struct watches *watches);

/* A descriptor of the engine's own; level-triggered. 0 or -errno. */
int iou__watches_add_foreign(struct watches *watches, int fd, uint64_t data);

/* It is watched no longer. */
void iou__watches_remove_foreign(struct watches *watches, int fd);

/* The request waits for its watch_fd. 0; -EPERM: epoll cannot watch that; or another -errno of epoll_ctl(). */
int iou__watches_add(struct watches *watches, struct request *request);

/* Whether requests wait for one of these events of a descriptor. */
bool iou__watches_are_awaited(const struct watches *watches, int fd, uint32_t events);

/* It waits no longer. */
void iou__watches_remove(struct watches *watches, struct request *request);

/* Nobody waits for this descriptor, and it is about to be closed. */
void iou__watches_forget(struct watches *watches, int fd);

/* Something has come for a descriptor: who waits for it goes to the end of the queue out, in order. */
void iou__watches_tell(struct watches *watches, uint64_t data, uint32_t events, struct queue *out);

#endif
