/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random programs: steps of ops that end by themselves, alone or in chains; ops that wait; and what ends those. */
#include "world.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BAD_POINTER ((void *)8)

typedef void make_t(struct world *world, struct io_uring_sqe *sqe, struct slot *slot);

static unsigned below(struct world *world, unsigned n)
{
	return world_random(world, n);
}

static int any_fd(struct world *world)
{
	return world->fds[below(world, N_THINGS)];
}

static const char *any_path(struct world *world, struct slot *slot, int i)
{
	static const char *const names[] = { "file", "a", "b", "c", "d", "no/where", "" };

	snprintf(slot->paths[i], sizeof(slot->paths[i]), "%s", names[below(world, 7)]);
	return slot->paths[i];
}

static void fill(struct world *world, struct slot *slot)
{
	for (int i = 0; i < DATA_SIZE; i++)
		slot->data[i] = (unsigned char)below(world, 256);
}

static unsigned any_iovecs(struct world *world, struct slot *slot)
{
	unsigned first = below(world, 64);

	slot->iov[0] = (struct iovec){ slot->data, first };
	slot->iov[1] = (struct iovec){ slot->data + first, below(world, 64) };
	return 1 + below(world, 2);
}

/* What ends by itself. */

static void make_nop(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)world, (void)slot;
	io_uring_prep_nop(sqe);
}

static void make_file_read(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	__u64 offset = below(world, 4) ? below(world, 64) : (__u64)-1;

	if (below(world, 2))
		io_uring_prep_read(sqe, world->fds[A_FILE], slot->data, below(world, DATA_SIZE), offset);
	else
		io_uring_prep_readv(sqe, world->fds[A_FILE], slot->iov, any_iovecs(world, slot), offset);
}

static void make_file_write(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	__u64 offset = below(world, 4) ? below(world, 64) : (__u64)-1;

	fill(world, slot);
	if (below(world, 2))
		io_uring_prep_write(sqe, world->fds[A_FILE], slot->data, below(world, 100), offset);
	else
		io_uring_prep_writev(sqe, world->fds[A_FILE], slot->iov, any_iovecs(world, slot), offset);
}

static void make_file_change(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	switch (below(world, 5)) {
	case 0:
		io_uring_prep_fsync(sqe, any_fd(world), below(world, 3));
		break;
	case 1:
		io_uring_prep_fallocate(sqe, any_fd(world), (int)below(world, 2), below(world, 100), below(world, 100));
		break;
	case 2:
		io_uring_prep_fadvise(sqe, any_fd(world), 0, 10, (int)below(world, 8));
		break;
	case 3:
		io_uring_prep_sync_file_range(sqe, any_fd(world), 10, 0, (int)below(world, 9));
		break;
	default:
		io_uring_prep_madvise(sqe, world->buffers, SLOT_SIZE, MADV_WILLNEED + (int)below(world, 2) * 500);
	}
}

static void make_path(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	const char *path = any_path(world, slot, 0), *other = any_path(world, slot, 1);
	int fd = below(world, 8) ? world->directory_fd : any_fd(world);

	switch (below(world, 7)) {
	case 0:
		io_uring_prep_renameat(sqe, fd, path, fd, other, below(world, 3));
		break;
	case 1:
		io_uring_prep_unlinkat(sqe, fd, path, below(world, 2) ? AT_REMOVEDIR : 0);
		break;
	case 2:
		io_uring_prep_mkdirat(sqe, fd, path, 0755);
		break;
	case 3:
		io_uring_prep_symlinkat(sqe, path, fd, other);
		break;
	case 4:
		io_uring_prep_linkat(sqe, fd, path, fd, other, 0);
		break;
	case 5:
		io_uring_prep_statx(sqe, fd, path, below(world, 2) ? AT_EMPTY_PATH : 0, STATX_SIZE,
				    (struct statx *)(void *)slot->other);
		break;
	default:
		io_uring_prep_openat(sqe, fd, path, (int)below(world, 3) | (int)(below(world, 2) * O_CREAT) | O_CLOEXEC,
				     0600);
	}
}

