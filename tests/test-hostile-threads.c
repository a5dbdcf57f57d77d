/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hostile surroundings of the threads engine: what the tests of hostile things that run on both engines do not have,
 * because a ring has none of it. Descriptors are closed under it, there are no threads, signals come all the time, and
 * the loop thread leaves.
 */
#include "promises.h"

#include "children.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* By number: newer than the oldest liburing. */
enum { OP_FUTEX_WAIT = 51 };

/* One of each: waiting for readiness, for time, at a worker, for a worker, and behind one that waits. */
enum { AT_PIPE, AT_TIMEOUT, AT_FUTEX, AT_NEXT_FUTEX, AT_LINK, N_PLACES };

struct all {
	iou_t *iou;
	struct seen ops[N_PLACES];
	int fds[2];
	char bytes[2];
	uint32_t word;
	struct __kernel_timespec far;
};

static void queue_futex(struct all *all, int place)
{
	struct io_uring_sqe *sqe = take(all->iou, &all->ops[place]);

	io_uring_prep_rw(OP_FUTEX_WAIT, sqe, 2 | FUTEX_PRIVATE_FLAG, &all->word, 0, 0);
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	queue(&all->ops[place]);
}

static void queue_all(struct all *all, iou_config_t config)
{
	config.engine = IOU_ENGINE_THREADS;
	*all = (struct all){ .iou = open_with(config), .far.tv_sec = 1000 };
	open_pipe(all->fds);
	queue_read(all->iou, &all->ops[AT_PIPE], all->fds[0], &all->bytes[0], 1, IOSQE_IO_LINK);
	queue_nop(all->iou, &all->ops[AT_LINK], 0);
	io_uring_prep_timeout(take(all->iou, &all->ops[AT_TIMEOUT]), &all->far, 100, 0);
	queue(&all->ops[AT_TIMEOUT]);
	queue_futex(all, AT_FUTEX);
	queue_futex(all, AT_NEXT_FUTEX);
}

static int n_ended_once(const struct all *all)
{
	int n = 0;

	for (int i = 0; i < N_PLACES; i++)
		n += all->ops[i].n_calls == 1 && all->ops[i].result == -ECANCELED;
	return n;
}

/* Descriptors. */

/* But for the first few. */
static int close_all_of(const char *kind, int n_spared)
{
	char path[32], target[64];
	int n = 0;

	for (int fd = 3; fd < 256; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		target[length < 0 ? 0 : length] = '\0';
		if (strcmp(target, kind) == 0 && n_spared-- <= 0)
			n += close(fd) == 0;
	}
	return n;
}

static void lose_epoll(struct findings *findings, const void *data)
{
	int n_threads = support_threads() + support_sanitized();
	struct all all;

	(void)data;
	queue_all(&all, (iou_config_t){ .iowq_unbounded = 1 });
	FIND_EQ(findings, turn(all.iou), 0);
	FIND_EQ(findings, close_all_of("anon_inode:[eventpoll]", 0), 1);
	FIND_EQ(findings, iou_run(all.iou), -EBADF);
	FIND_EQ(findings, iou_run(all.iou), -EBADF);
	FIND(findings, iou_free(all.iou) == NULL);
	FIND_EQ(findings, n_ended_once(&all), N_PLACES);
	FIND(findings, support_settle(support_threads, n_threads) <= n_threads);
	find_no_leak(findings);
}

PROMISE(12, nothing_is_lost_with_the_epoll_set_wherever_it_waits)
{
	in_child(lose_epoll, NULL);
}
END_TEST

/* When the loop sleeps; and until somebody waits there is nobody to wake. */
static void *wake_late(void *word)
{
	const struct timespec a_while = { .tv_nsec = 100000000 };

	do
		nanosleep(&a_while, NULL);
	while (syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 0);
	return NULL;
}

