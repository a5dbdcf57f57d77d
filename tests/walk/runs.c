/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that deliver: what may happen during them, and what they may return. */
#include <errno.h>

#include "world.h"

/* Callbacks. */

void run_begin_callback(struct world *world)
{
	CHECK(world->is_delivering && !world->is_in_callback);
	if (world->has_asked_free)
		world->is_ending = world->is_freeing = true;
	CHECK(!world->has_to_stop || world->is_ending);
	world->is_in_callback = true;
	world->n_callbacks++;
	world->epoch++;
}

int run_end_callback(struct world *world, int result)
{
	world->is_in_callback = false;
	if (result < 0 && !world->is_ending) {
		world->has_to_stop = true;
		world->stop_result = result;
	}
	return result;
}

void run_ask_free(struct world *world)
{
	/* No call of another thread may begin later. */
	helpers_wait(world);
	CHECK(!iou_free(world->iou));
	world->has_asked_free = true;
	/* Unless it is under way already. */
	acts_may_be_cancelled(world);
}

void run_ask_quit(struct world *world)
{
	atomic_fetch_add(&world->n_quits_begun, 1);
	CHECK(iou_quit(world->iou) == 0);
	atomic_fetch_add(&world->n_quits_done, 1);
}

/* Counters. */

void run_check_counts(struct world *world)
{
	iou_stats_t stats = { .size = sizeof(stats) };
	uint64_t n;
	int pending = iou_pending(world->iou);

	CHECK(iou_stats(world->iou, &stats) == 0);
	n = stats.ops_queued + stats.ops_submitted + stats.ops_completed;
	CHECK_RESULT(stats.ops_new == world->n_new, (long long)stats.ops_new - world->n_new);
	CHECK(stats.n_callbacks + world->is_in_callback == world->n_callbacks);
	CHECK(stats.n_foreign == world->n_foreign);
	CHECK_RESULT(pending >= (int)world->n_alive, pending);
	/* Those of workers move while they are read. */
	CHECK_RESULT(n <= world->n_alive + world->n_silent + world->is_in_callback, (long long)n);
}

bool run_has_staged(const struct world *world)
{
	iou_stats_t stats = { .size = sizeof(stats) };

	CHECK(iou_stats(world->iou, &stats) == 0);
	return stats.ops_queued > 0;
}

/* What a run that begins now has to reckon with. */
struct before {
	uint64_t n_callbacks;
	uint64_t n_quits_done;
	bool has_misused;
	bool has_quit; /* for sure */
};

static struct before begin(struct world *world)
{
	struct before before = {
		.n_callbacks = world->n_callbacks,
		.n_quits_done = atomic_load(&world->n_quits_done),
		.has_misused = world->has_misused,
	};

	before.has_quit = before.n_quits_done > world->n_quits_old;
	world->epoch++;
	world->has_to_stop = false;
	world->stop_result = 0;
	world->is_delivering = true;
	if (!before.has_misused)
		world->is_bound = true;
	return before;
}

/* Some ends are the same for all. Returns whether it was one of them. */
static bool end(struct world *world, const struct before *before, int r)
{
	uint64_t n = world->n_callbacks - before->n_callbacks;

	world->is_delivering = false;
	world->epoch++;
	if (before->has_misused) {
		CHECK_RESULT(r == -EINVAL && n == 0, r);
		world->has_misused = false;
		return true;
	}
	if (world->has_asked_free) {
		CHECK_RESULT(r == -ECANCELED, r);
		world->iou = NULL;
		return true;
	}
	return false;
}

static void end_run(struct world *world, const struct before *before, int r, bool is_once)
{
	uint64_t n = world->n_callbacks - before->n_callbacks;
	uint64_t n_quits_over = world->n_quits_over;

	if (end(world, before, r))
		return;
	world->n_quits_over = before->n_quits_done;
	world->n_quits_old = atomic_load(&world->n_quits_begun);
	if (before->has_quit)
		CHECK_RESULT(r == 0 && n == 0, r);
	else if (world->stop_result < 0 || !is_once)
		CHECK_RESULT(r == world->stop_result, r);
	else
		CHECK_RESULT(r == (int)n, r);
	/* Nothing has stopped it: so nothing is left. */
	if (!is_once && !world->has_to_stop && world->n_quits_old == n_quits_over)
		CHECK(world->n_alive == 0);
	run_check_counts(world);
}

void run_flush(struct world *world)
{
	int r = iou_flush(world->iou);

	world->epoch++;
	if (world->is_ending)
		CHECK_RESULT(r == 0, r);
	else
		CHECK_RESULT(r == (world->has_misused ? -EINVAL : 0), r);
	if (!world->has_misused)
		world->is_bound = true;
	if (!world->is_ending)
		world->has_misused = false;
}

void run_once(struct world *world, const struct timespec *timeout)
{
	struct before before = begin(world);

	end_run(world, &before, iou_run_once(world->iou, timeout), true);
}

void run_until_stopped(struct world *world)
{
	struct before before = begin(world);

	end_run(world, &before, iou_run(world->iou), false);
}

void run_drain(struct world *world, const struct timespec *timeout)
{
	if (!world->has_misused)
		acts_are_cancelled(world);

	struct before before = begin(world);

	world->is_ending = !before.has_misused;

	int r = iou_drain(world->iou, timeout);

	world->is_ending = false;
	if (end(world, &before, r))
		return;
	CHECK_RESULT(r == 0 || (r == -ETIME && timeout), r);
	if (r == 0)
		CHECK(world->n_alive == 0);
	run_check_counts(world);
}

void run_free(struct world *world)
{
	acts_are_cancelled(world);
	world->is_ending = world->is_freeing = world->is_delivering = true;
	CHECK(!iou_free(world->iou));
	world->is_delivering = false;
	world->iou = NULL;
}
