/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeline.h"

void iou__timeline_add(struct queue *timeline, struct request *request)
{
	struct node *before = timeline->ends.prev;

	while (before != &timeline->ends && container_of(before, struct request, node)->at > request->at)
		before = before->prev;
	request->node.prev = before;
	request->node.next = before->next;
	before->next->prev = &request->node;
	before->next = &request->node;
}

void iou__timeline_take(struct queue *timeline, uint64_t now, struct queue *out)
{
	while (iou__timeline_next(timeline) <= now) {
		struct node *node = iou__queue_pop(timeline);

		container_of(node, struct request, node)->place = AT_READY;
		iou__queue_push(out, node);
	}
}

uint64_t iou__timeline_span(const struct __kernel_timespec *span)
{
	uint64_t ns;

	if (__builtin_mul_overflow((uint64_t)span->tv_sec, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)span->tv_nsec, &ns) || ns > INT64_MAX)
		return INT64_MAX; /* as the kernel does */
	return ns;
}

static clockid_t clock_of(unsigned timeout_flags)
{
	if (timeout_flags & IORING_TIMEOUT_REALTIME)
		return CLOCK_REALTIME;
	return timeout_flags & IORING_TIMEOUT_BOOTTIME ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
}

uint64_t iou__timeline_at(uint64_t span, unsigned timeout_flags)
{
	uint64_t now = iou__clock_ns();

	if (timeout_flags & IORING_TIMEOUT_ABS) {
		uint64_t there = iou__ns_of_clock(clock_of(timeout_flags));

		span = span > there ? span - there : 0;
	}
	return now + span;
}
