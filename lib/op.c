/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program's side of an op, and of a job. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static struct op *op_of(iou_op_t *pub)
{
	return pub ? container_of(pub, struct op, pub) : NULL;
}

/* New, or in its final callback. */
static bool is_programs(const iou_t *iou, const struct op *op)
{
	return op == iou->current || iou__op_state(op) == OP_NEW;
}

/* Calls without a result have their errors remembered. */
static bool is_in_order(iou_t *iou, const struct op *op)
{
	bool is = op && is_programs(iou, op);

	if (!is)
		iou->has_misuse = true;
	return is;
}

/* It does not belong to its former life's callback any more, which must not recycle it. */
static void begin_life(iou_t *iou, struct op *op, enum task_kind kind, int (*cb)(void *), void *cb_data)
{
	if (op == iou->current)
		iou->current = NULL;
	op->task.kind = (uint8_t)kind;
	op->task.cb = cb;
	op->task.cb_data = cb_data;
	op->task.sqe_flags = 0;
	op->task.has_had_a_call = false;
	op->task.is_to_be_cancelled = false;
	iou__ops_rename(op);
}

iou_op_t *iou_op_new(iou_t *iou)
{
	int r = iou__check(iou);
	struct op *op = NULL;

	if (r == 0 && iou->is_ending)
		r = -ESHUTDOWN;
	if (r == 0 && !(op = iou__ops_take(&iou->ops)))
		r = -ENOMEM;
	if (r < 0) {
		errno = -r;
		return NULL;
	}
	return &op->pub;
}

/*
 * In a forked child and at the end of everything nothing new starts: in its final callback an op is recycled as that
 * returns, and others have come too late.
 */
static bool starts_ops(iou_t *iou, struct op *op, int (*cb)(void *cb_data), void *cb_data)
{
	if (iou__check(iou) < 0)
		return false;
	if (!iou->is_ending)
		return true;
	if (is_in_order(iou, cb ? op : NULL) && op != iou->current) {
		begin_life(iou, op, TASK_OP, cb, cb_data);
		op->task.sqe_flags = op->sqe.flags;
		iou__complete(iou, op, -ECANCELED);
	}
	return false;
}

void iou_op_queue(iou_t *iou, iou_op_t *pub, int (*cb)(void *cb_data), void *cb_data)
{
	struct op *op = op_of(pub);

	if (!iou || (!iou__is_steady(iou) && !starts_ops(iou, op, cb, cb_data)) || !is_in_order(iou, cb ? op : NULL))
		return;
	begin_life(iou, op, TASK_OP, cb, cb_data);
	op->task.sqe_flags = op->sqe.flags;
	iou__stage_push(&iou->stage, &iou->ops, op);
}

void iou_op_reset(iou_t *iou, iou_op_t *pub)
{
	struct op *op = op_of(pub);

	if (iou__check(iou) == 0 && is_in_order(iou, op))
		memset(&op->sqe, 0, sizeof(op->sqe));
}

void iou_op_free(iou_t *iou, iou_op_t *pub)
{
	struct op *op = op_of(pub);

	if (!op || iou__check(iou) < 0 || !is_in_order(iou, op))
		return;
	if (op != iou->current)
		iou__ops_give_back(&iou->ops, op);
}

/* A worker may have it as soon as it is submitted, so the job is complete before. */
static int start_job(iou_t *iou, struct op *op, int (*work)(void *), void *work_data)
{
	op->job.work = work;
	op->job.work_data = work_data;
	op->job.result = 0;
	return iou__async_submit(&iou->async, op);
}

int iou_async(iou_t *iou, int (*async_cb)(void *async_cb_data), void *async_cb_data,
	      int (*completion_cb)(void *completion_cb_data), void *completion_cb_data)
{
	int r = iou__check(iou);
	struct op *op;

	if (r < 0)
		return r;
	if (!async_cb)
		return -EINVAL;
	if (iou->is_ending)
		return -ESHUTDOWN;
	op = iou__ops_take(&iou->ops);
	if (!op)
		return -ENOMEM;
	begin_life(iou, op, TASK_ASYNC, completion_cb, completion_cb_data);
	r = start_job(iou, op, async_cb, async_cb_data);
	if (r < 0)
		iou__ops_give_back(&iou->ops, op);
	return r;
}

int iou_op_async(iou_t *iou, iou_op_t *pub, int (*work)(void *work_data), void *work_data, int (*cb)(void *cb_data),
		 void *cb_data)
{
	struct op *op = op_of(pub);
	int r = iou__check(iou);

	if (r < 0)
		return r;
	if (!op || !work || !cb || !is_programs(iou, op))
		return -EINVAL;
	if (iou->is_ending)
		return -ESHUTDOWN;

	struct io_uring_sqe sqe = op->sqe;
	bool is_current = op == iou->current;

	begin_life(iou, op, TASK_JOB, cb, cb_data);
	r = start_job(iou, op, work, work_data);
	if (r < 0) {
		op->sqe = sqe;
		iou->current = is_current ? op : iou->current;
	}
	return r;
}
