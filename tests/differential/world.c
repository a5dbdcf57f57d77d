/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000

static void try(bool is_well, const char *what)
{
	if (is_well)
		return;
	perror(what);
	exit(2);
}

/* splitmix64 */
uint32_t world_random(struct world *world, uint32_t n)
{
	uint64_t z = world->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ (z >> 31)) >> 32) % n;
}

static int listen_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	try(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 8) == 0, "listener");
	return fd;
}

static void make_things(struct world *world)
{
	static const char text[] = "The quick brown fox jumps over the lazy dog.";
	int *fds = world->fds;

	/* A disk is slower, all the more as others use it. */
	snprintf(world->directory, sizeof(world->directory), "%s/libiou-differential-XXXXXX",
		 world->random % 4 && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	try(mkdtemp(world->directory) != NULL, "mkdtemp");
	world->directory_fd = open(world->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[A_FILE] = openat(world->directory_fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	try(write(fds[A_FILE], text, sizeof(text)) == sizeof(text), "file");
	try(pipe2(&fds[A_PIPE], O_CLOEXEC) == 0, "pipe2");
	try(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &fds[A_STREAM]) == 0, "socketpair");
	try(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, &fds[A_DATAGRAM]) == 0, "socketpair");
	fds[A_LISTENER] = listen_somewhere();
	fds[AN_EVENTFD] = eventfd(0, EFD_CLOEXEC);
	fds[A_CLOSED_ONE] = 987;
}

/* The memory ends where nothing is mapped: whoever writes behind it is told. */
static void make_memory(struct world *world)
{
	size_t size = (size_t)(N_OPS + 1) * SLOT_SIZE;
	char *memory = mmap(NULL, size + SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	try(memory != MAP_FAILED && mprotect(memory + size, SLOT_SIZE, PROT_NONE) == 0, "mmap");
	world->slots = (struct slot *)memory;
	world->buffers = (unsigned char *)memory + (size_t)N_OPS * SLOT_SIZE;
}

static struct slot *slot_of(const struct world *world, int i)
{
	return (struct slot *)((char *)world->slots + (size_t)i * SLOT_SIZE);
}

/* Files are in the slots of their numbers, slots in the buffers of theirs. */
static void register_things(struct world *world)
{
	struct iovec iovecs[N_OPS];
	int fds[N_THINGS];

	memcpy(fds, world->fds, sizeof(fds));
	fds[A_CLOSED_ONE] = -1;
	for (int i = 0; i < N_OPS; i++)
		iovecs[i] = (struct iovec){ slot_of(world, i)->data, DATA_SIZE };
	try(iou_register_files(world->iou, fds, N_THINGS) == 0, "iou_register_files");
	try(iou_register_buffers(world->iou, iovecs, N_OPS) == 0, "iou_register_buffers");
}

void world_open(struct world *world, uint32_t engine, uint64_t seed)
{
	iou_config_t config = { .size = sizeof(config), .entries = 16, .engine = engine };

	memset(world, 0, sizeof(*world));
	world->random = seed;
	make_things(world);
	make_memory(world);
	world->iou = iou_new_with(&config);
	try(world->iou != NULL, "iou_new_with");
	register_things(world);
}

/* FNV-1a, of what the op may have written. */
static uint64_t hash(const struct slot *slot)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < DATA_SIZE; i++)
		h = (h ^ slot->data[i]) * 0x100000001b3;
	return h;
}

void world_close(struct world *world)
{
	static const char *const names[] = { "file", "a", "b", "c", "d" };

	iou_free(world->iou);
	for (int i = 0; i < world->n_ops; i++)
		world->outcomes[i].data = hash(slot_of(world, i));
	for (int i = 0; i < A_CLOSED_ONE; i++)
		close(world->fds[i]);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (unlinkat(world->directory_fd, names[i], 0) < 0)
			unlinkat(world->directory_fd, names[i], AT_REMOVEDIR);
	close(world->directory_fd);
	try(rmdir(world->directory) == 0, "rmdir");
	munmap(world->slots, (size_t)(N_OPS + 2) * SLOT_SIZE);
}

iou_op_t *world_op(struct world *world, struct slot **slot)
{
	int i = world->n_ops;

	if (i == N_OPS)
		return NULL;
	world->ops[i] = iou_op_new(world->iou);
	try(world->ops[i] != NULL, "iou_op_new");
	world->watches[i] = (struct watch){ world, i, false, false };
	*slot = slot_of(world, i);
	world->n_ops++;
	return world->ops[i];
}

