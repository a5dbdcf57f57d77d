/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs.h"

#include <stdlib.h>
#include <uv.h>

static void check(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, uv_strerror(result));
}

static void work(uv_work_t *handle)
{
	jobs_work(handle->data);
}

static void done(uv_work_t *handle, int status)
{
	check(status, "uv_queue_work");
	jobs_done(handle->data);
}

static void *open_pool(struct job *jobs, unsigned n_jobs)
{
	uv_work_t *handles = bench_try_ptr(calloc(n_jobs, sizeof(*handles)), "calloc");
	uv_loop_t *loop = bench_try_ptr(malloc(sizeof(*loop)), "malloc");

	/* There is no other way to tell. */
	bench_try_errno(setenv("UV_THREADPOOL_SIZE", "1", 1), "setenv");
	check(uv_loop_init(loop), "uv_loop_init");
	for (unsigned i = 0; i < n_jobs; i++) {
		handles[i].data = &jobs[i];
		jobs[i].handle = &handles[i];
	}
	return loop;
}

static void queue(void *loop, struct job *job, bool is_again)
{
	check(uv_queue_work(loop, job->handle, work, done), "uv_queue_work");
}

static void run(void *loop, const struct jobs *jobs)
{
	uv_run(loop, UV_RUN_DEFAULT);
}

static void close_pool(void *loop, struct job *jobs, unsigned n_jobs)
{
	check(uv_loop_close(loop), "uv_loop_close");
	free(loop);
	free(jobs[0].handle);
}

void jobs_libuv(struct bench_run *bench_run)
{
	static const struct jobs_pool pool = { open_pool, queue, run, close_pool };

	jobs_measure(bench_run, &pool);
}
