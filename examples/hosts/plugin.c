/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plugin with an instance of its own: a job counts, a timeout runs out, and a read waits for ever, until the plugin
 * is closed. Then nothing of it is left, no thread and no descriptor, so that it may be unloaded at once. It is built
 * twice, with PLUGIN_NAME and PLUGIN_COUNT.
 */
#include "plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <iou.h>

struct state {
	iou_t *iou;
	iou_op_t *timer, *reader;
	struct __kernel_timespec moment;
	int pipe[2];
	char byte;
	int n_counted, n_due;
	int count;
};

static int count(void *data)
{
	struct state *state = data;

	while (state->n_counted < PLUGIN_COUNT)
		state->n_counted++;
	return 0;
}

static int have_counted(void *data)
{
	struct state *state = data;

	state->count += state->n_counted;
	state->n_due--;
	return 0;
}

static int have_waited(void *data)
{
	struct state *state = data;

	state->n_due--;
	return state->timer->result == -ETIME ? 0 : state->timer->result;
}

/* Delivered by iou_free(), while all that it may touch is still there. */
static int have_read(void *data)
{
	struct state *state = data;

	if (state->reader->result != -ECANCELED)
		state->count = -EPROTO;
	return 0;
}

static int start(struct state *state)
{
	state->timer = iou_op_new(state->iou);
	state->reader = state->timer ? iou_op_new(state->iou) : NULL;
	if (!state->reader)
		return -errno;
	state->moment.tv_nsec = 100000;
	io_uring_prep_timeout(state->timer->sqe, &state->moment, 0, 0);
	iou_op_queue(state->iou, state->timer, have_waited, state);
	io_uring_prep_read(state->reader->sqe, state->pipe[0], &state->byte, 1, 0);
	iou_op_queue(state->iou, state->reader, have_read, state);
	state->n_due = 2;
	return iou_async(state->iou, count, state, have_counted, state);
}

static int close_plugin(void *data)
{
	struct state *state = data;
	int result;

	iou_free(state->iou);
	close(state->pipe[0]);
	close(state->pipe[1]);
	result = state->count;
	free(state);
	return result;
}

static void *open_plugin(void)
{
	struct state *state = calloc(1, sizeof(*state));
	int r;

	if (!state || pipe(state->pipe) < 0) {
		free(state);
		return NULL;
	}
	state->iou = iou_new(8);
	r = state->iou ? start(state) : -errno;
	if (r < 0) {
		close_plugin(state);
		errno = -r;
		return NULL;
	}
	return state;
}

/* What was queued until now is flushed: the host is going to wait for the descriptor. */
static int fd_of_plugin(void *data)
{
	const struct state *state = data;
	int r = iou_flush(state->iou);

	return r < 0 ? r : iou_fd(state->iou);
}

static int turn(void *data)
{
	const struct timespec now = { 0 };
	const struct state *state = data;
	int r = iou_run_once(state->iou, &now);

	return r < 0 ? r : state->n_due > 0;
}

extern const struct plugin plugin;
const struct plugin plugin = {
	.name = PLUGIN_NAME,
	.open = open_plugin,
	.fd = fd_of_plugin,
	.turn = turn,
	.close = close_plugin,
};