/* A descriptor is one, whatever its number; and there are no more of them afterwards. */
static int take_result(const struct watch *watch, const iou_op_t *op)
{
	if (!watch->makes_fd || op->result < 0)
		return op->result;
	close(op->result);
	return 0;
}

static int record(void *data)
{
	struct watch *watch = data;
	const iou_op_t *op = watch->world->ops[watch->i];
	struct outcome *outcome = &watch->world->outcomes[watch->i];
	unsigned flags = op->flags & ~IORING_CQE_F_SOCK_NONEMPTY;
	int result = take_result(watch, op);

	if (flags & IORING_CQE_F_BUFFER)
		flags &= 0xffff;
	if (outcome->n_calls < MAX_CALLS)
		outcome->calls[outcome->n_calls] = (struct call){ result, flags };
	outcome->n_calls++;
	watch->has_ended = !(flags & IORING_CQE_F_MORE);
	return 0;
}

/* The same, by registered buffer: the op's own, but for one that is not registered. */
static void use_buffer(struct world *world, struct io_uring_sqe *sqe)
{
	if (sqe->opcode == IORING_OP_READ)
		sqe->opcode = IORING_OP_READ_FIXED;
	else if (sqe->opcode == IORING_OP_WRITE)
		sqe->opcode = IORING_OP_WRITE_FIXED;
	else
		return;
	sqe->buf_index = (__u16)(world_random(world, 8) ? world->n_ops - 1 : N_OPS);
}

/* The same, by registered file. */
static void use_slot(const struct world *world, struct io_uring_sqe *sqe)
{
	for (int i = 0; i < N_THINGS; i++)
		if (sqe->fd == world->fds[i]) {
			sqe->fd = i;
			sqe->flags |= IOSQE_FIXED_FILE;
			return;
		}
}

/* What is in the descriptor's place is something else, or a descriptor whatever the flag says. */
static bool has_no_file(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_EPOLL_CTL || sqe->opcode == IORING_OP_SOCKET ||
	       sqe->opcode == IORING_OP_PROVIDE_BUFFERS || sqe->opcode == IORING_OP_REMOVE_BUFFERS;
}

static void use_what_is_registered(struct world *world, struct io_uring_sqe *sqe)
{
	if (!(sqe->flags & IOSQE_BUFFER_SELECT) && world_random(world, 4) == 0)
		use_buffer(world, sqe);
	/* Descriptors have different numbers in the two worlds, so none is to be taken for a slot's. */
	if (!has_no_file(sqe) && (world_random(world, 4) == 0 || sqe->flags & IOSQE_FIXED_FILE))
		use_slot(world, sqe);
}

void world_queue(struct world *world, iou_op_t *op)
{
	struct watch *watch = &world->watches[world->n_ops - 1];

	use_what_is_registered(world, op->sqe);
	world->outcomes[watch->i].sqe = *op->sqe;
	watch->makes_fd = op->sqe->opcode == IORING_OP_OPENAT || op->sqe->opcode == IORING_OP_OPENAT2 ||
			  op->sqe->opcode == IORING_OP_SOCKET || op->sqe->opcode == IORING_OP_ACCEPT;
	iou_op_queue(world->iou, op, record, watch);
}

static bool have_ended(const struct world *world, int first, int n)
{
	for (int i = first; i < first + n; i++)
		if (!world->watches[i].has_ended)
			return false;
	return true;
}

/* What does not end by itself is given some turns. */
void world_run(struct world *world, int first, int n)
{
	const struct timespec a_moment = { .tv_nsec = 10000000 };

	for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
		int n_calls = iou_run_once(world->iou, &a_moment);

		if (n_calls < 0 || (n < 0 ? n_calls == 0 : have_ended(world, first, n)))
			return;
	}
	printf("# ops %d to %d do not end\n", first, first + n - 1);
	fflush(stdout);
}

void world_run_until_called(struct world *world, int i)
{
	const struct timespec a_moment = { .tv_nsec = 10000000 };
	int n_before = world->outcomes[i].n_calls;

	for (int n = 0; n < 20 && world->outcomes[i].n_calls == n_before; n++)
		iou_run_once(world->iou, &a_moment);
}
