/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What other threads hand to the loop: finished jobs and posts, a hold count; and the one way to wake a parked loop.
 * Everything may be called from any thread unless it says otherwise.
 *
 * # The protocol
 *
 * Mail goes through a ring of slots. `state` is the whole truth of it: the position of the next slot to be given out,
 * and three flags. A poster reserves a slot with one compare-exchange of `state`, then fills it; that is all of a
 * post. The slot's cb, stored last (release), says that it is full; the loop, which looks at nothing but the next
 * slot (acquire), stores NULL there and counts it in `n_taken` (release). Slots are taken in the order in which they
 * were reserved.
 *
 * ASLEEP: the loop is parked or about to park. It is set by the loop, with a compare-exchange that fails if anything
 * has been reserved and not taken. The reservation that finds it clears it, and has thereby taken on the duty to
 * write to the eventfd, once its slot is full; only that one. So whoever comes first in the order of changes of
 * `state`: either the loop finds mail, or the poster finds ASLEEP. An awake loop costs a poster no system call.
 *
 * LATE: the ring was full. Until the loop has emptied it nothing is reserved any more, and mail goes to a list under
 * a lock. The loop takes the list whole, and the flag away, under the lock, and only when it has taken all of the
 * ring: so what is in the list is younger than what was in the ring, and older than what comes there next. The loop
 * does not go to sleep where it finds LATE; it may have done so just before, and so whoever has added to the list
 * wakes it. Memory is needed for posts that are in the list, and for nothing else. At that moment nobody has a slot,
 * and the loop replaces the ring by a larger one; until it is as large as that there is no memory, it is as large as
 * there was need for.
 *
 * CLOSED: posts are refused, finished jobs are not.
 *
 * A slot that is reserved and not yet full is mail already: the loop must not park. Its poster is a few instructions
 * from filling it; should it have been preempted there, the loop makes way for it in iou__mailbox_doze().
 *
 * What is not mail (quit, the last release) is a store to another variable followed by iou__mailbox_wake(), which
 * reads `state`; the loop sets ASLEEP and then reads that variable. All four are sequentially consistent, so at
 * least one side sees the other. The eventfd is written after `state` was changed; the loop may be awake and gone to
 * sleep again by then, and is woken once for nothing.
 *
 * `n_inside` counts the calls that are in the library and not on the loop thread's behalf: it is the first and the
 * last thing that they touch, so when the loop thread finds it zero, none of them will touch the instance again. A
 * post that does not have to wake does without: filling its slot is the last that it does, and that it has reserved
 * one the loop sees. One that has to wake enters before it fills its slot, so the loop looks at the slots first, and
 * at `n_inside` when all are full. Before it has reserved a post keeps nothing: its caller's hold does.
 *
 * A program that closes the eventfd breaks this. Whoever notices says so in `is_deaf`, and from then on the loop
 * looks for mail by itself.
 *
 * What is written by different threads is on different cache lines.
 */
#ifndef IOU_LIB_MAILBOX_H
#define IOU_LIB_MAILBOX_H

#include <pthread.h>

#include "late.h"

#define CACHE_LINE 128

/* Powers of two: how many slots there are at first, and at most. */
#define MAILBOX_SLOTS ((uint64_t)256)
#define MAILBOX_MOST_SLOTS ((uint64_t)1 << 20)

/* In `state`, below the position. */
#define MAILBOX_ASLEEP ((uint64_t)1)
#define MAILBOX_LATE ((uint64_t)2)
#define MAILBOX_CLOSED ((uint64_t)4)
#define MAILBOX_ONE ((uint64_t)8)

typedef int mail_cb(void *cb_data);

/* A post; or, where cb is iou__mailbox_task, a task: cb_data. */
struct mail {
	mail_cb *cb;
	void *cb_data;
};

struct mail_slot {
	_Atomic(mail_cb *) cb; /* NULL: empty */
	void *cb_data;
};

struct mailbox {
	/* Hardly ever written. */
	struct mail_slot *slots;  /* whoever has reserved one may look here */
	_Atomic uint64_t n_slots; /* grows */
	int fd;                   /* an eventfd, close-on-exec, non-blocking */
	_Atomic bool is_deaf;
	_Atomic bool has_late;

