/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cancellation: at once where the engine has not seen the op, else an attempt; the op's final callback has the truth. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* Up to so many ops are cancelled by a single request; of more, so many with each call of the engine. */
#define FEW 8
#define AT_A_TIME 16

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
		if (op->task.kept_how)
			iou__timeouts_cancel(&iou->timeouts, op);
		else if (!iou__timeouts_stop(&iou->timeouts, op))
			return iou__own_cancel(iou, op->identity);
		return 0;
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

/*
 * One request does for all of them where the engine knows it. But then the kernel goes through those that it has
 * found already before it finds the next: many are cancelled one by one. By its identity it finds at once what it
 * looks at first, the latest of all requests and the earliest of timeouts; and it has to end those that it has found
 * in between, or it would go through them after all.
 */
static void cancel_submitted(iou_t *iou)
{
	if (iou__ops_n(&iou->ops, OP_SUBMITTED) <= FEW && iou->engine->can_cancel_any) {
		iou__own_cancel_any(iou);
		return;
	}
	for (uint32_t i = 1; i < iou->ops.n_fresh; i++) {
		struct op *op = iou__ops_at(&iou->ops, i);

		op->task.is_to_be_cancelled = iou__op_is(op, 1U << OP_SUBMITTED);
	}
	iou->last_to_cancel = iou->ops.n_fresh - 1;
	iou->n_to_cancel = 2 * iou->last_to_cancel;
}

/* Once from the last to the first, and then, for timeouts, from the first to the last. */
static struct op *next_to_cancel(iou_t *iou)
{
	uint32_t n = iou->n_to_cancel, last = iou->last_to_cancel;
	bool is_for_timeouts = n <= last;
	struct op *op = iou__ops_at(&iou->ops, is_for_timeouts ? last + 1 - n : n - last);

	if (!op->task.is_to_be_cancelled || !iou__op_is(op, 1U << OP_SUBMITTED))
		return NULL;
	return (op->sqe.opcode == IORING_OP_TIMEOUT) == is_for_timeouts ? op : NULL;
}

bool iou__cancel_more(iou_t *iou)
{
	if (!iou__queue_is_empty(&iou->stage.own))
		return true; /* those from the last time first */
	for (int n = 0; iou->n_to_cancel && n < AT_A_TIME; iou->n_to_cancel--) {
		struct op *op = next_to_cancel(iou);

		if (op && iou__own_cancel(iou, op->identity) < 0)
			break; /* no memory, but for one request after the other */
		n += op != NULL;
	}
	return iou->n_to_cancel;
}

int iou__cancel_jobs(iou_t *iou)
{
	int n = 0;

	if (!iou__ops_n(&iou->ops, OP_WAITING))
		return 0;
	for (uint32_t i = 1; i < iou->ops.n_fresh; i++) {
		struct op *op = iou__ops_at(&iou->ops, i);

		n += op->task.kind == TASK_JOB && iou__op_is(op, 1U << OP_WAITING) && withdraw(iou, op);
	}
	return n;
}

int iou__cancel_ops(iou_t *iou)
{
	int n = (int)iou__ops_n(&iou->ops, OP_SUBMITTED);

	iou__timeouts_cancel_all(&iou->timeouts);
	iou__timeouts_stop_all(&iou->timeouts);
	if (iou__ops_n(&iou->ops, OP_SUBMITTED))
		cancel_submitted(iou);
	return n + cancel_staged(iou);
}

int iou_cancel_all(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	r = iou__cancel_ops(iou);
	r += iou__cancel_jobs(iou);
	iou__expose(iou);
	return r;
}
