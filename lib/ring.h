/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine: what is staged goes into the SQ of an io_uring, whose CQ the loop reads. */
#ifndef IOU_LIB_RING_H
#define IOU_LIB_RING_H

#include "engine.h"
#include "uring.h"

/*
 * A ring that is disabled until bind(), where the kernel can do that. 0, or -errno: of io_uring_setup(2) or
 * io_uring_register(2). The four parts are the instance's; the cq is initialized here.
 */
int iou__ring_new(const struct uring_config *config, struct ops *ops, struct stage *stage, struct timeouts *timeouts,
		  struct cq *cq, struct engine **engine);

#endif
