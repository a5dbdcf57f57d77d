/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop. A turn submits what is staged and, if there is nothing to deliver, waits in the same system call; then it
 * delivers what is there. A run is turns until nothing is left, or something says to stop.
 */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "internal.h"

#define LONGEST_LOOK_PAUSE 127

/* Ownership. */

/* A system call. */
bool iou__may_own(const iou_t *iou)
{
	return !iou->owner || iou->owner == gettid();
}

int iou__take_ownership(iou_t *iou)
{
	int r;

	if (iou->is_bound)
		return 0;
	r = iou->engine->verbs->bind(iou->engine);
	if (r < 0)
		return r;
	iou->is_bound = true;
	iou->owner = iou->is_any_thread ? 0 : gettid();
	return 0;
}

/* What keeps a run going. */

uint64_t iou__n_ops_pending(const iou_t *iou)
{
	uint64_t n = (uint64_t)iou__ops_n(&iou->ops, OP_QUEUED) + iou__ops_n(&iou->ops, OP_SUBMITTED) +
		     iou__ops_n(&iou->ops, OP_COMPLETED) + iou->ops.n_jobs;

	return iou->current ? n - 1 : n;
}

/* Who posts and then releases for the last time has posted before: so the holds are looked at first. */
bool iou__is_pending(iou_t *iou)
{
	return iou__n_ops_pending(iou) || !iou__queue_is_empty(&iou->inbox) || atomic_load(&iou->mailbox.n_held) ||
	       iou__mailbox_has_mail(&iou->mailbox);
}

int iou_pending(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;

	uint64_t n = (uint64_t)atomic_load(&iou->mailbox.n_held) + iou__n_ops_pending(iou) +
		     iou__mailbox_posts(&iou->mailbox);

	return n > INT_MAX ? INT_MAX : (int)n;
}

/* Submission. */

/*
 * Get ready to wait. From doze() on others wake the loop; what they may have done just before that is no mail (quit,
 * the last release) is looked at once more afterwards.
 */
static bool park(iou_t *iou, const struct timespec *timeout)
{
	if (iou__time_is_zero(timeout) || iou__has_deliverable(iou))
		return false;
	iou__own_arm_wake(iou);
	if (!iou__mailbox_doze(&iou->mailbox))
		return false;
	if (!iou__has_to_stop(iou) && iou__is_pending(iou))
		return true;
	iou__mailbox_rouse(&iou->mailbox);
	return false;
}

/* Whether the engine holds nothing of the program's. */
static bool is_idle(const iou_t *iou)
{
	size_t n_ready = iou__cq_ready(&iou->cq);
	uint32_t n_over = 0;

	for (size_t i = 0; i < n_ready; i++) {
		struct cqe cqe = iou__cq_at(&iou->cq, i);

		n_over +=
			!(cqe.flags & IORING_CQE_F_MORE) && iou__ops_find(&iou->ops, cqe.user_data, 1U << OP_SUBMITTED);
	}
	return n_over + iou__timeouts_n(&iou->timeouts) == iou__ops_n(&iou->ops, OP_SUBMITTED);
}

int iou__resize_engine(iou_t *iou, unsigned entries)
{
	int r = iou->engine->verbs->resize(iou->engine, entries, is_idle(iou));

	if (r == -ENOTRECOVERABLE)
		iou->error = r;
	if (r > 0)
		iou__own_forget_wake(iou);
	return r < 0 ? r : 0;
}

/* A chain longer than the engine's queue: it gets another queue, or the chain ends here. */
static void make_room_for_chain(iou_t *iou)
{
	if (iou__resize_engine(iou, iou__stage_first_chain(&iou->stage).n) < 0)
		iou__stage_fail_chain(&iou->stage, &iou->ops, -E2BIG, &iou->inbox);
}

/* The kernel wants completions taken, or has no memory. If there are none to take, only time can help. */
static void wait_for_kernel(iou_t *iou)
{
	const struct timespec a_moment = { .tv_nsec = 1000000 };

	if (!iou__cq_ready(&iou->cq))
		iou__sleep(a_moment);
}

