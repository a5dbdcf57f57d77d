/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ev_async_send() makes one callback of several calls: a list tells of all posts. */
#include "posts.h"

#include <ev.h>
#include <stdlib.h>

struct ev {
	struct ev_loop *loop;
	ev_async async;
};

static void take(struct ev_loop *loop, ev_async *async, int events)
{
	posts_take(async->data);
}

static void *open_loop(struct posts *posts)
{
	struct ev *ev = bench_try_ptr(calloc(1, sizeof(*ev)), "calloc");

	ev->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (!ev->loop)
		bench_fail("ev_loop_new");
	ev_async_init(&ev->async, take);
	ev->async.data = posts;
	ev_async_start(ev->loop, &ev->async);
	return ev;
}

static void post_it(void *data, struct post *post)
{
	struct ev *ev = data;

	posts_push(post);
	ev_async_send(ev->loop, &ev->async);
}

static void turn(void *data, bool may_wait)
{
	const struct ev *ev = data;

	ev_run(ev->loop, may_wait ? EVRUN_ONCE : EVRUN_NOWAIT);
}

static void close_loop(void *data)
{
	struct ev *ev = data;

	ev_async_stop(ev->loop, &ev->async);
	ev_loop_destroy(ev->loop);
	free(ev);
}

void posts_libev(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
