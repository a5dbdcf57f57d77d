/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uv_async_send() makes one callback of several calls: a list tells of all posts. */
#include "posts.h"

#include <stdlib.h>
#include <uv.h>

struct uv {
	uv_loop_t loop;
	uv_async_t async;
};

static void check(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, uv_strerror(result));
}

static void take(uv_async_t *async)
{
	posts_take(async->data);
}

static void *open_loop(struct posts *posts)
{
	struct uv *uv = bench_try_ptr(calloc(1, sizeof(*uv)), "calloc");

	check(uv_loop_init(&uv->loop), "uv_loop_init");
	check(uv_async_init(&uv->loop, &uv->async, take), "uv_async_init");
	uv->async.data = posts;
	return uv;
}

static void post_it(void *data, struct post *post)
{
	struct uv *uv = data;

	posts_push(post);
	check(uv_async_send(&uv->async), "uv_async_send");
}

static void turn(void *data, bool may_wait)
{
	struct uv *uv = data;

	uv_run(&uv->loop, may_wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

static void close_loop(void *data)
{
	struct uv *uv = data;

	uv_close((uv_handle_t *)&uv->async, NULL);
	uv_run(&uv->loop, UV_RUN_DEFAULT);
	check(uv_loop_close(&uv->loop), "uv_loop_close");
	free(uv);
}

void posts_libuv(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
