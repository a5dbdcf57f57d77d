/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stage.h"

static bool links(const struct op *op)
{
	return op->task.sqe_flags & SQE_LINKS;
}

static void cut_after(struct op *op)
{
	if (op)
		iou__stage_cut_after(op);
}

/* The neighbours in the same chain, or NULL. */
static struct op *chained_after(const struct stage *stage, const struct op *op)
{
	return links(op) ? iou__op_of_node(iou__queue_after(&stage->queue, &op->task.node)) : NULL;
}

static struct op *chained_before(const struct stage *stage, const struct op *op)
{
	struct op *before = iou__op_of_node(iou__queue_before(&stage->queue, &op->task.node));

	return before && links(before) ? before : NULL;
}

void iou__stage_init(struct stage *stage)
{
	iou__queue_init(&stage->queue);
	iou__queue_init(&stage->own);
}

struct chain iou__stage_chain_from(const struct stage *stage, const struct op *op)
{
	struct chain chain = { 0 };

	for (; op; op = chained_after(stage, op)) {
		chain.n++;
		chain.drains = chain.drains || (op->task.sqe_flags & IOSQE_IO_DRAIN);
	}
	return chain;
}

static void end(struct ops *ops, struct op *op, int result, struct queue *out)
{
	iou__queue_remove(&op->task.node);
	iou__ops_move(ops, op, OP_QUEUED, OP_COMPLETED);
	op->pub.result = result;
	op->pub.flags = 0;
	iou__queue_push(out, &op->task.node);
}

/* A chain drains if one of its members does: where that one leaves, a neighbour takes this over. */
static void hand_on_drain(const struct op *from, struct op *to)
{
	if (to)
		to->task.sqe_flags |= from->task.sqe_flags & IOSQE_IO_DRAIN;
}

/* A timeout has lost what it was to limit; the chain goes on without it. */
static void end_linked_timeout(struct stage *stage, struct ops *ops, struct op *op, struct queue *out)
{
	if (!op || op->sqe.opcode != IORING_OP_LINK_TIMEOUT)
		return;
	if (!links(op))
		cut_after(chained_before(stage, op));
	end(ops, op, -ECANCELED, out);
}

void iou__stage_cancel(struct stage *stage, struct ops *ops, struct op *op, int result, struct queue *out)
{
	struct op *before = chained_before(stage, op);
	struct op *after = chained_after(stage, op);
	bool is_hard = op->task.sqe_flags & IOSQE_IO_HARDLINK;

	hand_on_drain(op, before ? before : after);
	end(ops, op, result, out);
	if (is_hard) {
		end_linked_timeout(stage, ops, after, out);
		return;
	}
	cut_after(before);
	while (after) {
		struct op *next = chained_after(stage, after);

		hand_on_drain(after, before);
		end(ops, after, -ECANCELED, out);
		after = next;
	}
}

void iou__stage_fail_chain(struct stage *stage, struct ops *ops, int result, struct queue *out)
{
	for (unsigned n = iou__stage_first_chain(stage).n; n; n--)
		end(ops, iou__op_of_node(iou__queue_first(&stage->queue)), result, out);
}
