/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's io_uring calls, one function each: making a ring, binding it to its owner, entering it. The only
 * module that calls liburing. It knows nothing of ops.
 */
#ifndef IOU_LIB_URING_H
#define IOU_LIB_URING_H

#include <stdbool.h>
#include <time.h>

#include <liburing.h>

/* Newer than the oldest liburing that we build with. */
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#define URING_FEAT_RECVSEND_BUNDLE (1U << 14)
/* Enumerators, so that the preprocessor cannot tell whether they are there. */
#define URING_REGISTER_RESIZE_RINGS 33
#define URING_REGISTER_USE_REGISTERED_RING (1U << 31)
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

struct uring_config {
	unsigned entries;
	unsigned cq_entries; /* 0: the kernel's choice */
	bool is_any_thread;
	bool is_sqpoll;
	unsigned iowq_max[2]; /* bounded, unbounded; 0: the kernel's choice */
};

struct uring {
	struct io_uring ring;
	unsigned setup_flags;
	int registered_fd; /* the ring's index in its owner's table, or -1 */
	unsigned zero;     /* what the pointers into its queues point to when it is closed */
};

/* A ring that is disabled until it is bound, where the kernel can do that. 0 or -errno. */
int iou__uring_create(const struct uring_config *config, struct uring *uring);

/*
 * Where rings and registered buffers count as locked memory, those that have been closed do so until the kernel has taken
 * them apart: some milliseconds, 100 on a busy machine. Who makes one instance after another would soon be told that there
 * is no memory. Whether to try so much again; n_waits counts from 0 on. Waits first, a quarter of a second in all.
 */
bool iou__uring_wait_for_memory(size_t size, int n_waits);

/* The calling thread is the owner. 0 or -errno. */
int iou__uring_bind(struct uring *uring);

/*
 * Another size for the same ring, with everything in flight and registered as it was: Linux 6.13, and only with
 * IORING_SETUP_DEFER_TASKRUN. 0; -EOVERFLOW: what is in the queues does not fit; -EINVAL, -ENOSYS: the kernel cannot
 * do that; or another -errno. The ring is as it was if this fails, but for -ENOTRECOVERABLE: it is closed. For the
 * owner.
 */
int iou__uring_resize(struct uring *uring, const struct uring_config *config);

/*
 * Close and unmap; once both are done the kernel cancels what is in flight. What is left is a dummy with ring_fd -1
 * and empty queues, on which liburing's calls fail cleanly. Only the owner can take the ring out of its table;
 * elsewhere the kernel does so when the owner exits.
 */
void iou__uring_close(struct uring *uring, bool is_owner);

/* A ring that is none, as after closing. */
void iou__uring_make_dummy(struct uring *uring);

/*
 * Submit n SQEs and wait for n_wanted completions, at most for the timeout (NULL: without a bound). Returns how many
 * SQEs were consumed, or -errno.
 */
int iou__uring_enter(struct uring *uring, unsigned n, unsigned n_wanted, unsigned flags,
		     const struct timespec *timeout);

/* io_uring_register(2). */
int iou__uring_register(const struct uring *uring, unsigned opcode, const void *arg, unsigned n);

/* Have completions signalled to an eventfd. 0 or -errno; -EBUSY: the program has registered another. */
int iou__uring_signal(struct uring *uring, int event_fd);

/* Whether the kernel knows this opcode: 1, 0, or -errno. */
int iou__uring_supports(const struct uring *uring, unsigned opcode);

/* Wait for a completion without entering. 0 or -errno, -ETIME among them. */
int iou__uring_poll(const struct uring *uring, const struct timespec *timeout);

/*
 * Whether other than so many files and buffers are registered with the ring, which a new one would lack. The kernel tells
 * of them only in the descriptor's fdinfo; where that cannot be read nothing is seen, and where it says nothing there may
 * be some.
 */
bool iou__uring_has_others(const struct uring *uring, unsigned n_known);

#endif
