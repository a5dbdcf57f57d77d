/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait for a thing of which there is nothing, and requests that look for those. */
#include "make.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define POLL_LEVEL (1U << 3)

static bool is_socket(enum thing thing)
{
	return thing >= A_STREAM && thing <= A_UDP_TO;
}

static bool is_listener(enum thing thing)
{
	return thing == A_LISTENER || thing == A_UNIX_LISTENER;
}

static void select_buffer(struct io_uring_sqe *sqe)
{
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
}

static void poll_for(struct world *world, struct io_uring_sqe *sqe, int fd)
{
	static const unsigned masks[] = { POLLIN,
					  POLLIN,
					  POLLIN | POLLRDHUP,
					  POLLPRI,
					  0,
					  POLLIN | POLLHUP,
					  POLLRDHUP,
					  POLLIN | POLLRDNORM,
					  EPOLLONESHOT | POLLIN };

	io_uring_prep_poll_add(sqe, fd, pick(world, masks));
	if (below(world, 2) && sqe->poll32_events != POLLPRI)
		sqe->len = IORING_POLL_ADD_MULTI;
	else if (below(world, 20) == 0)
		sqe->len = POLL_LEVEL;
}

static void read_from(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, int fd)
{
	switch (below(world, 5)) {
	case 0:
		io_uring_prep_readv(sqe, fd, slot->iov, 2, below(world, 2) ? 0 : (__u64)-1);
		break;
	case 1:
		io_uring_prep_rw(OP_READ_MULTISHOT, sqe, fd, NULL, 0, below(world, 2) ? 0 : (__u64)-1);
		select_buffer(sqe);
		break;
	case 2:
		io_uring_prep_read(sqe, fd, NULL, below(world, 100), 0);
		select_buffer(sqe);
		break;
	default:
		io_uring_prep_read(sqe, fd, slot->data, 8 + below(world, 100), below(world, 2) ? 0 : (__u64)-1);
	}
}

static void receive_from(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, int fd)
{
	bool is_multishot = below(world, 3) == 0, selects = is_multishot || below(world, 4) == 0;
	int flags = below(world, 4) || selects ? 0 : MSG_WAITALL;

	if (below(world, 2))
		io_uring_prep_recv(sqe, fd, slot->data, is_multishot ? 0 : 1 + below(world, 100), flags);
	else
		io_uring_prep_recvmsg(sqe, fd, &slot->message, (unsigned)flags);
	if (selects)
		select_buffer(sqe);
	if (is_multishot)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	if (below(world, 6) == 0)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

static void accept_from(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, int fd)
{
	slot->length = below(world, 30);
	io_uring_prep_accept(sqe, fd, (struct sockaddr *)(void *)slot->address, &slot->length, SOCK_CLOEXEC);
	if (below(world, 2))
		sqe->addr = sqe->addr2 = 0;
	if (below(world, 2))
		sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
}

static void wait_without_thing(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	slot->time = (struct __kernel_timespec){ .tv_sec = 3600 };
	if (below(world, 3) == 0) {
		io_uring_prep_rw(OP_FUTEX_WAIT, sqe, FUTEX_FLAGS, &slot->word, 0, 0);
		sqe->addr3 = 0xffffffff;
		return;
	}
	io_uring_prep_timeout(sqe, &slot->time, below(world, 3), below(world, 4) ? 0 : TIMEOUT_MULTISHOT);
}

void make_wait(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, enum thing thing)
{
	int fd = thing == N_THINGS ? -1 : world->fds[thing];

	slot->iov[0] = (struct iovec){ slot->data, 20 };
	slot->iov[1] = (struct iovec){ slot->data + 20, 20 };
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = 1 + below(world, 2) };
	if (thing == N_THINGS)
		wait_without_thing(world, sqe, slot);
	else if (below(world, 4) == 0)
		poll_for(world, sqe, fd);
	else if (is_listener(thing))
		accept_from(world, sqe, slot, fd);
	else if (is_socket(thing) && below(world, 4))
		receive_from(world, sqe, slot, fd);
	else
		read_from(world, sqe, slot, fd);
}

/* Looking for it. */

static void update_poll(struct world *world, struct io_uring_sqe *sqe, __u64 target)
{
	static const unsigned masks[] = { POLLIN, POLLOUT, POLLRDHUP, POLLPRI, 0 };

	io_uring_prep_poll_update(sqe, target, 0, pick(world, masks),
				  IORING_POLL_UPDATE_EVENTS | (below(world, 2) ? IORING_POLL_ADD_MULTI : 0));
}

static void cancel_by_kind(struct world *world, struct io_uring_sqe *sqe, __u64 target, int fd, __u8 opcode)
{
	static const unsigned kinds[] = {
		0,
		IORING_ASYNC_CANCEL_ALL,
		IORING_ASYNC_CANCEL_FD,
		IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL,
		IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED,
		CANCEL_OP,
		CANCEL_OP | IORING_ASYNC_CANCEL_ALL,
		CANCEL_OP | IORING_ASYNC_CANCEL_FD,
		CANCEL_OP | CANCEL_USERDATA,
		CANCEL_USERDATA | IORING_ASYNC_CANCEL_FD,
		CANCEL_USERDATA,
		IORING_ASYNC_CANCEL_ANY,
		IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
		IORING_ASYNC_CANCEL_ANY | CANCEL_OP,
		IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD,
	};

	io_uring_prep_cancel64(sqe, target, (int)pick(world, kinds));
	if (sqe->cancel_flags & IORING_ASYNC_CANCEL_FD)
		sqe->fd = below(world, 4) ? fd : any_fd(world);
	if (sqe->cancel_flags & CANCEL_OP)
		sqe->len = below(world, 4) ? opcode : below(world, 40);
	/* The library has a poll of its own. */
	if (sqe->cancel_flags == CANCEL_OP && sqe->len == IORING_OP_POLL_ADD)
		sqe->cancel_flags |= IORING_ASYNC_CANCEL_ALL;
}

void make_cancel(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, int i, enum thing thing)
{
	const struct io_uring_sqe *target = &world->outcomes[i].sqe;
	__u64 user_data = world->outcomes[i].is_queued ? world->outcomes[i].user_data : 1;
	int fd = thing == N_THINGS ? -1 : world->fds[thing];

	/* How often one fires that comes again and again is a matter of time. */
	slot->time = (struct __kernel_timespec){ .tv_sec = target->timeout_flags ? 3600 : 0, .tv_nsec = 1000 };
	switch (below(world, 6)) {
	case 0:
		io_uring_prep_poll_remove(sqe, user_data);
		break;
	case 1:
		update_poll(world, sqe, user_data);
		break;
	case 2:
		io_uring_prep_timeout_remove(sqe, user_data, 0);
		break;
	case 3:
		io_uring_prep_timeout_update(sqe, &slot->time, user_data, 0);
		break;
	default:
		cancel_by_kind(world, sqe, user_data, fd, target->opcode);
	}
}
