/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timers: the CPU time that one of n timers costs when all are armed ("arm"), when all fire ("fire"), and when all are
 * cancelled ("cancel"). They are armed in no order, and due within 200 ms: at whole milliseconds, some 500 at a time if
 * there are 100,000; or each on its own, to the microsecond ("apart"), where a loop that is as exact has to wake more
 * often.
 */
#include "timers.h"

#include <stdlib.h>

enum { ARM, FIRE, APART, CANCEL };

/* The first is due when all are armed; those that do not fire are far from it. */
#define FIRST_US 400000
#define FAR_US 60000000
#define SPREAD_US 200000

void timers_armed(struct timer *timer)
{
	timer->is_armed = true;
	timer->timers->n_armed++;
}

static void ended(struct timer *timer)
{
	bench_check(timer->timers->run, timer->is_armed, "a timer has ended twice");
	timer->is_armed = false;
	timer->timers->n_armed--;
}

/* Those that are due together are all on time if the first is. */
void timers_fired(struct timer *timer)
{
	struct timers *timers = timer->timers;

	ended(timer);
	if (timer->delay_us == timers->last_us)
		return;
	bench_check(timers->run,
		    timers->is_unordered || timer->delay_us * 1e3 > timers->last_us * 1e3 - timers->resolution_ns,
		    "order of timers");
	timers->last_us = timer->delay_us;
	bench_check(timers->run,
		    bench_now_ns() - (double)timers->base_ns >= timer->delay_us * 1e3 - timers->resolution_ns,
		    "a timer is early");
}

void timers_cancelled(struct timer *timer)
{
	ended(timer);
}

void timers_set_due(struct timer *timer)
{
	uint64_t due_ns = timer->timers->base_ns + timer->delay_us * 1000ULL;

	timer->due.tv_sec = (long long)(due_ns / 1000000000);
	timer->due.tv_nsec = (long long)(due_ns % 1000000000);
}

double timers_coarse_lag_ns(const struct timers *timers)
{
	return (double)timers->base_ns - bench_coarse_ns();
}

static void make(struct timers *timers, unsigned first_us, unsigned unit_us)
{
	uint64_t random = 1;

	timers->timer = bench_try_ptr(calloc(timers->n, sizeof(*timers->timer)), "calloc");
	for (uint64_t i = 0; i < timers->n; i++) {
		timers->timer[i].timers = timers;
		timers->timer[i].delay_us =
			first_us + (unsigned)(bench_random(&random) % SPREAD_US) / unit_us * unit_us;
	}
}

static void arm(struct timers *timers, const struct timers_loop *loop, void *handle)
{
	timers->base_ns = (uint64_t)bench_now_ns();
	loop->arm(handle);
	bench_check(timers->run, timers->n_armed == timers->n, "number of armed timers");
}

static void measure_arm(struct timers *timers, const struct timers_loop *loop, void *handle)
{
	bench_begin(timers->run);
	arm(timers, loop, handle);
	bench_end(timers->run);
	/* Each was armed, and is there to be ended. */
	loop->cancel(handle);
}

static void measure_fire(struct timers *timers, const struct timers_loop *loop, void *handle)
{
	arm(timers, loop, handle);
	if (bench_now_ns() - (double)timers->base_ns > FIRST_US * 1e3)
		bench_fail("the first timer was due before the last was armed: too busy a machine");
	bench_begin(timers->run);
	loop->fire(handle);
	bench_end(timers->run);
}

static void measure_cancel(struct timers *timers, const struct timers_loop *loop, void *handle)
{
	arm(timers, loop, handle);
	bench_begin(timers->run);
	loop->cancel(handle);
	bench_end(timers->run);
}

void timers_measure(struct bench_run *run, const struct timers_loop *loop)
{
	struct timers timers = { .run = run, .n = run->n };
	bool does_fire = run->param == FIRE || run->param == APART;
	void *handle;

	/* The kernel's timers of two CPUs are in no order. */
	bench_pin(0);
	make(&timers, does_fire ? FIRST_US : FAR_US, run->param == APART ? 1 : 1000);
	handle = loop->open(&timers);
	if (run->param == ARM)
		measure_arm(&timers, loop, handle);
	else if (does_fire)
		measure_fire(&timers, loop, handle);
	else
		measure_cancel(&timers, loop, handle);
	bench_check(run, timers.n_armed == 0, "number of timers that have ended");
	bench_set(run, run->cpu_ns / (double)run->n, "ns", true);
	loop->close(handle);
	free(timers.timer);
}

#define N_TIMERS 100000
#define CASES(impl, run)                                                            \
	{ impl, ARM, N_TIMERS, run, "arm" }, { impl, FIRE, N_TIMERS, run, "fire" }, \
		{ impl, APART, N_TIMERS, run, "apart" },                            \
	{                                                                           \
		impl, CANCEL, N_TIMERS, run, "cancel"                               \
	}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		CASES("libiou", timers_libiou),
		CASES("raw", timers_raw),
#ifdef HAVE_LIBUV
		CASES("libuv", timers_libuv),
#endif
#ifdef HAVE_LIBEV
		CASES("libev", timers_libev),
#endif
#ifdef HAVE_LIBEVENT
		CASES("libevent", timers_libevent),
#endif
#ifdef HAVE_GLIB
		CASES("glib", timers_glib),
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "timers", cases);
}
