/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "late.h"

#include <stdlib.h>

static struct task *after(const struct task *task)
{
	return task->node.next ? container_of(task->node.next, struct task, node) : NULL;
}

void iou__late_append(struct late *late, struct task *task)
{
	task->node.next = NULL;
	if (iou__late_is_empty(late))
		atomic_store_explicit(&late->first, task, memory_order_release);
	else
		__atomic_store_n(&late->last->node.next, &task->node, __ATOMIC_RELEASE);
	late->last = task;
	late->n++;
}

struct task *iou__late_pop(struct late *late)
{
	struct task *task = atomic_load_explicit(&late->first, memory_order_relaxed);

	atomic_store_explicit(&late->first, after(task), memory_order_release);
	late->n--;
	return task;
}

void iou__late_hand_over(struct late *from, struct late *to)
{
	struct task *first = atomic_load_explicit(&from->first, memory_order_relaxed);

	to->last = from->last;
	to->n = from->n;
	from->n = 0;
	atomic_store_explicit(&from->first, NULL, memory_order_release);
	atomic_store_explicit(&to->first, first, memory_order_release);
}

size_t iou__late_posts(const struct late *late)
{
	size_t n = 0;

	for (const struct task *task = atomic_load_explicit(&late->first, memory_order_relaxed); task;
	     task = after(task))
		n += task->kind == TASK_POST;
	return n;
}

void iou__late_free(struct late *late)
{
	while (!iou__late_is_empty(late)) {
		struct task *task = iou__late_pop(late);

		if (task->kind == TASK_POST)
			free(task);
	}
}
