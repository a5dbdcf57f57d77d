/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of an op: what is done to it. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../opcodes.h"
#include "acts.h"

/* As many as make a walk interesting; callbacks start nothing beyond. */
#define MANY 200

struct act *act_new(struct world *world, const struct kind *kind, struct source *source)
{
	struct act *act = calloc(1, sizeof(*act));

	CHECK(act);
	act->world = world;
	act->kind = kind;
	act->source = source_split(source);
	act->op = iou_op_new(world->iou);
	if (world->is_ending) {
		CHECK(!act->op && errno == ESHUTDOWN);
		free(act);
		return NULL;
	}
	CHECK(act->op && !act->op->result && !act->op->flags);
	kind->prepare(world, act, source);
	TAILQ_INSERT_TAIL(&world->news, act, entry);
	world->n_new++;
	return act;
}

/* Memory. */

void act_forget(struct act *act)
{
	if (act->buffer)
		world_give_slot(act->world, act->buffer);
	for (unsigned i = 0; i < act->n_fds; i++)
		close(act->fds[i]);
	free(act);
}

void act_drop(struct act *act)
{
	iou_op_free(act->world->iou, act->op);
	TAILQ_REMOVE(&act->world->news, act, entry);
	act->world->n_new--;
	act_forget(act);
}

static void forget_all(struct acts *acts)
{
	struct act *act;

	while ((act = TAILQ_FIRST(acts))) {
		TAILQ_REMOVE(acts, act, entry);
		act_forget(act);
	}
}

void acts_free_all(struct world *world)
{
	struct chain *chain;

	forget_all(&world->news);
	forget_all(&world->silent);
	while ((chain = SLIST_FIRST(&world->chains))) {
		SLIST_REMOVE_HEAD(&world->chains, entry);
		free(chain);
	}
}

struct chain *chain_new(struct world *world)
{
	struct chain *chain = calloc(1, sizeof(*chain));

	CHECK(chain);
	SLIST_INSERT_HEAD(&world->chains, chain, entry);
	return chain;
}

/* On the way in. */

void act_begin_life(struct act *act)
{
	struct world *world = act->world;

	if (act->state == ACT_NEW) {
		TAILQ_REMOVE(&world->news, act, entry);
		world->n_new--;
	}
	act->state = ACT_QUEUED;
	act->serial = ++world->n_serials;
	act->epoch = world->epoch;
	act->n_calls = 0;
	act->is_silent = act->flags & IOSQE_CQE_SKIP_SUCCESS;
	act->may_find = world->registered;
	act->may_miss = ~world->registered;
	act->may_be_cancelled = world->n_sweeps > 0 || world->is_ending;
	act->must_be_cancelled = world->is_ending;
	if (act->kind->traits & SWEEPS) {
		world->n_sweeps++;
		acts_may_be_cancelled(world);
	}
	if (act->kind->traits & PROVIDES)
		world->n_provided[act->op->sqe->off]++;
	if (act->is_silent)
		TAILQ_INSERT_TAIL(&world->silent, act, entry);
	else
		TAILQ_INSERT_TAIL(&world->alive, act, entry);
	*(act->is_silent ? &world->n_silent : &world->n_alive) += 1;
}

void act_end_life(struct act *act)
{
	struct world *world = act->world;

	if (act->is_silent)
		TAILQ_REMOVE(&world->silent, act, entry);
	else
		TAILQ_REMOVE(&world->alive, act, entry);
	*(act->is_silent ? &world->n_silent : &world->n_alive) -= 1;
	world->n_sweeps -= (act->kind->traits & SWEEPS) != 0;
	world->old_identity = act->identity;
	act->state = ACT_OVER;
}

static int act_called(void *data);

void act_queue(struct act *act, unsigned flags, struct chain *chain)
{
	act->flags = flags;
	act->op->sqe->flags |= (__u8)flags;
	act->chain = chain;
	act_begin_life(act);
	if (chain && !chain->first)
		chain->first = act->serial;
	if (chain)
		chain->drains |= (flags & IOSQE_IO_DRAIN) != 0;
	iou_op_queue(act->world->iou, act->op, act_called, act);
	act->identity = act->op->sqe->user_data;
}

/* What may be cancelled, and what must be. */

