/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An instance, what its ops work on, and what must be so before and after it. */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAINT 0xa5
#define SMALL_PIPE 8192

char walk_name[80] = "a walk";

_Noreturn void walk_fail_with(const char *file, int line, const char *condition, long long result)
{
	fprintf(stderr, "%s: %s:%d: not so: %s (%lld)\n", walk_name, file, line, condition, result);
	abort();
}

_Noreturn void walk_fail(const char *file, int line, const char *condition)
{
	walk_fail_with(file, line, condition, 0);
}

int64_t walk_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Memory for the kernel. Where it writes when nobody has asked it to, the paint is gone. */

static void paint(unsigned char *memory, size_t n)
{
	memset(memory, PAINT, n);
}

static void check_paint(const unsigned char *memory, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK_RESULT(memory[i] == PAINT, (long long)i);
}

static unsigned char *map_painted(void)
{
	void *memory = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	paint(memory, ARENA_BYTES);
	return memory;
}

/* It is looked at once more when some walks have gone by: an instance that is gone may still have somebody write. */
static void bury(unsigned char *arena)
{
	static unsigned char *graves[16];
	static unsigned next;
	unsigned char **grave = &graves[next++ % 16];

	check_paint(arena, ARENA_BYTES);
	if (*grave) {
		check_paint(*grave, ARENA_BYTES);
		munmap(*grave, ARENA_BYTES);
	}
	*grave = arena;
}

unsigned char *world_take_slot(struct world *world)
{
	unsigned i = 0;

	while (world->is_slot_taken[i])
		CHECK(++i < N_SLOTS);
	world->is_slot_taken[i] = true;
	check_paint(world->arena + i * SLOT_BYTES, SLOT_BYTES);
	return world->arena + i * SLOT_BYTES;
}

void world_give_slot(struct world *world, unsigned char *slot)
{
	/* No op asks for more than half of it. */
	check_paint(slot + SLOT_BYTES / 2, SLOT_BYTES / 2);
	paint(slot, SLOT_BYTES);
	world->is_slot_taken[(slot - world->arena) / SLOT_BYTES] = false;
}

void world_take_buffer(struct world *world, unsigned group, unsigned id)
{
	if (group == RING_GROUP) {
		CHECK_RESULT(iou_buffers_at(world->buffers, id), id);
		CHECK(iou_buffers_recycle(world->buffers, id) == 0);
	} else {
		CHECK_RESULT(id < PROVIDED_BUFFERS && world->n_provided[id] > 0, id);
		world->n_provided[id]--;
	}
}

/* Files. */

unsigned char world_file_byte(unsigned i)
{
	return (unsigned char)(i * 7 + 1);
}

static int open_file(void)
{
	int fd = memfd_create("walk", MFD_CLOEXEC);

	CHECK(fd >= 0);
	for (unsigned i = 0; i < FILE_BYTES; i++) {
		unsigned char byte = world_file_byte(i);

		CHECK(pwrite(fd, &byte, 1, i) == 1);
	}
	return fd;
}

static int listen_anywhere(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Without a name the kernel finds one, see unix(7). */
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) == 0);
	CHECK(listen(fd, 64) == 0);
	return fd;
}

static int listen_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4096) == 0);
	return fd;
}

static void connect_tcp(struct stream *stream)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int listener = listen_tcp();

	CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	stream->in = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(stream->in >= 0 && connect(stream->in, (struct sockaddr *)&address, length) == 0);
	stream->out = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(stream->out >= 0);
	close(listener);
}

/* So that it is soon full. */
static void make_small(const int *sockets)
{
	const int size = 0;

	for (int i = 0; i < 2; i++)
		CHECK(setsockopt(sockets[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
}

static struct stream open_stream(int i)
{
	struct stream stream = { 0 };
	int fds[2];

	if (i == TCP_PAIR) {
		connect_tcp(&stream);
		return stream;
	}
	CHECK((i == UNIX_PAIR ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC)) == 0);
	if (i == UNIX_PAIR)
		make_small(fds);
	else
		CHECK(fcntl(fds[0], F_SETPIPE_SZ, SMALL_PIPE) > 0);
	stream.out = fds[0];
	stream.in = fds[1];
	return stream;
}

/* What went in has come out, or is still there. A read that outlives its instance, or a completion that got lost, shows here. */
static void check_stream(struct stream *stream)
{
	int n_left = 0;

	for (int i = 0; i < 1000 && stream->n_in != stream->n_out + (unsigned)n_left; i++) {
		CHECK(ioctl(stream->out, FIONREAD, &n_left) == 0);
		if (i)
			usleep(1000); /* TCP takes a moment */
	}
	CHECK_RESULT(stream->n_in == stream->n_out + (unsigned)n_left,
		     (long long)(stream->n_in - stream->n_out) - n_left);
}

static void close_stream(struct stream *stream)
{
	close(stream->in);
	close(stream->out);
}

static void rename_end(int *fd, int name)
{
	CHECK(dup3(*fd, name, O_CLOEXEC) == name);
	close(*fd);
	*fd = name;
}

static void turn_back(struct world *world)
{
	const struct stream *pair = &world->streams[UNIX_PAIR];

	world->streams[UNIX_BACK] = (struct stream){ .in = pair->out, .out = pair->in };
}

void world_replace_stream(struct world *world, int i)
{
	struct stream old = world->streams[i];

	check_stream(&old);
	if (i == UNIX_PAIR)
		check_stream(&world->streams[UNIX_BACK]);
	world->streams[i] = open_stream(i);
	rename_end(&world->streams[i].in, old.in);
	rename_end(&world->streams[i].out, old.out);
	if (i == UNIX_PAIR)
		turn_back(world);
}

static void open_streams(struct world *world)
{
	for (int i = 0; i < N_STREAMS; i++)
		if (i != UNIX_BACK)
			world->streams[i] = open_stream(i);
	turn_back(world);
}

static void close_streams(struct world *world)
{
	for (int i = 0; i < N_STREAMS; i++)
		check_stream(&world->streams[i]);
	for (int i = 0; i < N_STREAMS; i++)
		if (i != UNIX_BACK)
			close_stream(&world->streams[i]);
}

/* Children. */

/* It has none of what the walk has, and goes with it. */
static pid_t start_child(bool has_ended)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0 && has_ended)
		_exit(0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		syscall(SYS_close_range, 0, ~0U, 0);
		for (;;)
			pause();
	}
	return child;
}