/* Word of what workers have done comes late then, and comes. */
static void lose_eventfds(struct findings *findings, const void *data)
{
	struct all all = { .iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS }) };
	pthread_t thread;

	(void)data;
	FIND_EQ(findings, turn(all.iou), 0);
	/* The first is the mailbox's. */
	FIND_EQ(findings, close_all_of("anon_inode:[eventfd]", 1), 1);
	queue_futex(&all, AT_FUTEX);
	thread = start_thread(wake_late, &all.word);
	FIND_EQ(findings, iou_run(all.iou), 0);
	pthread_join(thread, NULL);
	FIND_EQ(findings, all.ops[AT_FUTEX].n_calls, 1);
	FIND_EQ(findings, all.ops[AT_FUTEX].result, 0);
	FIND(findings, iou_free(all.iou) == NULL);
	find_no_leak(findings);
}

PROMISE(12, nothing_is_lost_with_the_workers_eventfd)
{
	in_child(lose_eventfds, NULL);
}
END_TEST

/* Who waits for the old file can still be cancelled, and who waits for the new one is told of that. */
PROMISE(12, number_of_a_watched_file_is_another_s)
{
	iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
	int fds[2], other[2];
	struct seen old, new;
	char bytes[2];

	open_pipe(fds);
	open_pipe(other);
	queue_read(iou, &old, fds[0], &bytes[0], 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(dup3(other[0], fds[0], O_CLOEXEC), fds[0]);
	queue_read(iou, &new, fds[0], &bytes[1], 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, old.op), 0);
	put_bytes(other[1], "x", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&old, -ECANCELED);
	expect(&new, 1);
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
	close_pipe(other);
}
END_TEST

/* As long as somebody has the old file, epoll tells of it under a number that is the new one's. */
PROMISE(12, what_comes_to_a_file_is_not_told_of_the_one_that_has_its_number)
{
	iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
	int fds[2], other[2], copy;
	struct seen old, new;

	open_pipe(fds);
	open_pipe(other);
	copy = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	io_uring_prep_poll_add(take(iou, &old), fds[0], POLLIN);
	queue(&old);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(dup3(other[0], fds[0], O_CLOEXEC), fds[0]);
	io_uring_prep_poll_add(take(iou, &new), fds[0], POLLIN);
	queue(&new);
	ck_assert_int_eq(turn(iou), 0);
	put_bytes(fds[1], "x", 1);
	for (int i = 0; i < 3; i++)
		iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 });
	ck_assert_int_eq(new.n_calls, 0);
	put_bytes(other[1], "x", 1);
	while (!new.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&new, POLLIN);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(old.n_calls, 1);
	close(copy);
	close_pipe(fds);
	close_pipe(other);
}
END_TEST

