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
 * Where the program does not say. About as long as what it saves, there and back: so it costs at most as much again as
 * falling asleep does.
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
