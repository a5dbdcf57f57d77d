/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a walk chooses from. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "steps.h"

#define MANY 200
#define FULL_BYTES 4096

/* The instance. */

static void resize(struct world *world, struct source *source)
{
	unsigned entries = 1U << source_pick(source, 9);
	iou_info_t info = { .size = sizeof(info) };
	int r = iou_resize(world->iou, entries);

	world->epoch++;
	/* Busy is a kernel's ring that would have to be built anew, or an instance that ends. */
	CHECK_RESULT(r == 0 || r == -EBUSY, r);
	CHECK_RESULT(r == 0 || world->is_ending || (world->has_ring && (!world->is_bound || world->is_rebuilt)), r);
	CHECK(iou_info(world->iou, &info) == 0);
	CHECK(r < 0 || info.sq_entries == entries);
}

/* What the kernel, or the threads engine, can do is the same at all times. */
static void ask_about_opcodes(struct world *world, struct source *source)
{
	unsigned opcode = source_pick(source, N_SUPPORTED);
	int r = iou_supports(world->iou, opcode);

	CHECK_RESULT(r == world->is_supported[opcode], opcode);
	CHECK(iou_supports(world->iou, IORING_OP_NOP) == 1 && iou_supports(world->iou, 240) == 0);
	CHECK(world->has_ring || iou_supports(world->iou, IORING_OP_URING_CMD) == 0);
	CHECK(iou_supports(NULL, IORING_OP_NOP) == -EINVAL);
}

/* The library that runs is the header's. */
static void check_version(void)
{
	char version[32];

	snprintf(version, sizeof(version), "%d.%d.%d", IOU_VERSION_MAJOR, IOU_VERSION_MINOR, IOU_VERSION_MICRO);
	CHECK(strcmp(iou_version(), version) == 0);
}

static void ask(struct world *world, struct source *source)
{
	if (world->is_in_callback) {
		CHECK(iou_run(world->iou) == -EBUSY);
		CHECK(iou_drain(world->iou, NULL) == -EBUSY);
		CHECK(iou_run_once(world->iou, &(struct timespec){ 0 }) == -EBUSY);
	}
	CHECK(iou_op_new(NULL) == NULL && errno == EINVAL);
	CHECK(iou_resize(world->iou, 0) == -EINVAL);
	CHECK(iou_ring(world->iou));
	check_version();
	ask_about_opcodes(world, source);
	run_check_counts(world);
}

/* Data, and somebody to accept. */

/* How much there was room for. An op may fill it at the same moment, so to look first does not help. */
static size_t put(int fd, const char *bytes, size_t n)
{
	struct iovec iovec = { (void *)(uintptr_t)bytes, n };
	ssize_t n_put = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n_put < 0 && errno == ENOTSOCK)
		n_put = pwritev2(fd, &iovec, 1, -1, RWF_NOWAIT);
	/* Pipes that have been spliced cannot be asked not to wait. */
	CHECK(n_put > 0 || errno == EAGAIN || errno == EOPNOTSUPP);
	return n_put > 0 ? (size_t)n_put : 0;
}

void step_feed(struct world *world, struct source *source)
{
	static const char bytes[SLOT_BYTES];
	struct stream *stream = &world->streams[source_pick(source, N_STREAMS)];
	unsigned n = 1 + source_pick(source, SLOT_BYTES / 2);
	int n_there = 0;

	CHECK(ioctl(stream->out, FIONREAD, &n_there) == 0);
	if (n_there <= FULL_BYTES)
		stream->n_in += put(stream->in, bytes, n);
}

static void knock(struct world *world)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && getsockname(world->listener, (struct sockaddr *)&address, &length) == 0);
	CHECK(connect(fd, (struct sockaddr *)&address, length) == 0 || errno == EAGAIN);
	close(fd);
}

/* As programs do: a descriptor's number is soon another file's. What is registered keeps its file. */
static void replace_stream(struct world *world, struct source *source)
{
	int i = (int)source_pick(source, N_STREAMS);

	if (world->registered & HAS_ENDS || i == UNIX_BACK || acts_use(world, &world->streams[i]))
		return;
	if (i != UNIX_PAIR || !acts_use(world, &world->streams[UNIX_BACK]))
		world_replace_stream(world, i);
}

static void post_to_myself(struct world *world, struct source *source)
{
	act_post(&world->helpers[OWN_HELPER], source);
}

void step_anywhere(struct world *world, struct source *source)
{
	switch (source_pick(source, 24)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		ops_queue_one(world, source);
		break;
	case 5:
		ops_queue_nops(world, source);
		break;
	case 6:
	case 7:
		ops_queue_chain(world, source);
		break;
	case 8:
		ops_take_and_drop(world, source);
		break;
	case 9:
		ops_queue_old(world, source);
		break;
	case 10:
	case 11:
		ops_cancel_one(world, source);
		break;
	case 12:
		if (source_one_in(source, 4))
			ops_cancel_all(world);
		break;
	case 13:
		resize(world, source);
		break;
	case 14:
		ask(world, source);
		step_neighbour(world, source);
		break;
	case 15:
		act_start_job(world, source);
		break;
	case 16:
		act_start_async(world, source);
		break;
	case 17:
		post_to_myself(world, source);
		break;
	case 18:
		if (source_one_in(source, 4))
			replace_stream(world, source);
		else
			knock(world);
		break;
	case 19:
		if (source_one_in(source, 2))
			run_flush(world);
		else if (!world->has_misused)
			ops_flush_open_chain(world, source);
		break;
	case 20:
		if (source_one_in(source, 8))
			ops_misuse(world, source);
		else
			step_registry(world, source);
		break;
	case 21:
		if (world->is_in_callback && source_one_in(source, 64))
			run_ask_free(world);
		else if (source_one_in(source, 4))
			run_ask_quit(world);
		break;
	default:
		step_feed(world, source);
		break;
	}
}

