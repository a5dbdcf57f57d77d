/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_PROMISES_H
#define IOU_TESTS_PROMISES_H

/*
 * What the tests of the promises share: an op whose callback writes down what it saw. They use nothing but iou.h, as
 * programs do. Assertions are for the test's own thread: others, and forked children, hand their findings over.
 */

#include <errno.h>
#include <fcntl.h>
#include <iou.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

/** How many callbacks have seen something since iou_open(). */
static int n_seen;

/** What became of an op, a job or a post. */
struct seen {
	iou_t *iou;
	iou_op_t *op; /* NULL: a post, or a job of iou_async() */
	int n_calls;
	int result;
	unsigned flags;
	int place;  /* of its last callback among all */
	int answer; /* what its callback returns */
};

static inline int see(void *data)
{
	struct seen *seen = data;

	seen->n_calls++;
	seen->place = ++n_seen;
	if (seen->op) {
		seen->result = seen->op->result;
		seen->flags = seen->op->flags;
	}
	return seen->answer;
}

static inline iou_t *open_with(iou_config_t config)
{
	config.size = sizeof(config);
	n_seen = 0;

	iou_t *iou = iou_new_with(&config);

	ck_assert_msg(iou != NULL, "iou_new_with: %s", strerror(errno));
	return iou;
}

static inline iou_t *open_iou(unsigned entries)
{
	return open_with((iou_config_t){ .entries = entries });
}

/** A new op that is watched; returns its SQE. */
static inline struct io_uring_sqe *take(iou_t *iou, struct seen *seen)
{
	*seen = (struct seen){ .iou = iou, .op = iou_op_new(iou) };
	ck_assert_ptr_nonnull(seen->op);
	return seen->op->sqe;
}

static inline void queue(struct seen *seen)
{
	iou_op_queue(seen->iou, seen->op, see, seen);
}

static inline void queue_nop(iou_t *iou, struct seen *seen, unsigned flags)
{
	struct io_uring_sqe *sqe = take(iou, seen);

	io_uring_prep_nop(sqe);
	sqe->flags = (__u8)flags;
	queue(seen);
}

static inline void queue_read(iou_t *iou, struct seen *seen, int fd, void *buffer, unsigned length, unsigned flags)
{
	struct io_uring_sqe *sqe = take(iou, seen);

	io_uring_prep_read(sqe, fd, buffer, length, (__u64)-1);
	sqe->flags = (__u8)flags;
	queue(seen);
}

static inline void queue_timeout(iou_t *iou, struct seen *seen, struct __kernel_timespec *time)
{
	io_uring_prep_timeout(take(iou, seen), time, 0, 0);
	queue(seen);
}

/** As liburing prepares from 2.6 on: it sets what it is given, and leaves all else as it was. */
static inline void prepare(iou_op_t *op, unsigned opcode, int fd, const void *address, unsigned length, __u64 offset)
{
	op->sqe->opcode = (__u8)opcode;
	op->sqe->fd = fd;
	op->sqe->off = offset;
	op->sqe->addr = (__u64)(uintptr_t)address;
	op->sqe->len = length;
}

static inline void queue_job(iou_t *iou, struct seen *seen, int (*work)(void *), void *work_data)
{
	take(iou, seen);
	ck_assert_int_eq(iou_op_async(iou, seen->op, work, work_data, see, seen), 0);
}

/** Submit, and deliver what is there. */
static inline int turn(iou_t *iou)
{
	return iou_run_once(iou, &(struct timespec){ 0 });
}

static inline iou_stats_t stats_of(iou_t *iou)
{
	iou_stats_t stats = { .size = sizeof(stats) };

	ck_assert_int_eq(iou_stats(iou, &stats), 0);
	return stats;
}

/** Ops that are anything but free. */
static inline uint64_t n_alive(iou_t *iou)
{
	iou_stats_t stats = stats_of(iou);

	return stats.ops_new + stats.ops_queued + stats.ops_submitted + stats.ops_waiting + stats.ops_working +
	       stats.ops_finished + stats.ops_completed;
}

static inline void open_pipe(int fds[2])
{
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
}

static inline void close_pipe(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static inline void put_bytes(int fd, const void *bytes, size_t n)
{
	ck_assert_int_eq(write(fd, bytes, n), n);
}

/** Run to the end and free; what was queued has been seen once, nothing more. */
static inline void run_and_free(iou_t *iou)
{
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(iou_pending(iou), 0);
	ck_assert_uint_eq(n_alive(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
}

static inline void expect(const struct seen *seen, int result)
{
	ck_assert_int_eq(seen->n_calls, 1);
	ck_assert_int_eq(seen->result, result);
	ck_assert_uint_eq(seen->flags & IORING_CQE_F_MORE, 0);
}

/** Fewer where everything takes longer, but enough to mean something. */
static inline int fewer(int n, int least)
{
	int slow = support_slowness() == 1 ? 1 : 10 * support_slowness();

	return n / slow > least ? n / slow : least;
}

/**
 * What waiting for so long takes of a clock, in microseconds, while nothing comes: the least of three tries, since others
 * use this machine, too. The first that takes less than enough will do. INT64_MAX: something has come.
 */
static inline int64_t cost_of_waiting(iou_t *iou, long ns, int64_t (*clock_us)(void), int64_t enough_us)
{
	int64_t least_us = INT64_MAX;

	for (int i = 0; i < 3 && least_us >= enough_us; i++) {
		int64_t us = -clock_us();

		if (iou_run_once(iou, &(struct timespec){ .tv_nsec = ns }))
			return INT64_MAX;
		us += clock_us();
		least_us = us < least_us ? us : least_us;
	}
	return least_us;
}

/* Work and callbacks. */

static inline int return_int(void *data)
{
	return *(const int *)data;
}

static inline int wait_for_sem(void *data)
{
	while (sem_wait(data) && errno == EINTR)
		;
	return 0;
}

static inline int post_sem(void *data)
{
	return sem_post(data);
}

static inline pthread_t start_thread(void *(*function)(void *), void *data)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, function, data), 0);
	return thread;
}

#endif
