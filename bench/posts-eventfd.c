/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A raw ring that reads an eventfd. It is written for the first of those posts that the loop does not know of. */
#include "posts.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENTRIES 8

struct eventfd_loop {
	struct posts *posts;
	struct io_uring ring;
	int fd;
	uint64_t count;
};

static void arm(struct eventfd_loop *loop)
{
	io_uring_prep_read(io_uring_get_sqe(&loop->ring), loop->fd, &loop->count, sizeof(loop->count), 0);
}

static void *open_loop(struct posts *posts)
{
	struct eventfd_loop *loop = bench_try_ptr(calloc(1, sizeof(*loop)), "calloc");

	loop->posts = posts;
	loop->fd = bench_try_errno(eventfd(0, EFD_CLOEXEC), "eventfd");
	bench_ring_init(&loop->ring, ENTRIES);
	arm(loop);
	return loop;
}

static void post_it(void *data, struct post *post)
{
	const struct eventfd_loop *loop = data;
	const uint64_t one = 1;

	if (posts_push(post) && write(loop->fd, &one, sizeof(one)) != sizeof(one))
		bench_fail("eventfd");
}

static void turn(void *data, bool may_wait)
{
	struct eventfd_loop *loop = data;
	struct io_uring_cqe *cqe;

	if (may_wait)
		bench_try(io_uring_submit_and_wait(&loop->ring, 1), "io_uring_submit_and_wait");
	else
		bench_try(io_uring_submit_and_get_events(&loop->ring), "io_uring_submit_and_get_events");
	if (io_uring_peek_cqe(&loop->ring, &cqe))
		return;
	bench_try(cqe->res, "read");
	io_uring_cqe_seen(&loop->ring, cqe);
	posts_take(loop->posts);
	arm(loop);
}

static void close_loop(void *data)
{
	struct eventfd_loop *loop = data;

	io_uring_queue_exit(&loop->ring);
	close(loop->fd);
	free(loop);
}

void posts_eventfd(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
