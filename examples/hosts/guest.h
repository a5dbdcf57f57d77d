/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each loop here is host to: a program of libiou's that knows nothing of the loop, and prints what it comes
 * through. A timeout that is queued again in its callback, a job that posts, ops queued from callbacks, a resize, and
 * a callback that fails.
 */
#ifndef GUEST_H
#define GUEST_H

#include <iou.h>

struct guest {
	iou_t *iou;
	iou_op_t *timer, *reader, *writer, *last;
	struct __kernel_timespec interval;
	int n_ticks;
	int pipe[2];
	char text[8];
};

/* From a callback of the host's. Nothing is flushed: that is left to the host. 0 or -errno. */
int guest_start(struct guest *guest, iou_t *iou);

/* After iou_free(). */
void guest_end(struct guest *guest);

#endif
