/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking before the loop parks: a job that is about to end on another CPU is here sooner than the loop could fall
 * asleep and be woken. Of what else it waits for that cannot be known, so it looks for that only where the program has
 * said for how long.
 */
#include "internal.h"

static bool has_news(iou_t *iou)
{
	return iou__has_deliverable(iou) || iou__has_to_stop(iou) || iou->engine->verbs->has_news(iou->engine);
}

static bool may_come_soon(iou_t *iou)
{
	return iou->spins_for_all || iou__async_is_elsewhere(&iou->async);
}

/* Whether there is nothing else to do for as long as it would look. */
static bool has_time(iou_t *iou, const struct timespec *timeout)
{
	uint64_t max_ns = iou->spin.max_ns, due_ns;
	const struct timespec longest = iou__time_of_ns(max_ns);

	if (timeout && iou__time_is_shorter(timeout, &longest))
		return false;
	return !iou__timers_next(&iou->timeouts.timers, &due_ns) || due_ns > iou__clock_ns() + max_ns;
}

bool iou__look_is_worthwhile(iou_t *iou, const struct timespec *timeout)
{
	if (!iou->spin.max_ns || !(iou->spins_for_all || iou->ops.n_jobs) || has_news(iou))
		return false;
	iou__spin_begin(&iou->spin);
	return may_come_soon(iou) && !iou->spin.is_in_vain && has_time(iou, timeout);
}

void iou__look(iou_t *iou)
{
	while (!has_news(iou) && may_come_soon(iou) && iou__spin_goes_on(&iou->spin))
		;
}

void iou__look_end(iou_t *iou)
{
	if (iou->spins_for_all)
		iou__spin_end(&iou->spin, has_news(iou));
	else if (iou->ops.n_jobs)
		iou__spin_end(&iou->spin, iou__mailbox_has_mail(&iou->mailbox));
}
