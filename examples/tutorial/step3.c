/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sum, step 3: the sums are made on worker threads. */
#include <iou.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
	struct lane lanes[N_LANES];
};

static uint64_t add(uint64_t sum, const unsigned char *bytes, int n)
{
	for (int i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3;
	return sum;
}

static int have_opened(void *data), have_read(void *data);

/* A lane that finds nothing to do queues nothing, and so it ends. */
static int open_next(struct lane *lane)
{
	iou_t *iou = lane->program->iou;

	if (!*lane->program->names)
		return 0;
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

static int start_lane(struct program *program, struct lane *lane)
{
	lane->program = program;
	lane->op = iou_op_new(program->iou);
	return lane->op ? open_next(lane) : -errno;
}

static int run(struct program *program)
{
	int r = 0;

	for (int i = 0; r == 0 && i < N_LANES; i++)
		r = start_lane(program, &program->lanes[i]);
	return r < 0 ? r : iou_run(program->iou);
}

int main(int argc, char **argv)
{
	static struct program program;
	int r;

	program.names = argv + (argc > 0);
	program.iou = iou_new(N_LANES);
	r = program.iou ? run(&program) : -errno;
	if (r < 0)
		fprintf(stderr, "sum: %s\n", strerror(-r));
	iou_free(program.iou);
	return r < 0 ? EXIT_FAILURE : program.status;
}
