/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timers are armed from a callback, in which time stands still: else each would look at the clock. */
#include "timers.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

/* Time is told in microseconds. */
#define RESOLUTION_NS 1e3

struct libevent {
	struct timers *timers;
	struct event_base *base;
	struct event *events;
};

static void fired(evutil_socket_t fd, short what, void *timer)
{
	timers_fired(timer);
}

static void *open_loop(struct timers *timers)
{
	struct libevent *libevent = bench_try_ptr(calloc(1, sizeof(*libevent)), "calloc");

	libevent->timers = timers;
	libevent->events = bench_try_ptr(calloc(timers->n, sizeof(*libevent->events)), "calloc");
	libevent->base = event_base_new();
	if (!libevent->base)
		bench_fail("event_base_new");
	return libevent;
}

static void arm_one(const struct libevent *libevent, uint64_t i)
{
	struct timer *timer = &libevent->timers->timer[i];
	const struct timeval delay = { timer->delay_us / 1000000, timer->delay_us % 1000000 };

	if (evtimer_assign(&libevent->events[i], libevent->base, fired, timer) ||
	    evtimer_add(&libevent->events[i], &delay))
		bench_fail("evtimer_add");
	timers_armed(timer);
}

static void arm_all(evutil_socket_t fd, short what, void *data)
{
	const struct libevent *libevent = data;

	for (uint64_t i = 0; i < libevent->timers->n; i++)
		arm_one(libevent, i);
}

static void arm(void *data)
{
	const struct libevent *libevent = data;
	const struct timeval now = { 0 };

	/* Unless told otherwise libevent looks at the coarse clock. */
	libevent->timers->resolution_ns = RESOLUTION_NS + timers_coarse_lag_ns(libevent->timers);
	if (event_base_once(libevent->base, -1, EV_TIMEOUT, arm_all, data, &now) ||
	    event_base_loop(libevent->base, EVLOOP_ONCE))
		bench_fail("event_base_loop");
}

static void fire(void *data)
{
	const struct libevent *libevent = data;

	if (event_base_dispatch(libevent->base) < 0)
		bench_fail("event_base_dispatch");
}

static void cancel(void *data)
{
	const struct libevent *libevent = data;

	for (uint64_t i = 0; i < libevent->timers->n; i++) {
		if (evtimer_del(&libevent->events[i]))
			bench_fail("evtimer_del");
		timers_cancelled(&libevent->timers->timer[i]);
	}
	bench_check(libevent->timers->run, event_base_get_num_events(libevent->base, EVENT_BASE_COUNT_ADDED) == 0,
		    "a timer is left");
}

static void close_loop(void *data)
{
	struct libevent *libevent = data;

	event_base_free(libevent->base);
	free(libevent->events);
	free(libevent);
}

void timers_libevent(struct bench_run *run)
{
	static const struct timers_loop loop = { open_loop, arm, fire, cancel, close_loop };

	timers_measure(run, &loop);
}
