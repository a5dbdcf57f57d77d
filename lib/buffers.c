/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Provided buffers: a ring of entries, which the engine takes from one end while recycling adds to the other, and behind it
 * the buffers. Whatever engine there is, the memory is the same, and outlives the instance if the program wants it to.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

#define MAX_BUFFERS 32768U /* the kernel's */
#define ALIGNMENT 64U

struct iou_buffers_t {
	iou_t *iou; /* NULL: it has gone */
	struct node node;
	struct io_uring_buf_ring *ring;
	char *data;
	size_t stride, n_mapped;
	unsigned n, n_entries;
	uint32_t size;
	uint16_t group;
};

/* Those of the ring are 16 bytes each, so that where buffers begin is aligned if there are four; there are, or more. */
static int map(iou_buffers_t *buffers)
{
	size_t n_ring = (buffers->n_entries < 4 ? 4 : buffers->n_entries) * sizeof(struct io_uring_buf);
	void *memory;

	buffers->stride = ((size_t)buffers->size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (__builtin_mul_overflow(buffers->n, buffers->stride, &buffers->n_mapped) ||
	    __builtin_add_overflow(buffers->n_mapped, n_ring, &buffers->n_mapped))
		return -ENOMEM;
	memory = mmap(NULL, buffers->n_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	buffers->ring = memory;
	buffers->data = (char *)memory + n_ring;
	return 0;
}

static char *at(const iou_buffers_t *buffers, unsigned id)
{
	return buffers->data + id * buffers->stride;
}

/* The tail is in the first entry, in a place that a buffer does not need. */
static void provide(const iou_buffers_t *buffers, unsigned id)
{
	__u16 tail = buffers->ring->tail;
	struct io_uring_buf *entry = &buffers->ring->bufs[tail & (buffers->n_entries - 1)];

	entry->addr = (__u64)(uintptr_t)at(buffers, id);
	entry->len = buffers->size;
	entry->bid = (__u16)id;
	__atomic_store_n(&buffers->ring->tail, (__u16)(tail + 1), __ATOMIC_RELEASE);
}

/* What was asked for is valid, so an -EINVAL is a kernel's that does not know this: before Linux 5.19. */
static int enroll(const iou_buffers_t *buffers, struct engine *engine)
{
	struct io_uring_buf_reg reg = {
		.ring_addr = (__u64)(uintptr_t)buffers->ring,
		.ring_entries = buffers->n_entries,
		.bgid = buffers->group,
	};
	int r = engine->verbs->do_register(engine, IORING_REGISTER_PBUF_RING, &reg, 1);

	return r == -EINVAL ? -EOPNOTSUPP : r;
}

static void release(iou_buffers_t *buffers)
{
	if (buffers->ring)
		munmap(buffers->ring, buffers->n_mapped);
	free(buffers);
}

static int make(iou_t *iou, iou_buffers_t *buffers)
{
	int r = map(buffers);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < buffers->n; i++)
		provide(buffers, i);
	r = enroll(buffers, iou->engine);
	if (r < 0)
		return r;
	buffers->iou = iou;
	iou__queue_push(&iou->buffers, &buffers->node);
	return 0;
}

int iou_buffers_new(iou_t *iou, unsigned group, unsigned n, size_t size, iou_buffers_t **buffers)
{
	int r = iou__may_register(iou);
	iou_buffers_t *new_one;

	if (r < 0)
		return r;
	if (group > UINT16_MAX || !n || n > MAX_BUFFERS || !size || size > INT_MAX || !buffers)
		return -EINVAL;
	new_one = calloc(1, sizeof(*new_one));
	if (!new_one)
		return -ENOMEM;
	new_one->group = (uint16_t)group;
	new_one->n = n;
	new_one->n_entries = iou__power_of_two(n);
	new_one->size = (uint32_t)size;
	r = make(iou, new_one);
	if (r < 0)
		release(new_one);
	else
		*buffers = new_one;
	return r;
}

/* 0 or -errno. */
static int check(const iou_buffers_t *buffers, unsigned id)
{
	if (!buffers || id >= buffers->n)
		return -EINVAL;
	return buffers->iou ? iou__check(buffers->iou) : 0;
}

void *iou_buffers_at(const iou_buffers_t *buffers, unsigned id)
{
	int r = check(buffers, id);

	if (r == 0)
		return at(buffers, id);
	errno = -r;
	return NULL;
}

int iou_buffers_recycle(iou_buffers_t *buffers, unsigned id)
{
	int r = check(buffers, id);

	if (r < 0)
		return r;
	if (!buffers->iou)
		return -ESHUTDOWN;
	provide(buffers, id);
	return 0;
}

/* The end. */

static bool may_use(const struct op *op, unsigned group)
{
	return iou__op_is(op, 1U << OP_SUBMITTED) && op->sqe.flags & IOSQE_BUFFER_SELECT && op->sqe.buf_group == group;
}

/* Whether something that has been submitted may yet write to the group's memory. */
static bool is_in_use(const struct ops *ops, unsigned group)
{
	for (uint32_t i = 1; i < ops->n_fresh; i++)
		if (may_use(iou__ops_at(ops, i), group))
			return true;
	return false;
}

static int withdraw(iou_buffers_t *buffers)
{
	struct engine *engine = buffers->iou->engine;
	struct io_uring_buf_reg reg = { .bgid = buffers->group };

	if (is_in_use(&buffers->iou->ops, buffers->group))
		return -EBUSY;
	return engine->verbs->do_register(engine, IORING_UNREGISTER_PBUF_RING, &reg, 1);
}

void iou__buffers_leave(iou_t *iou)
{
	struct node *node;

	while ((node = iou__queue_pop(&iou->buffers)))
		container_of(node, iou_buffers_t, node)->iou = NULL;
}

/* The loop thread, but in a forked child: there the ring is the parent's, and the memory a copy. */
int iou_buffers_free(iou_buffers_t *buffers)
{
	if (buffers && buffers->iou) {
		bool is_child = iou__check(buffers->iou) < 0;
		int r = is_child || iou__may_own(buffers->iou) ? 0 : -EPERM;

		if (r == 0 && !is_child)
			r = withdraw(buffers);
		if (r < 0)
			return r;
		iou__queue_remove(&buffers->node);
	}
	if (buffers)
		release(buffers);
	return 0;
}