static void make_xattr(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	strcpy(slot->paths[0], "user.x");
	snprintf(slot->paths[1], sizeof(slot->paths[1]), "/proc/self/fd/%d", world->fds[A_FILE]);
	switch (below(world, 4)) {
	case 0:
		io_uring_prep_fsetxattr(sqe, any_fd(world), slot->paths[0], "value", (int)below(world, 3), 5);
		break;
	case 1:
		io_uring_prep_fgetxattr(sqe, any_fd(world), slot->paths[0], (char *)slot->data, below(world, 10));
		break;
	case 2:
		io_uring_prep_setxattr(sqe, slot->paths[0], "other", slot->paths[1], (int)below(world, 4), 5);
		break;
	default:
		io_uring_prep_getxattr(sqe, slot->paths[0], (char *)slot->data, slot->paths[1], below(world, 10));
	}
}

static void make_socket(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	struct sockaddr *address = (struct sockaddr *)(void *)slot->other;

	switch (below(world, 3)) {
	case 0:
		io_uring_prep_socket(sqe, AF_INET, (int)below(world, 4) | SOCK_CLOEXEC, 0, 0);
		break;
	case 1:
		io_uring_prep_shutdown(sqe, any_fd(world), SHUT_WR + (int)below(world, 2) * 7);
		break;
	default:
		address->sa_family = AF_INET;
		io_uring_prep_connect(sqe, any_fd(world), address, (socklen_t)below(world, 2) * 16);
	}
}

/* There is room, so these do not wait. */
static void make_send(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	enum thing thing = below(world, 2) ? A_STREAM_TO : A_DATAGRAM_TO;
	int fd = below(world, 6) ? world->fds[thing] : any_fd(world);

	fill(world, slot);
	any_iovecs(world, slot);
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = 2 };
	switch (below(world, 4)) {
	case 0:
		io_uring_prep_send(sqe, fd, slot->data, 1 + below(world, 60), below(world, 3) ? 0 : MSG_WAITALL);
		break;
	case 1:
		io_uring_prep_sendmsg(sqe, fd, &slot->message, 0);
		break;
	case 2:
		io_uring_prep_send_zc(sqe, fd, slot->data, 1 + below(world, 60), 0, 0);
		break;
	default:
		io_uring_prep_write(sqe, fd == world->fds[A_FILE] ? world->fds[A_PIPE_TO] : fd, slot->data,
				    1 + below(world, 60), 0);
	}
}

static void make_splice(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	if (below(world, 2))
		io_uring_prep_splice(sqe, world->fds[A_FILE], below(world, 20), world->fds[A_PIPE_TO], -1,
				     below(world, 30), 0);
	else
		io_uring_prep_tee(sqe, world->fds[A_FILE], world->fds[A_PIPE_TO], 5, 0);
}

static void make_buffers(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	if (below(world, 3))
		io_uring_prep_provide_buffers(sqe, world->buffers, 16, (int)below(world, 4), GROUP,
					      (int)below(world, 9));
	else
		io_uring_prep_remove_buffers(sqe, (int)below(world, 4), GROUP + (int)below(world, 2));
}

