/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs, posts, and completions that are no op's. */
#include <errno.h>
#include <stdlib.h>

#include "world.h"

/* Jobs. */

static int work(void *data)
{
	struct act *act = data;

	atomic_fetch_add(&act->n_works, 1);
	return act->answer;
}

/* One worker takes them in order. */
static void check_job_order(struct act *act)
{
	if (act->world->config.workers != 1)
		return;
	CHECK(act->serial > act->world->last_job);
	act->world->last_job = act->serial;
}

static int job_called(void *data)
{
	struct act *act = data;
	struct world *world = act->world;
	int n_works = atomic_load(&act->n_works);

	run_begin_callback(world);
	CHECK(act->state == ACT_QUEUED);
	CHECK(act->op->flags == 0);
	if (act->op->result == -ECANCELED) {
		CHECK(act->may_be_cancelled && n_works == 0);
	} else {
		CHECK_RESULT(act->op->result == act->answer && n_works == 1 && !act->must_be_cancelled,
			     act->op->result);
		check_job_order(act);
	}
	act_end_life(act);

	int r = act_do_something(world, &act->source);

	act_forget(act);
	return run_end_callback(world, r);
}

void act_start_job(struct world *world, struct source *source)
{
	struct act *act = act_new(world, kind_job(), source);

	if (!act)
		return;
	act->answer = (int)source_pick(source, 200) - 100;
	act_begin_life(act);
	/* The epoch of something that is not staged. */
	act->epoch = 0;

	int r = iou_op_async(world->iou, act->op, work, act, job_called, act);

	CHECK_RESULT(r == 0, r);
	act->identity = act->op->sqe->user_data;
}

/* A failure of the work counts before that of the callback. */
static int async_called(void *data)
{
	struct act *act = data;
	int answer = act->answer;

	run_begin_callback(act->world);
	CHECK(act->state == ACT_QUEUED && atomic_load(&act->n_works) == 1);
	check_job_order(act);
	act_end_life(act);

	struct world *world = act->world;
	int r = act_do_something(world, &act->source);

	act_forget(act);
	run_end_callback(world, answer < 0 ? answer : r);
	return r;
}

void act_start_async(struct world *world, struct source *source)
{
	struct act *act = calloc(1, sizeof(*act));

	CHECK(act);
	*act = (struct act){ .world = world, .kind = kind_job(), .source = source_split(source), .state = ACT_OVER };
	act->answer = source_one_in(source, 8) ? -500 - (int)source_pick(source, 100) : 0;
	act->identity = world->old_identity;

	int r = world->is_ending ? -ESHUTDOWN : 0;

	if (r == 0)
		act_begin_life(act);

	int answer = iou_async(world->iou, work, act, async_called, act);

	CHECK_RESULT(answer == r, answer);
	if (r < 0)
		free(act);
}

/* Posts. */

struct post {
	struct helper *helper;
	uint64_t number;
	struct source source;
	bool is_quiet; /* it starts nothing, which might never end */
};

static int post_called(void *data)
{
	struct post *post = data;
	struct helper *helper = post->helper;
	int r;

	run_begin_callback(helper->world);
	CHECK(post->number == helper->n_delivered);
	helper->n_delivered++;
	r = post->is_quiet ? 0 : act_do_something(helper->world, &post->source);
	free(post);
	return run_end_callback(helper->world, r);
}

void act_post(struct helper *helper, struct source *source)
{
	struct post *post = malloc(sizeof(*post));

	CHECK(post);
	*post = (struct post){
		.helper = helper,
		.number = helper->n_posted++,
		.source = source_split(source),
		.is_quiet = helper->has_to_release,
	};

	int r = iou_post(helper->world->iou, post_called, post);

	if (r < 0) {
		CHECK_RESULT(r == -ESHUTDOWN && helper->world->is_freeing, r);
		helper->n_posted--;
		free(post);
	}
}

/* Ring messages. */

int act_foreign_cqe(const struct io_uring_cqe *cqe, void *data)
{
	struct world *world = data;

	run_begin_callback(world);
	CHECK_RESULT(cqe->res == 5 && cqe->flags == 0, cqe->res);
	world->n_foreign++;
	return run_end_callback(world, 0);
}
