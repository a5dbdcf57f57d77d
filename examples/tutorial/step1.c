/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sum, step 1: the sum (FNV-1a) of one file. */
#include <iou.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUM_OF_NOTHING 0xcbf29ce484222325

struct file {
	iou_t *iou;
	iou_op_t *op;
	int fd;
	uint64_t sum;
	unsigned char block[64 * 1024];
};

static uint64_t add(uint64_t sum, const unsigned char *bytes, int n)
{
	for (int i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3;
	return sum;
}

static int have_read(void *data);

static int read_block(struct file *file)
{
	iou_op_reset(file->iou, file->op);
	io_uring_prep_read(file->op->sqe, file->fd, file->block, sizeof(file->block), -1);
	iou_op_queue(file->iou, file->op, have_read, file);
	return 0;
}

static int have_read(void *data)
{
	struct file *file = data;

	if (file->op->result <= 0)
		return file->op->result;
	file->sum = add(file->sum, file->block, file->op->result);
	return read_block(file);
}

static int run(struct file *file)
{
	int r;

	file->op = iou_op_new(file->iou);
	r = file->op ? read_block(file) : -errno;
	return r < 0 ? r : iou_run(file->iou);
}

int main(int argc, char **argv)
{
	static struct file file = { .sum = SUM_OF_NOTHING };
	int r;

	file.fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	file.iou = iou_new(8);
	r = file.iou ? run(&file) : -errno;
	if (r < 0)
		fprintf(stderr, "sum: %s\n", strerror(-r));
	else
		printf("%016" PRIx64 "  %s\n", file.sum, argv[1]);
	iou_free(file.iou);
	close(file.fd);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
