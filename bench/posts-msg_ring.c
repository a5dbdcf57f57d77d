/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two raw rings: each post is a message from one to the other, and a system call. */
#include "posts.h"

#include <stdlib.h>

#define ENTRIES 8
/* Much may come before the loop takes it; what finds no room the kernel keeps. */
#define LOOP_ENTRIES 16384

struct msg_loop {
	struct io_uring ring;
	struct io_uring from;
};

static void *open_loop(struct posts *posts)
{
	struct msg_loop *loop = bench_try_ptr(calloc(1, sizeof(*loop)), "calloc");

	bench_ring_init(&loop->ring, LOOP_ENTRIES);
	/* Used by another thread than this. */
	bench_try(io_uring_queue_init(ENTRIES, &loop->from, 0), "io_uring_queue_init");
	return loop;
}

static void post_it(void *data, struct post *post)
{
	struct msg_loop *loop = data;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->from);
	struct io_uring_cqe *cqe;

	io_uring_prep_msg_ring(sqe, loop->ring.ring_fd, 0, (uintptr_t)post, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	bench_try(io_uring_submit(&loop->from), "io_uring_submit");
	if (!io_uring_peek_cqe(&loop->from, &cqe))
		bench_try(cqe->res, "msg_ring");
}

static void turn(void *data, bool may_wait)
{
	struct msg_loop *loop = data;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	if (may_wait)
		bench_try(io_uring_submit_and_wait(&loop->ring, 1), "io_uring_submit_and_wait");
	else
		bench_try(io_uring_submit_and_get_events(&loop->ring), "io_uring_submit_and_get_events");
	io_uring_for_each_cqe (&loop->ring, head, cqe) {
		posts_arrived((struct post *)(uintptr_t)cqe->user_data);
		n++;
	}
	io_uring_cq_advance(&loop->ring, n);
}

static void close_loop(void *data)
{
	struct msg_loop *loop = data;

	io_uring_queue_exit(&loop->from);
	io_uring_queue_exit(&loop->ring);
	free(loop);
}

void posts_msg_ring(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
