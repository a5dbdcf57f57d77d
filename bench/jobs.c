/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * jobs: work that is handed to one worker thread and comes back to the loop. param jobs are outstanding, the worker is
 * on another CPU than the loop or on the same. A job is a few instructions: what is measured is the way there and back.
 *
 * "parked": jobs that take 5 ms, so that the loop has gone to sleep meanwhile; the time from the end of a job to its
 * callback.
 */
#include "jobs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PARKED 0U
#define SAME_CPU 0x10000U
#define LONG_JOB_NS 5e6

struct jobs {
	struct bench_run *run;
	const struct jobs_pool *pool;
	void *handle;
	struct job *job;
	unsigned n_jobs;
	bool is_timed;
	bool is_long;
	unsigned worker_cpu;
	/* CPU time that long jobs used themselves. */
	double burnt_ns;
	/* The worker reads what is above with each job, and the loop writes this: not on the same cache line. */
	_Alignas(128) uint64_t n_left;
	uint64_t n_queued;
	uint64_t n_done;
	double *times;
};

bool jobs_are_pending(const struct jobs *jobs)
{
	return jobs->n_done < jobs->n_queued;
}

static uint64_t result_of(uint64_t input)
{
	return bench_random(&input);
}

static double thread_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void burn(struct jobs *jobs)
{
	double end = bench_now_ns() + LONG_JOB_NS;

	jobs->burnt_ns -= thread_cpu_ns();
	while (bench_now_ns() < end)
		continue;
	jobs->burnt_ns += thread_cpu_ns();
}

void jobs_work(struct job *job)
{
	/* The first of all, which is not measured. */
	if (job->number == 0)
		bench_pin(job->jobs->worker_cpu);
	job->output = result_of(job->input);
	if (job->jobs->is_long)
		burn(job->jobs);
	if (job->jobs->is_timed)
		job->ended_ns = bench_now_ns();
}

static void queue(struct jobs *jobs, struct job *job, bool is_again)
{
	jobs->n_left--;
	job->number = jobs->n_queued++;
	job->input = job->number + 1;
	job->output = 0;
	if (jobs->is_timed)
		job->queued_ns = bench_now_ns();
	jobs->pool->queue(jobs->handle, job, is_again);
}

/* One worker: jobs come back in the order in which they were queued. */
void jobs_done(struct job *job)
{
	struct jobs *jobs = job->jobs;

	if (jobs->is_timed)
		jobs->times[job->number] = bench_now_ns() - (jobs->is_long ? job->ended_ns : job->queued_ns);
	bench_check(jobs->run, job->number == jobs->n_done, "a job is lost, done twice, or out of order");
	bench_check(jobs->run, job->output == result_of(job->number + 1), "result of a job");
	jobs->n_done++;
	if (jobs->n_left > 0)
		queue(jobs, job, true);
}

static void run_jobs(struct jobs *jobs, uint64_t n)
{
	uint64_t n_before = jobs->n_done;

	jobs->n_left = n;
	for (unsigned i = 0; i < jobs->n_jobs && jobs->n_left > 0; i++)
		queue(jobs, &jobs->job[i], false);
	jobs->pool->loop(jobs->handle, jobs);
	bench_check(jobs->run, jobs->n_done - n_before == n, "number of jobs");
}

static void report(const struct jobs *jobs, struct bench_run *run)
{
	double p50;

	if (!jobs->is_timed)
		return;
	/* Without the one that is not measured. */
	p50 = bench_percentile(jobs->times + 1, run->n, 0.5);
	bench_also(run, "p50_ns", p50);
	bench_also(run, "p99_ns", bench_percentile(jobs->times + 1, run->n, 0.99));
	if (!jobs->is_long)
		return;
	/* What the jobs themselves used says nothing. */
	run->cpu_ns -= jobs->burnt_ns;
	bench_set(run, p50, "ns", true);
}

void jobs_measure(struct bench_run *run, const struct jobs_pool *pool)
{
	struct jobs jobs = { .run = run, .pool = pool };

	jobs.is_long = run->param == PARKED;
	jobs.n_jobs = jobs.is_long ? 1 : run->param & ~SAME_CPU;
	jobs.is_timed = jobs.n_jobs == 1;
	jobs.worker_cpu = run->param & SAME_CPU ? 0 : 1;
	jobs.times = bench_try_ptr(calloc(run->n + 1, sizeof(*jobs.times)), "calloc");
	jobs.job = bench_try_ptr(aligned_alloc(_Alignof(struct job), jobs.n_jobs * sizeof(*jobs.job)), "aligned_alloc");
	memset(jobs.job, 0, jobs.n_jobs * sizeof(*jobs.job));
	for (unsigned i = 0; i < jobs.n_jobs; i++)
		jobs.job[i].jobs = &jobs;
	jobs.handle = pool->open(jobs.job, jobs.n_jobs);
	run_jobs(&jobs, 1);
	/* Only now, as the worker could not leave a CPU that it was born to. */
	bench_pin(0);
	jobs.burnt_ns = 0;
	bench_begin(run);
	run_jobs(&jobs, run->n);
	bench_end(run);
	report(&jobs, run);
	pool->close(jobs.handle, jobs.job, jobs.n_jobs);
	free(jobs.job);
	free(jobs.times);
}

#define CASES(impl, run)                                                                                        \
	{ impl, 1, 20000, run }, { impl, 64, 1000000, run }, { impl, 1024, 1000000, run },                      \
		{ impl, SAME_CPU | 1, 50000, run, "1-same" }, { impl, SAME_CPU | 64, 1000000, run, "64-same" }, \
		{ impl, SAME_CPU | 1024, 1000000, run, "1024-same" },                                           \
	{                                                                                                       \
		impl, PARKED, 100, run, "parked"                                                                \
	}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		CASES("libiou", jobs_libiou),
		{ "spin", 1, 20000, jobs_spin },
		{ "spin", 64, 1000000, jobs_spin },
		{ "spin", 1024, 1000000, jobs_spin },
#ifdef HAVE_LIBUV
		CASES("libuv", jobs_libuv),
#endif
#ifdef HAVE_GLIB
		CASES("glib", jobs_glib),
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "jobs", cases);
}
