/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "deadline.h"

#include <errno.h>

uint64_t iou__ns_of_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return iou__ns_of_time(&now);
}

uint64_t iou__clock_ns(void)
{
	return iou__ns_of_clock(CLOCK_MONOTONIC);
}

int iou__deadline_in(const struct timespec *timeout, struct deadline *deadline)
{
	struct timespec now;

	*deadline = (struct deadline){ .is_none = !timeout };
	/* The clock takes longer than a turn with nothing to do. */
	if (!timeout || iou__time_is_zero(timeout))
		return 0;
	if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= NS_PER_S)
		return -EINVAL;
	clock_gettime(CLOCK_MONOTONIC, &now);
	/* A time beyond the end of time is none. */
	if (__builtin_add_overflow(now.tv_sec, timeout->tv_sec, &deadline->at.tv_sec) ||
	    __builtin_add_overflow(deadline->at.tv_sec, 1, &now.tv_sec)) {
		deadline->is_none = true;
		return 0;
	}
	deadline->at.tv_nsec = now.tv_nsec + timeout->tv_nsec;
	if (deadline->at.tv_nsec >= NS_PER_S) {
		deadline->at.tv_nsec -= NS_PER_S;
		deadline->at.tv_sec++;
	}
	return 0;
}

const struct timespec *iou__deadline_left(const struct deadline *deadline, struct timespec *left)
{
	if (deadline->is_none)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, left);
	left->tv_sec = deadline->at.tv_sec - left->tv_sec;
	left->tv_nsec = deadline->at.tv_nsec - left->tv_nsec;
	if (left->tv_nsec < 0) {
		left->tv_nsec += NS_PER_S;
		left->tv_sec--;
	}
	if (left->tv_sec < 0)
		*left = (struct timespec){ 0 };
	return left;
}

void iou__sleep(struct timespec time)
{
	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}
