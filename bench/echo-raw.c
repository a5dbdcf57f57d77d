/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same as with libiou: a multishot receive for each connection, and replies of which the kernel tells no success.
 * Plain receives into a buffer of each connection, one after each reply, cost more.
 */
#include "echo.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES 512
/* The user_data of replies; those of receives are numbers of connections. */
#define REPLY UINT64_MAX

struct server {
	struct io_uring ring;
	struct echo_buffers buffers;
	const int *fds;
	char (*messages)[ECHO_SIZE];
};

static struct io_uring_sqe *get_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring)))
		bench_try(io_uring_submit(ring), "io_uring_submit");
	return sqe;
}

static void receive(struct server *server, uint64_t i)
{
	struct io_uring_sqe *sqe = get_sqe(&server->ring);

	io_uring_prep_recv_multishot(sqe, server->fds[i], NULL, 0, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	sqe->user_data = i;
}

static void reply(struct server *server, uint64_t i)
{
	struct io_uring_sqe *sqe = get_sqe(&server->ring);

	io_uring_prep_send(sqe, server->fds[i], server->messages[i], ECHO_SIZE, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	sqe->user_data = REPLY;
}

/* Returns whether a connection has ended. */
static bool handle(struct server *server, const struct io_uring_cqe *cqe)
{
	uint64_t i = cqe->user_data;

	bench_try(cqe->res, i == REPLY ? "send" : "recv");
	if (cqe->res == 0 && i != REPLY) {
		close(server->fds[i]);
		return true;
	}
	if (cqe->res != ECHO_SIZE || i == REPLY)
		bench_fail("not a whole message");
	echo_buffers_take(&server->buffers, cqe->flags, server->messages[i]);
	reply(server, i);
	/* The kernel may end a multishot whenever it likes to. */
	if (!(cqe->flags & IORING_CQE_F_MORE))
		receive(server, i);
	return false;
}

static unsigned turn(struct server *server)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0, n_ended = 0;

	bench_try(io_uring_submit_and_wait(&server->ring, 1), "io_uring_submit_and_wait");
	io_uring_for_each_cqe (&server->ring, head, cqe) {
		n_ended += handle(server, cqe);
		n++;
	}
	io_uring_cq_advance(&server->ring, n);
	return n_ended;
}

static void serve(const int *fds, unsigned n_fds)
{
	struct server server = { .fds = fds };

	bench_ring_init(&server.ring, ENTRIES);
	echo_buffers_init(&server.buffers, &server.ring, n_fds);
	server.messages = bench_try_ptr(calloc(n_fds, ECHO_SIZE), "calloc");
	for (unsigned i = 0; i < n_fds; i++)
		receive(&server, i);
	while (n_fds > 0)
		n_fds -= turn(&server);
	io_uring_queue_exit(&server.ring);
	echo_buffers_free(&server.buffers);
	free(server.messages);
}

void echo_raw(struct bench_run *run)
{
	echo_measure(run, serve);
}
