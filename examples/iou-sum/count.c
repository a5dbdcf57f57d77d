/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* So many files are asked for their size at a time: few, since the work itself needs the CPUs. */
#define PROBES_MAX 16

struct probe {
	struct count *count;
	struct item *item;
	iou_op_t *op;
	struct statx stx;
};

static int count_on(void *data);

static void free_probe(struct probe *probe)
{
	item_free(probe->item);
	free(probe);
}

/* What cannot be asked will not be read either. */
static int have_size(void *data)
{
	struct probe *probe = data;
	struct count *count = probe->count;
	struct progress *progress = &count->sum->progress;

	if (probe->op->result == 0 && S_ISREG(probe->stx.stx_mode))
		progress->total_bytes += probe->stx.stx_size;
	progress->total_files++;
	count->n_probes--;
	free_probe(probe);
	return count_on(count);
}

/* Takes the item. */
static int ask_size(struct count *count, struct item *item)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	iou_t *iou = count->sum->iou;

	if (!probe) {
		item_free(item);
		return -ENOMEM;
	}
	*probe = (struct probe){ .count = count, .item = item, .op = iou_op_new(iou) };
	if (!probe->op) {
		free_probe(probe);
		return -errno;
	}
	io_uring_prep_statx(probe->op->sqe, AT_FDCWD, item->name, item->is_walked ? AT_SYMLINK_NOFOLLOW : 0,
			    STATX_TYPE | STATX_SIZE, &probe->stx);
	iou_op_queue(iou, probe->op, have_size, probe);
	count->n_probes++;
	return 0;
}

static int take_item(struct count *count)
{
	struct item *item;
	int r = count->source->next(count->source, &item);

	if (r == 0)
		count->at_end = true;
	if (r <= 0)
		return r;
	if (item->kind == ITEM_FILE)
		return ask_size(count, item);
	item_free(item);
	return 0;
}

static int count_on(void *data)
{
	struct count *count = data;
	int r = 0;

	while (r == 0 && !count->at_end && !count->sum->is_over && !count->sum->is_ending &&
	       count->n_probes < PROBES_MAX)
		r = take_item(count);
	count->sum->progress.total_is_known = count->at_end && !count->n_probes;
	return r == -EAGAIN ? 0 : r;
}

/* Standard input and pipes have no size, and a list can be read twice only if it is a file. */
static bool can_count(const struct options *options)
{
	for (unsigned i = 0; i < options->n_names; i++) {
		struct stat st;

		if (!strcmp(options->names[i], "-"))
			return false;
		if (options->check && (stat(options->names[i], &st) || !S_ISREG(st.st_mode)))
			return false;
	}
	return true;
}

int count_start(struct count *count, struct sum *sum)
{
	count->sum = sum;
	if (!can_count(sum->options))
		return 0;
	count->source = source_new(sum, count_on, count);
	return count->source ? count_on(count) : -ENOMEM;
}

void count_free(struct count *count)
{
	source_free(count->source);
}
