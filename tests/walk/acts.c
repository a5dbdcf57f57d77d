/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of an op, of a job, and of a post: what is done to it, and whether what comes back may be. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "world.h"

/* As many as make a walk interesting; callbacks start nothing beyond. */
#define MANY 200

/* The same for an op: with what it is, and what it came to. */
#define CHECK_ACT(condition, act)                                         \
	do {                                                              \
		if (!(condition))                                         \
			fail_with(__FILE__, __LINE__, #condition, (act)); \
	} while (0)

static _Noreturn void fail_with(const char *file, int line, const char *condition, const struct act *act)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s, flags %#x, serial %llu, in a chain %d, completion %u, flags %#x",
		 condition, act->kind->name, act->flags, (unsigned long long)act->serial, act->chain != NULL,
		 act->n_calls, act->op->flags);
	walk_fail_with(file, line, text, act->op->result);
}

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

/* Only a kernel's ring may be unable to change its size, and only where it has to be built anew. */
static bool is_too_long(const struct act *act, int result)
{
	return result == -E2BIG && act->chain && act->world->has_ring && act->world->config.flags;
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
	bool may_be_over = act->may_be_cancelled || is_too_long(act, act->op->result) || is_after_timers(act);

	CHECK_ACT(r == 0 || (r == -EALREADY && may_be_over), act);
	act->may_be_cancelled = true;
	if (is_staged)
		act->must_be_cancelled = true;
	chain_may_be_cut(act);
}

/* On the way out. */

#define ERESTARTSYS 512 /* not for programs, but a splice of Linux may come to it */

static bool is_interruption(const struct act *act, int result)
{
	return result == -EINTR || (result == -ERESTARTSYS && act->source_stream);
}

static bool is_cancellation(const struct act *act, int result)
{
	/* Linux interrupts what its threads are at, and what is linked to that runs there as well. */
	return result == -ECANCELED || (is_interruption(act, result) && act->world->has_ring &&
					(act->chain || act->flags & IOSQE_ASYNC || act->source_stream));
}

static bool succeeds(const struct act *act, int result)
{
	return act->kind->succeeds ? act->kind->succeeds(act, result) : result >= 0;
}

/* What was in time ends before its limit; so the op is still there, unless its end is on its way. */
static void limit_is_reached(const struct act *limit)
{
	struct act *act;

	TAILQ_FOREACH(act, &limit->world->alive, entry)
	act->has_to_end |= act->chain == limit->chain && act->serial + 1 == limit->serial;
}

/* A chain's members end in order. Behind the first that fails, if it is linked softly, all are cancelled. */
static void check_chain(struct act *act, int result)
{
	struct chain *chain = act->chain;

	if (!chain)
		return;
	if (act->kind == kind_link_timeout() && result == -ETIME)
		limit_is_reached(act);

	bool is_cut_off = chain->broken_at && act->serial > chain->broken_at && act->kind != kind_link_timeout();

	CHECK_ACT(!is_cut_off || result == -ECANCELED, act);
	act->may_be_cancelled |= is_cut_off || act->is_limited;
	if (result != -ECANCELED && act->kind != kind_link_timeout()) {
		CHECK_ACT(act->serial > chain->latest, act);
		chain->latest = act->serial;
	}
	if (!succeeds(act, result) && (act->flags & IOSQE_IO_LINK) && !is_cut_off)
		chain->broken_at = act->serial;
}

/* Where an op with IOSQE_IO_DRAIN stands: all before must be over before it, and before all behind it. */
static uint64_t barrier_of(const struct act *act)
{
	if (act->chain && act->chain->drains)
		return act->chain->first;
	return act->flags & IOSQE_IO_DRAIN ? act->serial : 0;
}

static bool has_alive_before(const struct world *world, uint64_t serial)
{
	const struct act *first;

	TAILQ_FOREACH(first, &world->alive, entry)
	if (!(first->kind->traits & IS_JOB) && !first->may_be_cancelled)
		return first->serial < serial;
	return false;
}

static void check_drains(const struct act *act)
{
	const struct act *other;

	TAILQ_FOREACH(other, &act->world->alive, entry)
	{
		uint64_t barrier = other->may_be_cancelled ? 0 : barrier_of(other);

		if (barrier && barrier <= act->serial)
			CHECK_ACT(!has_alive_before(act->world, barrier), act);
	}
}

static void check_order(struct act *act, int result)
{
	struct world *world = act->world;

	if (!(act->kind->traits & IS_NOP) || act->flags || act->chain || result < 0)
		return;
	CHECK_ACT(act->serial > world->last_nop, act);
	world->last_nop = act->serial;
}

static void check_result(struct act *act, int result, unsigned flags)
{
	if (is_cancellation(act, result)) {
		/* To a linked timeout it is the ordinary end. */
		CHECK_ACT(act->may_be_cancelled || act->kind == kind_link_timeout(), act);
		return;
	}
	CHECK_ACT(!act->must_be_cancelled, act);
	CHECK_ACT(act->kind->allows ? act->kind->allows(act, result, flags) : result == 0, act);
	CHECK_ACT(!act->is_silent || !succeeds(act, result), act);
	check_drains(act);
	check_order(act, result);
}

/* Bytes, buffers and descriptors that came with it. */
static void account(struct act *act, int result, unsigned flags)
{
	unsigned traits = act->kind->traits;

	if (result > 0 && (traits & TAKES))
		act->stream->n_out += (unsigned)result;
	if (result > 0 && act->source_stream)
		act->source_stream->n_out += (unsigned)result;
	if (result > 0 && (traits & GIVES))
		act->stream->n_in += (unsigned)result;
	if (flags & IORING_CQE_F_BUFFER)
		world_take_buffer(act->world, act->op->sqe->buf_group, flags >> IORING_CQE_BUFFER_SHIFT);
	if (result < 0 && (traits & PROVIDES))
		act->world->n_provided[act->op->sqe->off]--;
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
	if (act->n_rearms == 3 || act->chain || !source_one_in(&act->source, 4))
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
	if (!is_too_long(act, result)) {
		check_chain(act, result);
		check_result(act, result, flags);
	}
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
