/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Delivery: the one place from which the program's callbacks are run. A completion is copied and the CQ advanced
 * before its callback runs, and one delivery takes no more than was there when it began, so callbacks may call
 * anything.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "sqe.h"

void iou__complete(iou_t *iou, struct op *op, int result)
{
	iou__ops_move(&iou->ops, op, iou__op_state(op), OP_COMPLETED);
	op->pub.result = result;
	op->pub.flags = 0;
	iou__queue_push(&iou->inbox, &op->task.node);
}

bool iou__has_deliverable(iou_t *iou)
{
	return !iou__queue_is_empty(&iou->inbox) || iou__cq_ready(&iou->cq) || iou__mailbox_has_mail(&iou->mailbox);
}

bool iou__has_to_stop(iou_t *iou)
{
	if (iou->is_ending)
		return iou->has_to_free;
	return iou->has_to_free || atomic_load_explicit(&iou->mailbox.has_to_quit, memory_order_seq_cst);
}

/* What a callback's result means. One that forked returns in the child, too, where this run must not go on. */
static int call_result(iou_t *iou, int r)
{
	iou->n_callbacks++;
	if (iou__check(iou) < 0)
		return -EOWNERDEAD;
	return r < 0 ? r : 0;
}

static int call(iou_t *iou, int (*cb)(void *), void *cb_data)
{
	return call_result(iou, cb(cb_data));
}

/* An op's final callback. It may queue the op again, and then the op is somebody else's by the time it returns. */
static int call_finally(iou_t *iou, struct op *op)
{
	iou->current = op;

	int r = op->task.cb ? call(iou, op->task.cb, op->task.cb_data) : 0;

	if (iou->current == op)
		iou__ops_give_back(&iou->ops, op);
	iou->current = NULL;
	return r;
}

/* The op of iou_async() is the library's, and its work's failure counts like a callback's. */
static int deliver_async(iou_t *iou, struct op *op)
{
	int result = op->job.result;
	int r;

	iou__ops_move(&iou->ops, op, OP_FINISHED, OP_COMPLETED);
	r = call_finally(iou, op);
	return result < 0 ? result : r;
}

static int deliver_job(iou_t *iou, struct op *op)
{
	iou__ops_move(&iou->ops, op, OP_FINISHED, OP_COMPLETED);
	op->pub.result = op->job.result;
	op->pub.flags = 0;
	memset(&op->sqe, 0, sizeof(op->sqe));
	return call_finally(iou, op);
}

static int deliver_post(iou_t *iou, struct task *post)
{
	int (*cb)(void *) = post->cb;
	void *cb_data = post->cb_data;

	free(post);
	return call(iou, cb, cb_data);
}

static int deliver_task(iou_t *iou, struct task *task)
{
	struct op *op = container_of(task, struct op, task);

	switch ((enum task_kind)task->kind) {
	case TASK_POST:
		return deliver_post(iou, task);
	case TASK_ASYNC:
		return deliver_async(iou, op);
	case TASK_JOB:
		return deliver_job(iou, op);
	case TASK_OP:
	case TASK_OWN:
		break;
	}
	return call_finally(iou, op);
}

static int deliver_foreign(iou_t *iou, const struct cqe *cqe)
{
	struct io_uring_cqe copy = { .user_data = cqe->user_data, .res = cqe->res, .flags = cqe->flags };

	iou->n_foreign++;
	if (!iou->foreign_cqe)
		return 0;
	return call_result(iou, iou->foreign_cqe(&copy, iou->foreign_cqe_data));
}

/* Only a first and only completion is skipped: whoever was told of one is told of the end. */
static bool is_skipped(const struct op *op)
{
	return (op->task.sqe_flags & IOSQE_CQE_SKIP_SUCCESS) && !op->task.has_had_a_call &&
	       iou__sqe_succeeded(&op->sqe, op->pub.result);
}

static int deliver_cqe(iou_t *iou, const struct cqe *cqe)
{
	struct op *op = iou__ops_find(&iou->ops, cqe->user_data, 1U << OP_SUBMITTED | 1U << OP_OWN);

	if (!op)
		return deliver_foreign(iou, cqe);
	if (op->task.kind == TASK_OWN) {
		iou__own_completed(iou, op, cqe);
		return 0;
	}
	op->pub.result = cqe->res;
	op->pub.flags = cqe->flags;
	if (cqe->flags & IORING_CQE_F_MORE) {
		op->task.has_had_a_call = true;
		return call(iou, op->task.cb, op->task.cb_data);
	}
	iou__ops_move(&iou->ops, op, OP_SUBMITTED, OP_COMPLETED);
	if (!is_skipped(op))
		return call_finally(iou, op);
	iou__ops_give_back(&iou->ops, op);
	return 0;
}

/* Up to and including the task that is last now. */
static int deliver_inbox(iou_t *iou)
{
	struct node *last = iou__queue_last(&iou->inbox);
	struct node *node = NULL;
	int r = 0;

	while (r == 0 && node != last && !iou__has_to_stop(iou)) {
		node = iou__queue_pop(&iou->inbox);
		r = deliver_task(iou, container_of(node, struct task, node));
	}
	return r;
}

static int deliver_cqes(iou_t *iou, size_t n)
{
	int r = 0;

	for (; r == 0 && n && !iou__has_to_stop(iou); n--) {
		struct cqe cqe = iou__cq_take(&iou->cq);

		r = deliver_cqe(iou, &cqe);
	}
	return r;
}

int iou__deliver(iou_t *iou)
{
	size_t n_cqes = iou__cq_ready(&iou->cq);
	int r;

	iou__mailbox_take(&iou->mailbox, &iou->inbox);
	r = deliver_inbox(iou);
	return r < 0 ? r : deliver_cqes(iou, n_cqes);
}
