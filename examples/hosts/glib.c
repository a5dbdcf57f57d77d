/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * glib: libiou in a GMainLoop, as a GSource. It flushes before the loop polls (prepare), and takes a turn that does
 * not wait when iou_fd() is readable (dispatch). Its callback is told how each turn ended. Destroy the source before
 * iou_free().
 */
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

typedef gboolean turn_func(int result, gpointer data);

/* The first part is GLib's. */
struct source {
	GSource base;
	iou_t *iou;
	gpointer tag;
	int error; /* of the last flush */
};

struct host {
	iou_t *iou;
	GMainLoop *loop;
	struct guest guest;
	int error;
};

static gboolean prepare(GSource *base, gint *timeout)
{
	struct source *source = (struct source *)base;

	*timeout = -1;
	source->error = iou_flush(source->iou);
	return source->error < 0;
}

static gboolean check(GSource *base)
{
	const struct source *source = (struct source *)base;

	return source->error < 0 || g_source_query_unix_fd(base, source->tag) != 0;
}

static gboolean dispatch(GSource *base, GSourceFunc callback, gpointer data)
{
	const struct timespec now = { 0 };
	const struct source *source = (struct source *)base;
	int r = source->error < 0 ? source->error : iou_run_once(source->iou, &now);

	return callback ? ((turn_func *)(void (*)(void))callback)(r, data) : G_SOURCE_CONTINUE;
}

static GSourceFuncs functions = { .prepare = prepare, .check = check, .dispatch = dispatch };

static GSource *source_new(iou_t *iou)
{
	int fd = iou_fd(iou);
	GSource *base;

	if (fd < 0)
		return NULL;
	base = g_source_new(&functions, sizeof(struct source));
	((struct source *)base)->iou = iou;
	((struct source *)base)->tag = g_source_add_unix_fd(base, fd, G_IO_IN);
	return base;
}

static void stop(struct host *host, int error)
{
	host->error = error;
	g_main_loop_quit(host->loop);
}

/* A callback's error is told once. A ring that has failed for good does not flush either. */
static gboolean on_turn(int result, gpointer data)
{
	struct host *host = data;

	if (result < 0)
		printf("the host is told: %s\n", strerror(-result));
	if (result < 0 && iou_flush(host->iou) < 0)
		stop(host, result);
	else if (iou_pending(host->iou) == 0)
		stop(host, 0);
	return G_SOURCE_CONTINUE;
}

/* The host's own timer: it starts the guest, outside of libiou's callbacks. */
static gboolean on_timer(gpointer data)
{
	struct host *host = data;
	int r;

	printf("the host's timer\n");
	r = guest_start(&host->guest, host->iou);
	if (r < 0)
		stop(host, r);
	return G_SOURCE_REMOVE;
}

static void run(struct host *host, GSource *source)
{
	host->loop = g_main_loop_new(NULL, FALSE);
	g_source_set_callback(source, G_SOURCE_FUNC(on_turn), host, NULL);
	g_source_attach(source, NULL);
	g_timeout_add(1, on_timer, host);
	g_main_loop_run(host->loop);
	g_source_destroy(source);
	g_source_unref(source);
	g_main_loop_unref(host->loop);
}

int main(void)
{
	struct host host = { .iou = iou_new(8), .guest.pipe = { -1, -1 }, .error = -ENOMEM };
	GSource *source = host.iou ? source_new(host.iou) : NULL;

	if (source)
		run(&host, source);
	iou_free(host.iou);
	guest_end(&host.guest);
	if (host.error < 0)
		fprintf(stderr, "glib: %s\n", strerror(-host.error));
	return host.error < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
