/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library's own requests. They are ops in the state own, which nothing that the program can see counts; they go
 * ahead of what is staged.
 *
 * Two of them live as long as the instance, under one identity, so that neither waking nor teardown ever needs memory
 * and a completion from a ring that was replaced is still known: the wake-up, a poll on the mailbox's eventfd; and
 * the reaper, which cancels everything, or one request where there is no memory for an op of its own.
 */
#include <poll.h>

#include "internal.h"

static struct op *take_own(iou_t *iou)
{
	struct op *op = iou__ops_take(&iou->ops);

	if (!op)
		return NULL;
	op->task.kind = TASK_OWN;
	iou__ops_rename(op);
	iou__ops_move(&iou->ops, op, OP_NEW, OP_OWN);
	return op;
}

static bool is_staged(const struct op *op)
{
	return op->task.node.next != NODE_POISON;
}

static void stage_own(iou_t *iou, struct op *op)
{
	op->sqe.user_data = op->identity;
	if (!is_staged(op))
		iou__queue_push(&iou->stage.own, &op->task.node);
}

int iou__own_init(iou_t *iou)
{
	iou->wake = take_own(iou);
	iou->reaper = take_own(iou);
	return iou->wake && iou->reaper ? 0 : -ENOMEM;
}

void iou__own_arm_wake(iou_t *iou)
{
	struct op *op = iou->wake;

	if (iou->is_wake_armed || atomic_load(&iou->mailbox.is_deaf))
		return;
	if (iou->has_no_multishot_poll)
		io_uring_prep_poll_add(&op->sqe, iou->mailbox.fd, POLLIN);
	else
		io_uring_prep_poll_multishot(&op->sqe, iou->mailbox.fd, POLLIN);
	stage_own(iou, op);
	iou->is_wake_armed = true;
}

void iou__own_forget_wake(iou_t *iou)
{
	iou->is_wake_armed = is_staged(iou->wake);
}

/* The reaper, where there is no memory: one request after the other can be cancelled in any case. */
int iou__own_cancel(iou_t *iou, __u64 identity)
{
	struct op *op = take_own(iou);

	if (!op && !is_staged(iou->reaper))
		op = iou->reaper;
	if (!op)
		return -ENOMEM;
	io_uring_prep_cancel64(&op->sqe, identity, 0);
	stage_own(iou, op);
	return 0;
}

/* If the reaper is staged, whatever for, this does that as well. */
void iou__own_cancel_any(iou_t *iou)
{
	struct op *op = iou->reaper;

	io_uring_prep_cancel64(&op->sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	stage_own(iou, op);
}

/* The wake-up was refused. Multishot poll came with Linux 5.13; else somebody has closed the descriptor. */
static void wake_refused(iou_t *iou, int error)
{
	if (error == -EINVAL && !iou->has_no_multishot_poll)
		iou->has_no_multishot_poll = true;
	else if (error != -ECANCELED && error != -ENOMEM)
		atomic_store(&iou->mailbox.is_deaf, true);
}

/* It ends when the program cancels everything, too: it is armed again before the loop next waits. */
static void wake_completed(iou_t *iou, const struct cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		iou__own_forget_wake(iou);
	if (cqe->res < 0) {
		wake_refused(iou, cqe->res);
		return;
	}
	iou__mailbox_lower(&iou->mailbox);
	iou->n_wakeups++;
}

/* A ring message can bear any identity: a request that has not left the stage has no completion yet. */
void iou__own_completed(iou_t *iou, struct op *op, const struct cqe *cqe)
{
	if (op == iou->wake)
		wake_completed(iou, cqe);
	else if (op != iou->reaper && !is_staged(op))
		iou__ops_give_back(&iou->ops, op);
}
