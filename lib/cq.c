/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cq.h"

#include "replace.h"

#include <assert.h>

void iou__cq_init(struct cq *cq, struct cq_ring ring)
{
	*cq = (struct cq){ .ring = ring };
}

void iou__cq_destroy(struct cq *cq)
{
	free(cq->copies);
	*cq = (struct cq){ 0 };
}

struct cqe iou__cq_at(const struct cq *cq, size_t i)
{
	assert(i < iou__cq_ready(cq));
	return i < cq->n ? cq->copies[cq->first + i]
			 : iou__cq_ring_at(&cq->ring, *cq->ring.head + (unsigned)(i - cq->n));
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
	struct cqe *old = cq->copies;
	struct cqe *copies = iou__enlarged(old, cq->n * sizeof(*old), cap * sizeof(*old));

	if (!copies)
		return false;
	cq->copies = copies;
	cq->cap = cap;
	iou__free_replaced(old);
	return true;
}

bool iou__cq_reserve(struct cq *cq, size_t n)
{
	return cq->first + cq->n + n <= cq->cap || make_room(cq, n);
}

bool iou__cq_take_out(struct cq *cq, size_t from, __u64 user_data, int *res)
{
	struct cqe *copies = cq->copies + cq->first;

	for (size_t i = from; i < cq->n; i++)
		if (copies[i].user_data == user_data) {
			*res = copies[i].res;
			memmove(&copies[i], &copies[i + 1], (--cq->n - i) * sizeof(*copies));
			return true;
		}
	return false;
}

bool iou__cq_empty_ring(struct cq *cq)
{
	unsigned n = iou__cq_in_ring(cq);

	if (!iou__cq_reserve(cq, n))
		return false;
	for (; n; n--)
		cq->copies[cq->first + cq->n++] = iou__cq_take_from_ring(cq);
	return true;
}
