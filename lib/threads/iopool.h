/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads engine's workers, for system calls that may be slow. They are not those of iou_async(), so that slow
 * files never keep jobs waiting. As the kernel does, it has two lanes with a limit each: one for what is sure to end
 * (files), so that it may be narrow; and one for all else.
 *
 * The lock guards the two lanes, the finished requests, is_asleep, and whether a worker has a request. Workers are
 * started lazily, stopped by a message and joined, never cancelled nor sent signals, which are the program's: so
 * what may block for ever is given to one only if it listens to its word (futexes, see exec-wait.c), or if nothing else can
 * be done: reads and writes of what epoll does not watch, or where RWF_NOWAIT is not to be had (see exec-rw.c). All
 * functions are for the loop thread. How both sides sleep and are woken is modelled in iopool.pml.
 */
#ifndef IOU_LIB_THREADS_IOPOOL_H
#define IOU_LIB_THREADS_IOPOOL_H

#include <pthread.h>

#include "request.h"

enum lane {
	LANE_BOUNDED,
	LANE_UNBOUNDED,
	N_LANES,
};

struct iolane {
	struct iopool *pool;
	struct queue waiting;
	pthread_cond_t has_news;
	pthread_t *threads;
	unsigned n_threads, n_max;
	unsigned n_idle, n_waiting;
};

struct iopool {
	struct iolane lanes[N_LANES];
	pthread_mutex_t lock;
	struct queue finished;
	_Atomic bool has_finished; /* there are some; changed under the lock */
	bool is_asleep;            /* the loop wants to be woken */
	bool has_to_stop;
	bool is_made;
	unsigned n_out; /* requests that have been put and not been taken back; the loop's own */
	int wake_fd;    /* an eventfd */
};

/* 0 or -errno. Limits of 0 are the library's choice. */
int iou__iopool_init(struct iopool *pool, const unsigned n_max[N_LANES]);

/*
 * What waits is dropped, what workers are at is waited for, and to be taken as ever. From then on nothing must be put.
 */
void iou__iopool_stop(struct iopool *pool);

/* The same, for good. Takes half-made ones. */
void iou__iopool_destroy(struct iopool *pool);

/* In a forked child, where the threads are not. */
void iou__iopool_abandon(struct iopool *pool);

/*
 * Hand over a request. 0; -EBUSY: none is free, and those that there are may wait for ever, perhaps for what this one would
 * do; or the -errno with which no worker could be started, while none runs.
 */
int iou__iopool_put(struct iopool *pool, struct request *request);

enum withdrawal {
	IOPOOL_WITHDRAWN, /* no worker has begun: it is the loop's again */
	IOPOOL_LEFT, /* the worker has left off: it will be among the finished ones, and come to what it was told */
	IOPOOL_KEPT, /* a worker is at it, or has done it */
};

/*
 * Take back a request. A worker that is at it and listens is told this word (WORD_CANCEL and beyond), and waited for: it has
 * nothing left to do but to answer.
 */
enum withdrawal iou__iopool_withdraw(struct iopool *pool, struct request *request, uint32_t word);

/* The worker's: what it has been told to come to, and does from now on; WORD_NONE: nothing. */
uint32_t iou__iopool_leave_off(struct request *request);

/* All that are finished go to the end of the queue out; they count as a worker's until the caller says otherwise. */
void iou__iopool_take(struct iopool *pool, struct queue *out);

/* Whether there are such. */
static inline bool iou__iopool_has_finished(const struct iopool *pool)
{
	return atomic_load_explicit(&pool->has_finished, memory_order_relaxed);
}

/* From now on a worker that finishes makes wake_fd readable. False: some have finished already. */
bool iou__iopool_doze(struct iopool *pool);

/* The loop is awake, and wake_fd is not readable. */
void iou__iopool_rouse(struct iopool *pool);

#endif
