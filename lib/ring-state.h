/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine's state, and what ring.c and resize.c offer each other. */
#ifndef IOU_LIB_RING_STATE_H
#define IOU_LIB_RING_STATE_H

#include "fill.h"
#include "registered.h"
#include "uring.h"

struct ring {
	struct engine engine;
	struct uring_config config;
	struct uring uring;
	struct registered registered;
	int event_fd;       /* what the kernel signals completions to, or -1 */
	unsigned n_to_come; /* results of requests of a resize that has not waited for them */
	bool may_have_work; /* the kernel, which has been told not to say so */
	bool is_bound;
};

static inline struct ring *iou__ring_of(struct engine *engine)
{
	return container_of(engine, struct ring, engine);
}

static inline unsigned iou__ring_in_sq(const struct ring *ring)
{
	return iou__in_sq(&ring->uring.ring.sq);
}

/* The kernel sees the new SQEs from here on. */
void iou__ring_publish(struct ring *ring);

static inline unsigned iou__ring_kernel_says(const struct ring *ring, unsigned flags)
{
	return __atomic_load_n(ring->uring.ring.sq.kflags, __ATOMIC_RELAXED) & flags;
}

/* Whether the kernel has work that it does only when it is entered for events. */
static inline bool iou__ring_has_work(const struct ring *ring)
{
	return iou__ring_kernel_says(ring, IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW) || ring->may_have_work;
}

/* Submit them, and wait for a completion; as iou__uring_enter(). is_full: the polling thread is waited for. */
int iou__ring_submit(struct ring *ring, bool is_full);
int iou__ring_submit_and_wait(struct ring *ring, const struct timespec *timeout);

/* This is the engine's ring from now on. */
void iou__ring_adopt(struct ring *ring, const struct uring *uring, const struct uring_config *config);

/* The verbs. */
int iou__ring_resize(struct engine *engine, unsigned entries, bool is_idle);
bool iou__ring_takes(struct engine *engine, const struct cqe *cqe);

#endif
