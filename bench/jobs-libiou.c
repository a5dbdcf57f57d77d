/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs.h"

#define ENTRIES 64

static int work(void *data)
{
	jobs_work(data);
	return 0;
}

static int done(void *data)
{
	jobs_done(data);
	return 0;
}

static void *open_pool(struct job *jobs, unsigned n_jobs)
{
	const iou_config_t config = { .size = sizeof(config), .entries = ENTRIES, .workers = 1 };

	return bench_try_ptr(iou_new_with(&config), "iou_new_with");
}

static void queue(void *iou, struct job *job, bool is_again)
{
	if (!is_again)
		job->handle = bench_op_new(iou);
	bench_try(iou_op_async(iou, job->handle, work, job, done, job), "iou_op_async");
}

static void loop(void *iou, const struct jobs *jobs)
{
	bench_try(iou_run(iou), "iou_run");
}

static void close_pool(void *iou, struct job *jobs, unsigned n_jobs)
{
	iou_free(iou);
}

void jobs_libiou(struct bench_run *run)
{
	static const struct jobs_pool pool = { open_pool, queue, loop, close_pool };

	jobs_measure(run, &pool);
}
