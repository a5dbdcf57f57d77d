/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sum, step 5: told to stop by a signal, and telling how far it is. */
#include <iou.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUM_OF_NOTHING 0xcbf29ce484222325
#define N_LANES 8

struct program;

/* One file after the other. */
struct lane {
	struct program *program;
	iou_op_t *op;
	const char *name;
	int fd;
	uint64_t sum;
	int n_read;
	unsigned char block[64 * 1024];
};

struct program {
	iou_t *iou;
	char **names; /* of files that nobody has begun, then NULL */
	int status;
	int n_busy;     /* lanes that have not ended */
	bool is_ending; /* nothing new is begun */
	iou_op_t *deadline;
	struct __kernel_timespec limit;
	int n_done;  /* files */
	int stop[2]; /* a pipe: closed to tell the reporter to stop */
	pthread_t reporter;
	struct lane lanes[N_LANES];
};

static uint64_t add(uint64_t sum, const unsigned char *bytes, int n)
{
	for (int i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3;
	return sum;
}

static int have_opened(void *data), have_read(void *data), end_file(struct lane *lane, int result);

/* All that a signal handler can have of a program. */
static iou_t *interrupted;

static void interrupt(int signal)
{
	(void)signal;
	iou_quit(interrupted);
}

static void stop_reporter(struct program *program)
{
	if (program->stop[1] >= 0)
		close(program->stop[1]);
	program->stop[1] = -1;
}

/* With the last one. Deadline and reporter would keep the run going; that a deadline is over already is no error. */
static int end_lane(struct program *program)
{
	if (--program->n_busy > 0)
		return 0;
	stop_reporter(program);
	if (!program->is_ending)
		iou_op_cancel(program->iou, program->deadline);
	return 0;
}

/* A lane that finds nothing to do queues nothing, and so it ends. */
static int open_next(struct lane *lane)
{
	iou_t *iou = lane->program->iou;

	if (!*lane->program->names || lane->program->is_ending)
		return end_lane(lane->program);
	lane->name = *lane->program->names++;
	lane->fd = -1;
	lane->sum = SUM_OF_NOTHING;
	iou_op_reset(iou, lane->op);
	io_uring_prep_openat(lane->op->sqe, AT_FDCWD, lane->name, O_RDONLY | O_CLOEXEC, 0);
	iou_op_queue(iou, lane->op, have_opened, lane);
	return 0;
}

static int read_block(struct lane *lane)
{
	iou_t *iou = lane->program->iou;

	if (lane->program->is_ending)
		return end_file(lane, -ECANCELED);
	iou_op_reset(iou, lane->op);
	io_uring_prep_read(lane->op->sqe, lane->fd, lane->block, sizeof(lane->block), -1);
	iou_op_queue(iou, lane->op, have_read, lane);
	return 0;
}

/* A file that cannot be read does not keep the others from being read. */
static int end_file(struct lane *lane, int result)
{
	if (result < 0) {
		fprintf(stderr, "sum: %s: %s\n", lane->name, strerror(-result));
		lane->program->status = EXIT_FAILURE;
	} else {
		printf("%016" PRIx64 "  %s\n", lane->sum, lane->name);
	}
	if (lane->fd >= 0)
		close(lane->fd);
	lane->program->n_done++;
	return open_next(lane);
}

static int have_opened(void *data)
{
	struct lane *lane = data;

	lane->fd = lane->op->result;
	return lane->fd < 0 ? end_file(lane, lane->fd) : read_block(lane);
}

/* On a worker. Nothing else touches the lane meanwhile. */
static int add_block(void *data)
{
	struct lane *lane = data;

	lane->sum = add(lane->sum, lane->block, lane->n_read);
	return 0;
}

static int have_added(void *data)
{
	return read_block(data);
}

static int have_read(void *data)
{
	struct lane *lane = data;
	int r;

	lane->n_read = lane->op->result;
	if (lane->n_read <= 0)
		return end_file(lane, lane->n_read);
	r = iou_op_async(lane->program->iou, lane->op, add_block, lane, have_added, lane);
	return r < 0 ? end_file(lane, r) : 0;
}

/* What is in flight ends, and its callbacks see is_ending. */
static int have_timed_out(void *data)
{
	struct program *program = data;

	if (program->deadline->result != -ETIME)
		return 0;
	program->is_ending = true;
	iou_cancel_all(program->iou);
	return 0;
}

static int start_deadline(struct program *program)
{
	program->deadline = iou_op_new(program->iou);
	if (!program->deadline)
		return -errno;
	io_uring_prep_timeout(program->deadline->sqe, &program->limit, 0, 0);
	iou_op_queue(program->iou, program->deadline, have_timed_out, program);
	return 0;
}

static int start_lane(struct program *program, struct lane *lane)
{
	lane->program = program;
	lane->op = iou_op_new(program->iou);
	program->n_busy++;
	return lane->op ? open_next(lane) : -errno;
}

/* On the loop: no lock is needed. */
static int report(void *data)
{
	const struct program *program = data;

	fprintf(stderr, "sum: %d files so far\n", program->n_done);
	return 0;
}

/* In a thread of its own, which somebody has taken a hold for. After its release it uses nothing of libiou's. */
static void *report_each_second(void *data)
{
	struct program *program = data;
	struct pollfd stop = { .fd = program->stop[0] };
	int r;

	while ((r = poll(&stop, 1, 1000)) <= 0)
		if (r == 0)
			iou_post(program->iou, report, program);
	iou_release(program->iou);
	return NULL;
}

static int start_reporter(struct program *program)
{
	int r = iou_hold(program->iou);

	if (r < 0)
		return r;
	r = -pthread_create(&program->reporter, NULL, report_each_second, program);
	if (r < 0)
		iou_release(program->iou);
	return r;
}

/* Lanes that have been started end by themselves. */
static int start(struct program *program)
{
	int r = start_deadline(program);

	for (int i = 0; r == 0 && i < N_LANES; i++)
		r = start_lane(program, &program->lanes[i]);
	return r;
}

static int run(struct program *program)
{
	const struct timespec second = { .tv_sec = 1 };
	int r = start_reporter(program);

	if (r < 0)
		return r;
	r = start(program);
	if (r == 0)
		r = iou_run(program->iou);
	if (r == 0 && iou_pending(program->iou) > 0)
		r = -EINTR;
	program->is_ending = true;
	stop_reporter(program);
	pthread_join(program->reporter, NULL);
	if (iou_drain(program->iou, &second) == -ETIME)
		fprintf(stderr, "sum: something takes its time to end\n");
	return r;
}

static void tell_engine(iou_t *iou)
{
	iou_info_t info = { .size = sizeof(info) };

	if (iou_info(iou, &info) == 0)
		fprintf(stderr, "sum: %s (%s)\n", info.engine == IOU_ENGINE_URING ? "io_uring" : "threads",
			info.reason);
}

int main(int argc, char **argv)
{
	static struct program program;
	struct sigaction action = { .sa_handler = interrupt, .sa_flags = SA_RESTART };
	int r;

	if (argc < 2 || pipe(program.stop) < 0) {
		fprintf(stderr, "usage: sum SECONDS FILE...\n");
		return EXIT_FAILURE;
	}
	program.limit.tv_sec = atoi(argv[1]);
	program.names = argv + 2;
	program.iou = interrupted = iou_new(N_LANES);
	if (!program.iou || sigaction(SIGINT, &action, NULL) < 0) {
		perror("sum");
		return EXIT_FAILURE;
	}
	tell_engine(program.iou);
	r = run(&program);
	if (r < 0)
		fprintf(stderr, "sum: %s\n", strerror(-r));
	signal(SIGINT, SIG_DFL);
	iou_free(program.iou);
	close(program.stop[0]);
	return r < 0 ? EXIT_FAILURE : program.status;
}
