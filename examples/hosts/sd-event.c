/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sd-event: libiou in an sd_event loop. The source of iou_fd() has a prepare callback, which flushes before the loop
 * polls; its own callback takes a turn that does not wait. The source goes before iou_free().
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "guest.h"

struct host {
	iou_t *iou;
	sd_event *event;
	sd_event_source *source, *timer;
	struct guest guest;
};

/* A ring that has failed for good makes each flush fail: that ends the loop, with the error. */
static int on_prepare(sd_event_source *source, void *data)
{
	const struct host *host = data;
	int r = iou_flush(host->iou);

	(void)source;
	return r < 0 ? sd_event_exit(host->event, r) : 0;
}

/* A callback's error is told once, here. To return it would disable the source. */
static int on_iou(sd_event_source *source, int fd, uint32_t events, void *data)
{
	const struct timespec now = { 0 };
	const struct host *host = data;
	int r = iou_run_once(host->iou, &now);

	(void)source, (void)fd, (void)events;
	if (r < 0)
		printf("the host is told: %s\n", strerror(-r));
	return iou_pending(host->iou) == 0 ? sd_event_exit(host->event, 0) : 0;
}

/* The host's own timer: it starts the guest, outside of libiou's callbacks. */
static int on_timer(sd_event_source *source, uint64_t time_us, void *data)
{
	struct host *host = data;
	int r;

	(void)source, (void)time_us;
	printf("the host's timer\n");
	r = guest_start(&host->guest, host->iou);
	return r < 0 ? sd_event_exit(host->event, r) : 0;
}

static int run(struct host *host)
{
	int fd = iou_fd(host->iou);
	int r = fd < 0 ? fd : sd_event_new(&host->event);

	if (r >= 0)
		r = sd_event_add_io(host->event, &host->source, fd, EPOLLIN, on_iou, host);
	if (r >= 0)
		r = sd_event_source_set_prepare(host->source, on_prepare);
	if (r >= 0)
		r = sd_event_add_time_relative(host->event, &host->timer, CLOCK_MONOTONIC, 1000, 1, on_timer, host);
	if (r >= 0)
		r = sd_event_loop(host->event);
	sd_event_source_unref(host->timer);
	sd_event_source_unref(host->source);
	sd_event_unref(host->event);
	return r;
}

int main(void)
{
	struct host host = { .iou = iou_new(8), .guest.pipe = { -1, -1 } };
	int r = host.iou ? run(&host) : -errno;

	iou_free(host.iou);
	guest_end(&host.guest);
	if (r < 0)
		fprintf(stderr, "sd-event: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
