/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random programs: steps of ops that end by themselves, in chains; ops that wait; and what ends those. */
#include "make.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static make_t *const prompt[] = {
	make_file_read, make_file_read, make_file_write, make_file_write, make_fixed,     make_file_change,
	make_xattr,     make_splice,    make_path,       make_path,       make_path,      make_open,
	make_close,     make_socket,    make_send,       make_send,       make_zero_copy, make_receive,
	make_receive,   make_accept,    make_nop,        make_buffers,    make_buffers,   make_selected,
	make_selected,  make_timeout,   make_limit,      make_poll,       make_epoll,     make_stray_update,
	make_futex,     make_other,
};

/* What others do. */

/* The end to write to, of what is read from. */
static void feed(struct world *world, enum thing thing)
{
	static const size_t sizes[] = { 1, 8, 8, 40, 100, 300 };
	static const uint64_t words[64] = { 1, 2, 3 };
	size_t n = pick(world, sizes);
	enum thing to = thing == AN_EVENTFD ? thing : thing + 1;

	if (thing == AN_EVENTFD)
		n = sizeof(uint64_t);
	/* It may have been closed, or shut down. */
	if (write(world->fds[to], words, n) < 0)
		return;
}

static void knock(struct world *world, enum thing thing)
{
	bool is_unix = thing == A_UNIX_LISTENER;

	if (world->n_knocking == MAX_KNOCKING)
		return;

	int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	connect(fd, (const struct sockaddr *)(const void *)(is_unix ? world->unix_address : world->tcp_address),
		is_unix ? 110 : 16);
	world->knocking[world->n_knocking++] = fd;
}

static void give(struct world *world, enum thing thing)
{
	if (thing == A_LISTENER || thing == A_UNIX_LISTENER)
		knock(world, thing);
	else if (thing != N_THINGS)
		feed(world, thing);
}

static void hang_up(struct world *world, enum thing thing)
{
	if (thing == A_PIPE || thing == A_NONBLOCK_PIPE)
		close(world->fds[thing + 1]);
	else if (thing == A_STREAM || thing == A_SEQUENCE || thing == A_NONBLOCK_STREAM || thing == A_TCP)
		shutdown(world->fds[thing + 1], SHUT_WR + (int)below(world, 2));
}

/* A chain of what ends by itself, or one after the other has ended, or a single one. */

static const enum thing sources[] = { A_PIPE,     A_NONBLOCK_PIPE,   A_STREAM,  A_DATAGRAM,
				      A_SEQUENCE, A_NONBLOCK_STREAM, A_TCP,     A_UDP,
				      AN_EVENTFD, A_UNIX_LISTENER,   A_LISTENER };

static unsigned any_links(struct world *world, bool drains)
{
	if (drains)
		return IOSQE_IO_DRAIN;
	return below(world, 3) ? IOSQE_IO_LINK : IOSQE_IO_HARDLINK;
}

