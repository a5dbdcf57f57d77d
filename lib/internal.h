/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct iou_t, and what the files that act on a whole instance offer each other. They are, from the bottom up:
 *
 *	own.c      the library's own requests: the wake-up, cancellations
 *	deliver.c  runs callbacks
 *	look.c     looks for what may come soon, before the loop parks
 *	loop.c     a turn: submit, wait, deliver; flush and the runs
 *	op.c       the program's side of an op and of a job
 *	cancel.c   cancellation
 *	post.c     what other threads may call
 *	drain.c    the end of everything that is in flight
 *	config.c   the structs that programs pass
 *	info.c     what an instance tells of itself
 *	fd.c       the descriptor for foreign loops
 *	register.c registered files and buffers
 *	buffers.c  provided buffers
 *	choice.c   which engine, and why
 *	iou.c      life cycle
 */
#ifndef IOU_LIB_INTERNAL_H
#define IOU_LIB_INTERNAL_H

#include <sys/types.h>

#include "async.h"
#include "cq.h"
#include "deadline.h"
#include "engine.h"
#include "iou.h"
#include "mailbox.h"
#include "ops.h"
#include "stage.h"
#include "timeouts.h"

#define PULSE_ALIVE 1U
#define PULSE_NEWS 2U

struct iou_t {
	/* See iou__is_steady(). On a page of its own that a forked child sees zeroed (MADV_WIPEONFORK). */
	_Atomic unsigned *pulse;

	/*
	 * The loop thread's kernel id; 0 while nobody has flushed or run, and always with IOU_ANY_THREAD. Atomic,
	 * like is_running, because other threads may ask whether they may flush, run or free.
	 */
	_Atomic pid_t owner;
	_Atomic bool has_in_flight; /* while nobody runs: the engine has ops; for who frees from elsewhere */
	bool is_any_thread;
	bool is_bound;

	/* On the way from the program to the engine, and back. */
	struct ops ops;
	struct stage stage;
	struct timeouts timeouts;
	struct engine *engine;
	struct cq cq;
	struct queue inbox; /* what else is due, in order: jobs, posts, ops that ended without the engine */

	/* Other threads. */
	struct mailbox mailbox;
	struct async async;
	struct spin spin;   /* of the loop, before it parks */
	bool spins_for_all; /* not for jobs alone */

	/* The library's own requests, see own.c. */
	struct op *wake;
	struct op *reaper;
	bool is_wake_armed;
	bool has_no_multishot_poll;
	uint32_t n_to_cancel, last_to_cancel; /* how far that is, see cancel.c */

	/* Where the loop is. */
	unsigned next_source;    /* where the next delivery begins, see iou__deliver() */
	struct op *current;      /* the op whose final callback is running, until it is queued again */
	_Atomic bool is_running; /* a run, a drain, or the delivery of iou_free() is under way */
	pid_t runner_id;         /* who does that, for the kernel; */
	pthread_t runner;        /* and in a forked child, where the kernel's ids are others */
	bool is_ending;          /* of these, one of the latter two: nothing new starts */
	bool has_to_free;        /* iou_free() was called from a callback */
	_Atomic bool has_to_quit;
	bool has_misuse;                      /* a call without a result was in error; the next flush or run says so */
	unsigned n_looks_put_off, look_pause; /* see submit_and_look() */
	bool has_unsent;                      /* the last flush could not submit all that may go */
	int error;                            /* why the engine can no longer be used, -errno */
	int epoll_fd;                         /* iou_fd(), or -1 */
	int timer_fd;                         /* in it, for the timeouts that are kept */
	uint64_t timer_due_ns;                /* what it is set to, 0: nothing */

	struct queue buffers; /* iou_buffers_t, which may outlive this */

	int (*foreign_cqe)(const struct io_uring_cqe *cqe, void *foreign_cqe_data);
	void *foreign_cqe_data;
	char reason[96];  /* why this engine, in words */
	int engine_error; /* the errno with which the kernel refused a ring, or 0 */
	uint64_t n_foreign;
	uint64_t n_callbacks;
	uint64_t n_wakeups;
};

/* What each public function asks first: -EINVAL for NULL, -EOWNERDEAD in a forked child, or 0. */
static inline int iou__check(const iou_t *iou)
{
	if (!iou)
		return -EINVAL;
	return atomic_load_explicit(iou->pulse, memory_order_relaxed) & PULSE_ALIVE ? 0 : -EOWNERDEAD;
}

/*
 * The usual case, in a single look: this is no forked child, and nobody asks the loop to quit, to free or to end. Who
 * sets one of those flags says so afterwards with iou__stir(), and who takes one back, the loop thread, with
 * iou__calm(), which looks whether there is another.
 */
static inline bool iou__is_steady(const iou_t *iou)
{
	return atomic_load(iou->pulse) == PULSE_ALIVE;
}

/* Any thread, and signal handlers. */
static inline void iou__stir(iou_t *iou)
{
	atomic_fetch_or(iou->pulse, PULSE_NEWS);
}

static inline void iou__calm(iou_t *iou)
{
	atomic_fetch_and(iou->pulse, ~PULSE_NEWS);
	if (atomic_load(&iou->has_to_quit) || iou->has_to_free || iou->is_ending)
		iou__stir(iou);
}