static void make_selected_read(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	io_uring_prep_read(sqe, world->fds[below(world, 4) ? A_FILE : A_CLOSED_ONE], NULL, below(world, 40), 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
}

static void make_short_timeout(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	slot->time = (struct __kernel_timespec){ .tv_nsec = below(world, 3) ? (long)below(world, 2000000) : -1 };
	io_uring_prep_timeout(sqe, &slot->time, 0, below(world, 3) ? 0 : IORING_TIMEOUT_ETIME_SUCCESS);
}

static void make_ready_poll(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing ready[] = { A_FILE, A_PIPE_TO, A_STREAM_TO, AN_EVENTFD, A_CLOSED_ONE };

	(void)slot;
	io_uring_prep_poll_add(sqe, world->fds[ready[below(world, 5)]], POLLOUT);
}

static void make_epoll_ctl(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const struct epoll_event event = { .events = EPOLLIN };

	memcpy(slot->other, &event, sizeof(event));
	io_uring_prep_epoll_ctl(sqe, any_fd(world), any_fd(world), (int)below(world, 4),
				(struct epoll_event *)(void *)slot->other);
}

static void make_update(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const int zero;

	slot->time.tv_nsec = 5;
	switch (below(world, 5)) {
	case 0:
		io_uring_prep_timeout_remove(sqe, 12345, below(world, 2));
		break;
	case 1:
		io_uring_prep_timeout_update(sqe, &slot->time, 12345, below(world, 2));
		break;
	case 2:
		io_uring_prep_poll_remove(sqe, 12345);
		break;
	case 3:
		io_uring_prep_files_update(sqe, (int *)(uintptr_t)&zero, below(world, 2), 0);
		break;
	default:
		io_uring_prep_cancel64(sqe, 12345, (int)below(world, 2));
	}
}

static make_t *const prompt[] = {
	make_nop,        make_file_read, make_file_read, make_file_write,    make_file_write,    make_file_change,
	make_path,       make_path,      make_xattr,     make_socket,        make_send,          make_send,
	make_splice,     make_buffers,   make_buffers,   make_selected_read, make_selected_read, make_short_timeout,
	make_ready_poll, make_epoll_ctl, make_update,
};

/* One field is not as it was: mostly something that the kernel refuses. */
static void spoil(struct world *world, struct io_uring_sqe *sqe)
{
	static const __u32 values[] = { 1, 2, 4, 8, 16, 64, 255, 1U << 31, ~0U };
	__u32 value = values[below(world, 9)];

	switch (below(world, 9)) {
	case 0:
		if (sqe->opcode !=
		    IORING_OP_SEND_ZC) /* the kernel notifies of some that it refuses, and not of others */
			sqe->ioprio = 1U << 13;
		break;
	case 1:
		sqe->fd = world->fds[A_CLOSED_ONE];
		break;
	case 2:
		sqe->buf_index = (__u16)value;
		break;
	case 3:
		sqe->personality = (__u16)value;
		break;
	case 4:
		if (sqe->opcode != IORING_OP_SPLICE && sqe->opcode != IORING_OP_TEE && sqe->opcode != IORING_OP_SEND_ZC)
			sqe->file_index = value;
		break;
	case 5:
		sqe->flags |= IOSQE_FIXED_FILE;
		break;
	case 6:
		/* Times of timeouts are read by the library itself, see iou.h. */
		if (sqe->opcode != IORING_OP_NOP && sqe->opcode != IORING_OP_MADVISE &&
		    sqe->opcode != IORING_OP_TIMEOUT)
			sqe->addr = (__u64)(uintptr_t)BAD_POINTER;
		break;
	case 7:
		sqe->flags |= IOSQE_BUFFER_SELECT;
		break;
	default:
		sqe->opcode = (__u8)(100 + (value & 31));
	}
}

/* Nothing in it, so that who reads waits and who sends does not. */
static void empty(struct world *world, enum thing thing)
{
	char bytes[256];
	struct pollfd pollfd = { .fd = world->fds[thing], .events = POLLIN };

	while (poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLIN && read(world->fds[thing], bytes, sizeof(bytes)) > 0)
		;
}

static void empty_all(struct world *world)
{
	empty(world, A_PIPE);
	empty(world, A_STREAM);
	empty(world, A_DATAGRAM);
	empty(world, AN_EVENTFD);
}

/* A chain of what ends by itself, or a single one. */
static void step_prompt(struct world *world)
{
	unsigned n = below(world, 3) ? 1 : 1 + below(world, 4);
	int first = world->n_ops;

	empty_all(world);
	for (unsigned i = 0; i < n; i++) {
		struct slot *slot;
		iou_op_t *op = world_op(world, &slot);

		if (!op)
			break;
		prompt[below(world, sizeof(prompt) / sizeof(prompt[0]))](world, op->sqe, slot);
		if (below(world, 6) == 0)
			spoil(world, op->sqe);
		if (i + 1 < n && world->n_ops < N_OPS)
			op->sqe->flags |= below(world, 3) ? IOSQE_IO_LINK : IOSQE_IO_HARDLINK;
		if (below(world, 12) == 0)
			op->sqe->flags |= IOSQE_ASYNC;
		world_queue(world, op);
	}
	world_run(world, first, world->n_ops - first);
}

/* What waits: for one thing each, of which there is nothing. */

static void make_wait(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, enum thing thing)
{
	int fd = world->fds[thing];

	slot->iov[0] = (struct iovec){ slot->data, 20 };
	slot->iov[1] = (struct iovec){ slot->data + 20, 20 };
	slot->message = (struct msghdr){ .msg_iov = slot->iov, .msg_iovlen = 2 };
	switch (below(world, 6)) {
	case 0:
		io_uring_prep_poll_add(sqe, fd, POLLIN);
		break;
	case 1:
		io_uring_prep_poll_multishot(sqe, fd, POLLIN);
		break;
	case 2:
		io_uring_prep_readv(sqe, fd, slot->iov, 2, 0);
		break;
	case 3:
		if (thing == A_STREAM || thing == A_DATAGRAM)
			io_uring_prep_recv(sqe, fd, slot->data, 40, below(world, 3) ? 0 : MSG_WAITALL);
		else
			io_uring_prep_read(sqe, fd, slot->data, 40, 0);
		break;
	case 4:
		if (thing == A_STREAM || thing == A_DATAGRAM)
			io_uring_prep_recvmsg(sqe, fd, &slot->message, below(world, 3) ? 0 : MSG_WAITALL);
		else
			io_uring_prep_read(sqe, fd, slot->data, 8, (__u64)-1);
		break;
	default:
		io_uring_prep_read(sqe, fd, slot->data, 8 + below(world, 30), (__u64)-1);
	}
}

/* Behind it a timeout that comes, or one that does not. */
static void limit(struct world *world, iou_op_t *op)
{
	struct slot *slot;
	iou_op_t *limit;

	op->sqe->flags |= IOSQE_IO_LINK;
	world_queue(world, op);
	limit = world_op(world, &slot);
	if (!limit)
		return;
	slot->time = (struct __kernel_timespec){ .tv_sec = below(world, 2) ? 3600 : 0, .tv_nsec = 1000000 };
	io_uring_prep_link_timeout(limit->sqe, &slot->time, 0);
	world_queue(world, limit);
	if (!slot->time.tv_sec)
		world_run(world, world->n_ops - 2, 2);
}

static void feed(struct world *world, enum thing thing)
{
	static const uint64_t words[8] = { 1, 2, 3 };
	size_t n = thing == AN_EVENTFD ? 8 : 1 + below(world, 60);

	if (write(world->fds[thing == AN_EVENTFD ? thing : thing + 1], words, n) != (ssize_t)n)
		perror("feed");
}

static int any_key(struct world *world, struct io_uring_sqe *sqe, int i, int fd)
{
	switch (below(world, 3)) {
	case 0:
		io_uring_prep_cancel64(sqe, world->ops[i]->sqe->user_data, 0);
		return 0;
	case 1:
		io_uring_prep_cancel_fd(sqe, fd, below(world, 2) ? IORING_ASYNC_CANCEL_ALL : 0);
		return 0;
	default:
		io_uring_prep_poll_remove(sqe, world->ops[i]->sqe->user_data);
		return 1;
	}
}

static void cancel(struct world *world, int i, int fd)
{
	struct slot *slot;
	iou_op_t *op = world->watches[i].has_ended ? NULL : world_op(world, &slot);

	if (!op)
		return;
	any_key(world, op->sqe, i, fd);
	world_queue(world, op);
	world_run(world, world->n_ops - 1, 1);
}

static void step_wait(struct world *world)
{
	static const enum thing things[] = { A_PIPE, A_STREAM, A_DATAGRAM, AN_EVENTFD };
	enum thing thing = things[below(world, 4)];
	struct slot *slot;
	iou_op_t *op;
	int first = world->n_ops;

	empty(world, thing);
	op = world_op(world, &slot);
	if (!op)
		return;
	make_wait(world, op->sqe, slot, thing);
	/* The kernel's own threads may have a request between two places just when its time is up: then it is missed. */
	if (below(world, 3) == 0) {
		limit(world, op);
	} else {
		op->sqe->flags |= below(world, 4) ? 0 : IOSQE_ASYNC;
		world_queue(world, op);
	}
	world_run(world, 0, -1);
	for (unsigned n = below(world, 3); n && !world->watches[first].has_ended; n--) {
		feed(world, thing);
		world_run_until_called(world, first);
	}
	cancel(world, first, world->fds[thing]);
	world_run(world, 0, -1);
	iou_cancel_all(world->iou);
	world_run(world, first, world->n_ops - first);
	empty(world, thing);
}

void program_run(struct world *world)
{
	while (world->n_ops < N_OPS - 6) {
		if (below(world, 4))
			step_prompt(world);
		else
			step_wait(world);
	}
}
