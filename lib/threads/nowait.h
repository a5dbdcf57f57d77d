/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing without blocking where there is no RWF_NOWAIT: sockets and pipes before Linux 6.4, and since then
 * pipes that something has been spliced into or out of.
 */
#ifndef IOU_LIB_THREADS_NOWAIT_H
#define IOU_LIB_THREADS_NOWAIT_H

#include <sys/types.h>
#include <sys/uio.h>

/* As readv() and writev(); -1 with errno EOPNOTSUPP: not with this descriptor. */
ssize_t iou__nowait_read(int fd, const struct iovec *iov, int n);
ssize_t iou__nowait_write(int fd, const struct iovec *iov, int n);

#endif