/* own.c */

/* The two ops that the library keeps for its requests. 0 or -ENOMEM. */
int iou__own_init(iou_t *iou);

/* See to it that the ring watches the mailbox's eventfd from the next submission on. */
void iou__own_arm_wake(iou_t *iou);

/* The ring is another one. */
void iou__own_forget_wake(iou_t *iou);

/* Have one request cancelled. 0 or -ENOMEM. */
int iou__own_cancel(iou_t *iou, __u64 identity);

/* Have all requests cancelled that are submitted before. Needs an engine that can_cancel_any. */
void iou__own_cancel_any(iou_t *iou);

/* A completion of the library's own. */
void iou__own_completed(iou_t *iou, struct op *op, const struct cqe *cqe);

/* cancel.c */

/* iou_cancel_all() in two parts: what is queued or submitted, and jobs that have not begun. How many attempts were made. */
int iou__cancel_ops(iou_t *iou);
int iou__cancel_jobs(iou_t *iou);

/* Before each call of the engine: a few more requests for what is to be cancelled. Whether there are yet more. */
bool iou__cancel_more(iou_t *iou);

/* deliver.c */

/* The op ends here: queue its final callback. */
void iou__complete(iou_t *iou, struct op *op, int result);

/* Whether there is anything to deliver without entering the kernel. */
static inline bool iou__has_deliverable(iou_t *iou)
{
	return !iou__queue_is_empty(&iou->inbox) || iou__cq_ready(&iou->cq) || iou__mailbox_has_mail(&iou->mailbox);
}

/* Deliver what is there now. 0, or the negative result that stopped it; the rest is still there. */
int iou__deliver(iou_t *iou);

/* Whether delivery has to stop after the callback that is running. At the end of everything a quit does not stop it. */
static inline bool iou__has_to_stop(iou_t *iou)
{
	if (iou__is_steady(iou))
		return false;
	return iou->has_to_free || (atomic_load(&iou->has_to_quit) && !iou->is_ending);
}

/* look.c */

/* Whether to look for mail before waiting for at most the timeout. */
bool iou__look_is_worthwhile(iou_t *iou, const struct timespec *timeout);

/* Look for a while. */
void iou__look(iou_t *iou);

/* After it, and after a wait. */
void iou__look_end(iou_t *iou);

/* loop.c */

/* Whether the calling thread may flush and run: it is the loop thread, or there is none yet. */
bool iou__may_own(const iou_t *iou);

/* By one who may: it is the loop thread from now on. 0 or -errno. */
int iou__take_ownership(iou_t *iou);

/* How many ops are on their way to their final callback, and whether anything keeps a run going. */
uint64_t iou__n_ops_pending(const iou_t *iou);
bool iou__is_pending(iou_t *iou);

/* The timeout, or what is the longest that a loop waits without a look at its mail. */
const struct timespec *iou__longest_wait(iou_t *iou, const struct timespec *timeout);

/* Submit and wait, at most for the timeout, if there is nothing to deliver. 0 or the -errno that ended the engine. */
int iou__submit_and_wait(iou_t *iou, const struct timespec *timeout);

/* All that may go, now. 0 or the -errno that ended the engine. */
int iou__submit_all(iou_t *iou);

/* Give the engine's queue another size. 0 or -errno. */
int iou__resize_engine(iou_t *iou, unsigned entries);

/* The calling thread, by its kernel's id, runs callbacks from now on. */
static inline void iou__begin_running(iou_t *iou, pid_t thread)
{
	iou->is_running = true;
	iou->runner = pthread_self();
	iou->runner_id = thread;
}

/* Around everything that runs callbacks. end() returns what the run is to return. */
int iou__begin(iou_t *iou);
int iou__end(iou_t *iou, int result);

/* fd.c */

void iou__fd_init(iou_t *iou);
void iou__fd_destroy(iou_t *iou);

/* Leave iou_fd() readable if there is something to deliver, and have time and other threads make it so. */
void iou__expose(iou_t *iou);

/* drain.c */

/*
 * Cancel and deliver until nothing is in flight. can_enter: this thread may use the engine; if it may not, or the
 * engine has failed, the engine is let go of. 0, -ETIME, or the -errno that ended the engine.
 */
int iou__end_all(iou_t *iou, const struct deadline *deadline, bool can_enter);

/* register.c */

/* Whether the calling thread may register something now. 0 or -errno; what is taken back may be so at the end as well. */
int iou__may_register(iou_t *iou);
int iou__may_unregister(iou_t *iou);

/* buffers.c */

/* The instance ends: those that are left are the program's alone. */
void iou__buffers_leave(iou_t *iou);

/* choice.c */

/* The engine that was asked for, or the best there is; and the words for iou_info(). 0 or -errno. */
int iou__choose_engine(iou_t *iou, const iou_config_t *config);

/* config.c */

/* Check a program's configuration and fill in the defaults. 0 or -errno. */
int iou__config_read(const iou_config_t *config, iou_config_t *checked);

/* The entries of a ring are in range. */
bool iou__config_entries_are_valid(unsigned entries);

/* Copy out a struct that begins with a size which the caller has set. 0 or -EINVAL: it is shorter than size_1_0. */
int iou__config_write(void *to, const void *from, size_t size, size_t size_1_0);

#endif
