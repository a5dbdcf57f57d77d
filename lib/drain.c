/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of everything that is in flight. One round of cancellation is not enough: a cancelled head of a hard-linked
 * chain starts the next, and a request on its way between two states is missed. So it is cancel, deliver, and again.
 */
#include <errno.h>
#include <poll.h>

#include "internal.h"

#define FIRST_PAUSE_NS 1000000L
#define LONGEST_PAUSE_NS 100000000L
#define LET_GO_NS 100000000L

/* Posts do not count: who posts in a drain may do so for ever. */
static bool has_work(iou_t *iou)
{
	return iou__n_ops_pending(iou) || !iou__queue_is_empty(&iou->inbox) || iou__cq_ready(&iou->cq);
}

static void deliver_ready(iou_t *iou)
{
	while (iou__cq_ready(&iou->cq) && iou__check(iou) == 0)
		iou__deliver(iou);
}

/*
 * The engine cannot be asked to cancel: it has failed, or its owner is gone. So let go of it, whereupon the kernel
 * cancels by itself. Nothing tells when it has done so (a ring that is mapped is not closed, and one that is closed
 * is silent), so it is given the time that it can be expected to need. What has completed is delivered before: to
 * copy it out of the way takes memory.
 */
static void end_submitted(iou_t *iou)
{
	const struct timespec a_while = { .tv_nsec = LET_GO_NS };

	deliver_ready(iou);
	iou__timeouts_cancel_all(&iou->timeouts);
	if (iou__ops_n(&iou->ops, OP_SUBMITTED)) {
		iou->engine->verbs->let_go(iou->engine, iou__may_own(iou));
		iou__sleep(a_while);
	}
	deliver_ready(iou);
	/* What was to be resumed has no request in the engine, and ends here. */
	iou__timeouts_stop_all(&iou->timeouts);
	for (uint32_t i = 1; i < iou->ops.n_fresh; i++) {
		struct op *op = iou__ops_at(&iou->ops, i);

		if (iou__op_is(op, 1U << OP_SUBMITTED))
			iou__complete(iou, op, -ECANCELED);
	}
}

/* Jobs can be waited for without the engine. */
static void wait_for_mail(iou_t *iou, const struct timespec *timeout)
{
	bool is_deaf = atomic_load(&iou->mailbox.is_deaf);
	struct pollfd fd = { .fd = is_deaf ? -1 : iou->mailbox.fd, .events = POLLIN };

	if (iou__has_deliverable(iou) || !iou__mailbox_doze(&iou->mailbox))
		return;
	if (ppoll(&fd, 1, iou__longest_wait(iou, timeout), NULL) > 0 && (fd.revents & POLLNVAL))
		atomic_store(&iou->mailbox.is_deaf, true);
	iou__mailbox_rouse(&iou->mailbox);
	iou__mailbox_lower(&iou->mailbox);
}

/* As long as requests are in flight cancel them from time to time; jobs cannot be hurried. */
static const struct timespec *shorter(const iou_t *iou, const struct timespec *left, const struct timespec *pause)
{
	if (!iou__ops_n(&iou->ops, OP_SUBMITTED))
		return left;
	return left && iou__time_is_shorter(left, pause) ? left : pause;
}

/*
 * A multishot timeout that has fired is not found by a cancellation until the kernel has set it going again, and the
 * kernel does such work after it has submitted: one that fires while its callback runs would be missed each time. So
 * it is cancel, enter, and cancel once more.
 */
static int cancel_twice(iou_t *iou, bool can_enter)
{
	int r;

	iou__cancel_ops(iou);
	if (!can_enter)
		return 0;
	r = iou__submit_all(iou);
	iou__cancel_ops(iou);
	return r;
}

/* One turn. What callbacks return is of no interest here. */
static int end_some(iou_t *iou, const struct timespec *timeout, bool can_enter)
{
	int r = 0;

	if (can_enter)
		r = iou__submit_and_wait(iou, timeout);
	else
		wait_for_mail(iou, timeout);
	iou__deliver(iou);
	if (r >= 0)
		r = iou__check(iou); /* in the child of a callback that forked this is where it ends */
	if (r == 0)
		iou__timeouts_stop_all(&iou->timeouts); /* they may have fired each time that they are cancelled */
	return r;
}

/*
 * Turns as long as something ends, and until nothing has ended for a pause: to cancel takes the kernel time for each
 * op in flight, so it is not asked again while it is at it. A turn may end sooner because the request to cancel has
 * completed, and with it the wake-up that it cancelled: another such request right away, and this would never sleep.
 */
static int end_round(iou_t *iou, const struct deadline *end, const struct timespec *pause, bool can_enter)
{
	uint64_t n_left = UINT64_MAX;
	struct deadline deadline;
	struct timespec time_left, pause_left;
	const struct timespec *left;
	int r = 0;

	while (r == 0 && has_work(iou) && !iou->has_to_free) {
		if (iou__n_ops_pending(iou) < n_left) {
			n_left = iou__n_ops_pending(iou);
			iou__deadline_in(pause, &deadline);
		}
		left = shorter(iou, iou__deadline_left(end, &time_left), iou__deadline_left(&deadline, &pause_left));
		r = end_some(iou, left, can_enter);
		if (iou__time_is_zero(left))
			break;
	}
	return r;
}

/* Once the time is over what jobs come to does not count: there may be any number of them, and they cannot be hurried. */
static uint64_t n_to_end(const iou_t *iou, bool is_over)
{
	return iou__n_ops_pending(iou) - (is_over ? iou->ops.n_jobs : 0);
}

int iou__end_all(iou_t *iou, const struct deadline *deadline, bool can_enter)
{
	struct timespec pause = { .tv_nsec = FIRST_PAUSE_NS }, time_left;
	int r = 0;

	iou->is_ending = true;
	iou__stir(iou);
	if (!can_enter)
		end_submitted(iou);
	iou__cancel_jobs(iou);
	while (r == 0 && has_work(iou) && !iou->has_to_free) {
		bool is_over = iou__time_is_zero(iou__deadline_left(deadline, &time_left));
		uint64_t n_before = n_to_end(iou, is_over);

		r = cancel_twice(iou, can_enter);
		if (r == 0)
			r = end_round(iou, deadline, &pause, can_enter);
		if (r < 0)
			break;
		if (n_to_end(iou, is_over) < n_before)
			pause.tv_nsec = FIRST_PAUSE_NS;
		else if (is_over)
			r = -ETIME;
		else if (pause.tv_nsec < LONGEST_PAUSE_NS)
			pause.tv_nsec *= 2;
	}
	iou->is_ending = false;
	iou__calm(iou);
	return r;
}

int iou_drain(iou_t *iou, const struct timespec *timeout)
{
	struct deadline deadline;
	int r = iou__check(iou);

	if (r == 0)
		r = iou__deadline_in(timeout, &deadline);
	if (r == 0)
		r = iou__begin(iou);
	if (r < 0)
		return r;
	return iou__end(iou, iou__end_all(iou, &deadline, true));
}
