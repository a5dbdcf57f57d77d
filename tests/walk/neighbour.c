/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another instance, with defaults, in the same thread: what is done with the one is nothing to the other. */
#include <errno.h>

#include "steps.h"

#define MANY 100

void neighbour_open(struct world *world)
{
	CHECK(!iou_new(0) && errno == EINVAL);
	/* Where there is a second driver, its thread and the first take turns. */
	if (world->config.flags & IOU_ANY_THREAD || !source_one_in(world->source, 4))
		return;
	world->neighbour.iou = iou_new(1U << source_pick(world->source, 8));
	CHECK_RESULT(world->neighbour.iou, errno);
}

static int called(void *data)
{
	struct neighbour *neighbour = data;

	neighbour->n_called++;
	return 0;
}

static void queue(struct neighbour *neighbour)
{
	iou_op_t *op = iou_op_new(neighbour->iou);

	CHECK(op);
	io_uring_prep_nop(op->sqe);
	iou_op_queue(neighbour->iou, op, called, neighbour);
	neighbour->n_queued++;
}

static void run(struct neighbour *neighbour)
{
	int r = iou_run(neighbour->iou);

	CHECK_RESULT(r == 0, r);
	CHECK(neighbour->n_called == neighbour->n_queued);
}

/* Also in callbacks of the other. */
void step_neighbour(struct world *world, struct source *source)
{
	struct neighbour *neighbour = &world->neighbour;

	if (!neighbour->iou)
		return;
	for (unsigned n = source_pick(source, 4); n && neighbour->n_queued - neighbour->n_called < MANY; n--)
		queue(neighbour);
	if (source_one_in(source, 2))
		run(neighbour);
	CHECK_RESULT(iou_pending(neighbour->iou) == (int)(neighbour->n_queued - neighbour->n_called),
		     iou_pending(neighbour->iou));
}

void neighbour_close(struct world *world)
{
	struct neighbour *neighbour = &world->neighbour;

	if (!neighbour->iou)
		return;
	if (source_one_in(world->source, 2))
		run(neighbour);
	/* What is queued still has its callback. */
	CHECK(!iou_free(neighbour->iou));
	CHECK(neighbour->n_called == neighbour->n_queued);
}
