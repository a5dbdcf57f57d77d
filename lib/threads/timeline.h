/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that wait for a point in time, sorted. The latest come last as a rule, so that is where their place is looked
 * for first. Times are ns of CLOCK_MONOTONIC; those of other clocks are converted once, so a clock that is set does not
 * move them.
 */
#ifndef IOU_LIB_THREADS_TIMELINE_H
#define IOU_LIB_THREADS_TIMELINE_H

#include "../deadline.h"
#include "request.h"

#define TIMELINE_NEVER UINT64_MAX

static inline uint64_t iou__timeline_next(const struct queue *timeline)
{
	struct node *first = iou__queue_first(timeline);

	return first ? container_of(first, struct request, node)->at : TIMELINE_NEVER;
}

/* The point in time is request->at. */
void iou__timeline_add(struct queue *timeline, struct request *request);

/* Those whose time has come go to the end of the queue out. */
void iou__timeline_take(struct queue *timeline, uint64_t now, struct queue *out);

/* A span of time, saturating. */
uint64_t iou__timeline_span(const struct __kernel_timespec *span);

/* A point in time this span from now, or with IORING_TIMEOUT_ABS from the beginning of the clock that the flags name. */
uint64_t iou__timeline_at(uint64_t span, unsigned timeout_flags);

#endif
