/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mail.h"
#include "relax.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_BOOL_LOCK_FREE == 2 &&
		       ATOMIC_LLONG_LOCK_FREE == 2,
	       "signal handlers need lock-free atomics");

int iou__mailbox_init(struct mailbox *mailbox)
{
	*mailbox = (struct mailbox){ .fd = -1 };
	pthread_mutex_init(&mailbox->lock, NULL);
	mailbox->slots = calloc(MAILBOX_SLOTS, sizeof(struct mail_slot));
	atomic_init(&mailbox->n_slots, MAILBOX_SLOTS);
	if (!mailbox->slots)
		return -ENOMEM;
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return mailbox->fd < 0 ? -errno : 0;
}

void iou__mailbox_destroy(struct mailbox *mailbox)
{
	if (mailbox->fd >= 0)
		close(mailbox->fd);
	mailbox->fd = -1;
	free(mailbox->slots);
	mailbox->slots = NULL;
	iou__late_free(&mailbox->late);
	iou__late_free(&mailbox->next);
}

void iou__mailbox_enter(struct mailbox *mailbox)
{
	atomic_fetch_add(&mailbox->n_inside, 1);
}

void iou__mailbox_leave(struct mailbox *mailbox)
{
	atomic_fetch_sub(&mailbox->n_inside, 1);
}

void iou__mailbox_close(struct mailbox *mailbox)
{
	atomic_fetch_or(&mailbox->state, MAILBOX_CLOSED);
}

/* They are a few instructions or one system call from being done; sleeping lets one of lower priority do so. */
void iou__mail_make_way(unsigned n_times_before)
{
	const struct timespec a_moment = { .tv_nsec = 20000 };

	if (n_times_before < 50)
		iou__relax();
	else if (n_times_before < 60)
		sched_yield();
	else
		nanosleep(&a_moment, NULL);
}

/* Whether each slot that has been reserved is full. */
static bool is_filled(const struct mailbox *mailbox)
{
	uint64_t end = iou__mail_position(atomic_load(&mailbox->state));
	uint64_t at = atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);

	while (at != end && iou__mail_is_there(mailbox, at))
		at++;
	return at == end;
}

/* The slots first: who has to wake the loop enters before it fills its own. */
void iou__mailbox_wait_until_left(struct mailbox *mailbox)
{
	for (unsigned i = 0; !is_filled(mailbox) || atomic_load(&mailbox->n_inside); i++)
		iou__mail_make_way(i);
}

/*
 * Write to the eventfd. As long as nobody else has closed it, it cannot fail but with EAGAIN at 2^64 - 2, and then it
 * is readable as well. write(3) is a cancellation point: a thread that is cancelled would leave without having woken
 * the loop, and be inside for ever.
 */
void iou__mailbox_raise(struct mailbox *mailbox)
{
	int saved = errno; /* a signal handler may be calling */
	uint64_t one = 1;
	long n;

	while ((n = syscall(SYS_write, mailbox->fd, &one, sizeof(one))) < 0 && errno == EINTR)
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

void iou__mailbox_wake(struct mailbox *mailbox)
{
	uint64_t state = atomic_load(&mailbox->state);

	while (state & MAILBOX_ASLEEP) {
		if (!atomic_compare_exchange_weak(&mailbox->state, &state, state & ~MAILBOX_ASLEEP))
			continue;
		iou__mailbox_raise(mailbox);
		return;
	}
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

/* Sleeping. */

bool iou__mailbox_doze(struct mailbox *mailbox)
{
	uint64_t state = atomic_load(&mailbox->state);

	mailbox->may_be_asleep = true;
	while (!(state & MAILBOX_LATE) && iou__mail_is_emptied(mailbox, state) && iou__late_is_empty(&mailbox->next))
		if (state & MAILBOX_ASLEEP ||
		    atomic_compare_exchange_weak(&mailbox->state, &state, state | MAILBOX_ASLEEP))
			return true;
	for (unsigned i = 0; !iou__mailbox_has_mail(mailbox); i++)
		iou__mail_make_way(i);
	return false;
}

void iou__mailbox_rouse(struct mailbox *mailbox)
{
	if (mailbox->may_be_asleep)
		atomic_fetch_and(&mailbox->state, ~MAILBOX_ASLEEP);
	mailbox->may_be_asleep = false;
}
