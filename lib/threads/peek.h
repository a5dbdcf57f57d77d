/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads and writes the program's memory where no system call does, and says -EFAULT where that would crash. */
#ifndef IOU_LIB_THREADS_PEEK_H
#define IOU_LIB_THREADS_PEEK_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

/* 0 or -EFAULT; to is the library's. */
int iou__peek(__u64 address, void *to, size_t n);

/* 0 or -EFAULT; from is the library's. */
int iou__poke(__u64 address, const void *from, size_t n);

/* Whether the range may be the program's, mapped or not: else it is the kernel's, or beyond all. */
bool iou__peek_can(__u64 address, __u64 n);

#endif
