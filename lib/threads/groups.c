/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "groups.h"

#include <stdlib.h>
#include <string.h>

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
	if (group->first + group->n + n <= group->cap)
		return true;

	struct buffer *buffers = calloc(2 * (group->n + n), sizeof(*buffers));

	if (!buffers)
		return false;
	if (group->n)
		memcpy(buffers, group->buffers + group->first, group->n * sizeof(*buffers));
	free(group->buffers);
	group->buffers = buffers;
	group->first = 0;
	group->cap = 2 * (group->n + n);
	return true;
}

static void add(struct group *group, struct buffer buffer)
{
	group->buffers[group->first + group->n++] = buffer;
}

/* As many as fit; the kernel says how many those were. */
static int provide(struct group *group, const struct io_uring_sqe *sqe)
{
	unsigned n = (unsigned)sqe->fd, n_free = MAX_IN_GROUP - (unsigned)group->n;

	n = n < n_free ? n : n_free;
	if (!n)
		return -EOVERFLOW;
	if (!make_room(group, n))
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		add(group, (struct buffer){ sqe->addr + (__u64)i * sqe->len, sqe->len, (__u16)(sqe->off + i), true });
	return 0;
}

int iou__groups_check_provide(const struct io_uring_sqe *sqe)
{
	__u64 size, end;

	if (sqe->rw_flags || sqe->splice_fd_in || sqe->fd <= 0 || (unsigned)sqe->fd > MAX_IN_GROUP)
		return sqe->rw_flags || sqe->splice_fd_in ? -EINVAL : -E2BIG;
	if (!sqe->len || sqe->off > UINT16_MAX)
		return sqe->len ? -E2BIG : -EINVAL;
	if (sqe->off + (unsigned)sqe->fd > MAX_IN_GROUP)
		return -EINVAL;
	if (__builtin_mul_overflow((__u64)sqe->fd, sqe->len, &size) || __builtin_add_overflow(sqe->addr, size, &end))
		return -EOVERFLOW;
	return end > (__u64)INTPTR_MAX ? -EFAULT : 0;
}

int iou__groups_provide(struct groups *groups, const struct io_uring_sqe *sqe)
{
	struct group *group = find_or_make(groups, sqe->buf_group);

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

	if (!group)
		return -ENOENT;
	n = n < group->n ? n : group->n;
	group->first += n;
	group->n -= n;
	return (int)n;
}

int iou__groups_take(struct groups *groups, struct request *request)
{
	struct group *group = find(groups, request->sqe.buf_group);

	if (request->buffer.is_taken)
		return 0;
	/* Senders are told the difference: so does the kernel. */
	if (!group && request->sqe.opcode == IORING_OP_SEND)
		return -ENOENT;
	if (!group || !group->n)
		return -ENOBUFS;
	request->buffer = group->buffers[group->first++];
	group->n--;
	return 0;
}

/* There is room: it comes from there, and what is provided since has made its own. */
void iou__groups_give_back(struct groups *groups, struct request *request)
{
	struct group *group = find(groups, request->sqe.buf_group);

	if (!request->buffer.is_taken)
		return;
	if (group->first > 0) {
		group->buffers[--group->first] = request->buffer;
		group->n++;
	} else if (make_room(group, 1)) {
		add(group, request->buffer);
	}
	request->buffer.is_taken = false;
}

unsigned iou__groups_use(struct request *request)
{
	if (!request->buffer.is_taken)
		return 0;
	request->buffer.is_taken = false;
	return IORING_CQE_F_BUFFER | (unsigned)request->buffer.id << IORING_CQE_BUFFER_SHIFT;
}
