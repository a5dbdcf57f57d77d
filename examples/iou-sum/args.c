/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Arguments may be directories. So many are asked about at a time, ahead of the one that is taken next. */
#define N_PROBES 64

struct probe {
	struct args *args;
	iou_op_t *op; /* NULL: it is known */
	struct statx stx;
};

struct args {
	struct source source;
	struct sum *sum;
	char **names;
	unsigned n_names;
	unsigned next;
	unsigned next_probe;
	bool is_walking;
	struct walk walk;
	struct probe probes[N_PROBES];
};

static int have_probed(void *data)
{
	struct probe *probe = data;
	struct args *args = probe->args;
	bool is_next = probe == &args->probes[args->next % N_PROBES];

	/* If it fails so does opening the file, and that is where errors are reported. */
	if (probe->op->result < 0)
		probe->stx.stx_mode = 0;
	probe->op = NULL;
	return is_next ? args->source.wake(args->source.wake_data) : 0;
}

static int start_probe(struct args *args)
{
	struct probe *probe = &args->probes[args->next_probe % N_PROBES];
	const char *name = args->names[args->next_probe++];
	iou_op_t *op;

	probe->args = args;
	probe->stx.stx_mode = 0;
	if (!strcmp(name, "-"))
		return 0;
	probe->op = op = iou_op_new(args->sum->iou);
	if (!op)
		return -errno;
	io_uring_prep_statx(op->sqe, AT_FDCWD, name, 0, STATX_TYPE, &probe->stx);
	iou_op_queue(args->sum->iou, op, have_probed, probe);
	return 0;
}

/* Many at a time, since each goes to a thread of the kernel, and waking those is the better part of the cost. */
static int start_probes(struct args *args)
{
	int r = 0;

	if (args->next_probe - args->next > N_PROBES / 2)
		return 0;
	while (r == 0 && args->next_probe < args->n_names && args->next_probe - args->next < N_PROBES)
		r = start_probe(args);
	return r;
}

static int walk_on(struct args *args, struct item **item)
{
	int r = walk_next(&args->walk, item);

	if (r == 0) {
		args->is_walking = false;
		args->next++;
	}
	return r;
}

/* The next argument; 0 if that has begun a walk. */
static int take(struct args *args, struct item **item)
{
	const struct probe *probe = &args->probes[args->next % N_PROBES];
	const char *name = args->names[args->next];

	if (probe->op)
		return -EAGAIN;
	if (S_ISDIR(probe->stx.stx_mode)) {
		args->is_walking = true;
		return walk_start(&args->walk, name);
	}
	*item = item_new(ITEM_FILE, "", name, 0);
	if (!*item)
		return -ENOMEM;
	args->next++;
	return 1;
}

static int args_next(struct source *source, struct item **item)
{
	struct args *args = (struct args *)source;
	int r = 0;

	while (r == 0 && args->next < args->n_names) {
		r = args->is_walking ? walk_on(args, item) : start_probes(args);
		if (r == 0 && !args->is_walking && args->next < args->n_names)
			r = take(args, item);
	}
	return r;
}

static void args_free(struct source *source)
{
	struct args *args = (struct args *)source;

	walk_free(&args->walk);
	free(args);
}

struct source *args_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data)
{
	struct args *args = calloc(1, sizeof(*args));

	if (!args)
		return NULL;
	args->source = (struct source){ args_next, args_free, wake, wake_data };
	args->sum = sum;
	args->names = sum->options->names;
	args->n_names = sum->options->n_names;
	args->walk.sum = sum;
	args->walk.source = &args->source;
	return &args->source;
}
