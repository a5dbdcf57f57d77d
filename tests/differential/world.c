/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "make.h"

/* What goes on for ever is not waited for. */
#define MOST_TURNS 300

static void try(bool is_well, const char *what)
{
	if (is_well)
		return;
	perror(what);
	exit(2);
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint32_t world_random(struct world *world, uint32_t n)
{
	return (uint32_t)(next(&world->random) >> 32) % n;
}

void world_begin_step(struct world *world, int step)
{
	uint64_t state = world->seed * 1000 + (uint64_t)step;

	world->random = next(&state);
	world->step = step;
	world->n_in_step = 0;
}

/* Things. */

static void put(struct world *world, enum thing thing, int fd)
{
	world->fds[thing] = FIRST_FD + (int)thing;
	try(fd >= 0 && dup3(fd, world->fds[thing], O_CLOEXEC) >= 0, "a descriptor");
	close(fd);
}

static void put_two(struct world *world, enum thing thing, int r, const int fds[2])
{
	try(r == 0, "a pair");
	put(world, thing, fds[0]);
	put(world, thing + 1, fds[1]);
}

/* What is closed is gone at once, and leaves no port behind; what is sent is there at once. */
static void do_not_linger(int fd)
{
	const struct linger linger = { .l_onoff = 1 };
	const int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static int bind_somewhere(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	try(fd >= 0 && bind(fd, (struct sockaddr *)address, length) == 0, "bind");
	try(getsockname(fd, (struct sockaddr *)address, &length) == 0, "getsockname");
	return fd;
}

static void make_tcp(struct world *world)
{
	struct sockaddr_in address;
	int listener = bind_somewhere(SOCK_STREAM, &address), fds[2];

	do_not_linger(listener);
	try(listen(listener, 8) == 0, "listen");
	memcpy(world->tcp_address, &address, sizeof(address));
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	do_not_linger(fds[0]);
	try(connect(fds[0], (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	do_not_linger(fds[1]);
	put_two(world, A_TCP, 0, fds);
	put(world, A_LISTENER, listener);
	put(world, A_SOCKET, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	do_not_linger(world->fds[A_SOCKET]);
}

static void make_udp(struct world *world)
{
	struct sockaddr_in addresses[2];
	int fds[2] = { bind_somewhere(SOCK_DGRAM, &addresses[0]), bind_somewhere(SOCK_DGRAM, &addresses[1]) };

	try(connect(fds[0], (struct sockaddr *)&addresses[1], sizeof(addresses[1])) == 0, "connect");
	try(connect(fds[1], (struct sockaddr *)&addresses[0], sizeof(addresses[0])) == 0, "connect");
	put_two(world, A_UDP, 0, fds);
}

static void make_unix_sockets(struct world *world)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fds[2], fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", world->directory);
	memcpy(world->unix_address, &address, sizeof(address));
	try(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 8) == 0, "unix listener");
	put(world, A_UNIX_LISTENER, fd);
	put(world, A_UNIX_SOCKET, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	put_two(world, A_STREAM, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), fds);
	put_two(world, A_DATAGRAM, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), fds);
	put_two(world, A_SEQUENCE, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), fds);
	put_two(world, A_NONBLOCK_STREAM, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), fds);
}

static void make_pipes(struct world *world)
{
	int fds[2];

	put_two(world, A_PIPE, pipe2(fds, O_CLOEXEC), fds);
	put_two(world, A_NONBLOCK_PIPE, pipe2(fds, O_CLOEXEC | O_NONBLOCK), fds);
	put(world, AN_EVENTFD, eventfd(0, EFD_CLOEXEC));
	put(world, AN_EPOLL, epoll_create1(EPOLL_CLOEXEC));
}

/* A disk is slower, all the more as others use it. */
static void make_files(struct world *world)
{
	static const char text[] = "The quick brown fox jumps over the lazy dog.";
	bool is_disk = world->seed % 8 == 0 || access("/dev/shm", W_OK) < 0;

	snprintf(world->directory, sizeof(world->directory), "%s/libiou-differential-XXXXXX",
		 is_disk ? "/tmp" : "/dev/shm");
	try(mkdtemp(world->directory) != NULL && chdir(world->directory) == 0, "mkdtemp");
	world->directory_fd = open(world->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(world, A_FILE, open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	put(world, AN_APPENDED_FILE, open("appended", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
	for (enum thing thing = A_FILE; thing <= AN_APPENDED_FILE; thing++)
		try(pwrite(world->fds[thing], text, sizeof(text), 0) == sizeof(text), "file");
	put(world, A_READ_ONLY_FILE, open("file", O_RDONLY | O_CLOEXEC));
	put(world, A_PATH, open("file", O_PATH | O_CLOEXEC));
	put(world, A_DIRECTORY, open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void make_things(struct world *world)
{
	make_files(world);
	make_pipes(world);
	make_unix_sockets(world);
	make_tcp(world);
	make_udp(world);
	world->fds[A_CLOSED_ONE] = 987;
	world->fds[A_NEGATIVE_ONE] = -1;
}

/*
 * The same addresses in each world. The memory ends where nothing is mapped: whoever writes behind it is told. One page
 * can be read only.
 */
static void make_memory(struct world *world)
{
	const size_t size = (size_t)(N_OPS + 1) * SLOT_SIZE;
	void *const here = (void *)0x7f0000000000; /* if it is free: with room for the longest of lengths behind it */
	static unsigned char *memory;

	if (!memory) {
		memory = mmap(here, size + 2 * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		try(memory != MAP_FAILED && mprotect(memory + size, SLOT_SIZE, PROT_NONE) == 0 &&
			    mprotect(memory + size + SLOT_SIZE, SLOT_SIZE, PROT_READ) == 0,
		    "memory");
	}
	memset(memory, 0, size);
	world->slots = (struct slot *)(void *)memory;
	world->buffers = memory + (size_t)N_OPS * SLOT_SIZE;
	world->read_only = memory + size + SLOT_SIZE;
}

struct slot *world_slot(const struct world *world, int i)
{
	return (struct slot *)(void *)((char *)world->slots + (size_t)i * SLOT_SIZE);
}

void world_open(struct world *world, uint32_t engine, uint64_t seed, const struct cut *cut)
{
	iou_config_t config = { .size = sizeof(config), .entries = 16, .engine = engine };

	memset(world, 0, sizeof(*world));
	world->seed = seed;
	world->cut = *cut;
	make_things(world);
	make_memory(world);
	for (int i = 0; i < N_OPS; i++)
		world->watches[i] = (struct watch){ world, i, true };
	world->iou = iou_new_with(&config);
	try(world->iou != NULL, "iou_new_with");
	if (seed % 2)
		try(registered_open(world) == 0, "registration");
}

void world_close(struct world *world)
{
	if (world->seed % 2)
		registered_close(world);
	iou_free(world->iou);
	for (int i = 0; i < N_OPS; i++)
		world->outcomes[i].data = state_hash(world_slot(world, i), &world->outcomes[i].sqe);
	/* What waits for more to send with it (MSG_MORE) goes now. */
	do_not_linger(world->fds[A_TCP]);
	do_not_linger(world->fds[A_TCP_TO]);
	state_trace(world);
	for (int i = 0; i < A_CLOSED_ONE; i++)
		close(world->fds[i]);
	/* What ops have made whose success is not told. */
	close_range((unsigned)world->directory_fd + 1, FIRST_FD - 1, 0);
	state_remove_files(world->directory_fd);
	close(world->directory_fd);
	try(chdir("/") == 0 && rmdir(world->directory) == 0, "rmdir");
}

/* Ops. */

iou_op_t *world_op(struct world *world, struct slot **slot)
{
	int i = world->step * OPS_PER_STEP + world->n_in_step;

	if (world->n_in_step == OPS_PER_STEP)
		return NULL;
	world->ops[i] = iou_op_new(world->iou);
	try(world->ops[i] != NULL, "iou_op_new");
	*slot = world_slot(world, i);
	world->n_in_step++;
	return world->ops[i];
}

static bool counts_all(const struct io_uring_sqe *sqe)
{
	return sqe->cancel_flags & IORING_ASYNC_CANCEL_ANY ||
	       (sqe->cancel_flags & CANCEL_OP && sqe->len == IORING_OP_POLL_ADD);
}

static bool makes_files(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_OPENAT || sqe->opcode == IORING_OP_OPENAT2 || sqe->opcode == IORING_OP_SOCKET ||
	       sqe->opcode == IORING_OP_ACCEPT || sqe->opcode == OP_PIPE;
}

/* A descriptor is one, whatever its number; and there are no more of them afterwards. */
static int take_result(struct world *world, int i, const iou_op_t *op)
{
	struct slot *slot = world_slot(world, i);
	const struct outcome *outcome = &world->outcomes[i];
	int asked = op->result > 0 ? op->result & (int)outcome->sqe.poll32_events : 0;

	/* It went to the registered ones, or would have. */
	if (outcome->sqe.file_index && makes_files(&outcome->sqe))
		return op->result;
	/* Whether some of it had been copied, before it failed. */
	if (op->flags & IORING_CQE_F_NOTIF && outcome->calls[0].result < 0)
		return 0;
	switch (outcome->sqe.opcode) {
	case IORING_OP_POLL_ADD:
		/* What was not asked for comes with the rest, or not. */
		return outcome->sqe.len & IORING_POLL_ADD_MULTI && asked ? asked : op->result;
	case IORING_OP_LINK_TIMEOUT:
		/* It came as its request was ending. */
		return op->result == -ENOENT || op->result == -EALREADY ? -ECANCELED : op->result;
	case IORING_OP_ASYNC_CANCEL:
		/* The library's own count as well. */
		return counts_all(&outcome->sqe) && op->result > 0 ? 0 : op->result;
	case OP_PIPE:
		for (int j = 0; j < 2 && slot->fds[j]; j++)
			close(slot->fds[j]);
		slot->fds[0] = slot->fds[1] = 0;
		return op->result;
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_SOCKET:
	case IORING_OP_ACCEPT:
	case OP_FIXED_FD_INSTALL:
		if (op->result < 0)
			return op->result;
		close(op->result);
		return 0;
	default:
		return op->result;
	}
}

static int record(void *data)
{
	struct watch *watch = data;
	const iou_op_t *op = watch->world->ops[watch->i];
	struct outcome *outcome = &watch->world->outcomes[watch->i];
	unsigned flags = op->flags & ~IORING_CQE_F_SOCK_NONEMPTY;
	int result = take_result(watch->world, watch->i, op);

	if (outcome->n_calls < MAX_CALLS)
		outcome->calls[outcome->n_calls] = (struct call){ result, flags };
	outcome->n_calls++;
	watch->has_ended = !(flags & IORING_CQE_F_MORE);
	return 0;
}

void world_queue(struct world *world, iou_op_t *op)
{
	int i = world->step * OPS_PER_STEP + world->n_in_step - 1;
	struct watch *watch = &world->watches[i];

	if (world->seed % 2)
		registered_use(world, op->sqe, i);
	if (world->cut.ops[world->step] >> (world->n_in_step - 1) & 1) {
		iou_op_free(world->iou, op);
		return;
	}
	world->outcomes[i].sqe = *op->sqe;
	world->outcomes[i].is_queued = true;
	watch->has_ended = false;
	iou_op_queue(world->iou, op, record, watch);
	world->outcomes[i].user_data = op->sqe->user_data;
}

/* Turns. */

bool world_run(struct world *world)
{
	const struct timespec patience = { .tv_sec = world->cut.patience_ms / 1000,
					   .tv_nsec = world->cut.patience_ms % 1000 * 1000000L };

	for (int n = 0; iou_pending(world->iou) > 0 && n < MOST_TURNS; n++)
		if (iou_run_once(world->iou, &patience) <= 0)
			break;
	return iou_pending(world->iou) > 0;
}

void world_settle(struct world *world)
{
	const struct timespec none = { 0 };

	for (int n_quiet = 0; n_quiet < 3;)
		n_quiet = iou_run_once(world->iou, &none) > 0 ? 0 : n_quiet + 1;
}

bool world_has_data(struct world *world, enum thing thing)
{
	struct pollfd pollfd = { .fd = world->fds[thing], .events = POLLIN };

	return poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLIN;
}

/* A thread of the kernel may be faster; where RWF_NOWAIT is unknown (a pipe that was spliced), nobody else is at it. */
static bool take_some(int fd)
{
	char bytes[4096];
	struct iovec iov = { bytes, sizeof(bytes) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP)
		n = read(fd, bytes, sizeof(bytes));
	return n > 0;
}

void world_empty(struct world *world, enum thing thing)
{
	if (thing == A_LISTENER || thing == A_UNIX_LISTENER) {
		while (world_has_data(world, thing)) {
			int fd = accept4(world->fds[thing], NULL, NULL, SOCK_CLOEXEC);

			if (fd < 0)
				return;
			close(fd);
		}
		return;
	}
	while (world_has_data(world, thing) && take_some(world->fds[thing]))
		;
}
