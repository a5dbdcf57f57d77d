/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timers.h"

#include <stdlib.h>
#include <uv.h>

/* Time is told in whole milliseconds, and where the loop's is cut off a timer can be early. */
#define RESOLUTION_NS 1e6

struct uv {
	struct timers *timers;
	uv_loop_t loop;
	uv_timer_t *handles;
};

static void check(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, uv_strerror(result));
}

static void fired(uv_timer_t *handle)
{
	timers_fired(handle->data);
}

static void *open_loop(struct timers *timers)
{
	struct uv *uv = bench_try_ptr(calloc(1, sizeof(*uv)), "calloc");

	uv->timers = timers;
	uv->handles = bench_try_ptr(calloc(timers->n, sizeof(*uv->handles)), "calloc");
	check(uv_loop_init(&uv->loop), "uv_loop_init");
	return uv;
}

static void arm(void *data)
{
	struct uv *uv = data;

	/* Where it ticks each millisecond libuv looks at the coarse clock. */
	uv->timers->resolution_ns = RESOLUTION_NS + timers_coarse_lag_ns(uv->timers);
	uv_update_time(&uv->loop);
	for (uint64_t i = 0; i < uv->timers->n; i++) {
		struct timer *timer = &uv->timers->timer[i];

		check(uv_timer_init(&uv->loop, &uv->handles[i]), "uv_timer_init");
		uv->handles[i].data = timer;
		check(uv_timer_start(&uv->handles[i], fired, (timer->delay_us + 999) / 1000, 0), "uv_timer_start");
		timers_armed(timer);
	}
}

static void run(void *data)
{
	struct uv *uv = data;

	uv_run(&uv->loop, UV_RUN_DEFAULT);
}

static void cancel(void *data)
{
	struct uv *uv = data;

	for (uint64_t i = 0; i < uv->timers->n; i++) {
		check(uv_timer_stop(&uv->handles[i]), "uv_timer_stop");
		timers_cancelled(&uv->timers->timer[i]);
	}
	bench_check(uv->timers->run, !uv_loop_alive(&uv->loop), "a timer is left");
}

static void close_loop(void *data)
{
	struct uv *uv = data;

	for (uint64_t i = 0; i < uv->timers->n; i++)
		uv_close((uv_handle_t *)&uv->handles[i], NULL);
	run(uv);
	check(uv_loop_close(&uv->loop), "uv_loop_close");
	free(uv->handles);
	free(uv);
}

void timers_libuv(struct bench_run *bench_run)
{
	static const struct timers_loop loop = { open_loop, arm, run, cancel, close_loop };

	timers_measure(bench_run, &loop);
}
