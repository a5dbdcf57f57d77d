/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for another thread that is at work on another CPU. To fall asleep and be woken takes 20 to 30 us; what comes
 * sooner than that is better looked for again and again. So whoever is about to sleep spins for a while before: not if
 * the other is on the same CPU, which it then needs, and not if it was in vain the last time.
 */
#ifndef IOU_LIB_SPIN_H
#define IOU_LIB_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Where the program does not say: about as long as what it saves, there and back. Measured with one job after the other
 * on two CPUs, time from a job's end to its callback (median) and CPU for each job: of 20 us, 24 and 50 us without
 * spinning, 0.4 and 42 us with this; of 60 us, 26 and 91 us without, 26 and 110 us with this, and 0.4 and 121 us with
 * twice as much. So what comes sooner costs less than sleeping does, and what comes later hardly more.
 */
#define SPIN_DEFAULT_NS 50000

struct spin {
	uint32_t max_ns; /* 0: never */
	bool is_in_vain;
	uint64_t since_ns; /* since when we wait; 0: for moments */
	unsigned n_looks;
};

/* A wait begins. */
void iou__spin_begin(struct spin *spin);

/* Pause for a moment. False: it is time to sleep. */
bool iou__spin_goes_on(struct spin *spin);

/* The wait is over; has_come: with what was spun for. */
void iou__spin_end(struct spin *spin, bool has_come);

#endif
