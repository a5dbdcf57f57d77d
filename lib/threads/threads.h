/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threads engine: the same SQEs, carried out in user space, for where the kernel has no io_uring or refuses it. */
#ifndef IOU_LIB_THREADS_H
#define IOU_LIB_THREADS_H

#include "../engine.h"

struct threads_config {
	unsigned entries;
	unsigned cq_entries;   /* 0: twice as many */
	unsigned n_workers[2]; /* bounded, unbounded; 0: the library's choice */
};

/* 0 or -errno. Also initializes the cq. */
int iou__threads_new(const struct threads_config *config, struct ops *ops, struct stage *stage,
		     struct timeouts *timeouts, struct cq *cq, struct engine **engine);

#endif