struct act *act_pick(struct world *world, struct source *source)
{
	struct act *act = TAILQ_FIRST(&world->alive);

	for (unsigned n = world->n_alive ? source_pick(source, 256) % world->n_alive : 0; n; n--)
		act = TAILQ_NEXT(act, entry);
	return act;
}

static bool is_at(const struct act *act, const struct stream *stream)
{
	return act->stream == stream || act->source_stream == stream;
}

bool acts_use(const struct world *world, const struct stream *stream)
{
	const struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	if (is_at(act, stream))
		return true;
	TAILQ_FOREACH(act, &world->silent, entry)
	if (is_at(act, stream))
		return true;
	return false;
}

/* One that is cancelled before it is submitted does not use it, nor one in a chain that is too long. */
static bool is_surely_submitted(const struct act *act, bool is_any_staged)
{
	return !is_any_staged && !act->may_be_cancelled && !act->chain;
}

/* What it had when it began, it keeps; but a buffer of a group it takes when there is something to put into it. */
static unsigned kept_by(const struct act *act, bool is_any_staged)
{
	const struct world *world = act->world;
	unsigned kept = 0;

	if (act->kind->traits & IS_JOB || act->epoch == world->epoch || !is_surely_submitted(act, is_any_staged))
		return 0;
	/* A thread may not have begun yet. */
	if (act->flags & IOSQE_ASYNC || world->config.flags & IOU_SQPOLL)
		return 0;
	if (act->op->sqe->flags & IOSQE_FIXED_FILE)
		kept |= HAS_FILES | HAS_ENDS;
	if (act->op->sqe->opcode == IORING_OP_READ_FIXED || act->op->sqe->opcode == IORING_OP_WRITE_FIXED)
		kept |= HAS_FIXED;
	return kept;
}

static void see(struct act *act, bool is_any_staged)
{
	unsigned seen = ~kept_by(act, is_any_staged);

	act->may_find |= act->world->registered & seen;
	act->may_miss |= ~act->world->registered & seen;
}

void acts_see_registered(struct world *world)
{
	bool is_any_staged = run_has_staged(world);
	struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	see(act, is_any_staged);
	TAILQ_FOREACH(act, &world->silent, entry)
	see(act, is_any_staged);
}

enum use acts_use_group(const struct world *world)
{
	bool is_any_staged = run_has_staged(world);
	enum use use = UNUSED;
	const struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	{
		if (!act->has_group || act->epoch == world->epoch)
			continue;
		if (is_surely_submitted(act, is_any_staged))
			return USED;
		use = PERHAPS_USED;
	}
	return use;
}

void acts_may_be_cancelled(struct world *world)
{
	struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	act->may_be_cancelled = true;
	TAILQ_FOREACH(act, &world->silent, entry)
	act->may_be_cancelled = true;
}

void acts_are_cancelled(struct world *world)
{
	struct act *act;

	acts_may_be_cancelled(world);
	TAILQ_FOREACH(act, &world->alive, entry)
	act->must_be_cancelled |= act->epoch == world->epoch;
}

/* With one that has not been submitted goes what is linked softly behind it. */
static void chain_may_be_cut(const struct act *act)
{
	struct act *other;

	if (!act->chain || !(act->flags & IOSQE_IO_LINK))
		return;
	TAILQ_FOREACH(other, &act->world->alive, entry)
	other->may_be_cancelled |= other->chain == act->chain && other->serial > act->serial;
	TAILQ_FOREACH(other, &act->world->silent, entry)
	other->may_be_cancelled |= other->chain == act->chain && other->serial > act->serial;
}

static void cancel_job(struct act *act, int r)
{
	CHECK_RESULT(r == 0 || r == -EALREADY, r);
	if (r == 0)
		act->may_be_cancelled = act->must_be_cancelled = true;
}

/* What is after a timer the library itself carries out, as it is submitted. */
static bool is_after_timers(const struct act *act)
{
	return act->op->sqe->opcode == IORING_OP_TIMEOUT_REMOVE || act->op->sqe->opcode == IORING_OP_ASYNC_CANCEL;
}

