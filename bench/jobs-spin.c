/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No library: the loop and one worker, which can do nothing else nor sleep, look again and again at the place where the
 * other puts the next job. There could be more workers, so each job is claimed by an atomic operation. What is possible.
 */
#include "jobs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* No fewer than jobs, so that nobody has to wait for room. */
#define N_PLACES 1024

struct way {
	_Alignas(128) _Atomic(struct job *) places[N_PLACES];
	_Alignas(128) unsigned n_put;
	_Alignas(128) unsigned n_taken;
};

struct pool {
	struct way there, back;
	pthread_t worker;
};

static struct job last;

static void put(struct way *way, struct job *job)
{
	atomic_store_explicit(&way->places[way->n_put++ % N_PLACES], job, memory_order_release);
}

/* Or NULL. */
static struct job *take(struct way *way)
{
	_Atomic(struct job *) *place = &way->places[way->n_taken % N_PLACES];

	if (!atomic_load_explicit(place, memory_order_relaxed))
		return NULL;
	way->n_taken++;
	return atomic_exchange_explicit(place, NULL, memory_order_acquire);
}

static void *work(void *data)
{
	struct pool *pool = data;
	struct job *job;

	while ((job = take(&pool->there)) != &last) {
		if (!job)
			continue;
		jobs_work(job);
		put(&pool->back, job);
	}
	return NULL;
}

static void *open_pool(struct job *jobs, unsigned n_jobs)
{
	struct pool *pool = bench_try_ptr(aligned_alloc(_Alignof(struct pool), sizeof(*pool)), "aligned_alloc");

	memset(pool, 0, sizeof(*pool));
	bench_try(-pthread_create(&pool->worker, NULL, work, pool), "pthread_create");
	return pool;
}

static void queue(void *data, struct job *job, bool is_again)
{
	struct pool *pool = data;

	put(&pool->there, job);
}

static void loop(void *data, const struct jobs *jobs)
{
	struct pool *pool = data;

	while (jobs_are_pending(jobs)) {
		struct job *job = take(&pool->back);

		if (job)
			jobs_done(job);
	}
}

static void close_pool(void *data, struct job *jobs, unsigned n_jobs)
{
	struct pool *pool = data;

	put(&pool->there, &last);
	bench_try(-pthread_join(pool->worker, NULL), "pthread_join");
	free(pool);
}

void jobs_spin(struct bench_run *run)
{
	static const struct jobs_pool pool = { open_pool, queue, loop, close_pool };

	jobs_measure(run, &pool);
}
