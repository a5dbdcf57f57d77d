/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workers: threads that are started as jobs come, take them in order, and hand them back through the mailbox.
 *
 * The lock guards the queue of waiting jobs, n_idle and has_to_stop, and nothing else; no callback runs under it.
 * Workers are stopped by a message and joined, never cancelled. All functions are for the loop thread.
 */
#ifndef IOU_LIB_ASYNC_H
#define IOU_LIB_ASYNC_H

#include <pthread.h>

#include "mailbox.h"

struct async {
	struct ops *ops;
	struct mailbox *mailbox;
	size_t stack_size; /* 0: the system's default */
	unsigned n_max;    /* 0: as many as there are CPUs, found out when the first one is needed */
	unsigned n_workers;
	pthread_t *workers;
	pthread_mutex_t lock;
	pthread_cond_t has_news;
	struct queue waiting;
	unsigned n_idle;
	bool has_to_stop;
};

void iou__async_init(struct async *async, struct ops *ops, struct mailbox *mailbox, unsigned n_max, size_t stack_size);

/* At most so many workers. */
unsigned iou__async_max(struct async *async);

/* Whether pthread_create() would take this stack size. */
bool iou__async_stack_size_is_valid(size_t stack_size);

/*
 * Hand an op with its job set to the workers; it becomes waiting. 0; or -ENOMEM, -EAGAIN: no worker runs and none
 * could be started, and the op is as it was.
 */
int iou__async_submit(struct async *async, struct op *op);

/* Take back a job that no worker has begun; it becomes completed. False: it is too late. */
bool iou__async_withdraw(struct async *async, struct op *op);

/* Stop and join. No job may be left. */
void iou__async_stop(struct async *async);

/* In a forked child, where the threads are not. */
void iou__async_abandon(struct async *async);

#endif
