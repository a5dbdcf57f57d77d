/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "async.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpus.h"

void iou__async_init(struct async *async, struct ops *ops, struct mailbox *mailbox, unsigned n_max, size_t stack_size)
{
	*async = (struct async){ .ops = ops, .mailbox = mailbox, .n_max = n_max, .stack_size = stack_size };
	pthread_mutex_init(&async->lock, NULL);
	pthread_cond_init(&async->has_news, NULL);
	iou__queue_init(&async->waiting);
}

unsigned iou__async_max(struct async *async)
{
	if (!async->n_max)
		async->n_max = iou__cpus();
	return async->n_max;
}

bool iou__async_stack_size_is_valid(size_t stack_size)
{
	return stack_size == 0 || stack_size >= (size_t)PTHREAD_STACK_MIN;
}

/* Under the lock: wait for a job and take it, or NULL: stop. */
static struct op *claim(struct async *async)
{
	struct node *node;

	while (!(node = iou__queue_pop(&async->waiting)) && !async->has_to_stop) {
		async->n_idle++;
		pthread_cond_wait(&async->has_news, &async->lock);
		async->n_idle--;
	}
	if (!node)
		return NULL;

	struct op *op = container_of(node, struct op, task.node);

	iou__ops_move(async->ops, op, OP_WAITING, OP_WORKING);
	return op;
}

/* Once it is in the mailbox the op is the loop's. */
static void carry_out(struct async *async, struct op *op)
{
	op->job.result = op->job.work(op->job.work_data);
	iou__ops_move(async->ops, op, OP_WORKING, OP_FINISHED);
	iou__mailbox_put(async->mailbox, &op->task);
}

static void *work(void *data)
{
	struct async *async = data;
	struct op *op;

	pthread_setname_np(pthread_self(), "iou-worker");
	pthread_mutex_lock(&async->lock);
	while ((op = claim(async))) {
		pthread_mutex_unlock(&async->lock);
		carry_out(async, op);
		pthread_mutex_lock(&async->lock);
	}
	pthread_mutex_unlock(&async->lock);
	return NULL;
}

/* Signals are the program's: a worker is born with all of them blocked. */
static int create_thread(struct async *async, pthread_t *thread)
{
	pthread_attr_t attr;
	sigset_t all, old;

	pthread_attr_init(&attr);
	if (async->stack_size)
		pthread_attr_setstacksize(&attr, async->stack_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);

	int r = pthread_create(thread, &attr, work, async);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static int start_worker(struct async *async)
{
	if (!async->workers)
		async->workers = calloc(iou__async_max(async), sizeof(pthread_t));
	if (!async->workers)
		return -ENOMEM;

	int r = create_thread(async, &async->workers[async->n_workers]);

	async->n_workers += r == 0;
	return r;
}

/* Under the lock: whoever is idle already has a waiting job coming, if there are as many of those. */
static bool needs_worker(struct async *async)
{
	return iou__ops_n(async->ops, OP_WAITING) >= async->n_idle && async->n_workers < iou__async_max(async);
}

int iou__async_submit(struct async *async, struct op *op)
{
	pthread_mutex_lock(&async->lock);

	int r = needs_worker(async) ? start_worker(async) : 0;
	bool is_accepted = async->n_workers > 0;

	if (is_accepted) {
		iou__ops_move(async->ops, op, iou__op_state(op), OP_WAITING);
		iou__queue_push(&async->waiting, &op->task.node);
		pthread_cond_signal(&async->has_news);
	}
	pthread_mutex_unlock(&async->lock);
	return is_accepted ? 0 : r;
}

bool iou__async_withdraw(struct async *async, struct op *op)
{
	pthread_mutex_lock(&async->lock);

	bool is_waiting = iou__op_is(op, 1U << OP_WAITING);

	if (is_waiting) {
		iou__queue_remove(&op->task.node);
		iou__ops_move(async->ops, op, OP_WAITING, OP_COMPLETED);
	}
	pthread_mutex_unlock(&async->lock);
	return is_waiting;
}

void iou__async_stop(struct async *async)
{
	pthread_mutex_lock(&async->lock);
	async->has_to_stop = true;
	pthread_cond_broadcast(&async->has_news);
	pthread_mutex_unlock(&async->lock);
	for (unsigned i = 0; i < async->n_workers; i++)
		pthread_join(async->workers[i], NULL);
	free(async->workers);
	pthread_cond_destroy(&async->has_news);
	pthread_mutex_destroy(&async->lock);
}

void iou__async_abandon(struct async *async)
{
	free(async->workers);
}
