/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than that and no more names are taken, until somebody has read what there is. */
#define CHUNKS_MAX 16

/*
 * What is written at one go, whole lines only. Up to PIPE_BUF bytes go into a pipe as a whole or not at all, so that
 * a signal that ends the program leaves no part of a line there. Only a line that is longer gets a larger chunk.
 */
struct chunk {
	struct chunk *next;
	int fd;
	size_t n_bytes;
	size_t n_written;
	char text[];
};

static int start_write(struct out *out);

static struct chunk *add_chunk(struct out *out, int fd, size_t n_bytes)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + (n_bytes > PIPE_BUF ? n_bytes : PIPE_BUF));

	if (!chunk)
		return NULL;
	*chunk = (struct chunk){ .fd = fd };
	if (out->tail)
		out->tail->next = chunk;
	else
		out->head = chunk;
	out->tail = chunk;
	out->n_chunks++;
	return chunk;
}

static void drop_chunk(struct out *out)
{
	struct chunk *chunk = out->head;

	out->head = chunk->next;
	if (!out->head)
		out->tail = NULL;
	out->n_chunks--;
	free(chunk);
}

/* On what was standard error nobody can be told: go on without. */
static int fail(struct out *out, int error)
{
	if (out->head->fd == STDOUT_FILENO) {
		out->error = error;
		return -error;
	}
	out->head->n_written = out->head->n_bytes;
	return 0;
}

static int have_polled(void *data)
{
	struct out *out = data;

	out->op = NULL;
	return start_write(out);
}

/* Somebody has made the terminal or pipe non-blocking. */
static int start_poll(struct out *out)
{
	out->op = iou_op_new(out->sum->iou);
	if (!out->op)
		return -errno;
	io_uring_prep_poll_add(out->op->sqe, out->head->fd, POLLOUT);
	iou_op_queue(out->sum->iou, out->op, have_polled, out);
	return 0;
}

static int have_written(void *data)
{
	struct out *out = data;
	int n = out->op->result, r = 0;

	out->op = NULL;
	if (n == -EAGAIN)
		return start_poll(out);
	if (n > 0)
		out->head->n_written += (size_t)n;
	else if (n != -EINTR)
		r = fail(out, n < 0 ? -n : EIO);
	if (r < 0)
		return r;
	if (out->head->n_written == out->head->n_bytes)
		drop_chunk(out);
	if (out->head)
		r = start_write(out);
	return r < 0 ? r : sum_go_on(out->sum);
}

/* A chunk that is being written stays as it is, so the next lines gather in another one meanwhile. */
static int start_write(struct out *out)
{
	const struct chunk *chunk = out->head;

	out->op = iou_op_new(out->sum->iou);
	if (!out->op)
		return -errno;
	io_uring_prep_write(out->op->sqe, chunk->fd, chunk->text + chunk->n_written,
			    (unsigned)(chunk->n_bytes - chunk->n_written), (__u64)-1);
	iou_op_queue(out->sum->iou, out->op, have_written, out);
	return 0;
}

static bool fits(const struct out *out, const struct chunk *chunk, int fd, size_t n_bytes)
{
	bool is_being_written = chunk == out->head && out->op;

	return chunk && !is_being_written && chunk->fd == fd && chunk->n_bytes + n_bytes <= PIPE_BUF;
}

int out_text(struct out *out, int fd, const char *text, size_t n_bytes)
{
	struct chunk *chunk = fits(out, out->tail, fd, n_bytes) ? out->tail : add_chunk(out, fd, n_bytes);

	if (!chunk)
		return -ENOMEM;
	memcpy(chunk->text + chunk->n_bytes, text, n_bytes);
	chunk->n_bytes += n_bytes;
	return out->op ? 0 : start_write(out);
}

bool out_is_full(const struct out *out)
{
	return out->n_chunks >= CHUNKS_MAX;
}

void out_free(struct out *out)
{
	while (out->head)
		drop_chunk(out);
}
