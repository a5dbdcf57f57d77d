/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "echo.h"

#include <ev.h>
#include <stdlib.h>
#include <unistd.h>

static void reply(struct ev_loop *loop, ev_io *io, int events)
{
	if (echo_reply(io->fd))
		return;
	ev_io_stop(loop, io);
	close(io->fd);
}

static void serve(const int *fds, unsigned n_fds)
{
	struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	ev_io *ios = bench_try_ptr(calloc(n_fds, sizeof(*ios)), "calloc");

	if (!loop)
		bench_fail("ev_loop_new");
	for (unsigned i = 0; i < n_fds; i++) {
		ev_io_init(&ios[i], reply, fds[i], EV_READ);
		ev_io_start(loop, &ios[i]);
	}
	ev_run(loop, 0);
	ev_loop_destroy(loop);
	free(ios);
}

void echo_libev(struct bench_run *run)
{
	echo_measure(run, serve);
}
