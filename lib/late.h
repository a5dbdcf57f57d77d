/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mail that came when the mailbox was full: a list of tasks, the oldest first. No threads, but for one thing: its
 * stores are in an order in which a forked child can go through it and free it, whoever was at work on it in the
 * parent; at worst the child does not see some of it.
 */
#ifndef IOU_LIB_LATE_H
#define IOU_LIB_LATE_H

#include "ops.h"

struct late {
	_Atomic(struct task *) first;
	struct task *last;
	size_t n;
};

static inline bool iou__late_is_empty(const struct late *late)
{
	return !atomic_load_explicit(&late->first, memory_order_relaxed);
}

void iou__late_append(struct late *late, struct task *task);

/* It must not be empty. */
struct task *iou__late_pop(struct late *late);

/* All that is in one goes to another, which is empty. */
void iou__late_hand_over(struct late *from, struct late *to);

/* How many there are of TASK_POST. */
size_t iou__late_posts(const struct late *late);

/* Empty it, and free what comes from the heap. */
void iou__late_free(struct late *late);

#endif
