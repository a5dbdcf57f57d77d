/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cat: files to standard output, "-" or none for standard input. One op does it all: each callback looks at what the
 * operation came to, and prepares the next one in the same op. When one does not queue it again, the run is over.
 */
#include <iou.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cat {
	iou_t *iou;
	iou_op_t *op;
	char **name; /* of the file that is being read; those that follow it; NULL */
	int fd;
	unsigned n_read, n_written;
	int status;
	char buf[64 * 1024];
};

static int queue(struct cat *cat, int (*cb)(void *))
{
	iou_op_queue(cat->iou, cat->op, cb, cat);
	return 0;
}

static int have_opened(void *data), have_read(void *data), have_written(void *data);

/* The op has done something else before. Offset -1: from where the file is at, as in read(2). Pipes have no other. */
static int read_block(struct cat *cat)
{
	iou_op_reset(cat->iou, cat->op);
	io_uring_prep_read(cat->op->sqe, cat->fd, cat->buf, sizeof(cat->buf), -1);
	return queue(cat, have_read);
}

static int write_block(struct cat *cat)
{
	iou_op_reset(cat->iou, cat->op);
	io_uring_prep_write(cat->op->sqe, STDOUT_FILENO, cat->buf + cat->n_written, cat->n_read - cat->n_written, -1);
	return queue(cat, have_written);
}

static int start_file(struct cat *cat)
{
	if (!*cat->name)
		return 0;
	cat->fd = STDIN_FILENO;
	if (!strcmp(*cat->name, "-"))
		return read_block(cat);
	iou_op_reset(cat->iou, cat->op);
	io_uring_prep_openat(cat->op->sqe, AT_FDCWD, *cat->name, O_RDONLY | O_CLOEXEC, 0);
	return queue(cat, have_opened);
}

/* At its end, or because it cannot be read: that does not keep the others from being read. */
static int end_file(struct cat *cat)
{
	if (cat->op->result < 0) {
		fprintf(stderr, "cat: %s: %s\n", *cat->name, strerror(-cat->op->result));
		cat->status = EXIT_FAILURE;
	}
	if (cat->fd > STDIN_FILENO)
		close(cat->fd); /* Of a file that was only read: does not wait. */
	cat->name++;
	return start_file(cat);
}

static int have_opened(void *data)
{
	struct cat *cat = data;

	cat->fd = cat->op->result;
	return cat->fd < 0 ? end_file(cat) : read_block(cat);
}

static int have_read(void *data)
{
	struct cat *cat = data;

	if (cat->op->result <= 0)
		return end_file(cat);
	cat->n_read = (unsigned)cat->op->result;
	cat->n_written = 0;
	return write_block(cat);
}

/* A short write is no error. After an error the run ends, and iou_run() returns it. */
static int have_written(void *data)
{
	struct cat *cat = data;

	if (cat->op->result < 0)
		return cat->op->result;
	cat->n_written += (unsigned)cat->op->result;
	return cat->n_written < cat->n_read ? write_block(cat) : read_block(cat);
}

int main(int argc, char **argv)
{
	static char dash[] = "-", *just_stdin[] = { dash, NULL };
	static struct cat cat;
	int r;

	cat.name = argc > 1 ? argv + 1 : just_stdin;
	cat.iou = iou_new(8);
	cat.op = cat.iou ? iou_op_new(cat.iou) : NULL;
	r = cat.op ? start_file(&cat) : -errno;
	if (r == 0)
		r = iou_run(cat.iou);
	if (r < 0)
		fprintf(stderr, "cat: %s\n", strerror(-r));
	iou_free(cat.iou);
	return r < 0 ? EXIT_FAILURE : cat.status;
}
