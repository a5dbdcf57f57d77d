/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mailbox.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_BOOL_LOCK_FREE == 2,
	       "signal handlers need lock-free atomics");

int iou__mailbox_init(struct mailbox *mailbox)
{
	atomic_init(&mailbox->head, NULL);
	atomic_init(&mailbox->n_inside, 0);
	atomic_init(&mailbox->n_held, 0);
	atomic_init(&mailbox->is_closed, false);
	atomic_init(&mailbox->is_deaf, false);
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return mailbox->fd < 0 ? -errno : 0;
}

void iou__mailbox_destroy(struct mailbox *mailbox)
{
	if (mailbox->fd >= 0)
		close(mailbox->fd);
	mailbox->fd = -1;
}

void iou__mailbox_enter(struct mailbox *mailbox)
{
	atomic_fetch_add(&mailbox->n_inside, 1);
}

void iou__mailbox_leave(struct mailbox *mailbox)
{
	atomic_fetch_sub(&mailbox->n_inside, 1);
}

/* They are a few instructions or one system call from leaving; sleeping lets one of lower priority do so. */
void iou__mailbox_wait_until_left(struct mailbox *mailbox)
{
	const struct timespec a_moment = { .tv_nsec = 20000 };

	for (int i = 0; atomic_load(&mailbox->n_inside); i++) {
		if (i < 10)
			sched_yield();
		else
			nanosleep(&a_moment, NULL);
	}
}

/*
 * Write to the eventfd. As long as nobody else has closed it, it cannot fail but with EAGAIN at 2^64 - 2, and then it
 * is readable as well.
 */
void iou__mailbox_raise(struct mailbox *mailbox)
{
	int saved = errno; /* a signal handler may be calling */
	uint64_t one = 1;
	ssize_t n;

	while ((n = write(mailbox->fd, &one, sizeof(one))) < 0 && errno == EINTR)
		;
	if (n < 0 && errno != EAGAIN)
		atomic_store(&mailbox->is_deaf, true);
	errno = saved;
}

void iou__mailbox_lower(struct mailbox *mailbox)
{
	uint64_t n;

	while (read(mailbox->fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

void iou__mailbox_put(struct mailbox *mailbox, struct task *task)
{
	struct task *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);

	do
		task->node.next = head && head != iou__mailbox_asleep(mailbox) ? &head->node : NULL;
	while (!atomic_compare_exchange_weak(&mailbox->head, &head, task));
	if (head == iou__mailbox_asleep(mailbox))
		iou__mailbox_raise(mailbox);
}

void iou__mailbox_wake(struct mailbox *mailbox)
{
	struct task *expected = iou__mailbox_asleep(mailbox);

	if (atomic_compare_exchange_strong(&mailbox->head, &expected, NULL))
		iou__mailbox_raise(mailbox);
}

int iou__mailbox_hold(struct mailbox *mailbox)
{
	int n = atomic_load_explicit(&mailbox->n_held, memory_order_relaxed);

	do
		if (n == INT_MAX)
			return -EOVERFLOW;
	while (!atomic_compare_exchange_weak(&mailbox->n_held, &n, n + 1));
	return 0;
}

int iou__mailbox_release(struct mailbox *mailbox)
{
	int n = atomic_load_explicit(&mailbox->n_held, memory_order_relaxed);

	do
		if (n == 0)
			return -EINVAL;
	while (!atomic_compare_exchange_weak(&mailbox->n_held, &n, n - 1));
	if (n == 1)
		iou__mailbox_wake(mailbox);
	return 0;
}

/* The list is taken whole, the latest first, and turned around. */
void iou__mailbox_take(struct mailbox *mailbox, struct queue *out)
{
	if (!iou__mailbox_has_mail(mailbox))
		return;

	struct node *latest = &atomic_exchange(&mailbox->head, NULL)->node;
	struct node *turned = NULL;

	while (latest) {
		struct node *before = latest->next;

		latest->next = turned;
		turned = latest;
		latest = before;
	}
	while (turned) {
		struct node *next = turned->next;

		iou__queue_push(out, turned);
		turned = next;
	}
}

bool iou__mailbox_doze(struct mailbox *mailbox)
{
	struct task *expected = NULL;

	return atomic_compare_exchange_strong(&mailbox->head, &expected, iou__mailbox_asleep(mailbox)) ||
	       expected == iou__mailbox_asleep(mailbox);
}

void iou__mailbox_rouse(struct mailbox *mailbox)
{
	struct task *expected = iou__mailbox_asleep(mailbox);

	atomic_compare_exchange_strong(&mailbox->head, &expected, NULL);
}
