/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libuv: libiou in a uv_loop_t. A uv_prepare_t flushes before the loop polls, and a uv_poll_t takes a turn that does
 * not wait when iou_fd() is readable. Both are closed before iou_free().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "guest.h"

struct host {
	iou_t *iou;
	uv_loop_t loop;
	uv_prepare_t prepare;
	uv_poll_t poll;
	uv_timer_t timer;
	struct guest guest;
	int error;
};

/* No handle keeps the loop going any more. */
static void stop(struct host *host, int error)
{
	host->error = error;
	uv_close((uv_handle_t *)&host->prepare, NULL);
	uv_close((uv_handle_t *)&host->poll, NULL);
	uv_close((uv_handle_t *)&host->timer, NULL);
}

/* A ring that has failed for good makes each flush fail. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct host *host = prepare->data;
	int r = iou_flush(host->iou);

	if (r < 0)
		stop(host, r);
}

/* A callback's error is told once, here; libuv has nowhere to hand it to. */
static void on_iou(uv_poll_t *poll, int status, int events)
{
	const struct timespec now = { 0 };
	struct host *host = poll->data;
	int r = status < 0 ? status : iou_run_once(host->iou, &now);

	(void)events;
	if (r < 0)
		printf("the host is told: %s\n", strerror(-r));
	if (status < 0 || iou_pending(host->iou) == 0)
		stop(host, status);
}

/* The host's own timer: it starts the guest, outside of libiou's callbacks. */
static void on_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;
	int r;

	printf("the host's timer\n");
	r = guest_start(&host->guest, host->iou);
	if (r < 0)
		stop(host, r);
}

static int start(struct host *host)
{
	int fd = iou_fd(host->iou);
	int r = fd < 0 ? fd : uv_poll_init(&host->loop, &host->poll, fd);

	if (r < 0)
		return r;
	uv_prepare_init(&host->loop, &host->prepare);
	uv_timer_init(&host->loop, &host->timer);
	host->prepare.data = host->poll.data = host->timer.data = host;
	uv_prepare_start(&host->prepare, on_prepare);
	uv_timer_start(&host->timer, on_timer, 1, 0);
	return uv_poll_start(&host->poll, UV_READABLE, on_iou);
}

static int run(struct host *host)
{
	int r = uv_loop_init(&host->loop);

	if (r < 0)
		return r;
	r = start(host);
	if (r == 0)
		uv_run(&host->loop, UV_RUN_DEFAULT);
	uv_loop_close(&host->loop);
	return r < 0 ? r : host->error;
}

int main(void)
{
	struct host host = { .iou = iou_new(8), .guest.pipe = { -1, -1 } };
	int r = host.iou ? run(&host) : -ENOMEM;

	iou_free(host.iou);
	guest_end(&host.guest);
	if (r < 0)
		fprintf(stderr, "libuv: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
