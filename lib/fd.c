/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The descriptor for foreign loops. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "internal.h"

void iou__fd_init(iou_t *iou)
{
	iou->epoll_fd = iou->timer_fd = -1;
}

void iou__fd_destroy(iou_t *iou)
{
	if (iou->epoll_fd >= 0)
		close(iou->epoll_fd);
	if (iou->timer_fd >= 0)
		close(iou->timer_fd);
}

/* A time that has passed makes it readable at once; another time, or none, not readable. */
static void set_timer(iou_t *iou)
{
	struct itimerspec at = { 0 };
	uint64_t due_ns;

	if (!iou__timers_next(&iou->timeouts.timers, &due_ns))
		due_ns = 0;
	if (due_ns == iou->timer_due_ns)
		return;
	at.it_value = iou__time_of_ns(due_ns);
	timerfd_settime(iou->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	iou->timer_due_ns = due_ns;
}

/* Not readable, then a look at everything: what comes after the look makes it readable again. */
void iou__expose(iou_t *iou)
{
	if (iou->epoll_fd < 0 || iou->is_running || iou__check(iou) < 0)
		return;
	iou__mailbox_lower(&iou->mailbox);
	set_timer(iou);

	bool has_completions = iou->engine->verbs->look(iou->engine) || iou->cq.n;
	bool has_mail = !iou__mailbox_doze(&iou->mailbox) || !iou__queue_is_empty(&iou->inbox);

	if (has_completions || has_mail || iou->has_unsent || iou__has_to_stop(iou))
		iou__mailbox_raise(&iou->mailbox);
}

static int add_to(int epoll_fd, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* What a foreign loop waits for: completions, word from other threads or from ourselves, and time. */
static int fill_epoll(const iou_t *iou, int completions)
{
	int r = add_to(iou->epoll_fd, iou->mailbox.fd);

	if (r == 0)
		r = add_to(iou->epoll_fd, completions);
	return r < 0 ? r : add_to(iou->epoll_fd, iou->timer_fd);
}

static int make_epoll(iou_t *iou, int completions)
{
	int r;

	iou->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (iou->timer_fd < 0)
		return -errno;
	iou->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = iou->epoll_fd < 0 ? -errno : fill_epoll(iou, completions);
	if (r == 0)
		return 0;
	iou__fd_destroy(iou);
	iou__fd_init(iou);
	return r;
}

static int make(iou_t *iou)
{
	int completions = iou->engine->verbs->watch(iou->engine);

	return completions < 0 ? completions : make_epoll(iou, completions);
}

int iou_fd(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	if (iou->epoll_fd >= 0)
		return iou->epoll_fd;
	r = iou->error ? iou->error : make(iou);
	if (r < 0)
		return r;
	iou__expose(iou);
	return iou->epoll_fd;
}
