/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another size for the kernel engine's ring: in place where the kernel can do that, else another ring. */
#include <errno.h>
#include <sched.h>

#include "ring-state.h"

/* Bring a new ring to where the old one is. */
static int catch_up(struct ring *ring, struct uring *uring)
{
	int r = ring->event_fd < 0 ? 0 : iou__uring_signal(uring, ring->event_fd);

	if (r == 0 && ring->is_bound)
		r = iou__uring_bind(uring);
	if (r == 0 && !iou__cq_empty_ring(ring->engine.cq))
		r = -ENOMEM;
	return r;
}

/* The polling thread takes what is there without our help, and soon. */
static void wait_for_sqpoll(struct ring *ring)
{
	while (ring->is_bound && ring->config.is_sqpoll && iou__ring_in_sq(ring) && iou__ring_submit(ring, false) >= 0)
		sched_yield();
}

/* Build another ring, then swap. Nothing may be in flight. */
static int rebuild(struct ring *ring, const struct uring_config *config)
{
	struct uring new_one;

	if (iou__uring_has_registrations(&ring->uring))
		return -EBUSY;

	int r = iou__uring_create(config, &new_one);

	if (r < 0)
		return r;
	r = catch_up(ring, &new_one);
	if (r < 0) {
		iou__uring_close(&new_one, ring->is_bound);
		return r;
	}
	iou__uring_close(&ring->uring, ring->is_bound);
	iou__ring_adopt(ring, &new_one, config);
	return 1;
}

/*
 * The kernel leaves it to a resized ring's first work to take back that there might be some. So take it back here,
 * and then have it do what there is.
 */
static void do_kernels_work(struct ring *ring)
{
	__atomic_fetch_and(ring->uring.ring.sq.kflags, ~IORING_SQ_TASKRUN, __ATOMIC_RELAXED);
	iou__uring_enter(&ring->uring, 0, 0, IORING_ENTER_GETEVENTS, NULL);
}

/* The same ring with other queues: not on every kernel, nor for every ring. */
static int resize_in_place(struct ring *ring, const struct uring_config *config)
{
	int r;

	/* The new queue may be smaller. What has overflown the kernel keeps, and moves later. */
	if (!iou__cq_empty_ring(ring->engine.cq))
		return -ENOMEM;
	/* Or SQEs that the program has got from liburing and not yet submitted would stay behind. */
	iou__ring_publish(ring);
	r = iou__uring_resize(&ring->uring, config);
	/* Also after a failure the queues may have moved. */
	iou__ring_adopt(ring, &ring->uring, r < 0 ? &ring->config : config);
	do_kernels_work(ring);
	return r == -EOVERFLOW ? -EBUSY : r;
}

int iou__ring_resize(struct engine *engine, unsigned entries, bool is_idle)
{
	struct ring *ring = iou__ring_of(engine);
	struct uring_config config = ring->config;
	int r = -EINVAL;

	wait_for_sqpoll(ring);
	config.entries = entries;
	if (config.cq_entries && config.cq_entries < entries)
		config.cq_entries = entries;
	if (ring->is_bound && engine->setup_flags & IORING_SETUP_DEFER_TASKRUN)
		r = resize_in_place(ring, &config);
	if (r != -EINVAL && r != -ENOSYS)
		return r;
	/* SQEs that the kernel has not consumed, the program's through iou_ring() among them, would be lost. */
	return is_idle && !iou__ring_in_sq(ring) ? rebuild(ring, &config) : -EBUSY;
}
