/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What sending and receiving share: what the program's message is checked for, how long it is, and how an attempt ends.
 * MSG_DONTWAIT first, then readiness, then again.
 */
#ifndef IOU_LIB_THREADS_EXEC_MESSAGE_H
#define IOU_LIB_THREADS_EXEC_MESSAGE_H

#include <stddef.h>
#include <sys/socket.h>

#include "exec.h"

struct message {
	struct msghdr header;
	struct iovec *iov; /* a copy, allocated: what has been transferred already is skipped */
	size_t wanted;
};

/* sendmsg(2) or recvmsg(2), with what has to be told of it. */
typedef ssize_t pass_t(struct request *request, struct msghdr *header);

/* The SQE has a struct msghdr, rather than the address of bytes. */
bool iou__message_has_header(const struct request *request);

/* Before the request begins: 0 or -errno. */
int iou__message_check(const struct request *request);

/*
 * How much is ahead of the payload in the buffer of a multishot receive: a header of its own, and room for the name and the
 * control data. -EOVERFLOW: more than the kernel counts, which is up to INT_MAX.
 */
int iou__message_overhead(const struct msghdr *header);

/* MSG_*: what the program has asked for, without blocking. */
int iou__message_flags(const struct request *request);

/* SOCK_*, or -1. */
int iou__message_type(int fd);

/* With IORING_RECVSEND_POLL_FIRST. */
enum outcome iou__message_wait_first(struct request *request, uint32_t events);

/*
 * The end of an attempt that transferred n of the bytes that were wanted, or failed. With MSG_WAITALL what is missing is
 * waited for; what has been transferred outweighs a failure, but for one that has the attempt repeated.
 */
enum outcome iou__message_finish(struct request *request, ssize_t n, size_t wanted, uint32_t events);

/* Have a copy of the header's vector, to be freed by the caller, and skip what has been transferred: 0 or -errno. */
int iou__message_copy_vector(const struct request *request, struct message *message);

/* An attempt at the message whose header the SQE has. */
enum outcome iou__message_pass(struct request *request, pass_t *function, uint32_t events);

/* The provided buffer goes with the completion, if it is used up. */
enum outcome iou__message_end(struct request *request, enum outcome outcome);

/* -1, and errno. */
ssize_t iou__message_fail(int error);

#endif
