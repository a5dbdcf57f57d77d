/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int go_on(struct file *file);
static int start_open(struct file *file);
static int start_read(struct file *file);

static int start_io(struct file *file)
{
	file->io = iou_op_new(file->sum->iou);
	return file->io ? 0 : -errno;
}

/* What the operation came to. It is over, so the next one may begin. */
static int end_io(struct file *file)
{
	int result = file->io->result;

	file->io = NULL;
	return result;
}

static int queue(struct file *file, int (*cb)(void *))
{
	iou_op_queue(file->sum->iou, file->io, cb, file);
	return 0;
}

/* The first error counts, and is the end. */
static void fail(struct file *file, int error)
{
	file->at_end = true;
	if (!file->item->error)
		file->item->error = error;
}

static int have_opened(void *data)
{
	struct file *file = data;
	int result = end_io(file);

	if (result == -EINTR)
		return start_open(file);
	if (result < 0)
		fail(file, -result);
	else
		file->fd = result;
	return go_on(file);
}

static int start_open(struct file *file)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (file->item->is_walked ? O_NOFOLLOW : 0);
	int r = start_io(file);

	if (r < 0)
		return r;
	io_uring_prep_openat(file->io->sqe, AT_FDCWD, file->item->name, flags, 0);
	return queue(file, have_opened);
}

static int have_polled(void *data)
{
	struct file *file = data;

	end_io(file);
	return start_read(file);
}

/* Somebody has made standard input non-blocking. */
static int start_poll(struct file *file)
{
	int r = start_io(file);

	if (r < 0)
		return r;
	io_uring_prep_poll_add(file->io->sqe, file->fd, POLLIN);
	return queue(file, have_polled);
}

static void add_bytes(struct file *file, size_t n_bytes)
{
	struct buffer *buffer = &file->buffer[file->in];

	file->sum->progress.n_bytes += n_bytes;
	buffer->n_bytes += n_bytes;
	buffer->is_ready = buffer->n_bytes == buffer->size;
	if (buffer->is_ready)
		file->in = !file->in;
}

/* Only a read of nothing tells: pipes and files in /proc give less than was asked for long before their end. */
static void end_of_file(struct file *file)
{
	struct buffer *buffer = &file->buffer[file->in];

	file->at_end = true;
	buffer->is_ready = buffer->n_bytes > 0;
}

static int have_read(void *data)
{
	struct file *file = data;
	int n = end_io(file);

	if (n == -EINTR)
		return start_read(file);
	if (n == -EAGAIN)
		return start_poll(file);
	if (n < 0)
		fail(file, -n);
	else if (n == 0)
		end_of_file(file);
	else
		add_bytes(file, (size_t)n);
	if (file->in == 1 && !file->lane && !file->at_end)
		return lane_ask(&file->sum->lanes, file);
	return go_on(file);
}

/* From wherever the file is at, so that it need not be one that can seek. */
static int start_read(struct file *file)
{
	const struct buffer *buffer = &file->buffer[file->in];
	int r = start_io(file);

	if (r < 0)
		return r;
	io_uring_prep_read(file->io->sqe, file->fd, buffer->data + buffer->n_bytes,
			   (unsigned)(buffer->size - buffer->n_bytes), (__u64)-1);
	return queue(file, have_read);
}

static int have_closed(void *data)
{
	struct file *file = data;
	int result = end_io(file);

	if (result < 0 && result != -EINTR)
		fail(file, -result);
	return go_on(file);
}

static int start_close(struct file *file)
{
	int r = item_is_stdin(file->item) ? 0 : start_io(file);

	if (r == 0 && file->io) {
		io_uring_prep_close(file->io->sqe, file->fd);
		r = queue(file, have_closed);
	}
	file->fd = -1;
	return r;
}

static bool is_small(const struct file *file)
{
	return file->at_end && !file->lane && !file->is_hashed && !file->item->error;
}

static int start_hash(struct file *file)
{
	if (is_small(file)) {
		file->in_batch = true;
		return hash_small(&file->sum->hash, file);
	}
	return file->lane && file->buffer[file->out].is_ready && !file->item->error ? hash_block(file) : 0;
}

static bool may_read(const struct file *file)
{
	const struct buffer *buffer = &file->buffer[file->in];

	return file->fd >= 0 && !file->at_end && buffer->data && !buffer->is_ready;
}

