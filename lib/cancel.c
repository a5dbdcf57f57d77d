/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cancellation: at once where the engine has not seen the op, else an attempt; the op's final callback has the truth. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static bool withdraw(iou_t *iou, struct op *op)
{
	if (op->task.kind != TASK_JOB || !iou__async_withdraw(&iou->async, op))
		return false;
	/* From here on it is an op that ended before it was submitted. */
	op->task.kind = TASK_OP;
	memset(&op->sqe, 0, sizeof(op->sqe));
	op->pub.result = -ECANCELED;
	op->pub.flags = 0;
	iou__queue_push(&iou->inbox, &op->task.node);
	return true;
}

static int cancel(iou_t *iou, struct op *op)
{
	switch (iou__op_state(op)) {
	case OP_NEW:
		return -EINVAL;
	case OP_QUEUED:
		iou__stage_cancel(&iou->stage, &iou->ops, op, -ECANCELED, &iou->inbox);
		return 0;
	case OP_SUBMITTED:
		return iou__own_cancel(iou, op->identity);
	case OP_WAITING:
	case OP_WORKING:
	case OP_FINISHED:
		return withdraw(iou, op) ? 0 : -EALREADY;
	case OP_COMPLETED:
		return op == iou->current ? -ENOENT : -EALREADY;
	case OP_FREE:
	case OP_OWN:
	case N_OP_STATES:
		break;
	}
	return -ENOENT;
}

int iou_op_cancel(iou_t *iou, iou_op_t *pub)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	if (!pub)
		return -EINVAL;
	r = cancel(iou, container_of(pub, struct op, pub));
	iou__expose(iou);
	return r;
}

#define ALIVE                                                                                             \
	(1U << OP_QUEUED | 1U << OP_SUBMITTED | 1U << OP_WAITING | 1U << OP_WORKING | 1U << OP_FINISHED | \
	 1U << OP_COMPLETED)

int iou_cancel_id(iou_t *iou, __u64 user_data)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;

	struct op *op = iou__ops_find(&iou->ops, user_data, ALIVE);

	r = op ? cancel(iou, op) : -ENOENT;
	iou__expose(iou);
	return r;
}

static int cancel_staged(iou_t *iou)
{
	uint32_t n = iou__ops_n(&iou->ops, OP_QUEUED);

	while (iou__ops_n(&iou->ops, OP_QUEUED))
		iou__stage_fail_chain(&iou->stage, &iou->ops, -ECANCELED, &iou->inbox);
	return (int)n;
}

static bool is_attempt(iou_t *iou, struct op *op, unsigned states)
{
	return op->task.kind != TASK_ASYNC && iou__op_is(op, states) && cancel(iou, op) == 0;
}

static int cancel_each(iou_t *iou, unsigned states)
{
	int n = 0;

	for (uint32_t i = 1; i < iou->ops.n_fresh; i++)
		n += is_attempt(iou, iou__ops_at(&iou->ops, i), states);
	return n;
}

/* One request does for all of them, where the engine knows it: one each would have the kernel search for each. */
static int cancel_submitted(iou_t *iou)
{
	if (!iou->engine->can_cancel_any)
		return cancel_each(iou, 1U << OP_SUBMITTED);

	uint32_t n = iou__ops_n(&iou->ops, OP_SUBMITTED);

	if (n)
		iou__own_cancel_any(iou);
	return (int)n;
}

int iou_cancel_all(iou_t *iou)
{
	int r = iou__check(iou);
	int n;

	if (r < 0)
		return r;
	n = cancel_submitted(iou) + cancel_staged(iou);
	if (iou__ops_n(&iou->ops, OP_WAITING))
		n += cancel_each(iou, 1U << OP_WAITING);
	iou__expose(iou);
	return n;
}
