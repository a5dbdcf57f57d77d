/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timers.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES 1024

struct raw_loop {
	struct timers *timers;
	struct io_uring ring;
};

static void handle(const struct io_uring_cqe *cqe)
{
	struct timer *timer = (struct timer *)(uintptr_t)cqe->user_data;

	/* Of removals only those are told that fail. */
	if (!timer)
		bench_try(cqe->res, "timeout_remove");
	else if (cqe->res == -ETIME)
		timers_fired(timer);
	else if (cqe->res == -ECANCELED)
		timers_cancelled(timer);
	else
		bench_fail("a timeout's result is %d", cqe->res);
}

static void take(struct raw_loop *loop)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe (&loop->ring, head, cqe) {
		handle(cqe);
		n++;
	}
	io_uring_cq_advance(&loop->ring, n);
}

static struct io_uring_sqe *get_sqe(struct raw_loop *loop)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&loop->ring))) {
		bench_try(io_uring_submit_and_get_events(&loop->ring), "io_uring_submit_and_get_events");
		take(loop);
	}
	return sqe;
}

static void *open_loop(struct timers *timers)
{
	struct raw_loop *loop = bench_try_ptr(malloc(sizeof(*loop)), "malloc");

	loop->timers = timers;
	bench_ring_init(&loop->ring, ENTRIES);
	return loop;
}

static void arm(void *data)
{
	struct raw_loop *loop = data;

	for (uint64_t i = 0; i < loop->timers->n; i++) {
		struct timer *timer = &loop->timers->timer[i];
		struct io_uring_sqe *sqe = get_sqe(loop);

		timers_set_due(timer);
		io_uring_prep_timeout(sqe, &timer->due, 0, IORING_TIMEOUT_ABS);
		io_uring_sqe_set_data(sqe, timer);
		timers_armed(timer);
	}
	bench_try(io_uring_submit(&loop->ring), "io_uring_submit");
}

static void fire(void *data)
{
	struct raw_loop *loop = data;

	while (loop->timers->n_armed > 0) {
		bench_try(io_uring_submit_and_wait(&loop->ring, 1), "io_uring_submit_and_wait");
		take(loop);
	}
}

static void cancel(void *data)
{
	struct raw_loop *loop = data;

	for (uint64_t i = 0; i < loop->timers->n; i++) {
		struct io_uring_sqe *sqe = get_sqe(loop);

		io_uring_prep_timeout_remove(sqe, (uintptr_t)&loop->timers->timer[i], 0);
		io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
		io_uring_sqe_set_data(sqe, NULL);
	}
	fire(loop);
}

static void close_loop(void *data)
{
	struct raw_loop *loop = data;

	io_uring_queue_exit(&loop->ring);
	free(loop);
}

void timers_raw(struct bench_run *run)
{
	static const struct timers_loop loop = { open_loop, arm, fire, cancel, close_loop };

	timers_measure(run, &loop);
}