static void finish_op(struct world *world, struct io_uring_sqe *sqe)
{
	if (below(world, 6) == 0)
		make_spoilt(world, sqe);
	if (below(world, 40) == 0)
		make_spoilt(world, sqe);
	/* A thread that looks for requests may find itself. */
	if (below(world, 12) == 0 && sqe->opcode != IORING_OP_ASYNC_CANCEL)
		sqe->flags |= IOSQE_ASYNC;
	if (below(world, 10) == 0)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* The kernel lets go of a file a little later: not before what is next in a chain may notice. */
static void close_nothing(struct world *world, struct io_uring_sqe *sqe)
{
	if (sqe->fd >= world->fds[A_PIPE])
		sqe->fd = world->fds[A_CLOSED_ONE];
}

static void step_prompt(struct world *world)
{
	unsigned n = below(world, 3) ? 1 : 1 + below(world, 5);
	bool drains = below(world, 4) == 0;

	for (unsigned i = below(world, 3); i; i--)
		give(world, pick(world, sources));
	for (unsigned i = 0; i < n; i++) {
		struct slot *slot;
		iou_op_t *op = world_op(world, &slot);

		pick(world, prompt)(world, op->sqe, slot);
		if (n > 1 && op->sqe->opcode == IORING_OP_CLOSE)
			close_nothing(world, op->sqe);
		finish_op(world, op->sqe);
		if (i + 1 < n || drains)
			op->sqe->flags |= (__u8)any_links(world, drains);
		world_queue(world, op);
	}
}

/* What waits. */

static enum thing any_source(struct world *world)
{
	return below(world, 10) ? pick(world, sources) : N_THINGS;
}

/* Behind it a timeout that comes, or one that does not. */
static void limit(struct world *world, iou_op_t *op)
{
	struct slot *slot;
	iou_op_t *limit;

	op->sqe->flags |= below(world, 4) ? IOSQE_IO_LINK : IOSQE_IO_HARDLINK;
	world_queue(world, op);
	limit = world_op(world, &slot);
	slot->time = (struct __kernel_timespec){ .tv_sec = below(world, 2) ? 3600 : 0, .tv_nsec = 300000 };
	io_uring_prep_link_timeout(limit->sqe, &slot->time, 0);
	world_queue(world, limit);
	if (!slot->time.tv_sec)
		world_run(world);
}

static void follow(struct world *world, iou_op_t *op)
{
	struct slot *slot;

	op->sqe->flags |= below(world, 2) ? IOSQE_IO_LINK : IOSQE_IO_HARDLINK;
	world_queue(world, op);
	op = world_op(world, &slot);
	make_nop(world, op->sqe, slot);
	world_queue(world, op);
}

/* One that a thread is at is given time to get there. */
static void start_waiting(struct world *world, enum thing thing, bool *is_away)
{
	struct slot *slot;
	iou_op_t *op = world_op(world, &slot);

	make_wait(world, op->sqe, slot, thing);
	if (below(world, 12) == 0)
		op->sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	switch (below(world, 6)) {
	case 0:
		limit(world, op);
		break;
	case 1:
		follow(world, op);
		break;
	case 2:
		*is_away = below(world, 6) == 0;
		op->sqe->flags |= *is_away ? IOSQE_ASYNC : 0;
		world_queue(world, op);
		break;
	default:
		world_queue(world, op);
	}
	if (*is_away)
		world_run(world);
	else
		world_settle(world);
}

static void look_for(struct world *world, int i, enum thing thing)
{
	struct slot *slot;
	iou_op_t *op = world_op(world, &slot);
	bool comes_soon;

	if (!op)
		return;
	make_cancel(world, op->sqe, slot, i, thing);
	/* A timeout that is to come soon is given the time. */
	comes_soon = op->sqe->opcode == IORING_OP_TIMEOUT_REMOVE && op->sqe->timeout_flags & IORING_TIMEOUT_UPDATE;
	world_queue(world, op);
	if (comes_soon)
		world_run(world);
}

static void provide(struct world *world)
{
	struct slot *slot;
	iou_op_t *op = world_op(world, &slot);

	if (!op)
		return;
	make_buffers(world, op->sqe, slot);
	world_queue(world, op);
	world_settle(world);
}

static void act(struct world *world, enum thing thing, bool is_away)
{
	switch (below(world, 8)) {
	case 0:
		hang_up(world, thing);
		break;
	case 1:
	case 2:
	case 3:
		if (!is_away) {
			look_for(world, world->step * OPS_PER_STEP + (int)below(world, 2), thing);
			break;
		}
		/* Fall through. */
	default:
		give(world, thing);
	}
	if (is_away)
		world_run(world);
	else
		world_settle(world);
}

static void step_wait(struct world *world)
{
	enum thing thing = any_source(world);
	bool is_away = false;

	if (thing != N_THINGS)
		world_empty(world, thing);
	start_waiting(world, thing, &is_away);
	for (unsigned n = below(world, 5); n; n--) {
		if (below(world, 3) == 0)
			provide(world);
		act(world, thing, is_away);
	}
	iou_cancel_all(world->iou);
}

static void end_step(struct world *world)
{
	for (int n = 0; world_run(world) && n < 20; n++)
		iou_cancel_all(world->iou);
	while (world->n_knocking)
		close(world->knocking[--world->n_knocking]);
}

void program_run(struct world *world)
{
	for (int step = 0; step < N_STEPS; step++) {
		if (world->cut.steps >> step & 1)
			continue;
		world_begin_step(world, step);
		if (below(world, 3))
			step_prompt(world);
		else
			step_wait(world);
		end_step(world);
	}
}
