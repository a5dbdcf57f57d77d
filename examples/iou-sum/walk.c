/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int have_read(void *data)
{
	struct walk *walk = data;
	int result = walk->op->result;

	walk->op = NULL;
	return result < 0 ? result : walk->source->wake(walk->source->wake_data);
}

/* There is no operation of io_uring that reads directories, so a worker does. */
static int read_top(struct walk *walk)
{
	iou_op_t *op = iou_op_new(walk->sum->iou);
	int r;

	if (!op)
		return -errno;
	r = iou_op_async(walk->sum->iou, op, dir_read, walk->top, have_read, walk);
	if (r < 0)
		iou_op_free(walk->sum->iou, op);
	else
		walk->op = op;
	return r;
}

/* The path ends in a slash, so that names can be put behind it, but for the one that was given. */
static int push(struct walk *walk, const char *path, const char *name)
{
	struct dir *dir = dir_new(walk->top, path, name);

	if (!dir)
		return -ENOMEM;
	walk->top = dir;
	return read_top(walk);
}

static void pop(struct walk *walk)
{
	walk->top = dir_free(walk->top);
}

int walk_start(struct walk *walk, const char *path)
{
	size_t n = strlen(path);

	return push(walk, path, n && path[n - 1] == '/' ? "" : "/");
}

/* One name of the directory at the top: an item, or the directory to go on with. */
static int take(struct walk *walk, const char *name, struct item **item)
{
	if (name[strlen(name) - 1] == '/') {
		int r = push(walk, walk->top->path, name);

		return r < 0 ? r : -EAGAIN;
	}
	*item = item_new(ITEM_FILE, walk->top->path, name, 0);
	if (!*item)
		return -ENOMEM;
	(*item)->is_walked = true;
	return 1;
}

static int take_error(struct walk *walk, struct item **item)
{
	*item = item_new(ITEM_ERROR, walk->top->path, "", walk->top->error);
	pop(walk);
	return *item ? 1 : -ENOMEM;
}

int walk_next(struct walk *walk, struct item **item)
{
	while (walk->top && !walk->op) {
		const char *name = dir_next(walk->top);

		if (name)
			return take(walk, name, item);
		if (walk->top->error)
			return take_error(walk, item);
		if (!walk->top->has_more) {
			pop(walk);
			continue;
		}
		int r = read_top(walk);

		if (r < 0)
			return r;
	}
	return walk->op ? -EAGAIN : 0;
}

void walk_free(struct walk *walk)
{
	while (walk->top)
		pop(walk);
}
