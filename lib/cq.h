/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completions as the loop reads them: first the copies that had to leave the ring early, then the ring itself, which
 * the engine (the kernel, or a thread) writes. Belongs to the loop thread.
 */
#ifndef IOU_LIB_CQ_H
#define IOU_LIB_CQ_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include <liburing.h>

/* One completion, without the flexible tail that liburing's type has. */
struct cqe {
	__u64 user_data;
	__s32 res;
	__u32 flags;
};

struct cq_ring {
	unsigned *head; /* ours */
	unsigned *tail; /* the engine's */
	unsigned mask;
	const struct io_uring_cqe *cqes;
};

struct cq {
	struct cq_ring ring;
	struct cqe *copies; /* a multishot op can have many, so they are kept here and not in the ops */
	size_t first, n, cap;
	uint64_t n_read; /* CQEs taken from the ring so far */
};

void iou__cq_init(struct cq *cq, struct cq_ring ring);
void iou__cq_destroy(struct cq *cq);

/* Copy all that is in the ring, so that it has room or can be replaced. False: no memory, the rest is still there. */
bool iou__cq_empty_ring(struct cq *cq);

/* Room for n more copies. False: no memory. */
bool iou__cq_reserve(struct cq *cq, size_t n);

/* Take out the copy with this user_data, of those from number from on, and say what its result is. False: there is none. */
bool iou__cq_take_out(struct cq *cq, size_t from, __u64 user_data, int *res);

/* Completion number i of those that are ready; i < iou__cq_ready(). For looking ahead. */
struct cqe iou__cq_at(const struct cq *cq, size_t i);

static inline unsigned iou__cq_in_ring(const struct cq *cq)
{
	return __atomic_load_n(cq->ring.tail, __ATOMIC_ACQUIRE) - *cq->ring.head;
}

static inline size_t iou__cq_ready(const struct cq *cq)
{
	return cq->n + iou__cq_in_ring(cq);
}

static inline struct cqe iou__cq_ring_at(const struct cq_ring *ring, unsigned position)
{
	const struct io_uring_cqe *cqe = &ring->cqes[position & ring->mask];

	return (struct cqe){ cqe->user_data, cqe->res, cqe->flags };
}

/* The kernel may write there again from here on. */
static inline struct cqe iou__cq_take_from_ring(struct cq *cq)
{
	struct cqe cqe = iou__cq_ring_at(&cq->ring, *cq->ring.head);

	__atomic_store_n(cq->ring.head, *cq->ring.head + 1, __ATOMIC_RELEASE);
	cq->n_read++;
	return cqe;
}

/* Take the first completion; there must be one. The ring's head is advanced before this returns. */
static inline struct cqe iou__cq_take(struct cq *cq)
{
	assert(iou__cq_ready(cq) > 0);
	if (!cq->n)
		return iou__cq_take_from_ring(cq);
	cq->n--;
	return cq->copies[cq->first++];
}

#endif
