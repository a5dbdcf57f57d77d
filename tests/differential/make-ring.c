/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about time, readiness, provided buffers, and other requests; and what spoils requests. */
#include "make.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

void make_nop(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	io_uring_prep_nop(sqe);
	if (below(world, 3) == 0) {
		sqe->rw_flags = (int)below(world, 32);
		sqe->len = below(world, 2) ? 7 : (__u32)-5;
		sqe->fd = any_fd(world);
	}
}

void make_buffers(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const int odd[] = { 0, -1, 65535, 65536, 65537, 1 << 20 };

	(void)slot;
	if (below(world, 4) == 0) {
		io_uring_prep_remove_buffers(sqe, (int)below(world, 4), GROUP + (int)below(world, 2));
		return;
	}
	io_uring_prep_provide_buffers(sqe, world->buffers, BUFFER_SIZE, (int)below(world, 4), GROUP,
				      (int)below(world, 9));
	if (below(world, 8) == 0)
		sqe->fd = pick(world, odd);
	if (below(world, 12) == 0)
		sqe->off = (__u64)(unsigned)pick(world, odd);
	if (below(world, 12) == 0)
		sqe->len = 0;
}

/* From what has something. */
void make_selected(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = { A_FILE, A_FILE, A_READ_ONLY_FILE,  A_STREAM,    A_DATAGRAM, A_PIPE,
					     A_TCP,  A_UDP,  A_NONBLOCK_STREAM, A_CLOSED_ONE };
	static const __u8 opcodes[] = { IORING_OP_READ,    IORING_OP_READ,    IORING_OP_READV, IORING_OP_RECV,
					IORING_OP_RECVMSG, OP_READ_MULTISHOT, IORING_OP_SEND,  IORING_OP_WRITE };
	enum thing thing = pick(world, things);
	__u8 opcode = pick(world, opcodes);

	slot->iov[0] = (struct iovec){ slot->data, below(world, 100) };
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = below(world, 3) };
	if (opcode != OP_READ_MULTISHOT && !world_has_data(world, thing))
		thing = below(world, 2) ? A_FILE : A_CLOSED_ONE;
	io_uring_prep_rw(opcode, sqe, world->fds[thing], NULL, below(world, 100), 0);
	if (opcode == OP_READ_MULTISHOT) {
		sqe->fd = world->fds[below(world, 3) ? A_FILE : A_CLOSED_ONE];
		sqe->len = 0;
	}
	if (opcode == IORING_OP_READV)
		io_uring_prep_readv(sqe, world->fds[thing], slot->iov, 1 + (below(world, 8) == 0), below(world, 9));
	if (opcode == IORING_OP_RECVMSG)
		io_uring_prep_recvmsg(sqe, world->fds[thing], &slot->message, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = (__u16)(GROUP + (below(world, 8) == 0));
}

static const unsigned clocks[] = { 0, 0, IORING_TIMEOUT_BOOTTIME, IORING_TIMEOUT_REALTIME,
				   IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME };

/* Soon, or at once: of those that are far away there is make_wait(). */
void make_timeout(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	unsigned flags = pick(world, clocks);
	bool is_absolute = below(world, 4) == 0;

	slot->time.tv_nsec = below(world, 10) ? (long)below(world, 200000) : -1;
	if (is_absolute) {
		slot->time.tv_sec = 1;
		flags |= IORING_TIMEOUT_ABS;
	}
	if (below(world, 4) == 0)
		flags |= IORING_TIMEOUT_ETIME_SUCCESS;
	io_uring_prep_timeout(sqe, &slot->time, 0, flags);
	if (below(world, 6) == 0) {
		sqe->timeout_flags |= TIMEOUT_MULTISHOT;
		sqe->off = 1 + below(world, 3);
	}
}

/* Behind what ends by itself, or has ended. */
void make_limit(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	slot->time = (struct __kernel_timespec){ .tv_sec = 3600, .tv_nsec = below(world, 8) ? 5 : -5 };
	io_uring_prep_link_timeout(sqe, &slot->time, pick(world, clocks));
}

void make_poll(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing ready[] = { A_FILE,         A_PIPE_TO, A_STREAM_TO, AN_EVENTFD, A_CLOSED_ONE,
					    A_NEGATIVE_ONE, A_TCP,     A_SOCKET,    A_DIRECTORY };

	(void)slot;
	io_uring_prep_poll_add(sqe, world->fds[pick(world, ready)], POLLOUT);
}

