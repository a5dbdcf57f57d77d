/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How what is staged goes into the SQ of an io_uring; of plain ops ring.c does so itself. */
#ifndef IOU_LIB_FILL_H
#define IOU_LIB_FILL_H

#include "engine.h"

/* What the kernel has not consumed. */
static inline unsigned iou__in_sq(const struct io_uring_sq *sq)
{
	return sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
}

/* What goes ahead of all: timeouts that are to be set going again, and the library's own requests. */
static inline bool iou__has_first(const struct engine *engine)
{
	return engine->timeouts->n_to_resume || !iou__queue_is_empty(&engine->stage->own);
}

/* False: no room for all. */
bool iou__fill_first(struct engine *engine, struct io_uring_sq *sq, unsigned n_free);

/* What is staged first and not plain: a chain, what has to wait, what concerns timeouts. There must be some. */
enum left iou__fill_odd(struct engine *engine, struct io_uring_sq *sq, unsigned n_free);

#endif
