/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registered buffers. A request asks when it begins, and what is unregistered after that does not concern it. */
#ifndef IOU_LIB_THREADS_FIXED_H
#define IOU_LIB_THREADS_FIXED_H

#include <stdbool.h>
#include <sys/uio.h>

#include <linux/types.h>

struct fixed {
	struct iovec *iovecs;
	unsigned n;
};

/* As io_uring_register(2) does. */
int iou__fixed_register(struct fixed *fixed, const struct iovec *iovecs, unsigned n);
int iou__fixed_unregister(struct fixed *fixed);

void iou__fixed_destroy(struct fixed *fixed);

/* Whether there is a buffer of this index. */
bool iou__fixed_names(const struct fixed *fixed, unsigned index);

/* Whether there is one, and all of that memory in it. */
bool iou__fixed_has(const struct fixed *fixed, unsigned index, __u64 address, __u64 length);

#endif
