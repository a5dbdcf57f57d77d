/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether what comes back of an op may be. */
#include <errno.h>
#include <stdio.h>

#include "acts.h"

_Noreturn void act_fail(const char *file, int line, const char *condition, const struct act *act)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s, flags %#x, serial %llu, in a chain %d, completion %u, flags %#x",
		 condition, act->kind->name, act->flags, (unsigned long long)act->serial, act->chain != NULL,
		 act->n_calls, act->op->flags);
	walk_fail_with(file, line, text, act->op->result);
}

/* Only a kernel's ring may be unable to change its size, and only where it has to be built anew. */
bool act_is_too_long(const struct act *act, int result)
{
	return result == -E2BIG && act->chain && act->world->has_ring && act->world->is_rebuilt;
}

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

static bool is_supported(const struct act *act)
{
	uint8_t opcode = act->op->sqe->opcode;

	return opcode < N_SUPPORTED && act->world->is_supported[opcode];
}

static bool is_skipped(const struct act *act, int result)
{
	return succeeds(act, result) && (result >= 0 || result == -ETIME);
}

static void check_result(struct act *act, int result, unsigned flags)
{
	if (is_cancellation(act, result)) {
		/* To a linked timeout it is the ordinary end. */
		CHECK_ACT(act->may_be_cancelled || act->kind == kind_link_timeout(), act);
		return;
	}
	CHECK_ACT(!act->must_be_cancelled, act);
	if (!is_supported(act)) {
		CHECK_ACT(result == -EINVAL || result == -EOPNOTSUPP, act);
		return;
	}
	CHECK_ACT(act->kind->allows ? act->kind->allows(act, result, flags) : result == 0, act);
	CHECK_ACT(!act->is_silent || !is_skipped(act, result), act);
	CHECK_ACT(!act->has_group || !(flags & IORING_CQE_F_BUFFER) || act->may_find & HAS_GROUP, act);
	check_drains(act);
	check_order(act, result);
}

void act_check(struct act *act, int result, unsigned flags)
{
	if (act_is_too_long(act, result))
		return;
	check_chain(act, result);
	check_result(act, result, flags);
}