/* What follows from what the engine's enter() returned, but for the usual. */
static int has_entered(iou_t *iou, int left)
{
	switch (left) {
	case LEFT_TOO_LONG:
		make_room_for_chain(iou);
		return LEFT_MORE;
	case -EINTR:
		return LEFT_MORE; /* it may be that nothing was submitted */
	case -ETIME:
		return LEFT_NOTHING;
	case -EAGAIN:
	case -EBUSY:
	case -ENOMEM:
		wait_for_kernel(iou);
		return LEFT_MORE;
	}
	if (left < 0)
		iou->error = left;
	return left;
}

/* One call of the engine. Returns an enum left, or the -errno that ended the engine. */
static int enter(iou_t *iou, bool wait, const struct timespec *timeout)
{
	bool has_more = iou->n_to_cancel && iou__cancel_more(iou);
	int left = iou->error ? iou->error : iou->engine->verbs->enter(iou->engine, wait && !has_more, timeout);

	if (left != LEFT_NOTHING)
		left = has_entered(iou, left);
	return left == LEFT_NOTHING && has_more ? LEFT_MORE : left;
}

/*
 * Should the program have closed the descriptor that wakes us, the first who fails to write to it can no longer tell
 * us. So where word from other threads is due a parked loop looks by itself every few seconds, and once it knows,
 * often.
 */
const struct timespec *iou__longest_wait(iou_t *iou, const struct timespec *timeout)
{
	static const struct timespec usual = { .tv_sec = 5 }, deaf = { .tv_nsec = 10000000 };
	bool is_deaf = atomic_load(&iou->mailbox.is_deaf);
	const struct timespec *longest = is_deaf ? &deaf : &usual;

	if (!is_deaf && !iou->ops.n_jobs && !atomic_load(&iou->mailbox.n_held))
		return timeout;
	return timeout && iou__time_is_shorter(timeout, longest) ? timeout : longest;
}

/*
 * What completes as it is submitted is there without waiting, and not to wait spares the kernel and us the getting
 * ready for it. Whether there is such work shows by trying; where it was in vain the next try is put off, each time
 * for longer.
 */
static bool submit_and_look(iou_t *iou, int *left)
{
	if (iou__queue_is_empty(&iou->stage.queue) || iou->n_looks_put_off) {
		iou->n_looks_put_off -= iou->n_looks_put_off > 0;
		return false;
	}

	uint64_t n_before = iou->engine->n_submitted;

	*left = enter(iou, false, NULL);
	if (*left < 0 || iou__cq_in_ring(&iou->cq)) {
		iou->look_pause = 0;
		return true;
	}
	/* Timeouts alone, which say nothing of that. */
	if (iou->engine->n_submitted == n_before)
		return false;
	iou->look_pause = iou->look_pause < LONGEST_LOOK_PAUSE ? 2 * iou->look_pause + 1 : LONGEST_LOOK_PAUSE;
	iou->n_looks_put_off = iou->look_pause;
	return false;
}

int iou__submit_and_wait(iou_t *iou, const struct timespec *timeout)
{
	int left = 0;

	if (submit_and_look(iou, &left))
		return left < 0 ? left : 0;

	bool looks = iou__look_is_worthwhile(iou, timeout);

	/* What is staged goes before. */
	if (looks && !(iou__queue_is_empty(&iou->stage.queue) && iou__queue_is_empty(&iou->stage.own)))
		left = enter(iou, false, NULL);
	if (left < 0)
		return left;
	if (looks)
		iou__look(iou);

	bool wait = park(iou, timeout);

	left = enter(iou, wait, iou__longest_wait(iou, timeout));
	if (wait)
		iou__mailbox_rouse(&iou->mailbox);
	if (wait || looks)
		iou__look_end(iou);
	return left < 0 ? left : 0;
}

/* Changes with each request, the library's own among them, that has left the stage. */
static uint64_t n_gone(const iou_t *iou)
{
	return iou->engine->n_submitted - iou__ops_n(&iou->ops, OP_QUEUED);
}

/*
 * Completions come while this submits, and callbacks cannot run: they are copied out of the way. A kernel that is
 * short of memory is given a few tries and then left alone; what it has not taken goes with the next turn.
 */
int iou__submit_all(iou_t *iou)
{
	int left, n_tries = 10;

	do {
		uint64_t n_before = n_gone(iou);

		left = enter(iou, false, NULL);
		if (iou__cq_in_ring(&iou->cq) > iou->engine->cq_entries / 2)
			iou__cq_empty_ring(&iou->cq);
		n_tries -= n_gone(iou) == n_before;
	} while (left == LEFT_MORE && n_tries);
	iou->has_unsent = left == LEFT_MORE;
	return left < 0 ? left : 0;
}

