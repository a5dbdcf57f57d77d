/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ECHO_H
#define ECHO_H

#include "bench.h"

/*
 * A message comes whole: it is one segment, and the next is not sent before its reply has come. For the same reason a
 * reply always finds room in the socket. Servers may rely on that, and fail where it is not so.
 */
#define ECHO_SIZE 64

/*
 * Measure a server of run->param connections. It runs in a process of its own, on another CPU than the load: serve()
 * gets the connected sockets, which do not block, and returns when the peers of all have closed.
 */
void echo_measure(struct bench_run *run, void (*serve)(const int *fds, unsigned n_fds));

/* Answer the message that is due on a socket. Returns false when the peer has closed. */
bool echo_reply(int fd);

/* Buffers of one message each, that the kernel picks for what it receives; all of group 0. */
struct echo_buffers {
	struct io_uring_buf_ring *ring;
	char (*messages)[ECHO_SIZE];
	unsigned n;
};

/* At least n. */
void echo_buffers_init(struct echo_buffers *buffers, struct io_uring *ring, unsigned n);
/* After the ring is gone. */
void echo_buffers_free(struct echo_buffers *buffers);
/* Copy the message of a completion, and give the buffer back. */
void echo_buffers_take(struct echo_buffers *buffers, unsigned cqe_flags, char *message);

void echo_epoll(struct bench_run *run);
void echo_libiou(struct bench_run *run);
void echo_libiou_spinning(struct bench_run *run);
void echo_libiou_threads(struct bench_run *run);
void echo_raw(struct bench_run *run);
void echo_libev(struct bench_run *run);
void echo_libevent(struct bench_run *run);
void echo_glib(struct bench_run *run);
void echo_libuv(struct bench_run *run);

#endif
