/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was registered with a ring through the library: remembered, so that another ring can be given the same. The files
 * themselves only the kernel has; see resize.c.
 */
#ifndef IOU_LIB_REGISTERED_H
#define IOU_LIB_REGISTERED_H

#include "uring.h"

struct buffer_ring;

struct registered {
	unsigned n_files; /* the size of the table; 0: there is none */
	struct iovec *iovecs;
	unsigned n_iovecs;
	struct buffer_ring *first;
};

void iou__registered_destroy(struct registered *registered);

/* Register with the ring, and remember it if that is done. As io_uring_register(2). */
int iou__registered_do(struct registered *registered, const struct uring *uring, unsigned opcode, const void *arg,
		       unsigned n);

/*
 * The same for a ring that is to take another's place, which is not changed; but for the files, for which it gets an empty
 * table. 0 or -errno.
 */
int iou__registered_copy(const struct registered *registered, const struct uring *from, const struct uring *to);

/* It has taken the other's place. */
void iou__registered_settle(struct registered *registered);

#endif
