/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "echo.h"

#include <gio/gio.h>

struct server {
	GMainLoop *loop;
	unsigned n_open;
};

static gboolean reply(GSocket *socket, GIOCondition condition, gpointer data)
{
	struct server *server = data;
	char message[ECHO_SIZE];
	GError *error = NULL;
	gssize n = g_socket_receive(socket, message, sizeof(message), NULL, &error);

	if (n == 0) {
		if (--server->n_open == 0)
			g_main_loop_quit(server->loop);
		g_socket_close(socket, NULL);
		return G_SOURCE_REMOVE;
	}
	if (n == ECHO_SIZE)
		n = g_socket_send(socket, message, sizeof(message), NULL, &error);
	if (n != ECHO_SIZE)
		bench_fail("g_socket: %s", error ? error->message : "not a whole message");
	return G_SOURCE_CONTINUE;
}

static void add(struct server *server, GMainContext *context, int fd)
{
	GError *error = NULL;
	GSocket *socket = g_socket_new_from_fd(fd, &error);
	GSource *source;

	if (!socket)
		bench_fail("g_socket_new_from_fd: %s", error->message);
	g_socket_set_blocking(socket, FALSE);
	source = g_socket_create_source(socket, G_IO_IN, NULL);
	g_source_set_callback(source, G_SOURCE_FUNC(reply), server, NULL);
	g_source_attach(source, context);
	/* The source keeps the socket, the context the source. */
	g_source_unref(source);
	g_object_unref(socket);
}

static void serve(const int *fds, unsigned n_fds)
{
	GMainContext *context = g_main_context_new();
	struct server server = { g_main_loop_new(context, FALSE), n_fds };

	for (unsigned i = 0; i < n_fds; i++)
		add(&server, context, fds[i]);
	g_main_loop_run(server.loop);
	g_main_loop_unref(server.loop);
	g_main_context_unref(context);
}

void echo_glib(struct bench_run *run)
{
	echo_measure(run, serve);
}
