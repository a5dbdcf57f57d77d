/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ops that are queued and not yet submitted, in order; chains, and which of them may go now. Pure logic: the engine
 * takes from here, whatever the size of its own queue.
 */
#ifndef IOU_LIB_STAGE_H
#define IOU_LIB_STAGE_H

#include "ops.h"
#include "sqe.h"

struct stage {
	struct queue queue; /* the program's, in state queued */
	struct queue own;   /* the library's: they go first, so never into the middle of a chain */
};

/* The ops that have to be submitted together: one, or a chain. */
struct chain {
	unsigned n;
	bool drains; /* it waits until nothing that was queued before is in flight */
};

void iou__stage_init(struct stage *stage);

static inline struct op *iou__op_of_node(struct node *node)
{
	return node ? container_of(node, struct op, task.node) : NULL;
}

/* In state new or completed; becomes queued. */
static inline void iou__stage_push(struct stage *stage, struct ops *ops, struct op *op)
{
	iou__ops_shift(ops, op, iou__op_state(op), OP_QUEUED);
	iou__queue_push(&stage->queue, &op->task.node);
}

/* The op is not linked to the next any more. */
static inline void iou__stage_cut_after(struct op *op)
{
	op->task.sqe_flags = (op->task.sqe_flags & (uint8_t)~SQE_LINKS) | OP_ODD;
}

/* What is open at the end of the queue ends there: a submission begins. */
static inline void iou__stage_close_chain(struct stage *stage)
{
	struct node *node = iou__queue_last(&stage->queue);
	struct op *op = iou__op_of_node(node);

	if (op && op->task.sqe_flags & SQE_LINKS)
		iou__stage_cut_after(op);
}

/* The chain that begins with this op. */
struct chain iou__stage_chain_from(const struct stage *stage, const struct op *op);

/* The first chain; n is 0 if nothing is staged. */
static inline struct chain iou__stage_first_chain(const struct stage *stage)
{
	struct node *node = iou__queue_first(&stage->queue);
	const struct op *op = iou__op_of_node(node);

	if (op && op->task.sqe_flags & (SQE_LINKS | IOSQE_IO_DRAIN))
		return iou__stage_chain_from(stage, op);
	return (struct chain){ .n = op != NULL };
}

/* A queue's worth of SQEs, used round and round. */
struct sqes {
	struct io_uring_sqe *at;
	unsigned mask;
	unsigned tail; /* the next that is free */
};

/*
 * Up to n ops from the first on, as long as they are neither linked nor have to wait, nor concern timeouts: they become
 * submitted, and their copies go to the SQEs. Returns how many.
 */
static inline unsigned iou__stage_pop_plain(struct stage *stage, struct ops *ops, struct sqes *sqes, unsigned n)
{
	struct node *const ends = &stage->queue.ends;
	struct node *node = ends->next;
	const unsigned begin = sqes->tail, end = begin + n;

	for (; node != ends && sqes->tail != end; sqes->tail++) {
		struct op *op = container_of(node, struct op, task.node);

		if (op->task.sqe_flags & (SQE_LINKS | SQE_OURS | OP_ODD))
			break;
		if (iou__sqe_is_ordinary(&op->sqe))
			sqes->at[sqes->tail & sqes->mask] = op->sqe;
		else if (iou__sqe_is_of_timeouts(&op->sqe))
			break;
		else
			iou__sqe_copy(&sqes->at[sqes->tail & sqes->mask], &op->sqe);
		node = node->next;
		atomic_store_explicit(&op->task.state, OP_SUBMITTED, memory_order_relaxed);
	}
	ends->next = node;
	node->prev = ends;
	ops->n[OP_QUEUED] -= sqes->tail - begin;
	ops->n[OP_SUBMITTED] += sqes->tail - begin;
	return sqes->tail - begin;
}

/* The first op, or NULL. It becomes submitted, and its copy goes to sqe with the flags that the engine is to see. */
static inline struct op *iou__stage_pop(struct stage *stage, struct ops *ops, struct io_uring_sqe *sqe)
{
	struct node *node = iou__queue_pop(&stage->queue);
	struct op *op = iou__op_of_node(node);

	if (!op)
		return NULL;
	iou__sqe_copy(sqe, &op->sqe);
	op->task.sqe_flags &= (uint8_t)~OP_ODD;
	sqe->flags = (op->task.sqe_flags & (__u8)~SQE_OURS) | (op->sqe.flags & SQE_SPARE_FLAG);
	iou__ops_shift(ops, op, OP_QUEUED, OP_SUBMITTED);
	return op;
}

/*
 * Take a queued op out, and with it what is linked softly behind it, as the kernel does when it cancels one. They go
 * to the end of the queue out, completed, with this result. What is left of the chain stays one.
 */
void iou__stage_cancel(struct stage *stage, struct ops *ops, struct op *op, int result, struct queue *out);

/* The whole first chain ends with this result. */
void iou__stage_fail_chain(struct stage *stage, struct ops *ops, int result, struct queue *out);

#endif
