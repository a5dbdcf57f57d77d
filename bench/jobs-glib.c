/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A GThreadPool, and a GAsyncQueue with a source of its own for the way back: an idle source for each job would cost
 * more. The worker wakes the loop for the first of those that it has not yet seen.
 */
#include "jobs.h"

#include <glib.h>

struct done_source {
	GSource source;
	GAsyncQueue *done;
};

struct glib_pool {
	GThreadPool *threads;
	GMainContext *context;
	struct done_source *source;
};

static gboolean is_something_done(const struct done_source *source)
{
	return g_async_queue_length(source->done) > 0;
}

static gboolean prepare(GSource *source, gint *timeout_ms)
{
	*timeout_ms = -1;
	return is_something_done((struct done_source *)source);
}

static gboolean check(GSource *source)
{
	return is_something_done((struct done_source *)source);
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	GAsyncQueue *done = ((struct done_source *)source)->done;
	/* Only what is there now: jobs that are queued from here may be done before this ends. */
	gint n = g_async_queue_length(done);

	for (; n > 0; n--)
		jobs_done(g_async_queue_pop(done));
	return G_SOURCE_CONTINUE;
}

static void work(gpointer job, gpointer data)
{
	struct glib_pool *pool = data;
	GAsyncQueue *done = pool->source->done;
	gint n_done;

	jobs_work(job);
	g_async_queue_lock(done);
	g_async_queue_push_unlocked(done, job);
	n_done = g_async_queue_length_unlocked(done);
	g_async_queue_unlock(done);
	if (n_done == 1)
		g_main_context_wakeup(pool->context);
}

static struct done_source *source_new(GMainContext *context)
{
	static GSourceFuncs functions = { .prepare = prepare, .check = check, .dispatch = dispatch };
	struct done_source *source = (struct done_source *)g_source_new(&functions, sizeof(*source));

	source->done = g_async_queue_new();
	g_source_attach(&source->source, context);
	return source;
}

static void *open_pool(struct job *jobs, unsigned n_jobs)
{
	struct glib_pool *pool = g_new0(struct glib_pool, 1);

	pool->context = g_main_context_new();
	pool->source = source_new(pool->context);
	pool->threads = g_thread_pool_new(work, pool, 1, TRUE, NULL);
	if (!pool->threads)
		bench_fail("g_thread_pool_new");
	return pool;
}

static void queue(void *data, struct job *job, bool is_again)
{
	struct glib_pool *pool = data;

	if (!g_thread_pool_push(pool->threads, job, NULL))
		bench_fail("g_thread_pool_push");
}

static void loop(void *data, const struct jobs *jobs)
{
	struct glib_pool *pool = data;

	while (jobs_are_pending(jobs))
		g_main_context_iteration(pool->context, TRUE);
}

static void close_pool(void *data, struct job *jobs, unsigned n_jobs)
{
	struct glib_pool *pool = data;

	g_thread_pool_free(pool->threads, FALSE, TRUE);
	g_async_queue_unref(pool->source->done);
	g_source_destroy(&pool->source->source);
	g_source_unref(&pool->source->source);
	g_main_context_unref(pool->context);
	g_free(pool);
}

void jobs_glib(struct bench_run *run)
{
	static const struct jobs_pool pool = { open_pool, queue, loop, close_pool };

	jobs_measure(run, &pool);
}
