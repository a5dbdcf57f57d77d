/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way of a request: attempt, wait, attempt again, to its completion or the end that somebody puts to it. */
#ifndef IOU_LIB_THREADS_FLOW_H
#define IOU_LIB_THREADS_FLOW_H

#include "requests.h"

/* Requests have been filled in, linked by next: a chain, or a single one. */
void iou__flow_submit(struct request *head);

/*
 * All that were ready when this began: what has waited for readiness, for time or for a worker and has come out, and what
 * is linked behind completed ones.
 */
void iou__flow_run_ready(struct threads *threads);

/* What has not begun is not found, as with the kernel: not what is linked, nor when it is about to begin. */
bool iou__flow_can_cancel(const struct request *request);

/* Try to end a request: 0, or 1 for some; -EALREADY: a worker is at it; -ENOENT: it is not found. */
int iou__flow_cancel(struct request *request);

/* A request that waits for futexes has been woken by the one that has this number. False: it has ended otherwise. */
bool iou__flow_wake(struct request *request, unsigned number);

/* It leaves where it waits, and completes as given. */
void iou__flow_end(struct request *request, int res);

/*
 * The end: nothing goes on any more, and what workers are at is waited for. What that comes to completes, since it has
 * been done; nothing else does.
 */
void iou__flow_let_go(struct threads *threads);

#endif
