/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One buffer for all connections: a message is answered before the next is read. */
#include "echo.h"

#include <stdlib.h>
#include <uv.h>

static void check(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, uv_strerror(result));
}

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	static char message[ECHO_SIZE];

	*buffer = uv_buf_init(message, sizeof(message));
}

static void reply(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	if (n == UV_EOF) {
		uv_close((uv_handle_t *)stream, NULL);
		return;
	}
	if (n == 0)
		return;
	check((int)n, "uv_read");
	if (n != ECHO_SIZE || uv_try_write(stream, buffer, 1) != ECHO_SIZE)
		bench_fail("uv_try_write: not a whole message");
}

static void serve(const int *fds, unsigned n_fds)
{
	uv_tcp_t *handles = bench_try_ptr(calloc(n_fds, sizeof(*handles)), "calloc");
	uv_loop_t loop;

	check(uv_loop_init(&loop), "uv_loop_init");
	for (unsigned i = 0; i < n_fds; i++) {
		check(uv_tcp_init(&loop, &handles[i]), "uv_tcp_init");
		check(uv_tcp_open(&handles[i], fds[i]), "uv_tcp_open");
		check(uv_read_start((uv_stream_t *)&handles[i], give_buffer, reply), "uv_read_start");
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	check(uv_loop_close(&loop), "uv_loop_close");
	free(handles);
}

void echo_libuv(struct bench_run *run)
{
	echo_measure(run, serve);
}
