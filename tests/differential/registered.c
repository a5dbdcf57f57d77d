/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "make.h"

/* What is no descriptor of an open file cannot be registered: its slot is empty. */
static bool is_open(enum thing thing)
{
	return thing != A_PATH && thing < A_CLOSED_ONE;
}

int registered_open(struct world *world)
{
	struct iovec iovecs[N_OPS];
	int fds[N_THINGS], r;

	for (enum thing thing = 0; thing < N_THINGS; thing++)
		fds[thing] = is_open(thing) ? world->fds[thing] : -1;
	for (int i = 0; i < N_OPS; i++)
		iovecs[i] = (struct iovec){ world_slot(world, i)->data, DATA_SIZE };
	r = iou_register_files(world->iou, fds, N_THINGS);
	return r < 0 ? r : iou_register_buffers(world->iou, iovecs, N_OPS);
}

/* A ring that is freed closes its files some time later. */
void registered_close(struct world *world)
{
	iou_unregister_files(world->iou);
	iou_unregister_buffers(world->iou);
}

/* The op's own memory, but for a buffer that is another op's, or none. */
static void use_buffer(struct world *world, struct io_uring_sqe *sqe, int i)
{
	unsigned index = below(world, 8) ? (unsigned)i : below(world, N_OPS + 1);

	switch (sqe->opcode) {
	case IORING_OP_READ:
		sqe->opcode = IORING_OP_READ_FIXED;
		break;
	case IORING_OP_WRITE:
		sqe->opcode = IORING_OP_WRITE_FIXED;
		break;
	case IORING_OP_SEND_ZC:
		sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
		break;
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
	case OP_READV_FIXED:
	case OP_WRITEV_FIXED:
		break;
	default:
		return;
	}
	sqe->buf_index = (__u16)index;
}

/*
 * These take a descriptor whatever the flag says: the number is that of a slot then, and as a descriptor has another meaning
 * in each world.
 */
static bool takes_descriptors(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_EPOLL_CTL;
}

/* A slot may have come to hold a pipe, for which such offsets, flags and transfers of nothing are not made: see world.h. */
static bool is_for_files(const struct io_uring_sqe *sqe)
{
	return is_transfer(sqe) && (!sqe->len || (sqe->off != (__u64)-1 && sqe->off > INT32_MAX) || sqe->rw_flags);
}

static void use_file(const struct world *world, struct io_uring_sqe *sqe)
{
	if (takes_descriptors(sqe) || is_for_files(sqe))
		return;
	for (enum thing thing = 0; thing < N_THINGS; thing++)
		if (sqe->fd == world->fds[thing]) {
			sqe->fd = (int)thing;
			sqe->flags |= IOSQE_FIXED_FILE;
			return;
		}
}

void registered_use(struct world *world, struct io_uring_sqe *sqe, int i)
{
	bool uses_buffer = below(world, 3) == 0, uses_file = below(world, 3) == 0;

	if (uses_buffer && !(sqe->flags & IOSQE_BUFFER_SELECT))
		use_buffer(world, sqe, i);
	if (uses_file)
		use_file(world, sqe);
}
