/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Valgrind runs one thread at a time, and lets the others run while one is in a system call that may block. Up to
 * 3.19 at least it does not know that io_uring_enter() is one: a loop that waits there for its workers waits for
 * ever. So under valgrind (see valgrind.sh) this comes before liburing's function: it waits in short pieces, and
 * sleeps in between.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#define PIECE_NS 1000000L
#define NS_PER_S 1000000000L

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int enter(unsigned fd, unsigned n, unsigned n_wanted, unsigned flags, const void *arg, size_t size)
{
	long r = syscall(__NR_io_uring_enter, fd, n, n_wanted, flags, arg, size);

	return r < 0 ? -errno : (int)r;
}

/* When the caller's own time is over. */
static int64_t end_of(unsigned flags, const void *arg)
{
	const struct io_uring_getevents_arg *events = arg;
	const struct __kernel_timespec *ts;

	if (!(flags & IORING_ENTER_EXT_ARG) || !events->ts)
		return INT64_MAX;
	ts = (const struct __kernel_timespec *)(uintptr_t)events->ts;
	return ts->tv_sec > INT32_MAX ? INT64_MAX : now_ns() + ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

static int wait_for_a_piece(unsigned fd, unsigned n, unsigned n_wanted, unsigned flags, int64_t end)
{
	int64_t left = end - now_ns();
	struct __kernel_timespec ts = { .tv_nsec = left < 0 ? 0 : left < PIECE_NS ? left : PIECE_NS };
	struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&ts };

	return enter(fd, n, n_wanted, flags | IORING_ENTER_EXT_ARG, &arg, sizeof(arg));
}

int io_uring_enter2(unsigned fd, unsigned n, unsigned n_wanted, unsigned flags, sigset_t *arg, size_t size)
{
	const struct timespec let_others_run = { .tv_nsec = 20000 };
	int64_t end;
	int r;

	if (!(flags & IORING_ENTER_GETEVENTS) || !n_wanted)
		return enter(fd, n, n_wanted, flags, arg, size);
	end = end_of(flags, arg);
	/* What was submitted in the first piece hides that its time was over; callers look at the CQ and come again. */
	while ((r = wait_for_a_piece(fd, n, n_wanted, flags, end)) == -ETIME && now_ns() < end)
		nanosleep(&let_others_run, NULL);
	return r;
}
