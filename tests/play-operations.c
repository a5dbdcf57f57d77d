/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Acts for the threads engine: of each operation that it carries out by a system call at least one. What the acts do
 * themselves they do by syscall(), so that it does not count as a call of the library's.
 */
#include "opcodes.h"
#include "play-parts.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { N_SHOTS = 3, BUFFER_SIZE = 8, N_BUFFERS = 4 };

/*
 * What the acts have around them. Where a run has failed requests of earlier acts may still be under way, so what one points
 * to is used once.
 */
static struct {
	int dir, file, epoll;
	int pipes[5][2]; /* each has something in it */
	int pairs[5][2]; /* of streams */
	int listener, client, udp, tcp_listener, tcp;
	char path[64], file_path[72];
	struct sockaddr_un name;
	struct sockaddr_in udp_address, tcp_address;
	struct statx statx;
	struct open_how how;
	struct epoll_event event, added;
	char memory[16][16];
	struct iovec iov[4];
	struct msghdr headers[5];
	struct iovec header_iov[4][2];
	char header_memory[4][2][4];
	struct iovec slot_iov[3];
	char slot_memory[3][16];
	struct __kernel_timespec soon, late;
	int word;
	int made[2];
	int fds[2];
	int made_slots[2];
	char large[2][64];
	bool is_open;
	char buffers[N_BUFFERS][BUFFER_SIZE];
	bool has_attributes;
} stage;

static char page[4096] __attribute__((aligned(4096)));

/* The play's own system calls. */

static int opened(long fd)
{
	return (int)fd;
}

