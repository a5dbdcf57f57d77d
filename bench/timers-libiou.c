/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timers.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES 1024

struct iou_loop {
	struct timers *timers;
	iou_t *iou;
};

static int has_ended(void *data)
{
	struct timer *timer = data;
	const iou_op_t *op = timer->handle;

	if (op->result == -ETIME)
		timers_fired(timer);
	else if (op->result == -ECANCELED)
		timers_cancelled(timer);
	else
		bench_fail("a timeout's result is %d", op->result);
	return 0;
}

static void *open_loop(struct timers *timers)
{
	struct iou_loop *loop = bench_try_ptr(malloc(sizeof(*loop)), "malloc");

	*loop = (struct iou_loop){ timers, bench_iou_new(ENTRIES) };
	return loop;
}

static void arm(void *data)
{
	const struct iou_loop *loop = data;

	for (uint64_t i = 0; i < loop->timers->n; i++) {
		struct timer *timer = &loop->timers->timer[i];
		iou_op_t *op = bench_op_new(loop->iou);

		timers_set_due(timer);
		timer->handle = op;
		io_uring_prep_timeout(op->sqe, &timer->due, 0, IORING_TIMEOUT_ABS);
		iou_op_queue(loop->iou, op, has_ended, timer);
		timers_armed(timer);
	}
	bench_try(iou_flush(loop->iou), "iou_flush");
}

static void fire(void *data)
{
	const struct iou_loop *loop = data;

	bench_try(iou_run(loop->iou), "iou_run");
}

static void cancel(void *data)
{
	const struct iou_loop *loop = data;

	for (uint64_t i = 0; i < loop->timers->n; i++)
		bench_try(iou_op_cancel(loop->iou, loop->timers->timer[i].handle), "iou_op_cancel");
	bench_try(iou_run(loop->iou), "iou_run");
}

static void close_loop(void *data)
{
	struct iou_loop *loop = data;

	iou_free(loop->iou);
	free(loop);
}

void timers_libiou(struct bench_run *run)
{
	static const struct timers_loop loop = { open_loop, arm, fire, cancel, close_loop };

	timers_measure(run, &loop);
}
