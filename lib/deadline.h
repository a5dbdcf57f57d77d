/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time-outs that outlast interruptions: a span of time as programs give it becomes a point in time. */
#ifndef IOU_LIB_DEADLINE_H
#define IOU_LIB_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000L

/* CLOCK_MONOTONIC in nanoseconds, and any clock. */
uint64_t iou__clock_ns(void);
uint64_t iou__ns_of_clock(clockid_t clock);

static inline uint64_t iou__ns_of_time(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec;
}

static inline struct timespec iou__time_of_ns(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
}

/* All of it, whatever signals come. */
void iou__sleep(struct timespec time);

struct deadline {
	bool is_none;
	struct timespec at; /* CLOCK_MONOTONIC */
};

/* From now on; NULL: none. 0 or -EINVAL: not a time. */
int iou__deadline_in(const struct timespec *timeout, struct deadline *deadline);

/* What is left, at least 0, in left; NULL: there is no deadline. */
const struct timespec *iou__deadline_left(const struct deadline *deadline, struct timespec *left);

static inline bool iou__time_is_zero(const struct timespec *time)
{
	return time && !time->tv_sec && !time->tv_nsec;
}

static inline bool iou__time_is_shorter(const struct timespec *time, const struct timespec *than)
{
	return time->tv_sec != than->tv_sec ? time->tv_sec < than->tv_sec : time->tv_nsec < than->tv_nsec;
}

#endif
