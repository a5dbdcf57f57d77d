/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "create.h"

#include <uv.h>

static void ignore(uv_async_t *async)
{
	(void)async;
}

/* With a handle by which other threads can wake it, as an instance of libiou has. */
static void loop(struct bench_run *run)
{
	uv_loop_t made;
	uv_async_t async;

	bench_try(uv_loop_init(&made), "uv_loop_init");
	bench_try(uv_async_init(&made, &async, ignore), "uv_async_init");
	uv_close((uv_handle_t *)&async, NULL);
	uv_run(&made, UV_RUN_DEFAULT);
	bench_check(run, uv_loop_close(&made) == 0, "uv_loop_close");
}

void create_libuv(struct bench_run *run)
{
	create(run, loop);
}
