/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What other threads hand to the loop: finished jobs and posts, a hold count; and the one way to
 * wake a parked loop. Lock-free; everything may be called from any thread unless it says otherwise.
 *
 * # The protocol
 *
 * `head` is the whole state of it: NULL (the loop is awake, no mail), ASLEEP (the loop is parked or about to park, no
 * mail), or the latest task, linked to the one before it. Posters add with a compare-exchange; the one that replaces
 * ASLEEP has thereby taken on the duty to write to the eventfd, and only that one. The loop parks only after it has
 * exchanged NULL for ASLEEP, which fails if there is mail. So whoever comes first in the order of changes of `head`:
 * either the loop finds the mail, or the poster finds ASLEEP. An awake loop costs a poster no system call.
 *
 * What is not mail (quit, the last release) is a store to another variable followed by iou__mailbox_wake(), which
 * reads `head`; the loop stores ASLEEP and then reads that variable. All four are sequentially consistent, so at
 * least one side sees the other. The eventfd is written after `head` was changed; the loop may be awake and gone to
 * sleep again by then, and is woken once for nothing.
 *
 * `n_inside` counts the calls that are in the library and not on the loop thread's behalf: it is the first and the
 * last thing that they touch, so when the loop thread finds it zero, none of them will touch the instance again.
 *
 * A program that closes the eventfd breaks this. Whoever notices says so in `is_deaf`, and from then on the loop looks
 * for mail by itself.
 */
#ifndef IOU_LIB_MAILBOX_H
#define IOU_LIB_MAILBOX_H

#include "ops.h"

struct mailbox {
	_Atomic(struct task *) head;
	_Atomic int n_inside;
	_Atomic int n_held;
	_Atomic bool is_closed;
	_Atomic bool is_deaf;
	int fd; /* an eventfd, close-on-exec, non-blocking */
};

/* 0 or -errno. */
int iou__mailbox_init(struct mailbox *mailbox);

/* Nobody may be inside. Takes half-built ones, and those inherited by a forked child. */
void iou__mailbox_destroy(struct mailbox *mailbox);

/* Around each call from a thread that does not keep the instance alive by other means. */
void iou__mailbox_enter(struct mailbox *mailbox);
void iou__mailbox_leave(struct mailbox *mailbox);

/* The loop thread: wait until everybody has left. */
void iou__mailbox_wait_until_left(struct mailbox *mailbox);

/* Hand over a task; wakes the loop if it is asleep. */
void iou__mailbox_put(struct mailbox *mailbox, struct task *task);

/* Wake the loop if it is asleep, after something that it checks has changed. Signal-safe. */
void iou__mailbox_wake(struct mailbox *mailbox);

/* 0, -EOVERFLOW, or -EINVAL. */
int iou__mailbox_hold(struct mailbox *mailbox);
int iou__mailbox_release(struct mailbox *mailbox);

/* The loop thread: all mail goes to the end of the queue, in the order in which it was put. */
void iou__mailbox_take(struct mailbox *mailbox, struct queue *out);

/* The loop thread: from now on whoever has something wakes it. False: there is mail, so it must not park. */
bool iou__mailbox_doze(struct mailbox *mailbox);

/* The loop thread is awake. */
void iou__mailbox_rouse(struct mailbox *mailbox);

/* The loop thread: make the eventfd readable, or not readable. */
void iou__mailbox_raise(struct mailbox *mailbox);
void iou__mailbox_lower(struct mailbox *mailbox);

/* A pointer that is no task's. */
static inline struct task *iou__mailbox_asleep(struct mailbox *mailbox)
{
	return (struct task *)(void *)mailbox;
}

/* The loop thread: there is mail. */
static inline bool iou__mailbox_has_mail(struct mailbox *mailbox)
{
	struct task *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);

	return head && head != iou__mailbox_asleep(mailbox);
}

#endif