/* It is always ready then, and nobody will ever come. */
PROMISE(12, accept_ends_when_its_socket_is_shut_down)
{
	iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr name = { .sa_family = AF_UNIX };
	struct seen seen;

	ck_assert_int_eq(bind(fd, &name, sizeof(name.sa_family)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	io_uring_prep_accept(take(iou, &seen), fd, NULL, NULL, 0);
	queue(&seen);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	run_and_free(iou);
	expect(&seen, -EINVAL);
	close(fd);
}
END_TEST

/* Threads. */

static void run_out_of_processes(void)
{
	const struct rlimit none = { 0 };
	const uid_t nobody = 65534;

	/* Root may have more than its limit. */
	if (getuid() == 0 && setresuid(nobody, nobody, nobody) < 0)
		return;
	setrlimit(RLIMIT_NPROC, &none);
	prctl(PR_SET_DUMPABLE, 1);
}

static void do_without_threads(struct findings *findings, const void *data)
{
	struct seen stat, read, timeout, job, futex;
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	uint32_t word = 0;
	struct statx statx;
	char bytes[4];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	iou_t *iou;

	(void)data;
	run_out_of_processes();
	iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
	io_uring_prep_statx(take(iou, &stat), AT_FDCWD, "/", 0, STATX_SIZE, &statx);
	queue(&stat);
	queue_read(iou, &read, fd, bytes, 4, IOSQE_ASYNC);
	queue_timeout(iou, &timeout, &soon);
	io_uring_prep_rw(OP_FUTEX_WAIT, take(iou, &futex), 2 | FUTEX_PRIVATE_FLAG, &word, 0, 0);
	futex.op->sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	queue(&futex);
	take(iou, &job);
	FIND_EQ(findings, iou_op_async(iou, job.op, return_int, &fd, see, &job), -EAGAIN);
	iou_op_free(iou, job.op);
	FIND_EQ(findings, iou_run(iou), 0);
	FIND_EQ(findings, stat.result, 0);
	FIND_EQ(findings, read.result, 4);
	FIND_EQ(findings, timeout.result, -ETIME);
	FIND_EQ(findings, futex.result, -EAGAIN);
	FIND_EQ(findings, stat.n_calls + read.n_calls + timeout.n_calls + futex.n_calls, 4);
	FIND(findings, iou_free(iou) == NULL);
	close(fd);
}

PROMISE(12, what_can_be_done_without_threads_is_done)
{
	in_child(do_without_threads, NULL);
}
END_TEST

static void *turn_and_leave(void *data)
{
	struct all *all = data;

	return turn(all->iou) == 0 ? data : NULL;
}

PROMISE(09, everything_ends_wherever_it_waits_when_the_loop_thread_has_left)
{
	int n_descriptors = support_descriptors(), n_threads = support_threads() + support_sanitized();
	struct all all;
	void *result;

	queue_all(&all, (iou_config_t){ .iowq_unbounded = 1 });
	pthread_join(start_thread(turn_and_leave, &all), &result);
	ck_assert_ptr_eq(result, &all);
	ck_assert_ptr_null(iou_free(all.iou));
	ck_assert_int_eq(n_ended_once(&all), N_PLACES);
	close_pipe(all.fds);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	ck_assert_int_le(support_settle(support_threads, n_threads), n_threads);
}
END_TEST

/* Signals. */

static _Atomic int n_signals;

static void count_signal(int number)
{
	(void)number;
	n_signals++;
}

static timer_t start_signals(void)
{
	const struct sigaction action = { .sa_handler = count_signal };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	struct itimerspec often = { .it_interval.tv_nsec = 100000L * support_slowness() };
	timer_t timer;

	/* glibc gives the member no name before 2.38. */
	event._sigev_un._tid = gettid();
	often.it_value = often.it_interval;
	ck_assert_int_eq(sigaction(SIGPROF, &action, NULL), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ck_assert_int_eq(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

/* Loop thread, files by a worker, sockets that wait, and a send that does not fit at once. */
PROMISE(15, signals_at_10_khz_spoil_no_transfer_on_threads)
{
	enum { SIZE = 1 << 20 };
	static char in[SIZE], out[SIZE];
	timer_t timer = start_signals();
	int fds[2], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	memset(out, 'x', SIZE);
	for (int i = 0; i < fewer(100, 10); i++) {
		iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
		struct seen receipt, sending, read, stat;
		struct statx statx;
		char bytes[4];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		memset(in, 0, SIZE);
		io_uring_prep_recv(take(iou, &receipt), fds[0], in, SIZE, MSG_WAITALL);
		queue(&receipt);
		io_uring_prep_send(take(iou, &sending), fds[1], out, SIZE, MSG_WAITALL);
		queue(&sending);
		queue_read(iou, &read, file, bytes, 4, IOSQE_ASYNC);
		io_uring_prep_statx(take(iou, &stat), AT_FDCWD, "/", 0, STATX_SIZE, &statx);
		queue(&stat);
		run_and_free(iou);
		expect(&receipt, SIZE);
		expect(&sending, SIZE);
		expect(&read, 4);
		expect(&stat, 0);
		ck_assert_int_eq(memcmp(in, out, SIZE), 0);
		close_pipe(fds);
	}
	timer_delete(timer);
	close(file);
	ck_assert_int_gt(n_signals, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-threads");

	ADD_CASE(s, "descriptors", test_g12_nothing_is_lost_with_the_epoll_set_wherever_it_waits,
		 test_g12_nothing_is_lost_with_the_workers_eventfd, test_g12_number_of_a_watched_file_is_another_s,
		 test_g12_what_comes_to_a_file_is_not_told_of_the_one_that_has_its_number,
		 test_g12_accept_ends_when_its_socket_is_shut_down);
	ADD_CASE(s, "threads", test_g12_what_can_be_done_without_threads_is_done,
		 test_g09_everything_ends_wherever_it_waits_when_the_loop_thread_has_left);
	ADD_CASE(s, "signals", test_g15_signals_at_10_khz_spoil_no_transfer_on_threads);
	return s;
}
