/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* g_main_context_invoke(): from another thread than the owner's that is an idle source for each post. */
#include "posts.h"

#include <glib.h>

static gboolean arrived(gpointer post)
{
	posts_arrived(post);
	return G_SOURCE_REMOVE;
}

static void *open_loop(struct posts *posts)
{
	GMainContext *context = g_main_context_new();

	/* Else a call between two turns would run the function in the calling thread. */
	if (!g_main_context_acquire(context))
		bench_fail("g_main_context_acquire");
	return context;
}

static void post_it(void *context, struct post *post)
{
	g_main_context_invoke(context, arrived, post);
}

static void turn(void *context, bool may_wait)
{
	g_main_context_iteration(context, may_wait);
}

static void close_loop(void *context)
{
	g_main_context_release(context);
	g_main_context_unref(context);
}

void posts_glib(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
