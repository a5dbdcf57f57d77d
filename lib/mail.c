/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mail itself: how it is put into the mailbox, and taken out. */
#include "mail.h"

#include <errno.h>

#include "relax.h"
#include "replace.h"

/* So many slots ahead a poster has a line fetched: two lines. */
#define SLOTS_AHEAD 8

/* What is taken at once fits in the nearest cache, whoever wrote it. No ring is smaller. */
#define MOST_AT_ONCE 256

/* Putting. */

int iou__mailbox_task(void *task)
{
	(void)task;
	return 0;
}

/* A stale state may be behind what has been taken; then it is not full, and its compare-exchange fails. */
static bool has_room(const struct mailbox *mailbox, uint64_t state, memory_order order)
{
	uint64_t n_taken = atomic_load_explicit(&mailbox->n_taken_seen, order);
	uint64_t n_slots = atomic_load_explicit(&mailbox->n_slots, memory_order_relaxed);

	return (int64_t)(iou__mail_position(state) - n_taken) < (int64_t)n_slots;
}

static bool is_full(struct mailbox *mailbox, uint64_t state)
{
	if (has_room(mailbox, state, memory_order_acquire))
		return false;
	atomic_store_explicit(&mailbox->n_taken_seen, atomic_load_explicit(&mailbox->n_taken, memory_order_acquire),
			      memory_order_release);
	return !has_room(mailbox, state, memory_order_acquire);
}

/* False: not with one of these flags, or it is full. *state is what it was before. */
static inline bool reserve(struct mailbox *mailbox, uint64_t flags, uint64_t *state)
{
	*state = atomic_load_explicit(&mailbox->state, memory_order_relaxed);
	do
		if (*state & flags || is_full(mailbox, *state))
			return false;
	while (!atomic_compare_exchange_weak(&mailbox->state, state, (*state + MAILBOX_ONE) & ~MAILBOX_ASLEEP));
	return true;
}

/* The last that is touched of the mailbox, unless the caller is inside. */
static inline void fill(struct mailbox *mailbox, uint64_t state, mail_cb *cb, void *cb_data)
{
	struct mail_slot *slot = iou__mailbox_slot(mailbox, iou__mail_position(state));

	iou__fetch_to_write(iou__mailbox_slot(mailbox, iou__mail_position(state) + SLOTS_AHEAD));
	slot->cb_data = cb_data;
	atomic_store_explicit(&slot->cb, cb, memory_order_release);
}

static void fill_and_wake(struct mailbox *mailbox, uint64_t state, mail_cb *cb, void *cb_data)
{
	iou__mailbox_enter(mailbox);
	fill(mailbox, state, cb, cb_data);
	iou__mailbox_raise(mailbox);
	iou__mailbox_leave(mailbox);
}

static inline bool put(struct mailbox *mailbox, uint64_t refused, mail_cb *cb, void *cb_data)
{
	uint64_t state;

	if (!reserve(mailbox, refused | MAILBOX_LATE, &state))
		return false;
	if (state & MAILBOX_ASLEEP)
		fill_and_wake(mailbox, state, cb, cb_data);
	else
		fill(mailbox, state, cb, cb_data);
	return true;
}

/*
 * False: not with this flag, or the ring can be used again. While we look and say that it is late the loop may have
 * taken all of the full ring, and gone to sleep.
 */
static bool put_late(struct mailbox *mailbox, uint64_t refused, struct task *task)
{
	bool is_put = false;

	pthread_mutex_lock(&mailbox->lock);

	uint64_t state = atomic_load(&mailbox->state);

	if (!(state & refused) && (state & MAILBOX_LATE || is_full(mailbox, state))) {
		atomic_fetch_or(&mailbox->state, MAILBOX_LATE);
		iou__late_append(&mailbox->late, task);
		atomic_store(&mailbox->has_late, true);
		is_put = true;
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (is_put)
		iou__mailbox_wake(mailbox);
	return is_put;
}

void iou__mailbox_put(struct mailbox *mailbox, struct task *task)
{
	while (!put(mailbox, 0, iou__mailbox_task, task) && !put_late(mailbox, 0, task))
		;
}

static int post_late(struct mailbox *mailbox, mail_cb *cb, void *cb_data)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return -ENOMEM;
	task->kind = TASK_POST;
	task->cb = cb;
	task->cb_data = cb_data;
	while (!iou__mailbox_is_closed(mailbox)) {
		if (put_late(mailbox, MAILBOX_CLOSED, task))
			return 0;
		if (put(mailbox, MAILBOX_CLOSED, cb, cb_data)) {
			free(task);
			return 0;
		}
	}
	free(task);
	return -ESHUTDOWN;
}

