/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workers: threads that are started as jobs come, take them in order, and hand them back through the mailbox.
 *
 * # The protocol
 *
 * A worker that finds no job looks again and again for a while (spin.h), and then sleeps. It counts itself in
 * `n_asleep` under the lock, looks for a job once more, and waits for a token. The loop puts a job and then reads
 * `n_asleep`; all of that is sequentially consistent, so either the worker sees the job, or the loop sees the worker.
 * Who wakes takes one off `n_asleep` and adds a token, so that one who has been woken counts as awake, though it is
 * not yet.
 *
 * The loop wakes one, with each job that it puts, if more jobs are unfinished than workers are awake. That is enough:
 * where there are not more, each job that nobody has taken has a worker that is awake and has no job, which goes on
 * looking; nobody falls asleep while there is such a job. So a job waits only where all workers are at work or awake,
 * one that is awake costs no system call, and many jobs do not wake more than there are jobs. That a job has been
 * finished is seen late at worst, and then one is woken for nothing.
 *
 * The lock guards n_tokens, has_to_stop, and changes of n_asleep; no callback runs under it. Workers are stopped by a
 * message and joined, never cancelled. All functions are for the loop thread.
 */
#ifndef IOU_LIB_ASYNC_H
#define IOU_LIB_ASYNC_H

#include <pthread.h>

#include "jobs.h"
#include "mailbox.h"
#include "spin.h"

struct worker {
	/* What it writes with each job. */
	_Alignas(CACHE_LINE) struct tally tally;
	struct job_reader reader;
	struct spin spin;
	/* What changes rarely. */
	_Alignas(CACHE_LINE) _Atomic int cpu; /* where it runs; ~ where it ran, as long as it sleeps */
	struct async *async;
	pthread_t thread;
};

struct async {
	struct ops *ops;
	struct mailbox *mailbox;
	size_t stack_size; /* 0: the system's default */
	uint32_t spin_ns;
	unsigned n_max;  /* 0: as many as there are CPUs, found out when the first one is needed */
	unsigned n_cpus; /* that we may use; 0: nobody has asked */
	unsigned n_workers;
	struct worker *workers;

	_Alignas(CACHE_LINE) struct jobs jobs; /* changes with each job */

	/* Written where somebody falls asleep or is woken, or the loop goes to another CPU. */
	_Alignas(CACHE_LINE) _Atomic unsigned n_asleep;
	_Atomic int loop_cpu;
	pthread_mutex_t lock;
	pthread_cond_t has_news;
	unsigned n_tokens;
	_Atomic bool has_to_stop;
};

void iou__async_init(struct async *async, struct ops *ops, struct mailbox *mailbox, unsigned n_max, size_t stack_size,
		     uint32_t spin_ns);

/* At most so many workers. */
unsigned iou__async_max(struct async *async);

/* Whether pthread_create() would take this stack size. */
bool iou__async_stack_size_is_valid(size_t stack_size);

/*
 * Hand an op with its job set to the workers; it becomes waiting. 0; or -ENOMEM, -EAGAIN: no worker runs and none
 * could be started, and the op is as it was.
 */
int iou__async_submit(struct async *async, struct op *op);

/* Take back a job that no worker has begun; it becomes completed. False: it is too late. */
bool iou__async_withdraw(struct async *async, struct op *op);

/* Whether jobs are out, with workers on other CPUs than the one that we are on, which they are told, and none on that. */
bool iou__async_is_elsewhere(struct async *async);

/* Stop and join. No job may be left. */
void iou__async_stop(struct async *async);

/* In a forked child, where the threads are not. */
void iou__async_abandon(struct async *async);

#endif
