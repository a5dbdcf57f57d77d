/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "async.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpus.h"

void iou__async_init(struct async *async, struct ops *ops, struct mailbox *mailbox, unsigned n_max, size_t stack_size,
		     uint32_t spin_ns)
{
	*async = (struct async){
		.ops = ops, .mailbox = mailbox, .n_max = n_max, .stack_size = stack_size, .spin_ns = spin_ns
	};
	atomic_init(&async->loop_cpu, -1);
	pthread_mutex_init(&async->lock, NULL);
	pthread_cond_init(&async->has_news, NULL);
}

static unsigned n_cpus(struct async *async)
{
	if (!async->n_cpus)
		async->n_cpus = iou__cpus();
	return async->n_cpus;
}

unsigned iou__async_max(struct async *async)
{
	if (!async->n_max)
		async->n_max = n_cpus(async);
	return async->n_max;
}

bool iou__async_stack_size_is_valid(size_t stack_size)
{
	return stack_size == 0 || stack_size >= (size_t)PTHREAD_STACK_MIN;
}

/* A worker's life. */

/* Where we are. */
static int tell_cpu(_Atomic int *cpu)
{
	int now = sched_getcpu();

	if (atomic_load_explicit(cpu, memory_order_relaxed) != now)
		atomic_store_explicit(cpu, now, memory_order_relaxed);
	return now;
}

static bool is_loop_elsewhere(const struct worker *worker)
{
	return atomic_load_explicit(&worker->async->loop_cpu, memory_order_relaxed) != sched_getcpu() &&
	       !atomic_load_explicit(&worker->async->has_to_stop, memory_order_relaxed);
}

/* Under the lock: it is somebody else who makes us count as awake. */
static void wait_for_token(struct worker *worker)
{
	struct async *async = worker->async;
	int cpu = sched_getcpu();

	atomic_store_explicit(&worker->cpu, ~cpu, memory_order_relaxed);
	while (!async->n_tokens)
		pthread_cond_wait(&async->has_news, &async->lock);
	async->n_tokens--;
	tell_cpu(&worker->cpu);
}

static bool sleep_for_job(struct worker *worker, struct claimed_job *job)
{
	struct async *async = worker->async;
	bool has_job = false;

	pthread_mutex_lock(&async->lock);
	for (;;) {
		atomic_fetch_add(&async->n_asleep, 1);
		has_job = iou__jobs_take(&worker->reader, job);
		if (has_job || async->has_to_stop) {
			atomic_fetch_sub(&async->n_asleep, 1);
			break;
		}
		wait_for_token(worker);
		has_job = iou__jobs_take(&worker->reader, job);
		if (has_job)
			break;
	}
	pthread_mutex_unlock(&async->lock);
	return has_job;
}

/* Wait for a job and take it. False: stop. */
static bool claim(struct worker *worker, struct claimed_job *job)
{
	struct spin *spin = &worker->spin;
	bool has_job = iou__jobs_take(&worker->reader, job);

	if (has_job)
		return true;
	iou__spin_begin(spin);
	while (!has_job && is_loop_elsewhere(worker) && iou__spin_goes_on(spin))
		has_job = iou__jobs_take(&worker->reader, job);
	if (!has_job)
		has_job = sleep_for_job(worker, job);
	iou__spin_end(spin, has_job);
	return has_job;
}

/* Once it is in the mailbox the op is the loop's. Where the result is the usual one its lines are left where they are. */
static void carry_out(struct worker *worker, const struct claimed_job *job)
{
	iou__tally_begin(&worker->tally);

	int result = job->work(job->work_data);

	if (result)
		job->op->job.result = result;
	iou__tally_finish(&worker->tally);
	iou__mailbox_put(worker->async->mailbox, &job->op->task);
}

static void *work(void *data)
{
	struct worker *worker = data;
	struct claimed_job job;

	pthread_setname_np(pthread_self(), "iou-worker");
	for (tell_cpu(&worker->cpu); claim(worker, &job); tell_cpu(&worker->cpu))
		carry_out(worker, &job);
	return NULL;
}

/* The loop's side. */