pid_t world_child(bool has_ended)
{
	static pid_t children[2];

	if (!children[has_ended])
		children[has_ended] = start_child(has_ended);
	return children[has_ended];
}

/* The instance. */

/* As few as one may carry out what blocks. */
static void choose_threads(struct world *world)
{
	if (source_one_in(world->source, 4))
		world->config.iowq_bounded = 1 + source_pick(world->source, 3);
	if (source_one_in(world->source, 4))
		world->config.iowq_unbounded = 1 + source_pick(world->source, 3);
	world->has_few_threads = world->config.iowq_bounded || world->config.iowq_unbounded;
}

static void choose_spin(struct world *world)
{
	static const unsigned ns[] = { 0, 1000, 50000, 1000000 };

	if (!source_one_in(world->source, 3))
		return;
	world->config.flags |= IOU_SPIN;
	world->config.spin_ns = ns[source_pick(world->source, 4)];
}

static void choose_config(struct world *world, uint32_t engine)
{
	static const unsigned entries[] = { 1, 2, 4, 8, 64, 128 };
	static const unsigned stacks[] = { 0, 0, 131072, 1048576 };
	struct source *source = world->source;

	world->config = (iou_config_t){
		.size = sizeof(iou_config_t),
		.engine = engine,
		.entries = entries[source_pick(source, 6)],
		.workers = source_pick(source, 3),
		.stack_size = stacks[source_pick(source, 4)],
		.foreign_cqe = act_foreign_cqe,
		.foreign_cqe_data = world,
	};
	if (source_one_in(source, 4))
		world->config.flags |= IOU_ANY_THREAD;
	if (source_one_in(source, 16))
		world->config.flags |= IOU_SQPOLL;
	if (source_one_in(source, 3))
		world->config.cq_entries = world->config.entries;
	choose_threads(world);
	choose_spin(world);
	world->is_rebuilt = world->config.flags & (IOU_ANY_THREAD | IOU_SQPOLL);
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void open_instance(struct world *world, uint32_t engine)
{
	iou_info_t info = { .size = sizeof(info) };

	choose_config(world, engine);
	world->iou = iou_new_with(&world->config);
	CHECK_RESULT(world->iou, errno);
	CHECK(iou_info(world->iou, &info) == 0 && info.engine == engine);
	world->has_ring = engine == IOU_ENGINE_URING;
	for (unsigned i = 0; i < N_SUPPORTED; i++)
		world->is_supported[i] = iou_supports(world->iou, i) == 1;
	registry_open(world);
	neighbour_open(world);
}

void world_open(struct world *world, struct source *source, uint32_t engine)
{
	*world = (struct world){ .source = source, .n_descriptors = count_descriptors(), .fd = -1, .epoch = 1 };
	/* By the thread that lives as long as the program. */
	world_child(true);
	world_child(false);
	TAILQ_INIT(&world->news);
	TAILQ_INIT(&world->alive);
	TAILQ_INIT(&world->silent);
	SLIST_INIT(&world->chains);
	open_streams(world);
	world->file = open_file();
	world->listener = listen_anywhere();
	world->tcp_listener = listen_tcp();
	world->epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK(world->epoll >= 0);
	world->arena = map_painted();
	world->provided_buffers = malloc(PROVIDED_BUFFERS * SLOT_BYTES);
	CHECK(world->provided_buffers);
	open_instance(world, engine);
	helpers_open(world);
}

void world_close(struct world *world)
{
	helpers_close(world);
	acts_check_all_over(world);
	acts_free_all(world);
	/* A message is no op's: it may be on its way when the instance is freed. */
	CHECK(world->n_foreign <= world->n_messages);
	close_streams(world);
	close(world->file);
	close(world->listener);
	close(world->tcp_listener);
	close(world->epoll);
	bury(world->arena);
	CHECK(iou_buffers_free(world->buffers) == 0);
	neighbour_close(world);
	free(world->provided_buffers);
	CHECK_RESULT(count_descriptors() == world->n_descriptors, count_descriptors());
}
