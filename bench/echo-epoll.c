/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Edge-triggered, so that a socket is not looked at once more after its reply; nothing is said twice to epoll_ctl(). */
#include "echo.h"

#include <sys/epoll.h>
#include <unistd.h>

#define MAX_EVENTS 256

static void add(int epoll, int fd)
{
	struct epoll_event event = { EPOLLIN | EPOLLET, { .fd = fd } };

	bench_try_errno(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static unsigned turn(int epoll)
{
	struct epoll_event events[MAX_EVENTS];
	int n = bench_try_errno(epoll_wait(epoll, events, MAX_EVENTS, -1), "epoll_wait");
	unsigned n_ended = 0;

	for (int i = 0; i < n; i++) {
		if (echo_reply(events[i].data.fd))
			continue;
		close(events[i].data.fd);
		n_ended++;
	}
	return n_ended;
}

static void serve(const int *fds, unsigned n_fds)
{
	int epoll = bench_try_errno(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");

	for (unsigned i = 0; i < n_fds; i++)
		add(epoll, fds[i]);
	while (n_fds > 0)
		n_fds -= turn(epoll);
	close(epoll);
}

void echo_epoll(struct bench_run *run)
{
	echo_measure(run, serve);
}