void act_cancel(struct act *act, bool by_identity)
{
	struct world *world = act->world;
	bool is_staged = act->epoch == world->epoch && !act->may_be_cancelled;
	int r = by_identity ? iou_cancel_id(world->iou, act->identity) : iou_op_cancel(world->iou, act->op);

	if (act->kind->traits & IS_JOB) {
		cancel_job(act, r);
		return;
	}
	/* It may have ended without the kernel, with its callback due. */
	bool may_be_over = act->may_be_cancelled || act_is_too_long(act, act->op->result) || is_after_timers(act);

	CHECK_ACT(r == 0 || (r == -EALREADY && may_be_over), act);
	act->may_be_cancelled = true;
	if (is_staged)
		act->must_be_cancelled = true;
	chain_may_be_cut(act);
}

/* On the way out. */

/* A ring that is built anew, also for a chain that is long, has no more of what requests have provided. */
static bool keeps_provided(const struct world *world)
{
	/* Linux resizes in place from 6.13 on, and has that opcode from 6.15 on. */
	return !world->has_ring || (!world->is_rebuilt && world->is_supported[OP_EPOLL_WAIT]);
}

/* Bytes, buffers and descriptors that came with it. */
static void account(struct act *act, int result, unsigned flags)
{
	unsigned traits = act->kind->traits;

	if (result > 0 && (traits & TAKES))
		act->stream->n_out += (unsigned)result - act->n_head;
	if (result > 0 && act->source_stream && !(traits & KEEPS))
		act->source_stream->n_out += (unsigned)result;
	if (result > 0 && (traits & GIVES))
		act->stream->n_in += (unsigned)result;
	if (flags & IORING_CQE_F_BUFFER)
		world_take_buffer(act->world, act->op->sqe->buf_group, flags >> IORING_CQE_BUFFER_SHIFT);
	if (result < 0 && (traits & PROVIDES))
		act->world->n_provided[act->op->sqe->off]--;
	if (result >= 0 && (traits & PROVIDES) && keeps_provided(act->world))
		registry_change(act->world, 0, HAS_PROVIDED);
	if (result >= 0 && (traits & MAKES_FD))
		close(result);
}

static int choose_answer(struct source *source)
{
	return source_one_in(source, 40) ? -1000 - (int)source_pick(source, 100) : (int)source_pick(source, 2);
}

int act_do_something(struct world *world, struct source *source)
{
	if (world->n_alive + world->n_silent < MANY && source_one_in(source, 3))
		step_anywhere(world, source);
	return choose_answer(source);
}

/* In its final callback. Returns whether it lives on. */
static bool rearm(struct act *act)
{
	if (act->n_rearms == 3 || act->chain || act->kind->traits & ONCE || !source_one_in(&act->source, 4))
		return false;
	act->n_rearms++;
	if (act->world->is_ending) {
		/* To no effect. */
		iou_op_queue(act->world->iou, act->op, act_called, act);
		return false;
	}
	act->due_us = 0;
	act_begin_life(act);
	iou_op_queue(act->world->iou, act->op, act_called, act);
	act->identity = act->op->sqe->user_data;
	return true;
}

static int act_ended(struct act *act)
{
	int r;

	act_end_life(act);
	CHECK(iou_op_cancel(act->world->iou, act->op) == -ENOENT);
	if (rearm(act))
		return choose_answer(&act->source);
	r = act_do_something(act->world, &act->source);
	act_forget(act);
	return r;
}

static int act_called(void *data)
{
	struct act *act = data;
	struct world *world = act->world;
	int result = act->op->result;
	unsigned flags = act->op->flags;

	run_begin_callback(world);
	CHECK_ACT(act->state == ACT_QUEUED, act);
	CHECK_ACT(act->op->sqe->user_data == act->identity, act);
	act->n_calls++;
	CHECK_ACT(!(flags & IORING_CQE_F_MORE) || (act->kind->traits & IS_MULTI), act);
	act_check(act, result, flags);
	account(act, result, flags);
	return run_end_callback(world,
				flags & IORING_CQE_F_MORE ? act_do_something(world, &act->source) : act_ended(act));
}

/* The end of the world. */

void acts_check_all_over(struct world *world)
{
	CHECK(TAILQ_EMPTY(&world->alive) && world->n_alive == 0);
	forget_all(&world->silent);
	world->n_silent = 0;
	for (int i = 0; i < N_HELPERS; i++)
		CHECK(world->helpers[i].n_delivered == world->helpers[i].n_posted);
}
