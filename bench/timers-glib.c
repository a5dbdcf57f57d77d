/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sources with a time at which they are ready, as all timers of GLib are. Those that are ready in the same turn are
 * dispatched in the order in which they were attached, and a turn looks at each source that there is.
 */
#include "timers.h"

#include <glib.h>

/* Time is told in microseconds. */
#define RESOLUTION_NS 1e3

struct glib {
	struct timers *timers;
	GMainContext *context;
};

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	return callback(data);
}

static gboolean fired(gpointer timer)
{
	timers_fired(timer);
	return G_SOURCE_REMOVE;
}

static void *open_loop(struct timers *timers)
{
	struct glib *glib = g_new0(struct glib, 1);

	timers->resolution_ns = RESOLUTION_NS;
	timers->is_unordered = true;
	glib->timers = timers;
	glib->context = g_main_context_new();
	return glib;
}

static void arm(void *data)
{
	static GSourceFuncs functions = { .dispatch = dispatch };
	const struct glib *glib = data;
	gint64 base_us = g_get_monotonic_time();

	for (uint64_t i = 0; i < glib->timers->n; i++) {
		struct timer *timer = &glib->timers->timer[i];
		GSource *source = g_source_new(&functions, sizeof(*source));

		g_source_set_ready_time(source, base_us + timer->delay_us);
		g_source_set_callback(source, fired, timer, NULL);
		g_source_attach(source, glib->context);
		/* The context keeps it until it has fired. */
		g_source_unref(source);
		timer->handle = source;
		timers_armed(timer);
	}
}

static void fire(void *data)
{
	const struct glib *glib = data;

	while (glib->timers->n_armed > 0)
		g_main_context_iteration(glib->context, TRUE);
}

static void cancel(void *data)
{
	const struct glib *glib = data;

	for (uint64_t i = 0; i < glib->timers->n; i++) {
		g_source_destroy(glib->timers->timer[i].handle);
		timers_cancelled(&glib->timers->timer[i]);
	}
	bench_check(glib->timers->run, !g_main_context_pending(glib->context), "a timer is left");
}

static void close_loop(void *data)
{
	struct glib *glib = data;

	g_main_context_unref(glib->context);
	g_free(glib);
}

void timers_glib(struct bench_run *run)
{
	static const struct timers_loop loop = { open_loop, arm, fire, cancel, close_loop };

	timers_measure(run, &loop);
}
