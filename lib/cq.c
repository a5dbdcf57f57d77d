/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void iou__cq_init(struct cq *cq, struct cq_ring ring)
{
	*cq = (struct cq){ .ring = ring };
}

void iou__cq_destroy(struct cq *cq)
{
	free(cq->copies);
	*cq = (struct cq){ 0 };
}

static struct cqe ring_at(const struct cq_ring *ring, unsigned position)
{
	const struct io_uring_cqe *cqe = &ring->cqes[position & ring->mask];

	return (struct cqe){ cqe->user_data, cqe->res, cqe->flags };
}

struct cqe iou__cq_at(const struct cq *cq, size_t i)
{
	assert(i < iou__cq_ready(cq));
	return i < cq->n ? cq->copies[cq->first + i] : ring_at(&cq->ring, *cq->ring.head + (unsigned)(i - cq->n));
}

static struct cqe take_from_ring(struct cq *cq)
{
	struct cqe cqe = ring_at(&cq->ring, *cq->ring.head);

	__atomic_store_n(cq->ring.head, *cq->ring.head + 1, __ATOMIC_RELEASE);
	cq->n_read++;
	return cqe;
}

static struct cqe take_copy(struct cq *cq)
{
	cq->n--;
	return cq->copies[cq->first++];
}

struct cqe iou__cq_take(struct cq *cq)
{
	assert(iou__cq_ready(cq) > 0);
	return cq->n ? take_copy(cq) : take_from_ring(cq);
}

/* Room for n more copies behind the ones there are. */
static bool make_room(struct cq *cq, size_t n)
{
	if (cq->n)
		memmove(cq->copies, cq->copies + cq->first, cq->n * sizeof(struct cqe));
	cq->first = 0;
	if (cq->n + n <= cq->cap)
		return true;

	size_t cap = 2 * (cq->n + n);
	struct cqe *copies = realloc(cq->copies, cap * sizeof(struct cqe));

	if (!copies)
		return false;
	cq->copies = copies;
	cq->cap = cap;
	return true;
}

bool iou__cq_empty_ring(struct cq *cq)
{
	unsigned n = iou__cq_in_ring(cq);

	if (cq->first + cq->n + n > cq->cap && !make_room(cq, n))
		return false;
	for (; n; n--)
		cq->copies[cq->first + cq->n++] = take_from_ring(cq);
	return true;
}
