/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef JOBS_H
#define JOBS_H

#include "bench.h"

struct jobs;

/* No two on the same cache line. */
struct job {
	_Alignas(128) struct jobs *jobs;
	/* Jobs are numbered as they are queued. */
	uint64_t number;
	uint64_t input;
	uint64_t output;
	double queued_ns;
	double ended_ns;
	/* What an implementation needs for one. */
	void *handle;
};

/* An implementation has one worker thread. */
struct jobs_pool {
	/* Returns what the others get; jobs get their handles here. */
	void *(*open)(struct job *jobs, unsigned n_jobs);
	/*
	 * Have jobs_work() called on the worker, then jobs_done() on the loop; is_again: from the latter, for the same
	 * job.
	 */
	void (*queue)(void *pool, struct job *job, bool is_again);
	/* Run the loop until no job is pending. */
	void (*loop)(void *pool, const struct jobs *jobs);
	void (*close)(void *pool, struct job *jobs, unsigned n_jobs);
};

void jobs_work(struct job *job);
void jobs_done(struct job *job);
bool jobs_are_pending(const struct jobs *jobs);

void jobs_measure(struct bench_run *run, const struct jobs_pool *pool);

void jobs_libiou(struct bench_run *run);
void jobs_spin(struct bench_run *run);
void jobs_libuv(struct bench_run *run);
void jobs_glib(struct bench_run *run);

#endif