void make_epoll(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing things[] = { A_PIPE, A_STREAM, A_TCP, A_FILE, AN_EVENTFD, AN_EPOLL };
	const struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.u64 = 7 };
	int fd = below(world, 4) ? world->fds[pick(world, things)] : any_fd(world);

	memcpy(slot->other, &event, sizeof(event));
	if (below(world, 3) == 0 && world_has_data(world, AN_EPOLL)) {
		io_uring_prep_rw(OP_EPOLL_WAIT, sqe, world->fds[AN_EPOLL], slot->other, 1 + below(world, 4), 0);
		return;
	}
	io_uring_prep_epoll_ctl(sqe, below(world, 6) ? world->fds[AN_EPOLL] : any_fd(world), fd, (int)below(world, 5),
				(struct epoll_event *)(void *)slot->other);
}

/* There is no such request. */
void make_stray_update(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const unsigned flags[] = { 0, IORING_TIMEOUT_ABS, IORING_LINK_TIMEOUT_UPDATE, IORING_TIMEOUT_REALTIME,
					  1U << 5 };
	static const __u32 poll_flags[] = { 0, 1, 2, 3, 4, 8 };

	slot->time.tv_nsec = 5;
	switch (below(world, 5)) {
	case 0:
		io_uring_prep_timeout_remove(sqe, 12345, pick(world, flags));
		break;
	case 1:
		io_uring_prep_timeout_update(sqe, &slot->time, 12345, pick(world, flags));
		break;
	case 2:
		io_uring_prep_poll_update(sqe, 12345, 0, POLLIN, pick(world, poll_flags));
		break;
	case 3:
		io_uring_prep_files_update(sqe, slot->fds, below(world, 3), (int)below(world, 2));
		break;
	default:
		io_uring_prep_cancel64(sqe, 12345, (int)below(world, 64));
		sqe->fd = any_fd(world);
		sqe->len = below(world, 3) ? 0 : below(world, 60);
	}
}

void make_futex(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const __u64 masks[] = { 0xffffffff, 0xffffffff, 1, 0, 1ULL << 32 };
	__u64 value = 1 + below(world, 3);
	bool is_wake = below(world, 2);

	io_uring_prep_rw(is_wake ? OP_FUTEX_WAKE : OP_FUTEX_WAIT, sqe,
			 below(world, 4) ? FUTEX_FLAGS : (int)below(world, 256), &slot->word, 0, value);
	sqe->addr3 = pick(world, masks);
	if (below(world, 8) == 0)
		sqe->addr += 1;
}

void make_other(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	switch (below(world, 3)) {
	case 0:
		io_uring_prep_rw(OP_WAITID, sqe, (int)below(world, 3), NULL, below(world, 5), 0);
		sqe->file_index = below(world, 5) ? WEXITED | WNOHANG : below(world, 64);
		break;
	case 1:
		io_uring_prep_rw(OP_PIPE, sqe, 0, slot->fds, 0, 0);
		sqe->rw_flags = below(world, 2) ? 02000000 : (int)(1U << below(world, 32));
		break;
	default:
		io_uring_prep_msg_ring(sqe, any_fd(world), below(world, 9), below(world, 9), below(world, 2));
	}
}

/* Spoiling. */

static bool reads_time(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_TIMEOUT || sqe->opcode == IORING_OP_TIMEOUT_REMOVE;
}

/* What has effects on all memory, or wants ranges of it. */
static bool is_delicate(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_MADVISE || sqe->opcode == IORING_OP_FALLOCATE;
}

bool is_transfer(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITE ||
	       sqe->opcode == IORING_OP_WRITEV || sqe->opcode == IORING_OP_READ_FIXED ||
	       sqe->opcode == IORING_OP_WRITE_FIXED || sqe->opcode == OP_READV_FIXED || sqe->opcode == OP_WRITEV_FIXED;
}

static void spoil_opcode(struct world *world, struct io_uring_sqe *sqe)
{
	struct io_uring_sqe spoilt = *sqe;

	spoilt.opcode = (__u8)(below(world, 4) ? below(world, N_OPCODES) : below(world, 256));
	if (is_sanitized() || sqe->opcode == IORING_OP_NOP || reads_time(&spoilt) || is_delicate(&spoilt) ||
	    spoilt.opcode == IORING_OP_URING_CMD || spoilt.opcode == OP_RECV_ZC || spoilt.opcode == IORING_OP_SPLICE ||
	    spoilt.opcode == IORING_OP_TEE || spoilt.opcode == IORING_OP_EPOLL_CTL ||
	    (spoilt.opcode >= IORING_OP_FSETXATTR && spoilt.opcode <= IORING_OP_GETXATTR) ||
	    spoilt.opcode == IORING_OP_ASYNC_CANCEL || spoilt.opcode == IORING_OP_LINK_TIMEOUT ||
	    spoilt.opcode == IORING_OP_SHUTDOWN || spoilt.opcode == IORING_OP_RENAMEAT ||
	    spoilt.opcode == IORING_OP_LINKAT || spoilt.opcode == IORING_OP_FILES_UPDATE || spoilt.opcode == OP_PIPE ||
	    spoilt.opcode == N_OPCODES)
		return;
	/* The kernel's own way is to take more than a page. */
	if (spoilt.opcode == IORING_OP_OPENAT2 && spoilt.len > 4096)
		return;
	/* Vectors of nothing. */
	if (is_transfer(&spoilt) && spoilt.fd == world->fds[AN_EVENTFD])
		return;
	/* The first numbers are the test's own, and the library's. */
	if ((spoilt.fd >= 0 && spoilt.fd < world->fds[0]) || spoilt.fd == world->fds[AN_EPOLL])
		spoilt.fd = world->fds[A_CLOSED_ONE];
	*sqe = spoilt;
}

