/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scale.h"

#include <poll.h>

/* Polls get their op as data, so that what is measured is the library's memory, not ours. */
static struct scale *watching;

static void open_iou(struct scale *scale)
{
	scale->iou = bench_iou_new(ENTRIES);
	watching = scale;
}

static struct io_uring *own_ring(struct scale *scale)
{
	return iou_ring(scale->iou);
}

static int received(void *data)
{
	struct conn *conn = data;

	conn_received(conn, conn->receive_op->result);
	return 0;
}

/* Again, as it was: within its own callback, or for the first time. */
static void receive(struct conn *conn)
{
	iou_op_t *op = conn->receive_op;

	if (!op) {
		conn->receive_op = op = bench_op_new(conn->scale->iou);
		io_uring_prep_recv(op->sqe, (int)conn->receiver, &conn->received, sizeof(conn->received), 0);
		io_uring_sqe_set_flags(op->sqe, IOSQE_FIXED_FILE);
	}
	iou_op_queue(conn->scale->iou, op, received, conn);
}

static int sent(void *data)
{
	struct conn *conn = data;

	conn_sent(conn, conn->send_op->result);
	return 0;
}

static void send_message(struct conn *conn)
{
	conn->send_op = bench_op_new(conn->scale->iou);
	io_uring_prep_send(conn->send_op->sqe, conn->sender, &conn->sent, sizeof(conn->sent), 0);
	iou_op_queue(conn->scale->iou, conn->send_op, sent, conn);
}

static int watched(void *data)
{
	const iou_op_t *op = data;

	scale_watched(watching, op->result);
	return 0;
}

static iou_op_t *start_watch(struct scale *scale)
{
	iou_op_t *op = bench_op_new(scale->iou);

	io_uring_prep_poll_add(op->sqe, scale->event, POLLIN);
	iou_op_queue(scale->iou, op, watched, op);
	return op;
}

static void watch(struct scale *scale)
{
	start_watch(scale);
}

static void flush(struct scale *scale)
{
	bench_try(iou_flush(scale->iou), "iou_flush");
}

static void turn(struct scale *scale)
{
	bench_try(iou_run_once(scale->iou, NULL), "iou_run_once");
}

static void cancel(struct scale *scale)
{
	iou_op_t *op = start_watch(scale);

	flush(scale);
	bench_try(iou_op_cancel(scale->iou, op), "iou_op_cancel");
}

static void close_iou(struct scale *scale)
{
	iou_free(scale->iou);
	if (scale->n_ended != scale->n_conns)
		bench_fail("wrong: %u of %u receives have ended", scale->n_ended, scale->n_conns);
}

const struct engine scale_libiou = {
	.open = open_iou,
	.ring = own_ring,
	.receive = receive,
	.send = send_message,
	.watch = watch,
	.flush = flush,
	.turn = turn,
	.cancel = cancel,
	.close = close_iou,
};
