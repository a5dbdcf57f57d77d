/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An echo server with liburing alone: SIGINT ends it. */
#include <liburing.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

struct server {
	struct io_uring ring;
	int fd;
	unsigned n_in_flight;
	bool is_ending;
};

struct connection {
	int fd;
	bool is_sending;
	int n_received, n_sent;
	char bytes[4096];
};

/* What a signal handler writes to, so that a signal that comes just before the wait ends it nevertheless. */
static int interrupt_fd;

static void interrupt(int signal)
{
	int saved = errno;

	(void)signal;
	eventfd_write(interrupt_fd, 1);
	errno = saved;
}

/* The queue may be full. Then what is in it is submitted, and there is room; NULL: the kernel does not take any now. */
static struct io_uring_sqe *next_sqe(struct server *server)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&server->ring);

	if (!sqe && io_uring_submit(&server->ring) > 0)
		sqe = io_uring_get_sqe(&server->ring);
	if (sqe)
		server->n_in_flight++;
	return sqe;
}

static int end(struct connection *connection)
{
	close(connection->fd);
	free(connection);
	return 0;
}

static int receive(struct server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = next_sqe(server);

	if (!sqe)
		return end(connection);
	connection->is_sending = false;
	io_uring_prep_recv(sqe, connection->fd, connection->bytes, sizeof(connection->bytes), 0);
	io_uring_sqe_set_data(sqe, connection);
	return 0;
}

static int send_rest(struct server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = next_sqe(server);

	if (!sqe)
		return end(connection);
	connection->is_sending = true;
	io_uring_prep_send(sqe, connection->fd, connection->bytes + connection->n_sent,
			   (size_t)(connection->n_received - connection->n_sent), MSG_NOSIGNAL);
	io_uring_sqe_set_data(sqe, connection);
	return 0;
}

static int have_moved(struct server *server, struct connection *connection, int result)
{
	if (result <= 0 || server->is_ending)
		return end(connection);
	if (!connection->is_sending) {
		connection->n_received = result;
		connection->n_sent = 0;
		return send_rest(server, connection);
	}
	connection->n_sent += result;
	return connection->n_sent < connection->n_received ? send_rest(server, connection)
							   : receive(server, connection);
}

static int accept_next(struct server *server)
{
	struct io_uring_sqe *sqe = next_sqe(server);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_accept(sqe, server->fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data(sqe, server);
	return 0;
}

static int have_accepted(struct server *server, int result)
{
	struct connection *connection = result >= 0 ? calloc(1, sizeof(*connection)) : NULL;

	if (connection) {
		connection->fd = result;
		receive(server, connection);
	} else if (result >= 0) {
		close(result);
	}
	return server->is_ending ? 0 : accept_next(server);
}

static int wait_for_interrupt(struct server *server)
{
	struct io_uring_sqe *sqe = next_sqe(server);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_add(sqe, interrupt_fd, POLLIN);
	io_uring_sqe_set_data(sqe, &interrupt_fd);
	return 0;
}

/* What has been submitted may still write to its buffers, so that all of it has to end before they are freed. */
static int have_been_interrupted(struct server *server)
{
	struct io_uring_sqe *sqe = next_sqe(server);

	if (!sqe)
		return -EBUSY;
	server->is_ending = true;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY);
	io_uring_sqe_set_data(sqe, NULL);
	return 0;
}

static int complete(struct server *server, void *data, int result)
{
	server->n_in_flight--;
	if (!data)
		return 0;
	if (data == server)
		return have_accepted(server, result);
	if (data == &interrupt_fd)
		return have_been_interrupted(server);
	return have_moved(server, data, result);
}

/* Copied and given back before anything else is done, which may need room in the completion queue. */
static int turn(struct server *server)
{
	struct io_uring_cqe *cqe;
	void *data;
	int result, r = io_uring_submit_and_wait(&server->ring, 1);

	if (r < 0)
		return r == -EINTR || r == -EAGAIN || r == -EBUSY ? 0 : r;
	for (r = 0; r == 0 && io_uring_peek_cqe(&server->ring, &cqe) == 0;) {
		data = io_uring_cqe_get_data(cqe);
		result = cqe->res;
		io_uring_cqe_seen(&server->ring, cqe);
		r = complete(server, data, result);
	}
	return r;
}

static int run(struct server *server)
{
	int r = accept_next(server);

	if (r == 0)
		r = wait_for_interrupt(server);
	while (r == 0 && server->n_in_flight > 0)
		r = turn(server);
	return r;
}

int main(int argc, char **argv)
{
	struct server server = { 0 };
	struct sigaction action = { .sa_handler = interrupt };
	int r = io_uring_queue_init(64, &server.ring, 0);

	interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r < 0 || interrupt_fd < 0 || sigaction(SIGINT, &action, NULL) < 0)
		return EXIT_FAILURE;
	server.fd = listen_on(argc > 1 ? atoi(argv[1]) : 0);
	r = server.fd < 0 ? server.fd : run(&server);
	if (r < 0)
		fprintf(stderr, "echo: %s\n", strerror(-r));
	io_uring_queue_exit(&server.ring);
	close(server.fd);
	close(interrupt_fd);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
