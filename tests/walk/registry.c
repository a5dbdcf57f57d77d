/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is registered, and comes and goes while ops use it. */
#include <errno.h>

#include "steps.h"

#define N_FILES (N_STREAMS + N_FREE_SLOTS)

static bool has(const struct world *world, unsigned things)
{
	return (world->registered & things) == things;
}

void registry_change(struct world *world, unsigned gone, unsigned there)
{
	world->registered = (world->registered & ~gone) | there;
	acts_see_registered(world);
}

/* What a call comes to that registers something, and one that undoes it. */

static int outcome_of_new(const struct world *world, unsigned thing, int if_there)
{
	return world->is_ending ? -ESHUTDOWN : has(world, thing) ? if_there : 0;
}

static int outcome_of_end(const struct world *world, unsigned thing)
{
	return has(world, thing) ? 0 : -ENXIO;
}

/* Files: the ends of the streams and some free slots, or nothing but those. */

static void register_files(struct world *world, struct source *source)
{
	int files[N_FILES], expected = outcome_of_new(world, HAS_FILES, -EBUSY);
	bool is_empty = source_one_in(source, 4);

	for (int i = 0; i < N_FILES; i++)
		files[i] = i < N_STREAMS ? world->streams[i].out : -1;

	int r = iou_register_files(world->iou, is_empty ? NULL : files, N_FILES);

	CHECK_RESULT(r == expected, r);
	if (r == 0)
		registry_change(world, 0, is_empty ? HAS_FILES : HAS_FILES | HAS_ENDS);
}

static void unregister_files(struct world *world)
{
	int expected = outcome_of_end(world, HAS_FILES), r = iou_unregister_files(world->iou);

	CHECK_RESULT(r == expected, r);
	registry_change(world, HAS_FILES | HAS_ENDS, 0);
}

/* Of a slot that requests may use. */
static void update_slot(struct world *world, struct source *source)
{
	int fd = source_one_in(source, 2) ? world->file : -1;
	int r = iou_register_files_update(world->iou, N_STREAMS + source_pick(source, N_FREE_SLOTS), &fd, 1);

	CHECK_RESULT(r == (world->is_ending ? -ESHUTDOWN : has(world, HAS_FILES) ? 1 : -ENXIO), r);
}

/* The buffer: all of the arena. */

static void register_buffer(struct world *world)
{
	const struct iovec arena = { world->arena, ARENA_BYTES };
	int expected = outcome_of_new(world, HAS_FIXED, -EBUSY), r = iou_register_buffers(world->iou, &arena, 1);

	CHECK_RESULT(r == expected, r);
	if (r == 0)
		registry_change(world, 0, HAS_FIXED);
}

static void unregister_buffer(struct world *world)
{
	int expected = outcome_of_end(world, HAS_FIXED), r = iou_unregister_buffers(world->iou);

	CHECK_RESULT(r == expected, r);
	registry_change(world, HAS_FIXED, 0);
}

/* The group. */

static void make_group(struct world *world, struct source *source)
{
	int expected = outcome_of_new(world, HAS_GROUP, -EEXIST);
	iou_buffers_t *buffers = NULL;
	int r = iou_buffers_new(world->iou, RING_GROUP, 1 + source_pick(source, RING_BUFFERS), SLOT_BYTES, &buffers);

	CHECK_RESULT(r == expected && (r == 0) == (buffers != NULL), r);
	if (r < 0)
		return;
	world->buffers = buffers;
	registry_change(world, 0, HAS_GROUP);
}

static void free_group(struct world *world)
{
	enum use use = has(world, HAS_GROUP) ? acts_use_group(world) : UNUSED;
	int r = iou_buffers_free(world->buffers);

	CHECK_RESULT(r == 0 || (r == -EBUSY && use != UNUSED), r);
	CHECK_RESULT(r < 0 || use != USED, r);
	if (r < 0)
		return;
	world->buffers = NULL;
	registry_change(world, HAS_GROUP, 0);
}

void registry_open(struct world *world)
{
	make_group(world, world->source);
	if (source_one_in(world->source, 3))
		register_files(world, world->source);
	if (source_one_in(world->source, 2))
		register_buffer(world);
}

/* Requests that have begun, and wait, have what they need; what they wait for they still see come. */
void step_unregister_in_flight(struct world *world)
{
	for (unsigned n = 1 + source_pick(world->source, 4); n; n--) {
		struct act *act = act_new(world, kind_pick(world->source, USES_REGISTERED), world->source);

		act_queue(act, 0, NULL);
	}
	run_once(world, &(struct timespec){ 0 });
	if (!world->iou)
		return;
	unregister_files(world);
	unregister_buffer(world);
	for (int i = 0; i < N_STREAMS; i++)
		step_feed(world, world->source);
	run_until_settled(world);
}

void step_registry(struct world *world, struct source *source)
{
	switch (source_pick(source, 12)) {
	case 0:
		unregister_files(world);
		break;
	case 1:
	case 2:
		register_files(world, source);
		break;
	case 3:
		unregister_buffer(world);
		break;
	case 4:
	case 5:
		register_buffer(world);
		break;
	case 6:
		free_group(world);
		break;
	case 7:
	case 8:
		make_group(world, source);
		break;
	default:
		update_slot(world, source);
		break;
	}
}
