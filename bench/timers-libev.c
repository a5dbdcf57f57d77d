/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timers.h"

#include <ev.h>
#include <stdlib.h>

/* Of a floating point number of seconds. */
#define RESOLUTION_NS 1e3

struct ev {
	struct timers *timers;
	struct ev_loop *loop;
	ev_timer *handles;
};

static void fired(struct ev_loop *loop, ev_timer *handle, int events)
{
	timers_fired(handle->data);
}

static void *open_loop(struct timers *timers)
{
	struct ev *ev = bench_try_ptr(calloc(1, sizeof(*ev)), "calloc");

	timers->resolution_ns = RESOLUTION_NS;
	ev->timers = timers;
	ev->handles = bench_try_ptr(calloc(timers->n, sizeof(*ev->handles)), "calloc");
	ev->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (!ev->loop)
		bench_fail("ev_loop_new");
	return ev;
}

static void arm(void *data)
{
	const struct ev *ev = data;

	ev_now_update(ev->loop);
	for (uint64_t i = 0; i < ev->timers->n; i++) {
		struct timer *timer = &ev->timers->timer[i];

		ev_timer_init(&ev->handles[i], fired, timer->delay_us / 1e6, 0);
		ev->handles[i].data = timer;
		ev_timer_start(ev->loop, &ev->handles[i]);
		timers_armed(timer);
	}
}

static void fire(void *data)
{
	const struct ev *ev = data;

	ev_run(ev->loop, 0);
}

static void cancel(void *data)
{
	const struct ev *ev = data;

	for (uint64_t i = 0; i < ev->timers->n; i++) {
		ev_timer_stop(ev->loop, &ev->handles[i]);
		timers_cancelled(&ev->timers->timer[i]);
	}
	bench_check(ev->timers->run, !ev_run(ev->loop, EVRUN_NOWAIT), "a timer is left");
}

static void close_loop(void *data)
{
	struct ev *ev = data;

	ev_loop_destroy(ev->loop);
	free(ev->handles);
	free(ev);
}

void timers_libev(struct bench_run *run)
{
	static const struct timers_loop loop = { open_loop, arm, fire, cancel, close_loop };

	timers_measure(run, &loop);
}