static void open_directory(void)
{
	snprintf(stage.path, sizeof(stage.path), "%s/iou-play-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(stage.path))
		return;
	snprintf(stage.file_path, sizeof(stage.file_path), "%s/file", stage.path);
	stage.dir = opened(syscall(SYS_openat, AT_FDCWD, stage.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	stage.file = opened(syscall(SYS_openat, AT_FDCWD, stage.file_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	syscall(SYS_pwrite64, stage.file, "0123456789abcdef", 16, 0);
	stage.has_attributes = syscall(SYS_fsetxattr, stage.file, "user.b", "xyz", 3, 0) == 0;
}

static void name_sockets(void)
{
	static unsigned n;

	stage.name.sun_family = AF_UNIX;
	snprintf(stage.name.sun_path + 1, sizeof(stage.name.sun_path) - 1, "iou-play-%d-%u", (int)getpid(), n++);
	stage.udp_address = stage.tcp_address =
		(struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void open_inet(int fd, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);

	syscall(SYS_bind, fd, address, length);
	syscall(SYS_getsockname, fd, address, &length);
}

static void open_sockets(void)
{
	name_sockets();
	for (int i = 0; i < 5; i++)
		syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stage.pairs[i]);
	stage.listener = opened(syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	stage.client = opened(syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	stage.udp = opened(syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	open_inet(stage.udp, &stage.udp_address);
	syscall(SYS_connect, stage.udp, &stage.udp_address, sizeof(stage.udp_address));
	stage.tcp = opened(syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	stage.tcp_listener = opened(syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	open_inet(stage.tcp_listener, &stage.tcp_address);
	syscall(SYS_listen, stage.tcp_listener, 4);
}

bool play_open_stage(void)
{
	if (stage.is_open)
		return true;
	memset(&stage, 0, sizeof(stage));
	stage.soon.tv_nsec = 1000000;
	stage.late.tv_sec = 2;
	open_directory();
	open_sockets();
	for (int i = 0; i < 5; i++) {
		syscall(SYS_pipe2, stage.pipes[i], O_CLOEXEC);
		syscall(SYS_write, stage.pipes[i][1], "abcd", 4);
	}
	stage.epoll = opened(syscall(SYS_epoll_create1, EPOLL_CLOEXEC));
	syscall(SYS_epoll_ctl, stage.epoll, EPOLL_CTL_ADD, stage.pipes[4][0],
		&(struct epoll_event){ .events = EPOLLIN });
	stage.is_open = true;
	return stage.dir > 0 && stage.file > 0 && stage.epoll > 0;
}

static void close_it(int fd)
{
	syscall(SYS_close, fd);
}

static void close_both(const int *fds)
{
	close_it(fds[0]);
	close_it(fds[1]);
}

static void close_sockets(void)
{
	const struct linger at_once = { .l_onoff = 1 };

	/* Or thousands of them would wait for their time to be over. */
	syscall(SYS_setsockopt, stage.tcp, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	for (int i = 0; i < 5; i++)
		close_both(stage.pairs[i]);
	close_it(stage.listener);
	close_it(stage.client);
	close_it(stage.udp);
	close_it(stage.tcp);
	close_it(stage.tcp_listener);
}

void play_close_stage(void)
{
	static const char *const names[] = { "file", "f", "g", "h", "s", "o" };

	if (!stage.is_open)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		syscall(SYS_unlinkat, stage.dir, names[i], 0);
	syscall(SYS_unlinkat, stage.dir, "d", AT_REMOVEDIR);
	syscall(SYS_unlinkat, AT_FDCWD, stage.path, AT_REMOVEDIR);
	close_sockets();
	for (int i = 0; i < 5; i++)
		close_both(stage.pipes[i]);
	close_it(stage.epoll);
	close_it(stage.file);
	close_it(stage.dir);
	/* Opened by an op. */
	for (int i = 0; i < 2; i++)
		if (stage.made[i] > 0)
			close(stage.made[i]);
	stage.is_open = false;
}

/* An op. OP(play, its name, its result, its flags, as by io_uring_prep_...) is the part, or NULL. */

static struct io_uring_sqe *sqe_of(struct part *part)
{
	static struct io_uring_sqe none;

	return part ? part->op->sqe : &none;
}

static struct part *queued(struct part *part, unsigned flags)
{
	if (part)
		play_queue(part, flags);
	return part;
}

#define OP(play, name, wanted, flags, prep, ...)                         \
	({                                                               \
		struct part *part_ = play_take_part(play, name, wanted); \
		io_uring_prep_##prep(sqe_of(part_), __VA_ARGS__);        \
		queued(part_, flags);                                    \
	})

static void prep_number(struct io_uring_sqe *sqe, int opcode, int fd, const void *address, unsigned len, __u64 offset)
{
	io_uring_prep_rw(opcode, sqe, fd, address, len, offset);
}

#define io_uring_prep_number prep_number

/* What comes of it depends on others, should one of them have failed. */
static void loosen(struct part *part)
{
	if (part)
		part->is_loose = true;
}

static void make_wait(struct part *part)
{
	if (part)
		part->waits = true;
}

static void make_opening(struct part *part)
{
	if (part)
		part->opens = true;
}

/* Files. */

void play_use_files(struct play *play)
{
	int fd = stage.file, has = stage.has_attributes;

	for (int i = 0; i < 4; i++)
		stage.iov[i] = (struct iovec){ stage.memory[i], 3 };
	OP(play, "a read of a file", 5, 0, read, fd, stage.memory[8], 5, 0);
	OP(play, "a read by a worker", 5, IOSQE_ASYNC, read, fd, stage.memory[9], 5, 0);
	OP(play, "a vectored read", 6, 0, readv, fd, &stage.iov[0], 2, 4);
	OP(play, "a write to a file", 3, 0, write, fd, "xyz", 3, 20);
	OP(play, "a vectored write", 6, 0, writev, fd, &stage.iov[2], 2, 30);
	OP(play, "an fsync", 0, 0, fsync, fd, 0);
	OP(play, "an fdatasync", 0, 0, fsync, fd, IORING_FSYNC_DATASYNC);
	OP(play, "a sync of a range", 0, 0, sync_file_range, fd, 10, 0, SYNC_FILE_RANGE_WRITE);
	OP(play, "an fallocate", 0, 0, fallocate, fd, 0, 0, 64);
	OP(play, "an fadvise", 0, 0, fadvise, fd, 0, 16, POSIX_FADV_NORMAL);
	OP(play, "an madvise", 0, 0, madvise, page, sizeof(page), MADV_NORMAL);
	OP(play, "an ftruncate", 0, 0, number, OP_FTRUNCATE, fd, NULL, 0, 100);
	OP(play, "a statx", 0, 0, statx, stage.dir, "file", 0, STATX_SIZE, &stage.statx);
	OP(play, "a new attribute", has ? 0 : -EOPNOTSUPP, 0, fsetxattr, fd, "user.a", "v", 0, 1);
	OP(play, "an attribute", has ? 3 : -EOPNOTSUPP, 0, fgetxattr, fd, "user.b", stage.memory[10], 16);
	OP(play, "a path's new attribute", has ? 0 : -EOPNOTSUPP, 0, setxattr, "user.c", "v", stage.file_path, 0, 1);
	OP(play, "a path's attribute", has ? 3 : -EOPNOTSUPP, 0, getxattr, "user.b", stage.memory[11], stage.file_path,
	   16);
	play_run(play);
}

/* What was opened is closed, by an op if there can be one. */
static void close_opened(struct play *play, struct part *part)
{
	if (part && part->n_final && part->result >= 0)
		part->closer = OP(play, "a close", 0, 0, close, part->result);
	play_run(play);
}

void play_use_paths(struct play *play)
{
	int dir = stage.dir;
	struct part *file, *other;

	stage.how = (struct open_how){ .flags = O_RDWR | O_CREAT | O_CLOEXEC, .mode = 0600 };
	other = OP(play, "an openat2", 0, 0, openat2, dir, "o", &stage.how);
	make_opening(other);
	if (other)
		other->also = -ENOSYS; /* where there is none */
	file = OP(play, "an openat", 0, IOSQE_IO_LINK, openat, dir, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	make_opening(file);
	loosen(OP(play, "a mkdirat", 0, IOSQE_IO_LINK, mkdirat, dir, "d", 0700));
	loosen(OP(play, "a linkat", 0, IOSQE_IO_LINK, linkat, dir, "f", dir, "g", 0));
	loosen(OP(play, "a symlinkat", 0, IOSQE_IO_LINK, symlinkat, "f", dir, "s"));
	loosen(OP(play, "a renameat", 0, IOSQE_IO_LINK, renameat, dir, "g", dir, "h", 0));
	loosen(OP(play, "an unlinkat", 0, 0, unlinkat, dir, "h", 0));
	play_run(play);
	close_opened(play, file);
	close_opened(play, other);
}

/* Sockets. */

static struct msghdr *header_of(int i, int n_iov)
{
	stage.headers[i] = (struct msghdr){ .msg_iov = stage.header_iov[i], .msg_iovlen = (size_t)n_iov };
	for (int j = 0; j < n_iov; j++)
		stage.header_iov[i][j] = (struct iovec){ stage.header_memory[i][j], 3 };
	return &stage.headers[i];
}

static void send_halves(struct play *play)
{
	for (int i = 0; i < 2; i++) {
		OP(play, "a send", 3, 0, send, stage.pairs[0][1], "abc", 3, 0);
		OP(play, "a sendmsg", 3, 0, sendmsg, stage.pairs[1][1], header_of(2 + i, 1), 0);
		play_settle(play);
	}
}

/* Who receives waits for both halves; without them, for the end. */
void play_use_sockets(struct play *play)
{
	struct part *parts[] = {
		OP(play, "a recv of all", 6, 0, recv, stage.pairs[0][0], stage.memory[12], 6, MSG_WAITALL),
		OP(play, "a recvmsg of all", 6, 0, recvmsg, stage.pairs[1][0], header_of(0, 2), MSG_WAITALL),
		OP(play, "a datagram's recv", 3, 0, recv, stage.udp, stage.memory[13], 3, 0),
	};

	for (int i = 0; i < 3; i++) {
		make_wait(parts[i]);
		loosen(parts[i]);
	}
	send_halves(play);
	OP(play, "a zero-copy send", 0, 0, send_zc, stage.udp, "abc", 3, 0, 0);
	OP(play, "a shutdown", 0, 0, shutdown, stage.pairs[3][0], SHUT_WR);
	play_settle(play);
	for (int i = 0; i < 2; i++)
		syscall(SYS_shutdown, stage.pairs[i][1], SHUT_WR);
	syscall(SYS_sendto, stage.udp, "abc", 3, 0, NULL, 0);
	play_run(play);
}

/* One descriptor, of which both ways are waited for: what comes of one leaves the other to be waited for. */
void play_send_and_receive(struct play *play)
{
	static char much[65536];
	int *fds = stage.pairs[3], n = 0;
	struct part *parts[2];

	while (syscall(SYS_sendto, fds[0], much, sizeof(much), MSG_DONTWAIT, NULL, 0) > 0)
		n++;
	parts[0] = OP(play, "a recv beside a send", 1, 0, recv, fds[0], stage.memory[14], 1, 0);
	parts[1] = OP(play, "a send beside a recv", 1, 0, send, fds[0], "x", 1, 0);
	for (int i = 0; i < 2; i++) {
		loosen(parts[i]);
		make_wait(parts[i]);
	}
	play_settle(play);
	syscall(SYS_sendto, fds[1], "x", 1, MSG_DONTWAIT, NULL, 0);
	play_turn(play);
	while (syscall(SYS_recvfrom, fds[1], much, sizeof(much), MSG_DONTWAIT, NULL, NULL) > 0)
		;
	play_run(play);
}

static struct part *accept_one(struct play *play)
{
	struct part *part = OP(play, "an accept", 0, 0, accept, stage.listener, NULL, NULL, SOCK_CLOEXEC);

	make_opening(part);
	make_wait(part);
	loosen(part);
	return part;
}

void play_connect(struct play *play)
{
	unsigned length = sizeof(stage.name);
	struct part *accepted, *connected, *made;

	OP(play, "a bind", 0, IOSQE_IO_LINK, number, OP_BIND, stage.listener, &stage.name, 0, length);
	loosen(OP(play, "a listen", 0, 0, number, OP_LISTEN, stage.listener, NULL, 4, 0));
	play_settle(play);
	accepted = accept_one(play);
	play_turn(play);
	connected = OP(play, "a connect", 0, 0, connect, stage.client, (struct sockaddr *)&stage.name, length);
	loosen(connected);
	OP(play, "a connect over TCP", 0, 0, connect, stage.tcp, (struct sockaddr *)&stage.tcp_address,
	   sizeof(stage.tcp_address));
	made = OP(play, "a socket", 0, 0, socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
	make_opening(made);
	play_settle(play);
	if (accepted && connected)
		accepted->waits = connected->result != 0;
	play_settle(play);
	syscall(SYS_shutdown, stage.listener, SHUT_RDWR);
	play_run(play);
	close_opened(play, accepted);
	close_opened(play, made);
}

/* Pipes. */

void play_use_pipes(struct play *play)
{
	OP(play, "a splice", 4, 0, splice, stage.pipes[0][0], -1, stage.pipes[1][1], -1, 16, 0);
	OP(play, "a tee", 4, 0, tee, stage.pipes[2][0], stage.pipes[3][1], 16, 0);
	OP(play, "a pipe", 0, 0, number, OP_PIPE, 0, stage.made, 0, 0);
	play_run(play);
}

/* What waits. */

static void wake_word(struct play *play)
{
	struct part *part = play_take_part(play, "a futex's wake", 1);

	stage.word = 1;
	if (!part)
		return;
	part->also = 0;
	prep_number(part->op->sqe, OP_FUTEX_WAKE, 2, &stage.word, 0, 1);
	part->op->sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	play_queue(part, 0);
}

/*
 * On a word that changes before it is woken: who comes later sees that, and so does who has no thread to wait. Valgrind
 * knows no such call.
 */
static struct part *wait_for_word(struct play *play, const char *name, int wanted, unsigned mask)
{
	struct part *part = play_take_part(play, name, RUNNING_ON_VALGRIND ? -ENOSYS : wanted);

	if (!part)
		return NULL;
	/* One of those who wait is woken; where the first has not come so far, another. */
	part->also = wanted ? 0 : -EAGAIN;
	prep_number(part->op->sqe, OP_FUTEX_WAIT, 2, &stage.word, 0, 0);
	part->op->sqe->addr3 = mask;
	part->waits = true;
	play_queue(part, 0);
	return part;
}

static void limit_a_poll(struct play *play)
{
	struct part *limit;

	loosen(OP(play, "a poll with a limit", -ECANCELED, IOSQE_IO_LINK, poll_add, stage.pairs[2][0], POLLIN));
	limit = play_take_part(play, "a limit", -ETIME);
	loosen(limit);
	io_uring_prep_link_timeout(sqe_of(limit), &stage.soon, 0);
	queued(limit, 0);
}

/* There is none. */
static void wait_for_child(struct play *play)
{
	struct part *part = play_take_part(play, "a wait for a child", -ECHILD);
	struct io_uring_sqe *sqe = sqe_of(part);

	prep_number(sqe, OP_WAITID, getpid(), NULL, P_PID, 0);
	sqe->file_index = WEXITED;
	queued(part, 0);
	play_turn(play);
}

void play_wait_for_things(struct play *play)
{
	int *empty = stage.pipes[4];
	char bytes[4];
	struct part *polls[2];

	syscall(SYS_read, empty[0], bytes, 4);
	polls[0] = OP(play, "a poll", POLLIN, 0, poll_add, empty[0], POLLIN);
	polls[1] = OP(play, "a wait for events", 1, 0, number, OP_EPOLL_WAIT, stage.epoll, &stage.event, 1, 0);
	make_wait(polls[0]);
	make_wait(polls[1]);
	wait_for_word(play, "a wait for a futex", 0, FUTEX_BITSET_MATCH_ANY);
	wait_for_word(play, "a wait for a part of a futex", -EAGAIN, 2);
	loosen(OP(play, "a timeout that counts", 0, 0, timeout, &stage.late, 2, 0));
	OP(play, "a cancellation of what nobody waits for", -ENOENT, 0, cancel_fd, stage.udp, 0);
	limit_a_poll(play);
	wait_for_child(play);
	wake_word(play);
	play_settle(play);
	syscall(SYS_futex, &stage.word, FUTEX_WAKE, 1, NULL, NULL, 0);
	syscall(SYS_write, empty[1], "x", 1);
	play_run(play);
}

/* A message to another instance, which may be there or not where something fails. */

static int count_message(const struct io_uring_cqe *cqe, void *n)
{
	*(int *)n += cqe->res == 1 && cqe->user_data == 2;
	return 0;
}

static void receive_message(struct play *play, iou_t *other, const int *n)
{
	int r = 0;

	for (int i = 0; i < 100 && r >= 0 && !*n; i++)
		r = iou_run_once(other, &(struct timespec){ 0 });
	if (*n != 1 && (play->rules->is_strict || *n > 1))
		play_complain(play, "%d messages came", *n);
}

void play_send_message(struct play *play)
{
	int n = 0;
	iou_t *other = play_open(play, (iou_config_t){ .engine = IOU_ENGINE_THREADS,
						       .foreign_cqe = count_message,
						       .foreign_cqe_data = &n });

	if (!other)
		return;
	if (iou_flush(other) == 0 && iou_ring(other)->ring_fd < 0 && play->rules->is_strict)
		play_complain(play, "there are no messages");
	/* What has failed once may be there the next time. */
	loosen(OP(play, "a message", 0, 0, msg_ring, iou_ring(other)->ring_fd, 1, 2, 0));
	play_settle(play);
	receive_message(play, other, &n);
	if (iou_free(other))
		play_complain(play, "iou_free() failed: %s", strerror(errno));
}

/* Provided buffers. */

/* Where a call is forbidden without which a pipe cannot be read but by waiting, it ends at once. */
static bool may_end_at_once(const struct part *read)
{
	int error = read->play->rules->error;

	return error == ENOSYS || error == EPERM;
}

void play_use_buffers(struct play *play)
{
	struct part *parts[2];

	OP(play, "buffers", 0, 0, provide_buffers, stage.buffers, BUFFER_SIZE, N_BUFFERS, 1, 0);
	play_settle(play);
	parts[0] = play_take_part(play, "a multishot read", 0);
	prep_number(sqe_of(parts[0]), OP_READ_MULTISHOT, stage.pipes[3][0], NULL, 0, (__u64)-1);
	if (parts[0] && may_end_at_once(parts[0]))
		parts[0]->also = -EBADFD;
	parts[1] = play_take_part(play, "a multishot recv", 0);
	io_uring_prep_recv_multishot(sqe_of(parts[1]), stage.pairs[2][1], NULL, 0, 0);
	for (int i = 0; i < 2; i++) {
		if (parts[i])
			parts[i]->op->sqe->buf_group = 1;
		make_wait(queued(parts[i], IOSQE_BUFFER_SELECT));
		loosen(parts[i]);
	}
	play_settle(play);
	syscall(SYS_write, stage.pairs[2][0], "x", 1);
	play_turn(play);
	syscall(SYS_shutdown, stage.pairs[2][0], SHUT_WR);
	close_it(stage.pipes[3][1]);
	stage.pipes[3][1] = -1;
	play_run(play);
	/* Or it is not known how many there are. */
	if (parts[0] && parts[0]->result == 0)
		loosen(OP(play, "a removal of buffers", N_BUFFERS - 2, 0, remove_buffers, N_BUFFERS, 1));
	play_run(play);
}

/* All that a message brings goes into the buffer. */
static void receive_messages(struct play *play)
{
	int *fds = stage.pairs[4];
	struct part *part;

	OP(play, "large buffers", 0, 0, provide_buffers, stage.large, sizeof(stage.large[0]), 2, 3, 0);
	play_settle(play);
	part = play_take_part(play, "a multishot recvmsg", (int)sizeof(struct io_uring_recvmsg_out));
	io_uring_prep_recvmsg_multishot(sqe_of(part), fds[0], &stage.headers[4], 0);
	if (part)
		part->op->sqe->buf_group = 3;
	make_wait(queued(part, IOSQE_BUFFER_SELECT));
	loosen(part);
	play_settle(play);
	syscall(SYS_write, fds[1], "x", 1);
	play_turn(play);
	syscall(SYS_shutdown, fds[1], SHUT_WR);
	play_run(play);
}

/* Registered files. */

static struct part *op_number(struct play *play, const char *name, int wanted, int opcode, int fd, unsigned flags)
{
	struct part *part = play_take_part(play, name, wanted);

	prep_number(sqe_of(part), opcode, fd, NULL, 0, 0);
	return queued(part, flags);
}

static void fill_slots(struct play *play)
{
	struct part *part;

	stage.fds[0] = stage.fds[1] = stage.file;
	OP(play, "an update of a slot", 1, 0, files_update, &stage.fds[0], 1, 0);
	play_settle(play);
	OP(play, "an openat into a slot", 0, 0, openat_direct, stage.dir, "file", O_RDONLY, 0, 3);
	play_settle(play);
	OP(play, "a file made in a slot", 0, 0, openat_direct, stage.dir, "g", O_RDWR | O_CREAT, 0600, 4);
	OP(play, "a socket in a slot", 0, 0, socket_direct, AF_UNIX, SOCK_STREAM, 0, 5, 0);
	play_settle(play);
	part = play_take_part(play, "a pipe in slots", 0);
	prep_number(sqe_of(part), OP_PIPE, 0, stage.made_slots, 0, 0);
	sqe_of(part)->file_index = 7;
	queued(part, 0);
	play_settle(play);
	loosen(OP(play, "a socket in any slot", 8, 0, socket_direct_alloc, AF_UNIX, SOCK_STREAM, 0, 0));
	play_settle(play);
	loosen(OP(play, "an update of any slot", 1, 0, files_update, &stage.fds[1], 1, (int)IORING_FILE_INDEX_ALLOC));
	play_settle(play);
}

/* Vectors of a registered buffer are newer than the kernel's: here all of them are the library's own. */
static void use_registered_buffer(struct play *play)
{
	struct part *part = play_take_part(play, "a vectored read into a registered buffer", 5);

	stage.slot_iov[0] = (struct iovec){ play->bytes, 5 };
	prep_number(sqe_of(part), OP_READV_FIXED, stage.file, &stage.slot_iov[0], 1, 0);
	loosen(queued(part, 0));
	loosen(OP(play, "a read into a registered buffer", 5, 0, read_fixed, stage.file, &play->bytes[5], 5, 0, 0));
	/* Behind what there is it goes on with the rest of the vector. */
	for (int i = 1; i < 3; i++)
		stage.slot_iov[i] = (struct iovec){ stage.slot_memory[i], 3 };
	loosen(OP(play, "a vectored read up to the end", 2, 0, readv, stage.file, &stage.slot_iov[1], 2, 98));
	play_settle(play);
}

void play_use_slots(struct play *play)
{
	struct part *part;

	fill_slots(play);
	loosen(OP(play, "a read of a slot", 5, IOSQE_FIXED_FILE, read, 3, stage.slot_memory[0], 5, 0));
	part = op_number(play, "a slot's descriptor", 0, OP_FIXED_FD_INSTALL, 0, IOSQE_FIXED_FILE);
	make_opening(part);
	loosen(part);
	play_settle(play);
	close_opened(play, part);
	loosen(OP(play, "a close of a slot", 0, 0, close_direct, 3));
	OP(play, "an addition to an epoll set", 0, 0, epoll_ctl, stage.epoll, stage.pipes[1][0], EPOLL_CTL_ADD,
	   &stage.added);
	play_settle(play);
	use_registered_buffer(play);
	receive_messages(play);
}

/* For iou_drain() and iou_free(). */
void play_leave_operations(struct play *play)
{
	stage.word = 0;
	wait_for_word(play, "a wait for a futex that is cancelled", -ECANCELED, FUTEX_BITSET_MATCH_ANY);
	make_wait(OP(play, "a poll that is cancelled", -ECANCELED, 0, poll_add, stage.pipes[4][1], POLLERR));
	play_turn(play);
}