int iou__mailbox_post(struct mailbox *mailbox, mail_cb *cb, void *cb_data)
{
	if (put(mailbox, MAILBOX_CLOSED, cb, cb_data))
		return 0;
	iou__mailbox_enter(mailbox);

	int r = post_late(mailbox, cb, cb_data);

	iou__mailbox_leave(mailbox);
	return r;
}

/* Taking. */

/* Nobody has a slot, nor gets one. Without memory it stays as it is. */
static void grow(struct mailbox *mailbox)
{
	uint64_t n = atomic_load_explicit(&mailbox->n_slots, memory_order_relaxed);
	uint64_t n_wanted = 2 * (n + mailbox->late.n);

	if (n == MAILBOX_MOST_SLOTS)
		return;
	while (n < n_wanted && n < MAILBOX_MOST_SLOTS)
		n *= 2;

	struct mail_slot *old = mailbox->slots, *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return;
	mailbox->slots = slots;
	atomic_store_explicit(&mailbox->n_slots, n, memory_order_relaxed);
	iou__free_replaced(old);
}

/* Until the next slot is full, or nobody has it. */
static void wait_for_slot(const struct mailbox *mailbox)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);

	for (unsigned i = 0;
	     !iou__mail_is_there(mailbox, at) && !iou__mail_is_emptied(mailbox, atomic_load(&mailbox->state)); i++)
		iou__mail_make_way(i);
}

/* The list, once the ring is empty; not while one who has reserved a slot has yet to fill it. */
static void take_late(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	if (iou__mail_is_emptied(mailbox, atomic_load(&mailbox->state))) {
		grow(mailbox);
		iou__late_hand_over(&mailbox->late, &mailbox->next);
		atomic_store(&mailbox->has_late, false);
		atomic_fetch_and(&mailbox->state, ~MAILBOX_LATE);
	}
	pthread_mutex_unlock(&mailbox->lock);
}

size_t iou__mailbox_ready(struct mailbox *mailbox)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);
	size_t n = 0;

	while (n < MOST_AT_ONCE && iou__mail_is_there(mailbox, at + n))
		n++;
	if (n == 0 && iou__late_is_empty(&mailbox->next) &&
	    atomic_load_explicit(&mailbox->has_late, memory_order_relaxed)) {
		wait_for_slot(mailbox);
		take_late(mailbox);
		n = iou__mail_is_there(mailbox, at);
	}
	return n + mailbox->next.n;
}

static void take_next(struct mailbox *mailbox, struct mail *mail)
{
	struct task *task = iou__late_pop(&mailbox->next);

	if (task->kind == TASK_POST) {
		*mail = (struct mail){ task->cb, task->cb_data };
		free(task);
	} else {
		*mail = (struct mail){ iou__mailbox_task, task };
	}
}

bool iou__mailbox_take(struct mailbox *mailbox, struct mail *mail)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);
	struct mail_slot *slot = iou__mailbox_slot(mailbox, at);

	if (!iou__late_is_empty(&mailbox->next)) {
		take_next(mailbox, mail);
		return true;
	}
	mail->cb = atomic_load_explicit(&slot->cb, memory_order_acquire);
	if (!mail->cb)
		return false;
	mail->cb_data = slot->cb_data;
	atomic_store_explicit(&slot->cb, NULL, memory_order_relaxed);
	atomic_store_explicit(&mailbox->n_taken, at + 1, memory_order_release);
	return true;
}

struct task *iou__mailbox_peek(const struct mailbox *mailbox, unsigned n)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed) + n;
	const struct mail_slot *slot = iou__mailbox_slot(mailbox, at);

	return atomic_load_explicit(&slot->cb, memory_order_acquire) == iou__mailbox_task ? slot->cb_data : NULL;
}

uint64_t iou__mailbox_posts(struct mailbox *mailbox)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);
	uint64_t end = iou__mail_position(atomic_load(&mailbox->state));
	uint64_t n = iou__late_posts(&mailbox->next);
	mail_cb *cb;

	for (; at != end; at++) {
		cb = atomic_load_explicit(&iou__mailbox_slot(mailbox, at)->cb, memory_order_acquire);
		n += cb && cb != iou__mailbox_task;
	}
	pthread_mutex_lock(&mailbox->lock);
	n += iou__late_posts(&mailbox->late);
	pthread_mutex_unlock(&mailbox->lock);
	return n;
}
