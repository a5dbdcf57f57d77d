/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registered.h"

#include <errno.h>

#include "replace.h"

#define MAX_BUFFERS (1U << 14) /* the kernel's IORING_MAX_REG_BUFFERS */

/* Newer than the oldest liburing; Linux 6.8. */
#define REGISTER_PBUF_STATUS 26

struct pbuf_status {
	__u32 group;
	__u32 head;
	__u32 reserved[8];
};

/* A ring of provided buffers. */
struct buffer_ring {
	struct buffer_ring *next;
	struct io_uring_buf_reg reg;
	unsigned head; /* which entry the kernel was going to take next from the ring that is to be replaced */
};

static void forget_buffers(struct registered *registered)
{
	struct iovec *iovecs = registered->iovecs;

	registered->iovecs = NULL;
	registered->n_iovecs = 0;
	iou__free_replaced(iovecs);
}

void iou__registered_destroy(struct registered *registered)
{
	forget_buffers(registered);
	while (registered->first) {
		struct buffer_ring *first = registered->first;

		registered->first = first->next;
		iou__free_replaced(first);
	}
}

/* How much it is only the kernel knows: the vector itself may not be there to be read. */
static int register_buffers(const struct uring *uring, const struct iovec *iovecs, unsigned n)
{
	int r, n_waits = 0;

	do
		r = iou__uring_register(uring, IORING_REGISTER_BUFFERS, iovecs, n);
	while (r == -ENOMEM && iou__uring_wait_for_memory(0, n_waits++));
	return r;
}

/* Memory for what is to be remembered comes first: nothing can fail once the kernel has done it. */

static int add_buffers(struct registered *registered, const struct uring *uring, const struct iovec *iovecs, unsigned n)
{
	struct iovec *copy;
	int r;

	if (registered->iovecs || !n || n > MAX_BUFFERS)
		return registered->iovecs ? -EBUSY : -EINVAL;
	copy = calloc(n, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	r = register_buffers(uring, iovecs, n);
	if (r < 0) {
		free(copy);
		return r;
	}
	memcpy(copy, iovecs, n * sizeof(*copy));
	registered->iovecs = copy;
	registered->n_iovecs = n;
	return 0;
}

static int add_ring(struct registered *registered, const struct uring *uring, const struct io_uring_buf_reg *reg)
{
	struct buffer_ring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return -ENOMEM;
	r = iou__uring_register(uring, IORING_REGISTER_PBUF_RING, reg, 1);
	if (r < 0) {
		free(ring);
		return r;
	}
	*ring = (struct buffer_ring){ .next = registered->first, .reg = *reg };
	registered->first = ring;
	return 0;
}

/* Also where the program has taken it from the kernel already. */
static int remove_ring(struct registered *registered, const struct uring *uring, const struct io_uring_buf_reg *reg)
{
	struct buffer_ring **at = &registered->first, *ring;
	int r = iou__uring_register(uring, IORING_UNREGISTER_PBUF_RING, reg, 1);

	if (r < 0 && r != -ENOENT && r != -EINVAL)
		return r;
	while (*at && (*at)->reg.bgid != reg->bgid)
		at = &(*at)->next;
	ring = *at;
	if (ring)
		*at = ring->next;
	iou__free_replaced(ring);
	return 0;
}

int iou__registered_do(struct registered *registered, const struct uring *uring, unsigned opcode, const void *arg,
		       unsigned n)
{
	int r;

	switch (opcode) {
	case IORING_REGISTER_BUFFERS:
		return add_buffers(registered, uring, arg, n);
	case IORING_REGISTER_PBUF_RING:
		return add_ring(registered, uring, arg);
	case IORING_UNREGISTER_PBUF_RING:
		return remove_ring(registered, uring, arg);
	default:
		break;
	}
	r = iou__uring_register(uring, opcode, arg, n);
	if (opcode == IORING_REGISTER_FILES && r == 0)
		registered->n_files = n;
	if (opcode == IORING_UNREGISTER_FILES && (r == 0 || r == -ENXIO))
		registered->n_files = 0;
	if (opcode == IORING_UNREGISTER_BUFFERS && (r == 0 || r == -ENXIO))
		forget_buffers(registered);
	return r;
}

/* For another ring. */

static int make_table(const struct uring *uring, unsigned n)
{
	int *none = calloc(n, sizeof(*none)), r;

	if (!none)
		return -ENOMEM;
	memset(none, -1, n * sizeof(*none));
	r = iou__uring_register(uring, IORING_REGISTER_FILES, none, n);
	free(none);
	return r;
}

/* Before Linux 6.8 the kernel does not tell which entry it is at. */
static int copy_ring(struct buffer_ring *ring, const struct uring *from, const struct uring *to)
{
	struct pbuf_status status = { .group = ring->reg.bgid };
	int r = iou__uring_register(from, REGISTER_PBUF_STATUS, &status, 1);

	ring->head = status.head;
	if (r < 0)
		return r == -EINVAL ? -EBUSY : r;
	return iou__uring_register(to, IORING_REGISTER_PBUF_RING, &ring->reg, 1);
}

int iou__registered_copy(const struct registered *registered, const struct uring *from, const struct uring *to)
{
	int r = registered->n_files ? make_table(to, registered->n_files) : 0;

	if (r == 0 && registered->n_iovecs)
		r = register_buffers(to, registered->iovecs, registered->n_iovecs);
	for (struct buffer_ring *ring = registered->first; r == 0 && ring; ring = ring->next)
		r = copy_ring(ring, from, to);
	return r;
}

/* But for what is in the place of the tail. */
static void swap(struct io_uring_buf *a, struct io_uring_buf *b)
{
	struct io_uring_buf old = *a;

	a->addr = b->addr;
	a->len = b->len;
	a->bid = b->bid;
	b->addr = old.addr;
	b->len = old.len;
	b->bid = old.bid;
}

static void reverse(struct io_uring_buf *bufs, unsigned begin, unsigned end)
{
	while (begin + 1 < end)
		swap(&bufs[begin++], &bufs[--end]);
}

/* The new ring begins with the first entry: so what the kernel has not taken moves there, in its order. */
static void turn(const struct buffer_ring *ring)
{
	struct io_uring_buf_ring *memory = (struct io_uring_buf_ring *)(uintptr_t)ring->reg.ring_addr;
	unsigned n = ring->reg.ring_entries, first = ring->head & (n - 1);

	reverse(memory->bufs, 0, first);
	reverse(memory->bufs, first, n);
	reverse(memory->bufs, 0, n);
	memory->tail = (__u16)(memory->tail - ring->head);
}

void iou__registered_settle(struct registered *registered)
{
	for (struct buffer_ring *ring = registered->first; ring; ring = ring->next)
		turn(ring);
}
