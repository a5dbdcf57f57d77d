/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fill.h"

static struct io_uring_sqe *next_sqe(const struct io_uring_sq *sq)
{
	return &sq->sqes[sq->sqe_tail & sq->ring_mask];
}

bool iou__fill_first(struct engine *engine, struct io_uring_sq *sq, unsigned n_free)
{
	for (; n_free && iou__timeouts_resume(engine->timeouts, next_sqe(sq)); n_free--)
		sq->sqe_tail++;
	for (; n_free && !iou__queue_is_empty(&engine->stage->own); n_free--) {
		struct node *node = iou__queue_pop(&engine->stage->own);

		*next_sqe(sq) = container_of(node, struct op, task.node)->sqe;
		sq->sqe_tail++;
	}
	return !iou__has_first(engine);
}

/* The first chain, if it may go and finds room, and ahead of it the timeouts that it may be after. */
static enum left fill_chain(struct engine *engine, struct io_uring_sq *sq, unsigned n_free)
{
	struct chain chain = iou__stage_first_chain(engine->stage);
	bool is_alone = chain.n == 1;

	if (chain.drains && iou__ops_n(engine->ops, OP_SUBMITTED))
		return LEFT_NOTHING;
	for (; n_free && iou__timeouts_hand_on(engine->timeouts, chain, next_sqe(sq)); n_free--)
		sq->sqe_tail++;
	/* Where the queue is to be exchanged for a longer one it has to be empty. */
	if (chain.n > n_free)
		return chain.n > engine->sq_entries && n_free == engine->sq_entries ? LEFT_TOO_LONG : LEFT_MORE;
	for (; chain.n; chain.n--) {
		struct op *op = iou__stage_pop(engine->stage, engine->ops, next_sqe(sq));

		sq->sqe_tail++;
		iou__timeouts_note(engine->timeouts, op, is_alone);
	}
	return LEFT_SOME;
}

enum left iou__fill_odd(struct engine *engine, struct io_uring_sq *sq, unsigned n_free)
{
	return iou__timeouts_take(engine->timeouts) ? LEFT_SOME : fill_chain(engine, sq, n_free);
}
