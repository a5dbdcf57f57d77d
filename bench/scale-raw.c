/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scale.h"

#include <poll.h>

/* In the low bits of user_data; above them is the connection, if any. */
enum tag { TAG_RECEIVE, TAG_SEND, TAG_WATCH, TAG_CANCELLED, TAG_CANCEL, TAG_MASK = 7 };

static void open_ring(struct scale *scale)
{
	bench_ring_init(&scale->ring, ENTRIES);
}

static struct io_uring *own_ring(struct scale *scale)
{
	return &scale->ring;
}

static void flush(struct scale *scale)
{
	bench_try(io_uring_submit(&scale->ring), "io_uring_submit");
}

static struct io_uring_sqe *next_sqe(struct scale *scale)
{
	if (io_uring_sq_space_left(&scale->ring) == 0)
		flush(scale);
	return bench_try_ptr(io_uring_get_sqe(&scale->ring), "io_uring_get_sqe");
}

static void receive(struct conn *conn)
{
	struct io_uring_sqe *sqe = next_sqe(conn->scale);

	io_uring_prep_recv(sqe, (int)conn->receiver, &conn->received, sizeof(conn->received), 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	sqe->user_data = (uintptr_t)conn | TAG_RECEIVE;
}

static void send_message(struct conn *conn)
{
	struct io_uring_sqe *sqe = next_sqe(conn->scale);

	io_uring_prep_send(sqe, conn->sender, &conn->sent, sizeof(conn->sent), 0);
	sqe->user_data = (uintptr_t)conn | TAG_SEND;
}

static void start_watch(struct scale *scale, enum tag tag)
{
	struct io_uring_sqe *sqe = next_sqe(scale);

	io_uring_prep_poll_add(sqe, scale->event, POLLIN);
	sqe->user_data = tag;
}

static void watch(struct scale *scale)
{
	start_watch(scale, TAG_WATCH);
}

static void cancel(struct scale *scale)
{
	struct io_uring_sqe *sqe;

	start_watch(scale, TAG_CANCELLED);
	flush(scale);
	sqe = next_sqe(scale);
	io_uring_prep_cancel64(sqe, TAG_CANCELLED, 0);
	sqe->user_data = TAG_CANCEL;
}

static void take(struct scale *scale, uint64_t user_data, int result)
{
	struct conn *conn = (struct conn *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);

	switch ((enum tag)(user_data & TAG_MASK)) {
	case TAG_RECEIVE:
		conn_received(conn, result);
		break;
	case TAG_SEND:
		conn_sent(conn, result);
		break;
	case TAG_CANCEL:
		bench_check(scale->run, result == 0, "result of a cancel");
		break;
	case TAG_WATCH:
	case TAG_CANCELLED:
		scale_watched(scale, result);
		break;
	default:
		bench_fail("wrong: a completion of nothing");
	}
}

static void turn(struct scale *scale)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	bench_ring_turn(&scale->ring);
	io_uring_for_each_cqe (&scale->ring, head, cqe) {
		take(scale, cqe->user_data, cqe->res);
		n++;
	}
	io_uring_cq_advance(&scale->ring, n);
}

/* That all receives end with this is not checked: the kernel does it behind our back. */
static void close_ring(struct scale *scale)
{
	io_uring_queue_exit(&scale->ring);
}

const struct engine scale_raw = {
	.open = open_ring,
	.ring = own_ring,
	.receive = receive,
	.send = send_message,
	.watch = watch,
	.flush = flush,
	.turn = turn,
	.cancel = cancel,
	.close = close_ring,
};
