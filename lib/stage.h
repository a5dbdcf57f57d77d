/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ops that are queued and not yet submitted, in order; chains, and which of them may go now. Pure logic: the engine
 * takes from here, whatever the size of its own queue.
 */
#ifndef IOU_LIB_STAGE_H
#define IOU_LIB_STAGE_H

#include "ops.h"

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

/* In state new or completed; becomes queued. */
void iou__stage_push(struct stage *stage, struct ops *ops, struct op *op);

/* What is open at the end of the queue ends there: a submission begins. */
void iou__stage_close_chain(struct stage *stage);

/* The first chain; n is 0 if nothing is staged. */
struct chain iou__stage_first_chain(const struct stage *stage);

/* The first op, or NULL. It becomes submitted, and its copy goes to sqe with the flags that the engine is to see. */
struct op *iou__stage_pop(struct stage *stage, struct ops *ops, struct io_uring_sqe *sqe);

/*
 * Take a queued op out, and with it what is linked softly behind it, as the kernel does when it cancels one. They go
 * to the end of the queue out, completed, with this result. What is left of the chain stays one.
 */
void iou__stage_cancel(struct stage *stage, struct ops *ops, struct op *op, int result, struct queue *out);

/* The whole first chain ends with this result. */
void iou__stage_fail_chain(struct stage *stage, struct ops *ops, int result, struct queue *out);

#endif