/* The runs. */

/* What flushing and running ask first, once it is clear that this thread may. */
static int may_submit(iou_t *iou)
{
	int r = iou__take_ownership(iou);

	if (r < 0)
		return r;
	if (iou->error)
		return iou->error;
	if (!iou->has_misuse)
		return 0;
	iou->has_misuse = false;
	return -EINVAL;
}

int iou__begin(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	if (!iou__may_own(iou))
		return -EPERM;
	if (iou->is_running)
		return -EBUSY;
	r = may_submit(iou);
	if (r < 0)
		return r;
	iou__begin_running(iou, iou->owner ? iou->owner : gettid());
	iou__mailbox_rouse(&iou->mailbox);
	return 0;
}

static void tell_what_is_in_flight(iou_t *iou)
{
	bool has = iou__ops_n(&iou->ops, OP_SUBMITTED) > 0;

	atomic_store_explicit(&iou->has_in_flight, has, memory_order_relaxed);
}

int iou__end(iou_t *iou, int result)
{
	tell_what_is_in_flight(iou);
	iou->is_running = false;
	if (iou->has_to_free) {
		iou->has_to_free = false;
		iou__calm(iou);
		iou_free(iou);
		return -ECANCELED;
	}
	iou__expose(iou);
	return result;
}

static int turn(iou_t *iou, const struct timespec *timeout)
{
	int r = iou__submit_and_wait(iou, timeout);

	return r < 0 ? r : iou__deliver(iou);
}

/* A request to quit is consumed by the run that ends. Foreign loops rely on everything being submitted by then. */
static int end_run(iou_t *iou, bool is_to_submit, int result)
{
	if (iou->has_to_free || iou__check(iou) < 0)
		return iou__end(iou, result);
	if (is_to_submit && !iou->error) {
		int r = iou__submit_all(iou);

		result = result < 0 || r == 0 ? result : r;
	}
	if (!iou__is_steady(iou)) {
		atomic_store(&iou->has_to_quit, false);
		iou__calm(iou);
	}
	return iou__end(iou, result);
}

int iou_flush(iou_t *iou)
{
	int r = iou__check(iou);

	if (r == 0 && !iou__may_own(iou))
		r = -EPERM;
	if (r == 0 && iou->is_ending)
		return 0; /* nothing new starts */
	if (r == 0)
		r = may_submit(iou);
	if (r < 0)
		return r;
	r = iou__submit_all(iou);
	tell_what_is_in_flight(iou);
	iou__expose(iou);
	return r;
}

/* In most turns the first look answers this. */
static bool has_turns_to_make(iou_t *iou)
{
	return iou__ops_n(&iou->ops, OP_QUEUED) || iou__cq_ready(&iou->cq) || iou__is_pending(iou);
}

int iou_run(iou_t *iou)
{
	int r = iou__begin(iou);

	if (r < 0)
		return r;
	while (r == 0 && !iou__has_to_stop(iou) && has_turns_to_make(iou))
		r = turn(iou, NULL);
	return end_run(iou, iou->epoll_fd >= 0, r);
}

/* Completions that nobody waits for (ring messages) are taken even if nothing is pending, else iou_fd() stays readable. */
int iou_run_once(iou_t *iou, const struct timespec *timeout)
{
	struct deadline deadline;
	struct timespec left;
	int r = iou__check(iou);

	if (r == 0)
		r = iou__deadline_in(timeout, &deadline);
	if (r == 0)
		r = iou__begin(iou);
	if (r < 0)
		return r;

	uint64_t n_before = iou->n_callbacks;
	const struct timespec *time_left = timeout;

	while (r == 0 && !iou__has_to_stop(iou)) {
		r = turn(iou, time_left);
		if (iou->n_callbacks != n_before || iou__time_is_zero(time_left) || !iou__is_pending(iou))
			break;
		time_left = iou__deadline_left(&deadline, &left);
	}

	uint64_t n = iou->n_callbacks - n_before;

	return end_run(iou, true, r < 0 ? r : n > INT_MAX ? INT_MAX : (int)n);
}
