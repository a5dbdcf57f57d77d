/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other threads, and signal handlers, may call. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

int iou_quit(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	iou__mailbox_enter(&iou->mailbox);
	atomic_store(&iou->has_to_quit, true);
	iou__stir(iou);
	iou__mailbox_wake(&iou->mailbox);
	iou__mailbox_leave(&iou->mailbox);
	return 0;
}

/* The caller owns the task again where this fails. */
static int put(iou_t *iou, struct task *task)
{
	int r = 0;

	iou__mailbox_enter(&iou->mailbox);
	if (atomic_load(&iou->mailbox.is_closed))
		r = -ESHUTDOWN;
	else
		iou__mailbox_put(&iou->mailbox, task);
	iou__mailbox_leave(&iou->mailbox);
	return r;
}

int iou_post(iou_t *iou, int (*cb)(void *cb_data), void *cb_data)
{
	int r = iou__check(iou);
	struct task *task;

	if (r < 0)
		return r;
	if (!cb)
		return -EINVAL;
	task = calloc(1, sizeof(*task));
	if (!task)
		return -ENOMEM;
	task->kind = TASK_POST;
	task->cb = cb;
	task->cb_data = cb_data;
	r = put(iou, task);
	if (r < 0)
		free(task);
	return r;
}

int iou_hold(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	iou__mailbox_enter(&iou->mailbox);
	r = atomic_load(&iou->mailbox.is_closed) ? -ESHUTDOWN : iou__mailbox_hold(&iou->mailbox);
	iou__mailbox_leave(&iou->mailbox);
	return r;
}

int iou_release(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	iou__mailbox_enter(&iou->mailbox);
	r = iou__mailbox_release(&iou->mailbox);
	iou__mailbox_leave(&iou->mailbox);
	return r;
}
