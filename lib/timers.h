/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ops that are due at some time, the earliest first, and of those that are due at the same time the one that was armed
 * first: a heap of four children each. Pure logic, without a clock.
 *
 * Each arming has a number. The heap has a copy of it, and where the op's own is another one, or it is not armed any
 * more, the heap's entry is stale. So to disarm touches the op alone; stale entries leave when they come first, or
 * when room is needed.
 */
#ifndef IOU_LIB_TIMERS_H
#define IOU_LIB_TIMERS_H

#include "ops.h"

struct timer {
	uint64_t due_ns;
	uint64_t number;
	struct op *op;
};

struct timers {
	struct timer *heap;
	uint32_t n, cap; /* entries, the stale ones among them */
	uint32_t n_armed;
	uint64_t n_armings; /* so far: the next one's number */
};

/* What is due at a time: by then, and of those that were armed before this number. */
struct due {
	uint64_t by_ns;
	uint64_t under;
};

void iou__timers_init(struct timers *timers);
void iou__timers_destroy(struct timers *timers);

/* Make room for one more. False: no memory. */
bool iou__timers_reserve(struct timers *timers);

/*
 * The op must not be armed, and there must be room: it was made, or one has been popped or disarmed since. What the
 * caller has in task.kept but the number stays as it is.
 */
void iou__timers_arm(struct timers *timers, struct op *op, enum kept how, uint64_t due_ns);

/* The op must be armed. */
void iou__timers_disarm(struct timers *timers, struct op *op);

/* When this one is due; it must be armed. Takes long. */
uint64_t iou__timers_due(const struct timers *timers, const struct op *op);

/* When the first is due; false: there is none. */
bool iou__timers_next(struct timers *timers, uint64_t *due_ns);

/* Disarm and return the first, if it is due, and tell how it was kept; else NULL. */
struct op *iou__timers_pop(struct timers *timers, const struct due *due, enum kept *how);

/* The one that is due before all others, or that was armed before them, or NULL. The latter takes long. */
struct op *iou__timers_first(struct timers *timers);
struct op *iou__timers_oldest(const struct timers *timers);

/* All are due at once, in the order in which they were armed. */
void iou__timers_hurry(struct timers *timers);

#endif