	/* The posters'. */
	_Alignas(CACHE_LINE) _Atomic uint64_t state;
	_Atomic uint64_t n_taken_seen; /* n_taken as a poster last saw it: to read that itself costs the loop time */

	_Alignas(CACHE_LINE) _Atomic int n_inside;
	_Atomic int n_held;

	_Alignas(CACHE_LINE) pthread_mutex_t lock;
	struct late late; /* under the lock */

	/* The loop's. */
	_Alignas(CACHE_LINE) _Atomic uint64_t n_taken; /* the position of the next slot to look at */
	bool may_be_asleep;                            /* it has set ASLEEP, and somebody may have cleared it since */
	struct late next;                              /* the list that it has taken: older than what is in the ring */
};

/* 0 or -errno. */
int iou__mailbox_init(struct mailbox *mailbox);

/* Nobody may be inside. Takes half-built ones, and those inherited by a forked child. Mail in it is lost. */
void iou__mailbox_destroy(struct mailbox *mailbox);

/* Around each call, but posts, from a thread that does not keep the instance alive by other means. */
void iou__mailbox_enter(struct mailbox *mailbox);
void iou__mailbox_leave(struct mailbox *mailbox);

/* The loop thread: refuse posts from now on. */
void iou__mailbox_close(struct mailbox *mailbox);

/* The loop thread: wait until everybody has left. What they have handed over can be taken then. */
void iou__mailbox_wait_until_left(struct mailbox *mailbox);

/* Hand over a task, or a post; wakes the loop if it is asleep. The latter returns 0, -ESHUTDOWN or -ENOMEM. */
void iou__mailbox_put(struct mailbox *mailbox, struct task *task);
int iou__mailbox_post(struct mailbox *mailbox, mail_cb *cb, void *cb_data);

/* Wake the loop if it is asleep, after something that it checks has changed. Signal-safe. */
void iou__mailbox_wake(struct mailbox *mailbox);

/* 0, -EOVERFLOW, or -EINVAL. */
int iou__mailbox_hold(struct mailbox *mailbox);
int iou__mailbox_release(struct mailbox *mailbox);

/* The loop thread: how much mail can be taken now, at least; 0: none. */
size_t iou__mailbox_ready(struct mailbox *mailbox);

/* The loop thread: take the oldest. False: there is none. */
bool iou__mailbox_take(struct mailbox *mailbox, struct mail *mail);

/* The loop thread: the task that is n places behind the oldest mail; NULL: there is none there, or it is not known. */
struct task *iou__mailbox_peek(const struct mailbox *mailbox, unsigned n);

/* The loop thread: how many posts there are. */
uint64_t iou__mailbox_posts(struct mailbox *mailbox);

/* The loop thread: from now on whoever has something wakes it. False: there is mail, so it must not park. */
bool iou__mailbox_doze(struct mailbox *mailbox);

/* The loop thread is awake. */
void iou__mailbox_rouse(struct mailbox *mailbox);

/* The loop thread: make the eventfd readable, or not readable. */
void iou__mailbox_raise(struct mailbox *mailbox);
void iou__mailbox_lower(struct mailbox *mailbox);

/* Not to be called: what marks a slot that has a task. */
int iou__mailbox_task(void *task);

static inline bool iou__mailbox_is_closed(const struct mailbox *mailbox)
{
	return atomic_load(&mailbox->state) & MAILBOX_CLOSED;
}

static inline bool iou__mailbox_is_asleep(const struct mailbox *mailbox)
{
	return atomic_load(&mailbox->state) & MAILBOX_ASLEEP;
}

static inline struct mail_slot *iou__mailbox_slot(const struct mailbox *mailbox, uint64_t position)
{
	uint64_t n_slots = atomic_load_explicit(&mailbox->n_slots, memory_order_relaxed);

	return &mailbox->slots[position & (n_slots - 1)];
}

/* The loop thread: there is mail. */
static inline bool iou__mailbox_has_mail(const struct mailbox *mailbox)
{
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);

	return atomic_load_explicit(&iou__mailbox_slot(mailbox, at)->cb, memory_order_acquire) ||
	       atomic_load_explicit(&mailbox->has_late, memory_order_relaxed) || !iou__late_is_empty(&mailbox->next);
}

#endif
