/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * epoll: libiou in a loop of one's own. Three rules hold in each loop: before it waits, iou_flush(), so that what was
 * queued meanwhile is under way; when iou_fd() is readable, iou_run_once() without waiting; and the descriptor is the
 * library's, so the loop lets go of it before iou_free().
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "guest.h"

struct host {
	iou_t *iou;
	struct guest guest;
	int epoll_fd, timer_fd;
	bool is_over;
};

/* The host's own timer: it starts the guest, outside of libiou's callbacks. */
static int on_timer(struct host *host)
{
	uint64_t n;

	if (read(host->timer_fd, &n, sizeof(n)) < 0)
		return -errno;
	printf("the host's timer\n");
	return guest_start(&host->guest, host->iou);
}

/* A callback's error is told once, here. A ring that has failed for good makes each flush fail. */
static int on_iou(struct host *host)
{
	const struct timespec now = { 0 };
	int r = iou_run_once(host->iou, &now);

	if (r < 0)
		printf("the host is told: %s\n", strerror(-r));
	host->is_over = iou_pending(host->iou) == 0;
	return 0;
}

static int turn(struct host *host)
{
	struct epoll_event event;
	int r = iou_flush(host->iou);

	if (r < 0)
		return r;
	r = epoll_wait(host->epoll_fd, &event, 1, -1);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return event.data.fd == host->timer_fd ? on_timer(host) : on_iou(host);
}

static int watch(const struct host *host, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return fd < 0 || epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int run(struct host *host)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	int fd = iou_fd(host->iou);
	int r = fd < 0 ? fd : watch(host, fd);

	if (r == 0)
		r = watch(host, host->timer_fd);
	if (r == 0 && timerfd_settime(host->timer_fd, 0, &soon, NULL) < 0)
		r = -errno;
	while (r == 0 && !host->is_over)
		r = turn(host);
	if (fd >= 0)
		epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	return r;
}

int main(void)
{
	struct host host = { .iou = iou_new(8), .guest.pipe = { -1, -1 } };
	int r = -errno;

	host.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	host.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (host.iou)
		r = run(&host);
	iou_free(host.iou);
	guest_end(&host.guest);
	close(host.timer_fd);
	close(host.epoll_fd);
	if (r < 0)
		fprintf(stderr, "epoll: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
