/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Provided buffers, by group: a list (IORING_OP_PROVIDE_BUFFERS), or a ring in memory that is shared with who provides
 * (IORING_REGISTER_PBUF_RING).
 */
#ifndef IOU_LIB_THREADS_GROUPS_H
#define IOU_LIB_THREADS_GROUPS_H

#include "request.h"

struct group {
	struct group *next;
	struct buffer *buffers; /* in the order in which they were provided */
	size_t first, n, cap;
	size_t n_taken; /* there is always room to take these back */
	uint16_t id;
	struct io_uring_buf_ring *ring; /* or NULL: a list */
	uint16_t head, mask;            /* of the ring: the next to be taken */
	uint32_t n_rings;               /* so far: the ring's number */
};

struct groups {
	struct group *first;
};

void iou__groups_destroy(struct groups *groups);

/* Whether the SQE is one that provides buffers, or removes some: 0 or -errno. */
int iou__groups_check_provide(const struct io_uring_sqe *sqe);
int iou__groups_check_remove(const struct io_uring_sqe *sqe);

/* How many were added or taken away, or -errno: what the two operations complete with. */
int iou__groups_provide(struct groups *groups, const struct io_uring_sqe *sqe);
int iou__groups_remove(struct groups *groups, const struct io_uring_sqe *sqe);

/* Rings, as io_uring_register(2) does: 0 or -errno. The memory is the caller's until it is removed. */
int iou__groups_add_ring(struct groups *groups, const struct io_uring_buf_reg *reg);
int iou__groups_remove_ring(struct groups *groups, unsigned id);

/* The request needs a buffer: its own from an earlier attempt, or the next of its group. 0, -ENOBUFS or -ENOENT. */
int iou__groups_take(struct groups *groups, struct request *request);

/* The request's buffer, if it has one, was not used. */
void iou__groups_give_back(struct groups *groups, struct request *request);

/* It was used: the flags of the CQE that says so. */
unsigned iou__groups_use(struct request *request);

#endif
