/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other threads, and signal handlers, may call. */
#include <errno.h>

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

/* As hot as it gets: what keeps the instance alive meanwhile is written in mailbox.h. */
int iou_post(iou_t *iou, int (*cb)(void *cb_data), void *cb_data)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	return cb ? iou__mailbox_post(&iou->mailbox, cb, cb_data) : -EINVAL;
}

int iou_hold(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	iou__mailbox_enter(&iou->mailbox);
	r = iou__mailbox_is_closed(&iou->mailbox) ? -ESHUTDOWN : iou__mailbox_hold(&iou->mailbox);
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
