/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An event that is made active twice is called once: a list tells of all posts. */
#include "posts.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <stdlib.h>

struct libevent {
	struct event_base *base;
	struct event *event;
};

static void take(evutil_socket_t fd, short what, void *posts)
{
	posts_take(posts);
}

static void *open_loop(struct posts *posts)
{
	struct libevent *libevent = bench_try_ptr(calloc(1, sizeof(*libevent)), "calloc");

	if (evthread_use_pthreads())
		bench_fail("evthread_use_pthreads");
	libevent->base = event_base_new();
	if (!libevent->base)
		bench_fail("event_base_new");
	libevent->event = event_new(libevent->base, -1, EV_PERSIST, take, posts);
	if (!libevent->event)
		bench_fail("event_new");
	return libevent;
}

static void post_it(void *data, struct post *post)
{
	const struct libevent *libevent = data;

	posts_push(post);
	event_active(libevent->event, EV_READ, 0);
}

static void turn(void *data, bool may_wait)
{
	const struct libevent *libevent = data;
	int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (may_wait ? 0 : EVLOOP_NONBLOCK);

	if (event_base_loop(libevent->base, flags) < 0)
		bench_fail("event_base_loop");
}

static void close_loop(void *data)
{
	struct libevent *libevent = data;

	event_free(libevent->event);
	event_base_free(libevent->base);
	libevent_global_shutdown();
	free(libevent);
}

void posts_libevent(struct bench_run *run)
{
	static const struct posts_loop loop = { open_loop, post_it, turn, close_loop };

	posts_measure(run, &loop);
}
