/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain events rather than buffer events, which are slower. */
#include "echo.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

static void reply(evutil_socket_t fd, short what, void *event)
{
	if (echo_reply(fd))
		return;
	event_free(event);
	close(fd);
}

static void add(struct event_base *base, int fd)
{
	struct event *event = event_new(base, fd, EV_READ | EV_PERSIST, reply, event_self_cbarg());

	if (!event || event_add(event, NULL))
		bench_fail("event_add");
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* One thread: no locks. A descriptor is added once: a list of changes gains nothing. */
	if (config && !event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV))
		base = event_base_new_with_config(config);
	if (!base)
		bench_fail("event_base_new_with_config");
	event_config_free(config);
	return base;
}

static void serve(const int *fds, unsigned n_fds)
{
	struct event_base *base = base_new();

	for (unsigned i = 0; i < n_fds; i++)
		add(base, fds[i]);
	if (event_base_dispatch(base) < 0)
		bench_fail("event_base_dispatch");
	event_base_free(base);
}

void echo_libevent(struct bench_run *run)
{
	echo_measure(run, serve);
}
