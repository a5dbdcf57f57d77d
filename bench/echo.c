/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * echo: a TCP server on the loopback device that sends back each message of 64 bytes, to param connections. Each has
 * one request out at a time. Measured are the requests per second, the server's CPU time for each, and the latency that
 * the clients see.
 */
#include "echo.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

bool echo_reply(int fd)
{
	char message[ECHO_SIZE];
	ssize_t n = recv(fd, message, sizeof(message), 0);

	if (n == 0)
		return false;
	if (n != ECHO_SIZE)
		bench_fail("recv: %s", n < 0 ? strerror(errno) : "not a whole message");
	n = send(fd, message, sizeof(message), MSG_NOSIGNAL);
	if (n != ECHO_SIZE)
		bench_fail("send: %s", n < 0 ? strerror(errno) : "not a whole message");
	return true;
}

#define CASES(impl, run)                                   \
	{ impl, 1, 10000, run }, { impl, 64, 80000, run }, \
	{                                                  \
		impl, 512, 80000, run                      \
	}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		CASES("libiou", echo_libiou),
		CASES("libiou-spin", echo_libiou_spinning),
		CASES("libiou-threads", echo_libiou_threads),
		CASES("raw", echo_raw),
		CASES("epoll", echo_epoll),
#ifdef HAVE_LIBUV
		CASES("libuv", echo_libuv),
#endif
#ifdef HAVE_LIBEV
		CASES("libev", echo_libev),
#endif
#ifdef HAVE_LIBEVENT
		CASES("libevent", echo_libevent),
#endif
#ifdef HAVE_GIO
		CASES("glib", echo_glib),
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "echo", cases);
}
