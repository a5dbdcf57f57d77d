/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* That whatever can end does end: no completion is lost, and no readiness either. */
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>

#include "world.h"

/* Far more than it takes, also on a machine that is busy. */
#define PATIENCE_US 5000000

static bool is_ready(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	return poll(&pollfd, 1, 0) == 1;
}

static bool can_end(const struct act *act)
{
	unsigned traits = act->kind->traits;

	if ((act->world->has_ring || act->world->has_few_threads) &&
	    (traits & TAKES_THREAD || act->flags & IOSQE_ASYNC))
		return false;
	if (traits & AWAITS_INPUT)
		return is_ready(act->stream->out, POLLIN);
	if (traits & AWAITS_ROOM)
		return is_ready(act->stream->in, POLLOUT);
	/* Linux wakes one accept for a connection, and no other if that one is cancelled before it has looked. */
	if (traits & AWAITS_CONNECTION)
		return !act->world->has_ring && is_ready(act->world->listener, POLLIN);
	return !(traits & AWAITS_OTHERS);
}

static bool has_one_before(const struct acts *acts, const struct chain *chain, uint64_t serial)
{
	const struct act *act;

	TAILQ_FOREACH(act, acts, entry)
	if (act->chain == chain && act->serial < serial)
		return true;
	return false;
}

/*
 * Whoever is linked may still have to wait for its turn; but a limit goes with its op, whose turn has come. (In Linux
 * it begins to run when a thread begins with its op.)
 */
static bool is_late(const struct world *world, const struct act *act)
{
	uint64_t limited = act->serial - 1;

	if (act->kind == kind_link_timeout())
		return !world->has_ring && !has_one_before(&world->alive, act->chain, limited) &&
		       !has_one_before(&world->silent, act->chain, limited);
	return act->has_to_end || (!act->chain && can_end(act));
}

/* One of those that were there. */
static const struct act *find_late(const struct world *world, uint64_t last)
{
	const struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	if (act->serial <= last && is_late(world, act))
		return act;
	return NULL;
}

static bool is_alive(const struct world *world, uint64_t serial)
{
	const struct act *act;

	TAILQ_FOREACH(act, &world->alive, entry)
	if (act->serial == serial)
		return true;
	return false;
}

/* If nobody woke it the loop would look by itself, but only after five seconds. */
void run_until_woken(struct world *world)
{
	struct act *act = world->has_ring || world->has_misused ? NULL : act_new(world, kind_fsync(), world->source);
	uint64_t serial = world->n_serials + 1;
	int64_t begin;

	if (!act)
		return;
	act_queue(act, 0, NULL);
	run_once(world, &(struct timespec){ 0 });
	for (begin = walk_now_us(); world->iou && !run_has_staged(world) && is_alive(world, serial);)
		run_once(world, NULL);
	CHECK_RESULT(walk_now_us() - begin < 4000000, walk_now_us() - begin);
}

static int64_t cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool is_busy(struct world *world, int64_t *cpu)
{
	const struct timespec timeout = { .tv_nsec = 20000000 };
	uint64_t n_callbacks = world->n_callbacks;
	int64_t begin = walk_now_us();

	*cpu = -cpu_us();
	run_once(world, &timeout);
	*cpu += cpu_us();
	return world->n_callbacks == n_callbacks && walk_now_us() - begin >= 20000 && *cpu >= 10000;
}

/*
 * A loop that waits for a while, and has nothing to do, does nothing. What a virtual machine's host takes away counts as
 * time of who was running, so that once in a while it seems to have done something: not again and again.
 */
static void check_rest(struct world *world)
{
	int64_t cpu;
	int n = 0;

	while (world->iou && is_busy(world, &cpu))
		CHECK_RESULT(++n < 5, cpu);
}

void run_until_settled(struct world *world)
{
	uint64_t last = world->n_serials;
	int64_t begin = walk_now_us();
	const struct act *late;

	do {
		run_once(world, &(struct timespec){ .tv_nsec = 1000000 });
		if (!world->iou || run_has_staged(world))
			return;
		late = find_late(world, last);
	} while (late && walk_now_us() - begin < PATIENCE_US);
	if (late)
		walk_fail_with(__FILE__, __LINE__, late->kind->name, (long long)late->serial);
	check_rest(world);
}
