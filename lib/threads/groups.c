/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "groups.h"

#include "../replace.h"
#include "opcodes.h"
#include "peek.h"
#include "requests.h"

#define MAX_IN_GROUP (1U << 16)

static struct group *find(const struct groups *groups, unsigned id)
{
	struct group *group = groups->first;

	while (group && group->id != id)
		group = group->next;
	return group;
}

static struct group *find_or_make(struct groups *groups, unsigned id)
{
	struct group *group = find(groups, id);

	if (group)
		return group;
	group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	group->id = (uint16_t)id;
	group->next = groups->first;
	groups->first = group;
	return group;
}

void iou__groups_destroy(struct groups *groups)
{
	while (groups->first) {
		struct group *group = groups->first;

		groups->first = group->next;
		free(group->buffers);
		free(group);
	}
}

static bool make_room(struct group *group, size_t n)
{
	size_t cap = 2 * (group->n + n + group->n_taken);

	if (group->first + group->n + n + group->n_taken <= group->cap)
		return true;

	struct buffer *old = group->buffers;
	struct buffer *buffers =
		iou__enlarged(old ? old + group->first : NULL, group->n * sizeof(*old), cap * sizeof(*old));

	if (!buffers)
		return false;
	group->buffers = buffers;
	group->first = 0;
	group->cap = cap;
	iou__free_replaced(old);
	return true;
}

static void add(struct group *group, struct buffer buffer)
{
	group->buffers[group->first + group->n++] = buffer;
}

/* As many as fit; the kernel says how many those were. */
static int provide(struct group *group, const struct io_uring_sqe *sqe)
{
	unsigned n = (unsigned)sqe->fd, n_free = UINT16_MAX - (unsigned)group->n;

	n = n < n_free ? n : n_free;
	if (!n)
		return -EOVERFLOW;
	if (!make_room(group, n))
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		add(group,
		    (struct buffer){ sqe->addr + (__u64)i * sqe->len, sqe->len, (__u16)(sqe->off + i), true, 0 });
	return 0;
}

int iou__groups_check_provide(const struct io_uring_sqe *sqe)
{
	__u64 size, end;

	if (sqe->rw_flags || sqe->splice_fd_in)
		return -EINVAL;
	if (sqe->fd <= 0 || (unsigned)sqe->fd > MAX_IN_GROUP)
		return -E2BIG;
	if (!sqe->len)
		return -EINVAL;
	if (__builtin_mul_overflow((__u64)sqe->fd, sqe->len, &size) || __builtin_add_overflow(sqe->addr, size, &end))
		return -EOVERFLOW;
	if (!iou__peek_can(sqe->addr, size))
		return -EFAULT;
	if (sqe->off > UINT16_MAX)
		return -E2BIG;
	return sqe->off + (unsigned)sqe->fd > MAX_IN_GROUP ? -EINVAL : 0;
}

int iou__groups_provide(struct groups *groups, const struct io_uring_sqe *sqe)
{
	struct group *group = find_or_make(groups, sqe->buf_group);

	if (group && group->ring)
		return -EINVAL;
	return group ? provide(group, sqe) : -ENOMEM;
}

int iou__groups_check_remove(const struct io_uring_sqe *sqe)
{
	size_t n = (unsigned)sqe->fd;

	if (sqe->rw_flags || sqe->addr || sqe->len || sqe->off || sqe->splice_fd_in || sqe->fd <= 0 || n > MAX_IN_GROUP)
		return -EINVAL;
	return 0;
}

int iou__groups_remove(struct groups *groups, const struct io_uring_sqe *sqe)
{
	struct group *group = find(groups, sqe->buf_group);
	size_t n = (unsigned)sqe->fd;

	if (!group || group->ring)
		return group ? -EINVAL : -ENOENT;
	n = n < group->n ? n : group->n;
	group->first += n;
	group->n -= n;
	return (int)n;
}

/* Rings. Their tail is in the first entry, in a place that a buffer does not need. */

int iou__groups_add_ring(struct groups *groups, const struct io_uring_buf_reg *reg)
{
	struct group *group = find_or_make(groups, reg->bgid);

	if (!group)
		return -ENOMEM;
	if (group->ring || group->n)
		return -EEXIST;
	group->ring = iou__pointer(reg->ring_addr);
	group->mask = (uint16_t)(reg->ring_entries - 1);
	group->head = 0;
	group->n_rings++;
	return 0;
}

int iou__groups_remove_ring(struct groups *groups, unsigned id)
{
	struct group *group = find(groups, id);

	if (!group)
		return -ENOENT;
	if (!group->ring)
		return -EINVAL;
	group->ring = NULL;
	return 0;
}

static bool take_from_ring(struct group *group, struct buffer *buffer)
{
	const struct io_uring_buf *from = &group->ring->bufs[group->head & group->mask];

	if (group->head == __atomic_load_n(&group->ring->tail, __ATOMIC_ACQUIRE))
		return false;
	*buffer = (struct buffer){ from->addr, from->len, from->bid, true, group->n_rings };
	group->head++;
	return true;
}

/* Ahead of the others; that place is free, since what was there has been taken. */
static void give_back_to_ring(struct group *group, const struct buffer *buffer)
{
	struct io_uring_buf *to = &group->ring->bufs[--group->head & group->mask];

	to->addr = buffer->addr;
	to->len = buffer->len;
	to->bid = buffer->id;
}

static bool take_from_list(struct group *group, struct buffer *buffer)
{
	if (!group->n)
		return false;
	*buffer = group->buffers[group->first++];
	group->n--;
	return true;
}

/* There is room. */
static void give_back_to_list(struct group *group, const struct buffer *buffer)
{
	if (group->first > 0) {
		group->buffers[--group->first] = *buffer;
		group->n++;
	} else {
		add(group, *buffer);
	}
}

/* Senders, and receivers of bundles, are told the difference: so does the kernel. */
static bool is_told_of_groups(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SEND ||
	       (sqe->opcode == IORING_OP_RECV && sqe->ioprio & RECVSEND_BUNDLE && !(sqe->flags & IOSQE_ASYNC));
}

int iou__groups_take(struct groups *groups, struct request *request)
{
	struct group *group = find(groups, request->sqe.buf_group);

	if (request->buffer.is_taken)
		return 0;
	if (!group && is_told_of_groups(&request->sqe))
		return -ENOENT;
	if (!group || !(group->ring ? take_from_ring : take_from_list)(group, &request->buffer))
		return -ENOBUFS;
	group->n_taken++;
	return 0;
}

/* What was there when it was taken may have been withdrawn, and another ring be in its place: then nobody wants it. */
static bool is_from(const struct group *group, const struct buffer *buffer)
{
	return group->ring ? buffer->ring == group->n_rings : !buffer->ring;
}

void iou__groups_give_back(struct groups *groups, struct request *request)
{
	struct group *group = find(groups, request->sqe.buf_group);

	if (!request->buffer.is_taken)
		return;
	if (is_from(group, &request->buffer) && group->ring)
		give_back_to_ring(group, &request->buffer);
	else if (is_from(group, &request->buffer))
		give_back_to_list(group, &request->buffer);
	group->n_taken--;
	request->buffer.is_taken = false;
}

unsigned iou__groups_use(struct request *request)
{
	if (!request->buffer.is_taken)
		return 0;
	find(&request->threads->groups, request->sqe.buf_group)->n_taken--;
	request->buffer.is_taken = false;
	return IORING_CQE_F_BUFFER | (unsigned)request->buffer.id << IORING_CQE_BUFFER_SHIFT;
}