/* Signals are the program's: a worker is born with all of them blocked. */
static int create_thread(const struct async *async, struct worker *worker)
{
	pthread_attr_t attr;
	sigset_t all, old;

	pthread_attr_init(&attr);
	if (async->stack_size)
		pthread_attr_setstacksize(&attr, async->stack_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);

	int r = pthread_create(&worker->thread, &attr, work, worker);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Nobody spins where one CPU is all that we have, or all that we have a share of. */
static int make_workers(struct async *async)
{
	size_t size = iou__async_max(async) * sizeof(struct worker);

	async->workers = aligned_alloc(_Alignof(struct worker), size);
	if (async->spin_ns && n_cpus(async) == 1)
		async->spin_ns = 0;
	return async->workers ? 0 : -ENOMEM;
}

static int start_worker(struct async *async)
{
	if (!async->workers && make_workers(async) < 0)
		return -ENOMEM;

	struct worker *worker = &async->workers[async->n_workers];

	*worker = (struct worker){ .reader = iou__jobs_read(&async->jobs), .async = async };
	worker->spin.max_ns = async->spin_ns;
	tell_cpu(&async->loop_cpu);

	int r = create_thread(async, worker);

	if (r < 0)
		return r;
	iou__ops_add_tally(async->ops, &worker->tally);
	async->n_workers++;
	return 0;
}

/* Whether n is less than the unfinished jobs. All jobs, of which we know without asking the workers, are not fewer. */
static bool is_too_few(const struct async *async, unsigned n)
{
	return n < async->ops->n_jobs && n < iou__ops_n_unfinished(async->ops);
}

/* Before another one is put. Whoever is not at work does for one. */
static bool needs_worker(struct async *async)
{
	return async->n_workers < iou__async_max(async) &&
	       (!async->n_workers || is_too_few(async, async->n_workers - 1));
}

static void wake(struct async *async, unsigned n)
{
	pthread_mutex_lock(&async->lock);
	if (n > atomic_load(&async->n_asleep))
		n = atomic_load(&async->n_asleep);
	atomic_fetch_sub(&async->n_asleep, n);
	async->n_tokens += n;
	if (n == 1)
		pthread_cond_signal(&async->has_news);
	else if (n)
		pthread_cond_broadcast(&async->has_news);
	pthread_mutex_unlock(&async->lock);
}

int iou__async_submit(struct async *async, struct op *op)
{
	int r = iou__jobs_make_room(&async->jobs);

	if (r < 0)
		return r;
	r = needs_worker(async) ? start_worker(async) : 0;
	if (!async->n_workers)
		return r;
	iou__ops_move(async->ops, op, iou__op_state(op), OP_WAITING);
	iou__jobs_put(&async->jobs, op);

	unsigned n_asleep = atomic_load(&async->n_asleep);

	if (n_asleep && is_too_few(async, async->n_workers - n_asleep))
		wake(async, 1);
	return 0;
}

bool iou__async_withdraw(struct async *async, struct op *op)
{
	if (!iou__op_is(op, 1U << OP_WAITING) || !iou__jobs_withdraw(op))
		return false;
	iou__ops_move(async->ops, op, OP_WAITING, OP_COMPLETED);
	return true;
}

/* Of those that sleep (~cpu) one may have been woken, and comes back to where it was. */
bool iou__async_is_elsewhere(struct async *async)
{
	bool is_elsewhere = false;

	if (!async->ops->n_jobs)
		return false;

	int here = tell_cpu(&async->loop_cpu);

	for (unsigned i = 0; i < async->n_workers; i++) {
		int cpu = atomic_load_explicit(&async->workers[i].cpu, memory_order_relaxed);

		if (cpu == here)
			return false;
		is_elsewhere |= ~cpu != here;
	}
	return is_elsewhere;
}

void iou__async_stop(struct async *async)
{
	pthread_mutex_lock(&async->lock);
	atomic_store(&async->has_to_stop, true);
	pthread_mutex_unlock(&async->lock);
	wake(async, async->n_workers);
	for (unsigned i = 0; i < async->n_workers; i++)
		pthread_join(async->workers[i].thread, NULL);
	iou__ops_end_tallies(async->ops);
	iou__async_abandon(async);
	pthread_cond_destroy(&async->has_news);
	pthread_mutex_destroy(&async->lock);
}

void iou__async_abandon(struct async *async)
{
	free(async->workers);
	iou__jobs_destroy(&async->jobs);
}
