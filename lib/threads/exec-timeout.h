/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IORING_OP_TIMEOUT, _TIMEOUT_REMOVE (and update), _LINK_TIMEOUT. */
#ifndef IOU_LIB_THREADS_EXEC_TIMEOUT_H
#define IOU_LIB_THREADS_EXEC_TIMEOUT_H

#include "flow.h"

int iou__check_timeout(struct request *request);
enum outcome iou__exec_timeout(struct request *request);

int iou__check_link_timeout(struct request *request);
enum outcome iou__exec_link_timeout(struct request *request);

int iou__check_timeout_remove(struct request *request);
enum outcome iou__exec_timeout_remove(struct request *request);

/* What a linked timeout limits has begun to wait. */
void iou__exec_limit_start(struct request *limit);

/* It has waited for too long. */
void iou__exec_limit_reached(struct request *limit);

/* Completions have been posted: timeouts that counted them end. */
void iou__exec_timeout_count(struct threads *threads);

#endif
