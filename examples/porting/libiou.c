/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An echo server with libiou: SIGINT ends it. Beside it are the same with libuv, and with liburing alone. */
#include <iou.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

struct server {
	iou_t *iou;
	iou_op_t *op;
	int fd;
	bool is_ending;
};

/* It has one operation under way at any time, so one op is enough. */
struct connection {
	struct server *server;
	iou_op_t *op;
	int fd;
	int n_received, n_sent;
	char bytes[4096];
};

static int have_received(void *data), have_sent(void *data);

static int end(struct connection *connection)
{
	close(connection->fd);
	free(connection);
	return 0;
}

static int receive(struct connection *connection)
{
	iou_op_reset(connection->server->iou, connection->op);
	io_uring_prep_recv(connection->op->sqe, connection->fd, connection->bytes, sizeof(connection->bytes), 0);
	iou_op_queue(connection->server->iou, connection->op, have_received, connection);
	return 0;
}

static int send_rest(struct connection *connection)
{
	iou_op_reset(connection->server->iou, connection->op);
	io_uring_prep_send(connection->op->sqe, connection->fd, connection->bytes + connection->n_sent,
			   (size_t)(connection->n_received - connection->n_sent), MSG_NOSIGNAL);
	iou_op_queue(connection->server->iou, connection->op, have_sent, connection);
	return 0;
}

static int have_received(void *data)
{
	struct connection *connection = data;

	if (connection->op->result <= 0 || connection->server->is_ending)
		return end(connection);
	connection->n_received = connection->op->result;
	connection->n_sent = 0;
	return send_rest(connection);
}

static int have_sent(void *data)
{
	struct connection *connection = data;

	if (connection->op->result <= 0 || connection->server->is_ending)
		return end(connection);
	connection->n_sent += connection->op->result;
	return connection->n_sent < connection->n_received ? send_rest(connection) : receive(connection);
}

/* One that there is no memory for is refused, and the server goes on. */
static void begin(struct server *server, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection)
		*connection = (struct connection){ .server = server, .op = iou_op_new(server->iou), .fd = fd };
	if (connection && connection->op) {
		receive(connection);
		return;
	}
	free(connection);
	close(fd);
}

static int have_accepted(void *data)
{
	struct server *server = data;

	if (server->op->result >= 0)
		begin(server, server->op->result);
	if (!server->is_ending)
		iou_op_queue(server->iou, server->op, have_accepted, server);
	return 0;
}

static iou_t *interrupted;

static void interrupt(int signal)
{
	(void)signal;
	iou_quit(interrupted);
}

static int run(struct server *server)
{
	int r;

	server->op = iou_op_new(server->iou);
	if (!server->op)
		return -errno;
	io_uring_prep_accept(server->op->sqe, server->fd, NULL, NULL, SOCK_CLOEXEC);
	iou_op_queue(server->iou, server->op, have_accepted, server);
	r = iou_run(server->iou);
	server->is_ending = true;
	return r;
}

int main(int argc, char **argv)
{
	struct server server = { .iou = iou_new(64) };
	struct sigaction action = { .sa_handler = interrupt };
	int r;

	interrupted = server.iou;
	if (!server.iou || sigaction(SIGINT, &action, NULL) < 0)
		return EXIT_FAILURE;
	server.fd = listen_on(argc > 1 ? atoi(argv[1]) : 0);
	r = server.fd < 0 ? server.fd : run(&server);
	if (r < 0)
		fprintf(stderr, "echo: %s\n", strerror(-r));
	/* Each operation that is under way gets its callback, which frees its connection. */
	iou_free(server.iou);
	close(server.fd);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
