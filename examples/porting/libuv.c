/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An echo server with libuv: SIGINT ends it. */
#include <uv.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "listen.h"

struct connection {
	uv_tcp_t handle;
	uv_write_t request;
	char bytes[4096];
};

static void have_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void end(struct connection *connection)
{
	if (!uv_is_closing((uv_handle_t *)&connection->handle))
		uv_close((uv_handle_t *)&connection->handle, have_closed);
}

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	struct connection *connection = handle->data;

	(void)size;
	*buffer = uv_buf_init(connection->bytes, sizeof(connection->bytes));
}

static void have_received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

static void have_sent(uv_write_t *request, int status)
{
	struct connection *connection = request->data;

	if (status < 0 || uv_read_start((uv_stream_t *)&connection->handle, give_buffer, have_received) < 0)
		end(connection);
}

/* One buffer: nothing is read until it has been sent. */
static void have_received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;
	uv_buf_t answer = uv_buf_init(buffer->base, n > 0 ? (unsigned)n : 0);

	if (n == 0)
		return;
	uv_read_stop(stream);
	connection->request.data = connection;
	if (n < 0 || uv_write(&connection->request, stream, &answer, 1, have_sent) < 0)
		end(connection);
}

static void have_connected(uv_stream_t *server, int status)
{
	struct connection *connection = status < 0 ? NULL : calloc(1, sizeof(*connection));
	uv_stream_t *stream;

	if (!connection)
		return;
	stream = (uv_stream_t *)&connection->handle;
	uv_tcp_init(server->loop, &connection->handle);
	stream->data = connection;
	if (uv_accept(server, stream) < 0 || uv_read_start(stream, give_buffer, have_received) < 0)
		end(connection);
}

/* The handles that have data are those of connections. */
static void close_handle(uv_handle_t *handle, void *data)
{
	(void)data;
	if (handle->data)
		end(handle->data);
	else
		uv_close(handle, NULL);
}

static void interrupt(uv_signal_t *handle, int signal)
{
	(void)signal;
	uv_walk(handle->loop, close_handle, NULL);
}

static int run(uv_loop_t *loop, int fd)
{
	uv_tcp_t server = { .data = NULL };
	uv_signal_t signals = { .data = NULL };
	int r = uv_tcp_init(loop, &server);

	if (r == 0)
		r = uv_tcp_open(&server, fd);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&server, SOMAXCONN, have_connected);
	if (r == 0)
		r = uv_signal_init(loop, &signals);
	if (r == 0)
		r = uv_signal_start(&signals, interrupt, SIGINT);
	return r < 0 ? r : uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
	int fd = listen_on(argc > 1 ? atoi(argv[1]) : 0);
	uv_loop_t loop;
	int r = fd < 0 ? fd : uv_loop_init(&loop);

	if (r == 0) {
		r = run(&loop, fd);
		uv_loop_close(&loop);
	}
	if (r < 0)
		fprintf(stderr, "echo: %s\n", uv_strerror(r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
