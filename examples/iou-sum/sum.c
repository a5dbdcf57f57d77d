/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors that are not those of files: the standard ones, the library's, a list, a directory for each worker. */
#define OTHER_DESCRIPTORS 32

static struct item *pop_item(struct sum *sum)
{
	struct item *item = sum->first;

	sum->first = item->next;
	if (!sum->first)
		sum->last = NULL;
	sum->n_items--;
	return item;
}

static void push_item(struct sum *sum, struct item *item)
{
	if (sum->last)
		sum->last->next = item;
	else
		sum->first = item;
	sum->last = item;
	sum->n_items++;
}

/* What is done at the front of the window is due. */
static int report(struct sum *sum)
{
	int r = 0;

	while (r == 0 && sum->first && sum->first->is_done && !out_is_full(&sum->out)) {
		struct item *item = pop_item(sum);

		r = report_item(sum, item);
		item_free(item);
	}
	return r;
}

static bool has_room(const struct sum *sum)
{
	return sum->n_items < WINDOW_MAX && sum->files.n_busy < sum->files.max;
}

static int start_item(struct sum *sum, struct item *item)
{
	push_item(sum, item);
	if (item->kind == ITEM_FILE)
		return file_start(sum, item);
	item->is_done = true;
	return 0;
}

static int take_items(struct sum *sum)
{
	while (!sum->at_end && has_room(sum)) {
		struct item *item;
		int r = sum->source->next(sum->source, &item);

		if (r == -EAGAIN)
			return 0;
		if (r == 0)
			sum->at_end = true;
		else if (r > 0)
			r = start_item(sum, item);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The loop ends by itself when nothing is left: only what would go on for ever has to be ended. */
static int end(struct sum *sum)
{
	if (sum->is_over)
		return 0;
	sum->is_over = true;
	return progress_end(&sum->progress);
}

int sum_go_on(void *data)
{
	struct sum *sum = data;
	int r;

	if (sum->is_ending)
		return 0;
	do {
		r = report(sum);
		if (r == 0)
			r = take_items(sum);
	} while (r == 0 && sum->first && sum->first->is_done && !out_is_full(&sum->out));
	return r == 0 && sum->at_end && !sum->first ? end(sum) : r;
}

static unsigned max_open_files(const struct options *options)
{
	struct rlimit limit;
	rlim_t n = 1;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return options->depth;
	if (limit.rlim_cur > OTHER_DESCRIPTORS)
		n = limit.rlim_cur - OTHER_DESCRIPTORS;
	return n < options->depth ? (unsigned)n : options->depth;
}

static int make_iou(struct sum *sum)
{
	iou_config_t config = { .size = sizeof(config), .entries = 256, .workers = sum->options->workers };
	iou_info_t info = { .size = sizeof(info) };
	int r;

	sum->iou = iou_new_with(&config);
	if (!sum->iou)
		return -errno;
	r = iou_info(sum->iou, &info);
	sum->n_workers = info.workers;
	return r;
}

int sum_init(struct sum *sum, const struct options *options)
{
	int r;

	*sum = (struct sum){ .options = options, .out.sum = sum };
	sum->files.max = max_open_files(options);
	r = hash_init(&sum->hash, sum);
	if (r < 0) {
		fprintf(stderr, "iou-sum: OpenSSL has no message digest of the name '%s'\n", options->algorithm);
		return r;
	}
	r = make_iou(sum);
	if (r < 0) {
		fprintf(stderr, "iou-sum: cannot set up io_uring: %s\n", strerror(-r));
		return r;
	}
	/* Some more than can be hashed at a time, so that when one block is done the next has been read. */
	sum->lanes.max = sum->n_workers + 2;
	sum->source = source_new(sum, sum_go_on, sum);
	if (sum->source)
		return 0;
	fprintf(stderr, "iou-sum: %s\n", strerror(ENOMEM));
	return -ENOMEM;
}

/* What operations point to must be there until they are over: the instance goes first. */
void sum_free(struct sum *sum)
{
	sum->is_ending = true;
	iou_free(sum->iou);
	source_free(sum->source);
	count_free(&sum->count);
	while (sum->first)
		item_free(pop_item(sum));
	files_free(&sum->files);
	lanes_free(&sum->lanes);
	hash_free(&sum->hash);
	out_free(&sum->out);
}