/* A time that has come, or that comes again and again. */
static bool is_untimely(const struct io_uring_sqe *sqe, __u32 flag)
{
	return (sqe->opcode == IORING_OP_LINK_TIMEOUT && flag & IORING_TIMEOUT_ABS) ||
	       (reads_time(sqe) && flag & TIMEOUT_MULTISHOT);
}

static bool is_message(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_SENDMSG || sqe->opcode == IORING_OP_SEND_ZC ||
	       sqe->opcode == IORING_OP_SENDMSG_ZC || sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_RECVMSG;
}

/* Urgent data: see world.h. */
static bool is_urgent(const struct io_uring_sqe *sqe, __u32 flag)
{
	return flag & MSG_OOB && is_message(sqe);
}

static void spoil(struct world *world, struct io_uring_sqe *sqe)
{
	static const __u32 values[] = { 1, 2, 4, 8, 16, 64, 255, 1U << 13, 1U << 31, ~0U };
	static const __u32 lengths[] = { 0, 1, 2, 3, 55 };
	__u32 value = pick(world, values), length = pick(world, lengths);
	__u64 address = bad_address(world);

	switch (below(world, 13)) {
	case 0:
		sqe->ioprio = (__u16)value;
		break;
	case 1:
		sqe->fd = world->fds[below(world, 2) ? A_CLOSED_ONE : A_NEGATIVE_ONE];
		break;
	case 2:
		sqe->buf_index = (__u16)value;
		break;
	case 3:
		sqe->personality = (__u16)value;
		break;
	case 4:
		if (sqe->opcode != IORING_OP_SPLICE && sqe->opcode != IORING_OP_TEE)
			sqe->file_index = value;
		break;
	case 5:
		sqe->flags |= IOSQE_FIXED_FILE;
		break;
	case 6:
		/* A provided buffer at 0 is taken for none. */
		/* There a time is that has come. */
		if (sqe->opcode == IORING_OP_LINK_TIMEOUT && address == (__u64)(uintptr_t)world->read_only)
			break;
		if (!reads_time(sqe) && !is_delicate(sqe) && (address || sqe->opcode != IORING_OP_PROVIDE_BUFFERS) &&
		    !(is_transfer(sqe) && (sqe->off == (__u64)-1 || sqe->fd == world->fds[AN_EVENTFD])))
			sqe->addr = address;
		break;
	case 7:
		sqe->flags |= IOSQE_BUFFER_SELECT;
		break;
	case 8:
		/* A transfer at the file's own position may break off: see world.h. */
		if (!reads_time(sqe) && sqe->opcode != IORING_OP_FALLOCATE && sqe->opcode != IORING_OP_EPOLL_CTL &&
		    !(is_transfer(sqe) && address == ~0ULL))
			sqe->addr2 = address;
		break;
	case 9:
		if (sqe->opcode != IORING_OP_MADVISE)
			sqe->len = length;
		break;
	case 10:
		sqe->addr3 = address;
		break;
	case 11:
		/* The highest is the kernel's own, of messages. */
		if (!is_delicate(sqe) && !is_transfer(sqe) && sqe->opcode != IORING_OP_ASYNC_CANCEL && (int)value > 0 &&
		    !is_untimely(sqe, value) && !is_urgent(sqe, value))
			sqe->rw_flags |= (int)value;
		break;
	default:
		spoil_opcode(world, sqe);
	}
}

/* Empty transfers, and what is strange about those with flags, see make-file.c. */
void make_spoilt(struct world *world, struct io_uring_sqe *sqe)
{
	spoil(world, sqe);
	/* A bundle of no buffers is none. */
	if (sqe->opcode == IORING_OP_SEND && sqe->ioprio == 16)
		sqe->ioprio = 0;
	/* The highest is the kernel's own, of messages. */
	if (is_message(sqe))
		sqe->msg_flags &= INT32_MAX;
	/* The library has a poll of its own. */
	if (sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->cancel_flags & CANCEL_OP && sqe->len == IORING_OP_POLL_ADD)
		sqe->cancel_flags |= IORING_ASYNC_CANCEL_ALL;
	if (!is_transfer(sqe))
		return;
	sqe->rw_flags = 0;
	sqe->len += sqe->len == 0;
}
