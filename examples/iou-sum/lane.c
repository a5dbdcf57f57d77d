/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <stdlib.h>

static struct lane *free_lane(struct lane *lane)
{
	struct lane *older = lane->older;

	EVP_MD_CTX_free(lane->ctx);
	free(lane->block[0]);
	free(lane->block[1]);
	free(lane);
	return older;
}

static struct lane *new_lane(void)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->ctx = EVP_MD_CTX_new();
	lane->block[0] = aligned_alloc(4096, BLOCK_BYTES);
	lane->block[1] = aligned_alloc(4096, BLOCK_BYTES);
	if (lane->ctx && lane->block[0] && lane->block[1])
		return lane;
	free_lane(lane);
	return NULL;
}

/* The one that was used last, because its blocks are still in a cache. */
static struct lane *take_idle(struct lanes *lanes)
{
	struct lane *lane = lanes->idle;

	lanes->idle = lane->next;
	return lane;
}

static void wait_for_lane(struct lanes *lanes, struct file *file)
{
	file->next = NULL;
	if (lanes->last_waiting)
		lanes->last_waiting->next = file;
	else
		lanes->first_waiting = file;
	lanes->last_waiting = file;
}

int lane_ask(struct lanes *lanes, struct file *file)
{
	struct lane *lane;

	if (lanes->idle)
		return file_got_lane(file, take_idle(lanes));
	if (lanes->n_lanes == lanes->max) {
		wait_for_lane(lanes, file);
		return 0;
	}
	lane = new_lane();
	if (!lane)
		return -ENOMEM;
	lane->older = lanes->newest;
	lanes->newest = lane;
	lanes->n_lanes++;
	return file_got_lane(file, lane);
}

int lane_give_back(struct lanes *lanes, struct lane *lane)
{
	struct file *file = lanes->first_waiting;

	if (!file) {
		lane->next = lanes->idle;
		lanes->idle = lane;
		return 0;
	}
	lanes->first_waiting = file->next;
	if (!file->next)
		lanes->last_waiting = NULL;
	return file_got_lane(file, lane);
}

void lanes_free(struct lanes *lanes)
{
	while (lanes->newest)
		lanes->newest = free_lane(lanes->newest);
}
