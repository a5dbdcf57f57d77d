/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds that make, name, join and close things, or wait for them: sockets, pipes, epoll sets, children. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "../opcodes.h"
#include "kinds.h"

static bool is_expected(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == act->expected;
}

/* Sockets. The op's own are closed when it is over. */

static int keep(struct act *act, int fd)
{
	CHECK(fd >= 0);
	act->fds[act->n_fds++] = fd;
	return fd;
}

static int keep_socket(struct act *act, int family)
{
	const struct linger linger = { .l_onoff = 1 };
	/* One of Unix might wait for room in the queue of who listens, for ever. */
	int type = SOCK_STREAM | SOCK_CLOEXEC | (family == AF_UNIX ? SOCK_NONBLOCK : 0);
	int fd = keep(act, socket(family, type, 0));

	/* The port is free again as soon as it is closed. */
	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	return fd;
}

static bool is_new_descriptor(struct act *act, int result, unsigned flags)
{
	return act->expected < 0 ? is_expected(act, result, flags) : result >= 0;
}

static void prepare_socket(struct world *world, struct act *act, struct source *source)
{
	bool is_bad = source_one_in(source, 4);

	(void)world;
	act->expected = is_bad ? -EAFNOSUPPORT : 0;
	io_uring_prep_socket(act->op->sqe, is_bad ? 1000 : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
}

/* Who does not wait for room is sent away. */
static bool is_connected(struct act *act, int result, unsigned flags)
{
	return is_expected(act, result, flags) || (result == -EAGAIN && act->address.ss_family == AF_UNIX);
}

static void prepare_connect(struct world *world, struct act *act, struct source *source)
{
	int listener = source_one_in(source, 2) ? world->tcp_listener : world->listener;
	socklen_t length = sizeof(act->address);
	int fd;

	CHECK(getsockname(listener, (struct sockaddr *)&act->address, &length) == 0);
	fd = keep_socket(act, act->address.ss_family);
	if (act->address.ss_family == AF_UNIX && source_one_in(source, 4))
		act->expected = connect(fd, (struct sockaddr *)&act->address, length) == 0 ? -EISCONN : 0;
	io_uring_prep_connect(act->op->sqe, fd, (struct sockaddr *)&act->address, length);
}

/* Linux 6.11 */
static void prepare_bind(struct world *world, struct act *act, struct source *source)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct io_uring_sqe *sqe = act->op->sqe;

	(void)world;
	memcpy(&act->address, &address, sizeof(address));
	sqe->opcode = OP_BIND;
	sqe->fd = keep_socket(act, AF_INET);
	sqe->addr = (__u64)(uintptr_t)&act->address;
	sqe->off = sizeof(address);
	if (!source_one_in(source, 4))
		return;
	CHECK(bind(sqe->fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	act->expected = -EINVAL;
}

/* Linux 6.11. One of Unix that has no name cannot listen. */
static void prepare_listen(struct world *world, struct act *act, struct source *source)
{
	struct sockaddr address = { .sa_family = AF_UNIX };
	struct io_uring_sqe *sqe = act->op->sqe;

	(void)world;
	sqe->opcode = OP_LISTEN;
	sqe->fd = keep_socket(act, AF_UNIX);
	sqe->len = 1 + source_pick(source, 8);
	if (source_one_in(source, 4))
		act->expected = -EINVAL;
	else
		CHECK(bind(sqe->fd, &address, sizeof(address.sa_family)) == 0);
}

/* Its peer sees the end. */
static bool is_shut_down(struct act *act, int result, unsigned flags)
{
	char byte;

	if (!is_expected(act, result, flags))
		return false;
	return act->n_fds < 2 || recv(act->fds[1], &byte, 1, MSG_DONTWAIT) == 0;
}

/* A failure that breaks no chain, be it Linux's own doing. */
static bool shutdown_succeeds(const struct act *act, int result)
{
	return result == 0 || result == act->expected;
}

static void prepare_shutdown(struct world *world, struct act *act, struct source *source)
{
	int how = source_one_in(source, 2) ? SHUT_RDWR : SHUT_WR, fds[2];

	(void)world;
	if (source_one_in(source, 4)) {
		act->expected = -ENOTCONN;
		keep_socket(act, AF_INET);
	} else {
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
		keep(act, fds[0]);
		keep(act, fds[1]);
	}
	io_uring_prep_shutdown(act->op->sqe, act->fds[0], how);
}

/* Descriptors. */

static bool is_closed(struct act *act, int result, unsigned flags)
{
	if (result == 0)
		act->n_fds = 0;
	return is_expected(act, result, flags);
}

static void prepare_close(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_close(act->op->sqe, keep(act, fcntl(world->file, F_DUPFD_CLOEXEC, 0)));
}

/* What goes in at the one end comes out at the other. */
static bool is_pipe(struct act *act, int result, unsigned flags)
{
	char byte = 1, came = 0;

	if (!is_expected(act, result, flags) || write(act->pipe[1], &byte, 1) != 1)
		return false;
	return read(act->pipe[0], &came, 1) == 1 && came == 1 && close(act->pipe[0]) == 0 && close(act->pipe[1]) == 0;
}

/* Linux 6.16 */
static void prepare_pipe(struct world *world, struct act *act, struct source *source)
{
	struct io_uring_sqe *sqe = act->op->sqe;

	(void)world;
	sqe->opcode = OP_PIPE;
	sqe->addr = (__u64)(uintptr_t)act->pipe;
	sqe->rw_flags = source_one_in(source, 2) ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK;
}

/* An epoll set with ends of streams in it. */

static bool is_there_or_not(struct act *act, int result, unsigned flags)
{
	int operation = (int)act->op->sqe->len;

	(void)flags;
	return result == 0 || result == (operation == EPOLL_CTL_ADD ? -EEXIST : -ENOENT);
}

static void prepare_epoll_ctl(struct world *world, struct act *act, struct source *source)
{
	unsigned i = source_pick(source, N_STREAMS);

	act->events[0] = (struct epoll_event){ .events = EPOLLIN, .data.u32 = i };
	io_uring_prep_epoll_ctl(act->op->sqe, world->epoll, world->streams[i].out, 1 + (int)source_pick(source, 3),
				act->events);
}

static bool is_number_ready(struct act *act, int result, unsigned flags)
{
	(void)flags;
	if (result <= 0 || result > N_EVENTS)
		return false;
	for (int i = 0; i < result; i++)
		if (act->events[i].data.u32 >= N_STREAMS || !(act->events[i].events & (EPOLLIN | EPOLLHUP)))
			return false;
	return true;
}

/* Linux 6.15 */
static void prepare_epoll_wait(struct world *world, struct act *act, struct source *source)
{
	struct io_uring_sqe *sqe = act->op->sqe;

	(void)source;
	sqe->opcode = OP_EPOLL_WAIT;
	sqe->fd = world->epoll;
	sqe->addr = (__u64)(uintptr_t)act->events;
	sqe->len = N_EVENTS;
}

/* Children, Linux 6.7: one that has ended, and stays to be waited for, and one that never does. */

static bool is_child(struct act *act, int result, unsigned flags)
{
	if (!is_expected(act, result, flags))
		return false;
	return result < 0 || (act->info.si_pid == world_child(true) && act->info.si_code == CLD_EXITED);
}

static void prepare_waitid(struct act *act, pid_t child)
{
	struct io_uring_sqe *sqe = act->op->sqe;

	memset(&act->info, 0, sizeof(act->info));
	sqe->opcode = OP_WAITID;
	sqe->fd = child;
	sqe->len = P_PID;
	sqe->file_index = WEXITED | WNOWAIT;
	sqe->addr2 = (__u64)(uintptr_t)&act->info;
}

static void prepare_wait_over(struct world *world, struct act *act, struct source *source)
{
	bool is_none = source_one_in(source, 4);

	(void)world;
	act->expected = is_none ? -ECHILD : 0;
	prepare_waitid(act, is_none ? getpid() : world_child(true));
}

static bool is_never(struct act *act, int result, unsigned flags)
{
	(void)act, (void)result, (void)flags;
	return false;
}

static void prepare_wait_for_ever(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	prepare_waitid(act, world_child(false));
}

static const struct kind kinds[] = {
	{ "socket", MAKES_FD | MAY_LINK | TAKES_THREAD, prepare_socket, is_new_descriptor, NULL },
	{ "connect", ONCE | MAY_LINK | TAKES_THREAD, prepare_connect, is_connected, NULL },
	{ "bind", ONCE | MAY_SKIP | TAKES_THREAD, prepare_bind, is_expected, NULL },
	{ "listen", MAY_SKIP | TAKES_THREAD, prepare_listen, is_expected, NULL },
	{ "shutdown", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_shutdown, is_shut_down, shutdown_succeeds },
	{ "close", ONCE | MAY_LINK | TAKES_THREAD, prepare_close, is_closed, NULL },
	{ "pipe", TAKES_THREAD, prepare_pipe, is_pipe, NULL },
	{ "epoll ctl", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_epoll_ctl, is_there_or_not, NULL },
	{ "epoll wait", AWAITS_OTHERS, prepare_epoll_wait, is_number_ready, NULL },
	{ "wait for one that ended", TAKES_THREAD, prepare_wait_over, is_child, NULL },
	{ "wait for one that does not", AWAITS_OTHERS, prepare_wait_for_ever, is_never, NULL },
};

const struct kinds kinds_objects = { kinds, sizeof(kinds) / sizeof(kinds[0]) };