/* Outside callbacks. */

static void run_for_a_while(struct world *world)
{
	struct timespec timeout = { .tv_nsec = source_pick(world->source, 4) * 200000L };

	run_once(world, &timeout);
}

/* A helper sees to it that it ends. */
static void run(struct world *world)
{
	struct helper *helper = &world->helpers[source_pick(world->source, OWN_HELPER)];

	helpers_wait(world);
	helper_start(helper, world->source, true, false);
	run_until_stopped(world);
	helpers_wait(world);
}

static void drain(struct world *world)
{
	struct timespec timeout = { .tv_nsec = source_pick(world->source, 3) * 1000000L };

	run_drain(world, source_one_in(world->source, 2) ? &timeout : NULL);
}

/* As a foreign loop does: wait for the descriptor, then run. */
static void run_as_foreign_loop(struct world *world)
{
	struct pollfd fd = { .events = POLLIN };
	int r = iou_fd(world->iou);

	CHECK_RESULT(r >= 0 && (world->fd < 0 || world->fd == r), r);
	world->fd = fd.fd = r;
	run_flush(world);
	post_to_myself(world, world->source);
	CHECK(poll(&fd, 1, 10000) == 1);
	run_once(world, &(struct timespec){ 0 });
}

static bool is_refused_in_child(struct world *world)
{
	iou_buffers_t *buffers;

	return iou_run(world->iou) == -EOWNERDEAD && iou_flush(world->iou) == -EOWNERDEAD && !iou_op_new(world->iou) &&
	       errno == EOWNERDEAD && iou_pending(world->iou) == -EOWNERDEAD &&
	       iou_supports(world->iou, IORING_OP_NOP) == -EOWNERDEAD &&
	       iou_register_files(world->iou, NULL, 1) == -EOWNERDEAD &&
	       iou_unregister_files(world->iou) == -EOWNERDEAD && iou_unregister_buffers(world->iou) == -EOWNERDEAD &&
	       iou_buffers_new(world->iou, 1, 1, 1, &buffers) == -EOWNERDEAD;
}

/* In the child everything but freeing is refused; the parent does not notice. */
static void fork_once(struct world *world)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		bool is_so = is_refused_in_child(world);

		is_so &= !iou_free(world->iou) && iou_buffers_free(world->buffers) == 0;
		_exit(is_so ? 0 : 1);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK_RESULT(WIFEXITED(status) && WEXITSTATUS(status) == 0, status);
}

void step_outside(struct world *world)
{
	struct source *source = world->source;

	switch (source_pick(source, 17)) {
	case 0:
	case 1:
	case 2:
		run_for_a_while(world);
		break;
	case 3:
		run(world);
		break;
	case 4:
		if (source_one_in(source, 4))
			drain(world);
		break;
	case 5:
		if (source_one_in(source, 4))
			run_as_foreign_loop(world);
		break;
	case 6:
		if (source_one_in(source, 32))
			fork_once(world);
		break;
	case 7:
		if (source_one_in(source, 8))
			run_until_settled(world);
		else if (source_one_in(source, 8))
			run_until_woken(world);
		else if (source_one_in(source, 4))
			step_unregister_in_flight(world);
		break;
	case 8:
		helper_start(&world->helpers[source_pick(source, OWN_HELPER)], source, false, false);
		break;
	default:
		if (world->n_alive + world->n_silent < MANY)
			step_anywhere(world, source);
		break;
	}
}

/* The walk. */

static void run_until_nothing_is_left(struct world *world)
{
	do {
		run_drain(world, NULL);
		if (world->iou)
			run_once(world, &(struct timespec){ 0 });
	} while (world->iou && (world->has_misused || iou_pending(world->iou)));
}

/* Others hold, post, and let go; as soon as nothing is pending it is freed, while they are still on their way out. */
static void free_behind_helpers(struct world *world)
{
	helpers_wait(world);
	run_until_nothing_is_left(world);
	if (!world->iou)
		return;
	for (int i = 0; i < OWN_HELPER; i++)
		CHECK(iou_hold(world->iou) == 0);
	for (int i = 0; i < OWN_HELPER; i++)
		helper_start(&world->helpers[i], world->source, false, true);

	int64_t begin = walk_now_us();

	while (iou_pending(world->iou))
		run_until_stopped(world);
	/* A wake-up that got lost is made up for, but only after five seconds. */
	CHECK_RESULT(walk_now_us() - begin < 4000000, walk_now_us() - begin);
	CHECK(world->n_foreign == world->n_messages);
}

static void end(struct world *world)
{
	if (world->iou && source_one_in(world->source, 2))
		free_behind_helpers(world);
	else
		helpers_wait(world);
	if (world->iou)
		run_free(world);
}

void walk(struct source *source, uint32_t engine, unsigned n_steps)
{
	struct world world;

	world_open(&world, source, engine);
	for (; n_steps && world.iou && !source_is_over(source); n_steps--) {
		if (world.driver.is_there && source_one_in(source, 4))
			driver_call(&world, step_outside);
		else
			step_outside(&world);
	}
	end(&world);
	world_close(&world);
}
