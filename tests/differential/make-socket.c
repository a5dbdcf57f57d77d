/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about sockets. */
#include "make.h"

#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const enum thing senders[] = { A_STREAM_TO,          A_DATAGRAM_TO, A_SEQUENCE_TO,
				      A_NONBLOCK_STREAM_TO, A_TCP_TO,      A_UDP_TO };

static int any_sender(struct world *world)
{
	return below(world, 8) ? world->fds[pick(world, senders)] : any_fd(world);
}

static int any_flags(struct world *world)
{
	static const int flags[] = { MSG_WAITALL, MSG_DONTWAIT,  MSG_NOSIGNAL, MSG_PEEK,     MSG_TRUNC, MSG_CTRUNC,
				     MSG_MORE,    MSG_DONTROUTE, MSG_ERRQUEUE, MSG_ZEROCOPY, MSG_EOR,   1 << 30 };
	int value = 0;

	for (unsigned n = below(world, 5) ? 0 : 1 + below(world, 2); n; n--)
		value |= pick(world, flags);
	return value;
}

/* The listener's, or another. */
static socklen_t any_address(struct world *world, struct slot *slot)
{
	static const socklen_t lengths[] = { 0, 1, 2, 16, 110, 128, 129, 5000 };
	bool is_unix = below(world, 2);

	memcpy(slot->address, is_unix ? world->unix_address : world->tcp_address, is_unix ? 110 : 16);
	if (below(world, 6) == 0)
		slot->address[0] = (unsigned char)below(world, 20);
	if (below(world, 4) == 0)
		return pick(world, lengths);
	return is_unix ? 110 : 16;
}

static void bind_or_listen(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const struct sockaddr_in anywhere = { .sin_family = AF_INET };
	static const enum thing things[] = {
		A_SOCKET, A_SOCKET, A_UNIX_SOCKET, A_TCP, A_LISTENER, A_FILE, A_CLOSED_ONE
	};
	int fd = world->fds[pick(world, things)];

	memcpy(slot->address, &anywhere, sizeof(anywhere));
	if (below(world, 2))
		io_uring_prep_rw(OP_BIND, sqe, fd, slot->address, 0, below(world, 4) ? 16 : 3);
	else
		io_uring_prep_rw(OP_LISTEN, sqe, fd, NULL, below(world, 5), 0);
}

void make_socket(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = { A_SOCKET,   A_UNIX_SOCKET, A_UNIX_SOCKET, A_UDP,
					     A_DATAGRAM, A_TCP,         A_LISTENER };
	static const int domains[] = { AF_INET, AF_UNIX, AF_INET6, 77, -1 };
	/* Datagram sockets that are shut down wait in ways of their own. */
	static const enum thing ends[] = { A_STREAM, A_STREAM_TO, A_SEQUENCE,  A_SEQUENCE_TO, A_NONBLOCK_STREAM,
					   A_TCP,    A_TCP_TO,    A_SOCKET,    A_UNIX_SOCKET, A_FILE,
					   A_PATH,   A_PIPE,      A_CLOSED_ONE };
	int fd = below(world, 4) ? world->fds[pick(world, things)] : any_fd(world);

	switch (below(world, 5)) {
	case 0:
		io_uring_prep_socket(sqe, pick(world, domains),
				     (int)below(world, 12) | (int)below(world, 2) * SOCK_CLOEXEC, (int)below(world, 3),
				     0);
		break;
	case 1:
		io_uring_prep_shutdown(sqe, world->fds[pick(world, ends)], (int)below(world, 4));
		break;
	case 2:
		bind_or_listen(world, sqe, slot);
		break;
	default:
		io_uring_prep_connect(sqe, fd, (struct sockaddr *)(void *)slot->address, any_address(world, slot));
	}
}

/* There is room, so these do not wait. */
void make_send(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	int fd = any_sender(world), flags = any_flags(world);

	fill_data(world, slot);
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = any_small_iovecs(world, slot) };
	switch (below(world, 8)) {
	case 0:
		slot->message.msg_name = slot->address;
		slot->message.msg_namelen = any_address(world, slot);
		break;
	case 1:
		slot->message.msg_control = slot->other;
		slot->message.msg_controllen = below(world, 40);
		break;
	default:
		break;
	}
	if (below(world, 2)) {
		io_uring_prep_sendmsg(sqe, fd, &slot->message, (unsigned)flags);
	} else {
		io_uring_prep_send(sqe, fd, slot->data, below(world, 60), flags);
		if (below(world, 6) == 0) {
			sqe->addr2 = (__u64)(uintptr_t)slot->address;
			sqe->addr_len = (__u16)any_address(world, slot);
		}
	}
	if (below(world, 10) == 0)
		sqe->ioprio = (__u16)(1U << below(world, 6));
	/* A bundle of no buffers is none. */
	if (sqe->ioprio == 1U << 4)
		sqe->ioprio = 1U << 5;
	if (sqe->ioprio == 1U << 5 && sqe->opcode == IORING_OP_SEND) {
		sqe->addr = (__u64)(uintptr_t)slot->iov;
		sqe->len = (__u32)slot->message.msg_iovlen;
	}
}

void make_zero_copy(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = {
		A_TCP_TO, A_TCP_TO, A_UDP_TO, A_STREAM_TO, A_FILE, A_CLOSED_ONE, A_SOCKET
	};
	int fd = world->fds[pick(world, things)], flags = any_flags(world) & ~MSG_MORE;

	fill_data(world, slot);
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = any_small_iovecs(world, slot) };
	if (below(world, 2))
		io_uring_prep_send_zc(sqe, fd, slot->data, below(world, 60), flags, 0);
	else
		io_uring_prep_sendmsg_zc(sqe, fd, &slot->message, (unsigned)flags);
	if (below(world, 3) == 0)
		sqe->ioprio = (__u16)(1U << below(world, 5));
}

/* Where there is something, or nothing is waited for. */
void make_receive(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = { A_STREAM, A_DATAGRAM, A_SEQUENCE, A_NONBLOCK_STREAM,
					     A_TCP,    A_UDP,      A_PIPE,     A_FILE };
	enum thing thing = pick(world, things);
	int flags = any_flags(world) & ~MSG_WAITALL;

	if (!world_has_data(world, thing))
		flags |= MSG_DONTWAIT;
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = any_iovecs(world, slot) };
	if (below(world, 3) == 0) {
		slot->message.msg_name = slot->address;
		slot->message.msg_namelen = below(world, 120);
	}
	if (below(world, 2))
		io_uring_prep_recvmsg(sqe, world->fds[thing], &slot->message, (unsigned)flags);
	else
		io_uring_prep_recv(sqe, world->fds[thing], slot->data, below(world, 60), flags);
}

void make_accept(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = { A_LISTENER, A_UNIX_LISTENER, A_FILE, A_CLOSED_ONE, A_TCP, A_UDP, A_PIPE };
	static const __u32 slots[] = { 0, 0, 0, 1, ~0U };
	enum thing thing = pick(world, things);

	slot->length = below(world, 30);
	io_uring_prep_accept(sqe, world->fds[thing], (struct sockaddr *)(void *)slot->address, &slot->length,
			     below(world, 4)   ? SOCK_CLOEXEC
			     : below(world, 2) ? SOCK_NONBLOCK
					       : 1);
	sqe->file_index = pick(world, slots);
	if (below(world, 3) == 0)
		sqe->addr = sqe->addr2 = 0;
	if (!world_has_data(world, thing))
		sqe->ioprio = 1U << 1; /* IORING_ACCEPT_DONTWAIT */
}
