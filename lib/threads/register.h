/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What io_uring_register(2) does with files, buffers and rings of provided buffers. */
#ifndef IOU_LIB_THREADS_REGISTER_H
#define IOU_LIB_THREADS_REGISTER_H

#include "requests.h"

/* 0 or a count, or -errno. */
int iou__threads_register(struct threads *threads, unsigned opcode, const void *arg, unsigned n);

#endif
