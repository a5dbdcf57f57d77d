/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps with ops: taken, queued, linked, cancelled. */
#include <errno.h>
#include <stdlib.h>

#include "steps.h"

static unsigned choose_flags(const struct kind *kind, struct source *source)
{
	unsigned flags = 0;

	if (source_one_in(source, 8))
		flags |= IOSQE_ASYNC;
	if (source_one_in(source, 24))
		flags |= IOSQE_IO_DRAIN;
	if ((kind->traits & MAY_SKIP) && source_one_in(source, 6))
		flags |= IOSQE_CQE_SKIP_SUCCESS;
	return flags;
}

void ops_queue_one(struct world *world, struct source *source)
{
	const struct kind *kind = kind_pick(source, 0);
	struct act *act = act_new(world, kind, source);

	if (act)
		act_queue(act, choose_flags(kind, source), NULL);
}

void ops_queue_nops(struct world *world, struct source *source)
{
	for (unsigned n = 1 + source_pick(source, 24); n; n--) {
		struct act *act = act_new(world, kind_nop(), source);

		if (act)
			act_queue(act, 0, NULL);
	}
}

/* One member of a chain; limited by a timeout where it is the last. */
static void queue_link(struct world *world, struct source *source, struct chain *chain, bool is_last)
{
	const struct kind *kind = kind_pick(source, MAY_LINK);
	bool is_limited = is_last && source_one_in(source, 4);
	unsigned link = source_one_in(source, 4) ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;
	struct act *act = act_new(world, kind, source);

	if (!act)
		return;
	act->is_limited = is_limited;
	act_queue(act, choose_flags(kind, source) | (is_limited ? IOSQE_IO_LINK : is_last ? 0 : link), chain);
	act = is_limited ? act_new(world, kind_link_timeout(), source) : NULL;
	if (act)
		act_queue(act, 0, chain);
}

void ops_queue_chain(struct world *world, struct source *source)
{
	struct chain *chain = chain_new(world);

	for (unsigned n = 1 + source_pick(source, 6); n; n--)
		queue_link(world, source, chain, n == 1);
}

void ops_flush_open_chain(struct world *world, struct source *source)
{
	const struct kind *kind = kind_pick(source, MAY_LINK);
	struct act *act = act_new(world, kind, source);

	if (act)
		act_queue(act, choose_flags(kind, source) | IOSQE_IO_LINK, chain_new(world));
	run_flush(world);
}

void ops_take_and_drop(struct world *world, struct source *source)
{
	struct act *act = TAILQ_FIRST(&world->news);

	if (act && source_one_in(source, 2))
		act_drop(act);
	else if (world->n_new < 8)
		act_new(world, kind_pick(source, 0), source);
}

void ops_queue_old(struct world *world, struct source *source)
{
	struct act *act = TAILQ_FIRST(&world->news);

	if (!act)
		return;
	if (source_one_in(source, 4)) {
		/* Others are as they were: the preparation of a multishot, say, is none of a job's. */
		iou_op_reset(world->iou, act->op);
		act_drop(act);
		return;
	}
	act_queue(act, choose_flags(act->kind, source), NULL);
}

void ops_misuse(struct world *world, struct source *source)
{
	struct act *act = act_pick(world, source);

	if (act && act->op && source_one_in(source, 2))
		iou_op_queue(world->iou, act->op, (int (*)(void *))abort, NULL);
	else
		iou_op_queue(world->iou, NULL, (int (*)(void *))abort, NULL);
	world->has_misused = true;
}

void ops_cancel_one(struct world *world, struct source *source)
{
	struct act *act = act_pick(world, source);

	if (act && act->op)
		act_cancel(act, source_one_in(source, 2));
	CHECK(!world->old_identity || iou_cancel_id(world->iou, world->old_identity) == -ENOENT);
}

void ops_cancel_all(struct world *world)
{
	int n = iou_cancel_all(world->iou);

	CHECK_RESULT(n >= 0 && n <= (int)(world->n_alive + world->n_silent), n);
	acts_are_cancelled(world);
}
