/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One multishot receive for each connection. Its buffers are given back at once, since a connection has its own room
 * for the one reply that it can have under way; of a reply only failure is of interest.
 */
#include "echo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES 512

/* A request comes that soon, where the client is awake. */
#define SPIN_NS 50000

struct server {
	iou_t *iou;
	iou_buffers_t *buffers;
};

struct connection {
	struct server *server;
	int fd;
	iou_op_t *receiving;
	char message[ECHO_SIZE];
};

static int have_failed(void *data)
{
	bench_fail("send: not a whole message");
}

static void reply(struct connection *connection)
{
	iou_op_t *op = bench_op_new(connection->server->iou);

	io_uring_prep_send(op->sqe, connection->fd, connection->message, ECHO_SIZE, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_flags(op->sqe, IOSQE_CQE_SKIP_SUCCESS);
	iou_op_queue(connection->server->iou, op, have_failed, NULL);
}

/* Copy the message of a completion, and give its buffer back. */
static void take(struct connection *connection, unsigned flags)
{
	iou_buffers_t *buffers = connection->server->buffers;
	unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

	if (!(flags & IORING_CQE_F_BUFFER))
		bench_fail("a message without a buffer");
	memcpy(connection->message, bench_try_ptr(iou_buffers_at(buffers, id), "iou_buffers_at"), ECHO_SIZE);
	bench_try(iou_buffers_recycle(buffers, id), "iou_buffers_recycle");
}

static int have_message(void *data)
{
	struct connection *connection = data;
	const iou_op_t *op = connection->receiving;

	if (op->result == 0) {
		close(connection->fd);
		return 0;
	}
	bench_try(op->result, "recv");
	if (op->result != ECHO_SIZE)
		bench_fail("recv: not a whole message");
	take(connection, op->flags);
	reply(connection);
	/* The kernel may end a multishot whenever it likes to. */
	if (!(op->flags & IORING_CQE_F_MORE))
		iou_op_queue(connection->server->iou, connection->receiving, have_message, connection);
	return 0;
}

static void receive(struct connection *connection)
{
	iou_op_t *op = bench_op_new(connection->server->iou);

	io_uring_prep_recv_multishot(op->sqe, connection->fd, NULL, 0, 0);
	io_uring_sqe_set_flags(op->sqe, IOSQE_BUFFER_SELECT);
	connection->receiving = op;
	iou_op_queue(connection->server->iou, op, have_message, connection);
}

static void serve_with(iou_config_t config, const int *fds, unsigned n_fds)
{
	struct connection *connections = bench_try_ptr(calloc(n_fds, sizeof(*connections)), "calloc");
	struct server server = { 0 };

	config.size = sizeof(config);
	config.entries = ENTRIES;
	server.iou = bench_try_ptr(iou_new_with(&config), "iou_new_with");
	bench_try(iou_buffers_new(server.iou, 0, n_fds, ECHO_SIZE, &server.buffers), "iou_buffers_new");
	for (unsigned i = 0; i < n_fds; i++) {
		connections[i].server = &server;
		connections[i].fd = fds[i];
		receive(&connections[i]);
	}
	bench_try(iou_run(server.iou), "iou_run");
	iou_free(server.iou);
	bench_try(iou_buffers_free(server.buffers), "iou_buffers_free");
	free(connections);
}

static void serve(const int *fds, unsigned n_fds)
{
	serve_with((iou_config_t){ 0 }, fds, n_fds);
}

static void serve_spinning(const int *fds, unsigned n_fds)
{
	serve_with((iou_config_t){ .flags = IOU_SPIN, .spin_ns = SPIN_NS }, fds, n_fds);
}

static void serve_with_threads(const int *fds, unsigned n_fds)
{
	serve_with((iou_config_t){ .engine = IOU_ENGINE_THREADS }, fds, n_fds);
}

void echo_libiou(struct bench_run *run)
{
	echo_measure(run, serve);
}

void echo_libiou_spinning(struct bench_run *run)
{
	echo_measure(run, serve_spinning);
}

void echo_libiou_threads(struct bench_run *run)
{
	echo_measure(run, serve_with_threads);
}