static bool is_over(const struct file *file)
{
	bool is_hashed = file->item->error || file->is_hashed || (file->lane && !file->buffer[file->out].is_ready);

	return file->at_end && file->fd < 0 && !file->io && !file->job && !file->in_batch && is_hashed;
}

static struct file *take_file(struct files *files)
{
	struct file *file = files->idle, *older;

	if (file) {
		files->idle = file->next;
	} else {
		file = malloc(sizeof(*file));
		if (!file)
			return NULL;
		file->older = files->newest;
		files->newest = file;
	}
	older = file->older;
	memset(file, 0, offsetof(struct file, head));
	file->older = older;
	return file;
}

static void give_back_file(struct files *files, struct file *file)
{
	file->next = files->idle;
	files->idle = file;
	files->n_busy--;
}

/* "-" given again has waited for this one. */
static int end_stdin(struct sum *sum)
{
	struct item *item = sum->files.first_stdin;

	sum->files.stdin_is_busy = false;
	if (!item)
		return 0;
	sum->files.first_stdin = item->next_stdin;
	return file_start(sum, item);
}

static int end(struct file *file)
{
	struct sum *sum = file->sum;
	struct item *item = file->item;
	int r = 0;

	if (file->lane && !item->error && !EVP_DigestFinal_ex(file->lane->ctx, item->digest, NULL))
		fail(file, EIO);
	item->is_done = true;
	sum->progress.n_files++;
	give_back_file(&sum->files, file);
	if (file->lane)
		r = lane_give_back(&sum->lanes, file->lane);
	if (r == 0 && item_is_stdin(item))
		r = end_stdin(sum);
	return r < 0 ? r : sum_go_on(sum);
}

/* Hashing the one buffer and reading into the other go on at the same time. */
static int go_on(struct file *file)
{
	int r = 0;

	if (file->sum->is_ending)
		return 0;
	if (!file->job && !file->in_batch)
		r = start_hash(file);
	if (r == 0 && !file->io && may_read(file))
		r = start_read(file);
	if (r == 0 && !file->io && file->at_end && file->fd >= 0)
		r = start_close(file);
	return r == 0 && is_over(file) ? end(file) : r;
}

int file_got_lane(struct file *file, struct lane *lane)
{
	file->lane = lane;
	file->buffer[1] = (struct buffer){ .data = lane->block[1], .size = BLOCK_BYTES };
	if (!EVP_DigestInit_ex2(lane->ctx, file->sum->hash.md, NULL))
		fail(file, EIO);
	return go_on(file);
}

int file_hashed_small(struct file *file, int result)
{
	file->in_batch = false;
	file->is_hashed = true;
	if (result < 0)
		fail(file, -result);
	return go_on(file);
}

int file_hashed_block(struct file *file, int result)
{
	file->buffer[file->out] = (struct buffer){ .data = file->lane->block[file->out], .size = BLOCK_BYTES };
	file->out = !file->out;
	if (result < 0)
		fail(file, -result);
	return go_on(file);
}

static int wait_for_stdin(struct files *files, struct item *item)
{
	if (files->first_stdin)
		files->last_stdin->next_stdin = item;
	else
		files->first_stdin = item;
	files->last_stdin = item;
	return 0;
}

int file_start(struct sum *sum, struct item *item)
{
	struct files *files = &sum->files;
	bool is_stdin = item_is_stdin(item);
	struct file *file;

	if (is_stdin && files->stdin_is_busy)
		return wait_for_stdin(files, item);
	file = take_file(files);
	if (!file)
		return -ENOMEM;
	file->sum = sum;
	file->item = item;
	file->buffer[0] = (struct buffer){ .data = file->head, .size = HEAD_BYTES };
	file->fd = is_stdin ? STDIN_FILENO : -1;
	files->n_busy++;
	files->stdin_is_busy |= is_stdin;
	return is_stdin ? start_read(file) : start_open(file);
}

/* Some are open if the run was ended early. */
void files_free(struct files *files)
{
	while (files->newest) {
		struct file *older = files->newest->older;

		if (files->newest->fd > STDIN_FILENO)
			close(files->newest->fd);
		free(files->newest);
		files->newest = older;
	}
}
