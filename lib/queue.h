/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An intrusive FIFO, doubly linked so that a member can leave from the middle. No allocation, no threads. A queue
 * points into itself: it must not be moved.
 */
#ifndef IOU_LIB_QUEUE_H
#define IOU_LIB_QUEUE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node {
	struct node *next;
	struct node *prev;
};

struct queue {
	struct node ends; /* next is the first, prev the last */
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* What the links of a node outside all queues hold, so that a second removal faults and a debugger shows why. */
#define NODE_POISON ((struct node *)(uintptr_t)0x10d)

static inline void iou__queue_init(struct queue *queue)
{
	queue->ends.next = queue->ends.prev = &queue->ends;
}

static inline bool iou__queue_is_empty(const struct queue *queue)
{
	return queue->ends.next == &queue->ends;
}

/* NULL at the end. */
static inline struct node *iou__queue_first(const struct queue *queue)
{
	return iou__queue_is_empty(queue) ? NULL : queue->ends.next;
}

static inline struct node *iou__queue_last(const struct queue *queue)
{
	return iou__queue_is_empty(queue) ? NULL : queue->ends.prev;
}

static inline struct node *iou__queue_after(const struct queue *queue, const struct node *node)
{
	return node->next == &queue->ends ? NULL : node->next;
}

static inline struct node *iou__queue_before(const struct queue *queue, const struct node *node)
{
	return node->prev == &queue->ends ? NULL : node->prev;
}

static inline void iou__queue_push(struct queue *queue, struct node *node)
{
	struct node *last = queue->ends.prev;

	node->next = &queue->ends;
	node->prev = last;
	last->next = node;
	queue->ends.prev = node;
}

static inline void iou__queue_remove(struct node *node)
{
	assert(node->next != NODE_POISON && node->prev != NODE_POISON);
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NODE_POISON;
}

/*
 * NULL if the queue is empty. It looks at links to what comes next alone: those hold at any moment at which another thread
 * may fork.
 */
static inline struct node *iou__queue_pop(struct queue *queue)
{
	struct node *node = iou__queue_first(queue);

	if (!node)
		return NULL;
	assert(node->next != NODE_POISON);
	queue->ends.next = node->next;
	node->next->prev = &queue->ends;
	node->next = node->prev = NODE_POISON;
	return node;
}

#endif
