/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking for mail before the loop parks: a job that is about to end on another CPU is here sooner than the loop could
 * fall asleep and be woken.
 */
#include "internal.h"

static bool has_news(iou_t *iou)
{
	return iou__has_deliverable(iou) || iou__has_to_stop(iou) || iou->engine->verbs->has_news(iou->engine);
}

bool iou__look_is_worthwhile(iou_t *iou, const struct timespec *timeout)
{
	const struct timespec longest = { .tv_nsec = iou->spin.max_ns };

	if (!iou->spin.max_ns || !iou->ops.n_jobs || has_news(iou))
		return false;
	iou__spin_begin(&iou->spin);
	return iou__async_is_elsewhere(&iou->async) && !iou->spin.is_in_vain &&
	       (!timeout || !iou__time_is_shorter(timeout, &longest));
}

void iou__look(iou_t *iou)
{
	while (!has_news(iou) && iou__async_is_elsewhere(&iou->async) && iou__spin_goes_on(&iou->spin))
		;
}

void iou__look_end(iou_t *iou)
{
	if (iou->ops.n_jobs)
		iou__spin_end(&iou->spin, iou__mailbox_has_mail(&iou->mailbox));
}
