/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A turn of the threads engine: take what is staged and try each request without blocking; what cannot be had so waits for
 * readiness, for time, or for a worker. All of these come out through one epoll set, which is also what a foreign loop
 * watches.
 */
#ifndef IOU_LIB_THREADS_TURN_H
#define IOU_LIB_THREADS_TURN_H

#include "requests.h"

/* What the epoll set tells of the engine's own descriptors. */
#define TURN_WORKERS WATCHES_FOREIGN(0)
#define TURN_TIMER WATCHES_FOREIGN(1)

/* As the engine's enter(). */
int iou__turn_take(struct threads *threads, bool wait, const struct timespec *timeout);

/* Take what has come out. Whether there are completions now, or more to take. */
bool iou__turn_look(struct threads *threads);

/*
 * Whether there are completions, or would be in a turn, as far as that can be known without a system call: not whether
 * descriptors are ready.
 */
bool iou__turn_has_news(const struct threads *threads);

#endif
