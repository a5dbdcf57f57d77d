/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What mailbox.c and mail.c know of the mailbox, and nobody else. */
#ifndef IOU_LIB_MAIL_H
#define IOU_LIB_MAIL_H

#include "mailbox.h"

static inline uint64_t iou__mail_position(uint64_t state)
{
	return state / MAILBOX_ONE;
}

static inline bool iou__mail_is_there(const struct mailbox *mailbox, uint64_t position)
{
	return atomic_load_explicit(&iou__mailbox_slot(mailbox, position)->cb, memory_order_acquire);
}

/* The loop thread: all that has been reserved has been taken. */
static inline bool iou__mail_is_emptied(const struct mailbox *mailbox, uint64_t state)
{
	return iou__mail_position(state) == atomic_load_explicit(&mailbox->n_taken, memory_order_relaxed);
}

/* For others, who are a few instructions or one system call from being done. */
void iou__mail_make_way(unsigned n_times_before);

#endif
