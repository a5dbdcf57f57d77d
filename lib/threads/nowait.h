/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing without blocking where there is no RWF_NOWAIT: sockets and pipes before Linux 6.4, and since then
 * pipes that something has been spliced into or out of.
 */
#ifndef IOU_LIB_THREADS_NOWAIT_H
#define IOU_LIB_THREADS_NOWAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* As readv() and writev(); -1 with errno EOPNOTSUPP: not with this descriptor. */
ssize_t iou__nowait_read(int fd, const struct iovec *iov, int n);
ssize_t iou__nowait_write(int fd, const struct iovec *iov, int n);

/* The descriptor is an eventfd to which this cannot be added now: that it is ready for writing means that 1 can. */
bool iou__nowait_overflows(int fd, uint64_t value);

#endif
