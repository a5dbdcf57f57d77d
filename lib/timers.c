/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timers.h"

#include "replace.h"

#define N_CHILDREN 4
#define FIRST_CAP 64

void iou__timers_init(struct timers *timers)
{
	*timers = (struct timers){ 0 };
}

void iou__timers_destroy(struct timers *timers)
{
	free(timers->heap);
	iou__timers_init(timers);
}

static bool is_stale(const struct timer *timer)
{
	return !timer->op->task.kept_how || timer->op->task.kept.number != timer->number;
}

/* Without a branch: which of two is first is anybody's guess. In one comparison where there are numbers that long. */
static bool is_before(const struct timer *timer, const struct timer *than)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 key = (unsigned __int128)timer->due_ns << 64 | timer->number;
	unsigned __int128 other = (unsigned __int128)than->due_ns << 64 | than->number;

	return key < other;
#else
	bool is_tie = timer->due_ns == than->due_ns;

	return (timer->due_ns < than->due_ns) | (is_tie & (timer->number < than->number));
#endif
}

/* Put it in the hole i, or where that rises to. */
static void rise(struct timer *heap, uint32_t i, struct timer timer)
{
	while (i > 0 && is_before(&timer, &heap[(i - 1) / N_CHILDREN])) {
		heap[i] = heap[(i - 1) / N_CHILDREN];
		i = (i - 1) / N_CHILDREN;
	}
	heap[i] = timer;
}

/* The first of the four that begin there. */
static uint32_t first_of_four(const struct timer *heap, uint32_t i)
{
	uint32_t a = i + is_before(&heap[i + 1], &heap[i]);
	uint32_t b = i + 2 + is_before(&heap[i + 3], &heap[i + 2]);

	return is_before(&heap[b], &heap[a]) ? b : a;
}

/* The first child of the hole i, or n: it has none. */
static uint32_t first_child(const struct timer *heap, uint32_t n, uint32_t i)
{
	uint32_t child = N_CHILDREN * i + 1, first = child;

	if (child + N_CHILDREN <= n)
		return first_of_four(heap, child);
	if (child >= n)
		return n;
	while (++child < n)
		if (is_before(&heap[child], &heap[first]))
			first = child;
	return first;
}

/* Put it in the hole i, or where that sinks to. */
static void sink(struct timer *heap, uint32_t n, uint32_t i, struct timer timer)
{
	uint32_t child;

	while ((child = first_child(heap, n, i)) < n && is_before(&heap[child], &timer)) {
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = timer;
}

/* The hole sinks all the way, since what was last mostly belongs there, and that one rises from there. */
static void remove_first(struct timers *timers)
{
	struct timer *heap = timers->heap;
	uint32_t n = --timers->n, i = 0, child;

	if (!n)
		return;
	while ((child = first_child(heap, n, i)) < n) {
		heap[i] = heap[child];
		i = child;
	}
	rise(heap, i, heap[n]);
}

static void put_in_order(struct timers *timers)
{
	for (uint32_t i = (timers->n + N_CHILDREN - 2) / N_CHILDREN; i-- > 0;)
		sink(timers->heap, timers->n, i, timers->heap[i]);
}

static void remove_stale(struct timers *timers)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < timers->n; i++)
		if (!is_stale(&timers->heap[i]))
			timers->heap[n++] = timers->heap[i];
	timers->n = n;
	put_in_order(timers);
}

static bool grow(struct timers *timers)
{
	uint32_t cap = timers->cap ? 2 * timers->cap : FIRST_CAP;
	struct timer *old = timers->heap;
	struct timer *heap = iou__enlarged(old, timers->n * sizeof(*old), cap * sizeof(*old));

	if (!heap)
		return false;
	timers->heap = heap;
	timers->cap = cap;
	iou__free_replaced(old);
	return true;
}

bool iou__timers_reserve(struct timers *timers)
{
	if (timers->n < timers->cap || (timers->n_armed >= timers->n / 2 && grow(timers)))
		return true;
	remove_stale(timers);
	return timers->n < timers->cap;
}

void iou__timers_arm(struct timers *timers, struct op *op, enum kept how, uint64_t due_ns)
{
	assert(!op->task.kept_how);
	/* There is the one of the op that was disarmed. */
	if (timers->n == timers->cap)
		remove_stale(timers);
	assert(timers->n < timers->cap);
	op->task.kept_how = how & 3;
	op->task.kept.number = timers->n_armings++;
	timers->n_armed++;
	rise(timers->heap, timers->n++, (struct timer){ due_ns, op->task.kept.number, op });
}

void iou__timers_disarm(struct timers *timers, struct op *op)
{
	assert(op->task.kept_how && timers->n_armed > 0);
	op->task.kept_how = NOT_KEPT;
	if (--timers->n_armed == 0)
		timers->n = 0;
}

bool iou__timers_next(struct timers *timers, uint64_t *due_ns)
{
	if (!timers->n_armed)
		return false;
	while (is_stale(&timers->heap[0]))
		remove_first(timers);
	*due_ns = timers->heap[0].due_ns;
	return true;
}

uint64_t iou__timers_due(const struct timers *timers, const struct op *op)
{
	uint32_t i = 0;

	while (timers->heap[i].op != op || is_stale(&timers->heap[i]))
		i++;
	return timers->heap[i].due_ns;
}

struct op *iou__timers_first(struct timers *timers)
{
	uint64_t due_ns;

	return iou__timers_next(timers, &due_ns) ? timers->heap[0].op : NULL;
}

struct op *iou__timers_pop(struct timers *timers, const struct due *due, enum kept *how)
{
	uint64_t due_ns;

	if (!iou__timers_next(timers, &due_ns) || due_ns > due->by_ns || timers->heap[0].number >= due->under)
		return NULL;

	struct op *op = timers->heap[0].op;

	*how = (enum kept)op->task.kept_how;
	remove_first(timers);
	iou__timers_disarm(timers, op);
	return op;
}

struct op *iou__timers_oldest(const struct timers *timers)
{
	const struct timer *oldest = NULL;

	for (uint32_t i = 0; i < timers->n; i++) {
		const struct timer *timer = &timers->heap[i];

		if (!is_stale(timer) && (!oldest || timer->number < oldest->number))
			oldest = timer;
	}
	return oldest ? oldest->op : NULL;
}

void iou__timers_hurry(struct timers *timers)
{
	for (uint32_t i = 0; i < timers->n; i++)
		timers->heap[i].due_ns = 0;
	put_in_order(timers);
}
