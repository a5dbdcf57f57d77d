/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "posts.h"

#define ENTRIES 64

static int arrived(void *post)
{
	posts_arrived(post);
	return 0;
}

static void *open_loop(struct posts *posts)
{
	iou_t *iou = bench_iou_new(ENTRIES);

	/* Else it would not wait, with nothing to wait for. */
	bench_try(iou_hold(iou), "iou_hold");
	return iou;
}

static void post_it(void *iou, struct post *post)
{
	bench_try(iou_post(iou, arrived, post), "iou_post");
}

static void turn(void *iou, bool may_wait)
{
	const struct timespec do_not_wait = { 0 };

	bench_try(iou_run_once(iou, may_wait ? NULL : &do_not_wait), "iou_run_once");
}

static void close_loop(void *iou)
{
	bench_try(iou_release(iou), "iou_release");
	iou_free(iou);
}

void posts_libiou(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
