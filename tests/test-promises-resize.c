/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G10: resize. iou_fd(): foreign loops. G12: no descriptors, bad set-ups. */
#include "promises.h"

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>

static iou_info_t info_of(iou_t *iou)
{
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_info(iou, &info), 0);
	return info;
}

/* Resize. */

PROMISE(10, idle_ring_can_be_resized_and_what_is_queued_stays_so)
{
	iou_t *iou = open_iou(8);
	static const unsigned sizes[] = { 1, 100, 4096, 2 };
	struct seen nops[4][10];

	for (int i = 0; i < 4; i++) {
		n_seen = 0;
		for (int j = 0; j < 10; j++)
			queue_nop(iou, &nops[i][j], 0);
		ck_assert_int_eq(iou_resize(iou, sizes[i]), 0);
		ck_assert_uint_ge(info_of(iou).sq_entries, sizes[i]);
		ck_assert_uint_lt(info_of(iou).sq_entries, 2 * sizes[i]);
		ck_assert_int_eq(iou_pending(iou), 10);
		ck_assert_int_eq(iou_run(iou), 0);
		for (int j = 0; j < 10; j++) {
			expect(&nops[i][j], 0);
			ck_assert_int_eq(nops[i][j].place, j + 1);
		}
	}
	run_and_free(iou);
}
END_TEST

static int resize_and_see(void *data)
{
	struct seen *seen = data;
	int r = iou_resize(seen->iou, 1);

	see(seen);
	return r;
}

/* Completions that are due stay due. */
PROMISE(10, resize_to_1_in_a_callback)
{
	iou_t *iou = open_iou(8);
	struct seen nops[8];

	for (int i = 0; i < 8; i++) {
		io_uring_prep_nop(take(iou, &nops[i]));
		iou_op_queue(iou, nops[i].op, i == 2 ? resize_and_see : see, &nops[i]);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_uint_eq(info_of(iou).sq_entries, 1);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(nops[i].place, i + 1);
	run_and_free(iou);
}
END_TEST

/* A loop that has slept before is woken after a resize, too. */
static void *release_elsewhere(void *data)
{
	iou_release(data);
	return NULL;
}

static void resize_and_wake(unsigned flags)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .flags = flags });

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(iou_hold(iou), 0);
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000 }), 0);
		ck_assert_int_eq(iou_resize(iou, i % 2 ? 8 : 64), 0);

		pthread_t thread = start_thread(release_elsewhere, iou);

		ck_assert_int_eq(iou_run(iou), 0);
		pthread_join(thread, NULL);
	}
	run_and_free(iou);
}

/* In place where the kernel can, and built anew. */
PROMISE(10, resized_ring_is_woken)
{
	resize_and_wake(0);
	resize_and_wake(IOU_ANY_THREAD);
}
END_TEST

/* A ring that any thread may use is built anew, so ops in flight are in the way. */
PROMISE(10, resize_that_fails_leaves_the_ring_as_it_was)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_ANY_THREAD });
	struct seen blocked, nop;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 64), -EBUSY);
	ck_assert_int_eq(iou_resize(iou, 0), -EINVAL);
	ck_assert_int_eq(iou_resize(iou, 32769), -EINVAL);
	ck_assert_uint_eq(info_of(iou).sq_entries, 8);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&nop, 0);
	expect(&blocked, 1);
	close_pipe(fds);
}
END_TEST

/* 0 where the kernel can do it in place, else -EBUSY; and the size is what it says. */
static void resize_busy(iou_t *iou, unsigned entries)
{
	unsigned before = info_of(iou).sq_entries;
	int r = iou_resize(iou, entries);

	ck_assert_msg(r == 0 || r == -EBUSY, "result %d", r);
	ck_assert_uint_eq(info_of(iou).sq_entries, r ? before : entries);
}

PROMISE(10, resize_with_ops_in_flight_loses_none)
{
	enum { N = 50 };
	iou_t *iou = open_iou(8);
	struct seen reads[N], nops[N];
	char bytes[N], data[N];
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N; i++) {
		queue_read(iou, &reads[i], fds[0], &bytes[i], 1, i % 2 ? IOSQE_ASYNC : 0);
		queue_nop(iou, &nops[i], 0);
		if (i % 5 == 0)
			ck_assert_int_eq(iou_flush(iou), 0);
		if (i % 10 == 0)
			resize_busy(iou, i % 20 ? 16 : 64);
	}
	put_bytes(fds[1], memset(data, 'x', N), N);
	run_and_free(iou);
	for (int i = 0; i < N; i++) {
		expect(&reads[i], 1);
		expect(&nops[i], 0);
	}
	close_pipe(fds);
}
END_TEST

PROMISE(10, resize_never_loses_registrations)
{
	iou_t *iou = open_iou(8);
	struct seen read_op;
	int fds[2];
	char byte;

	open_pipe(fds);
	ck_assert_int_eq(io_uring_register_files(iou_ring(iou), fds, 2), 0);
	/* Before its first flush the ring cannot be resized in place. */
	ck_assert_int_eq(iou_resize(iou, 64), -EBUSY);
	for (int i = 0; i < 2; i++) {
		put_bytes(fds[1], "x", 1);
		queue_read(iou, &read_op, 0, &byte, 1, IOSQE_FIXED_FILE);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&read_op, 1);
		resize_busy(iou, 128);
	}
	ck_assert_int_eq(io_uring_unregister_files(iou_ring(iou)), 0);
	ck_assert_int_eq(iou_resize(iou, 64), 0);
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

/* No descriptors. */

static struct rlimit allow_descriptors(int n_more)
{
	struct rlimit old, new;
	int lowest = fcntl(0, F_DUPFD_CLOEXEC, 0);

	/* Below the limit there are as many free ones as wanted: the lower ones, too, may have gaps. */
	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	new = old;
	new.rlim_cur = (rlim_t)(lowest + n_more);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &new), 0);
	return old;
}

PROMISE(12, new_without_descriptors_is_emfile_and_leaks_nothing)
{
	int n_descriptors = support_descriptors();
	bool has_failed = false;

	for (int n = 0;; n++) {
		struct rlimit old = allow_descriptors(n);
		iou_t *iou = iou_new(8);
		int error = errno;

		setrlimit(RLIMIT_NOFILE, &old);
		if (iou) {
			ck_assert_ptr_null(iou_free(iou));
			break;
		}
		has_failed = true;
		ck_assert_int_eq(error, EMFILE);
		ck_assert_int_eq(support_descriptors(), n_descriptors);
		ck_assert_int_lt(n, 10);
	}
	ck_assert(has_failed);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
}
END_TEST

PROMISE(12, later_lack_of_descriptors_harms_nothing)
{
	iou_t *iou = open_iou(8);
	struct seen nop;
	struct rlimit old = allow_descriptors(0);
	int r_resize = iou_resize(iou, 64), r_fd = iou_fd(iou);

	setrlimit(RLIMIT_NOFILE, &old);
	/* Only a ring has one of its own. */
	ck_assert_int_eq(r_resize, support_has_ring() ? -EMFILE : 0);
	ck_assert_int_eq(r_fd, -EMFILE);
	ck_assert_uint_eq(info_of(iou).sq_entries, support_has_ring() ? 8 : 64);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&nop, 0);
	ck_assert_int_ge(iou_fd(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 64), 0);
	run_and_free(iou);
}
END_TEST

static int errno_of(iou_config_t config)
{
	config.size = config.size ? config.size : sizeof(config);
	errno = 0;

	iou_t *iou = iou_new_with(&config);

	return iou_free(iou) ? -1 : errno;
}

PROMISE(12, bad_setups_are_told_by_errno)
{
	int n_descriptors = support_descriptors();

	errno = 0;
	ck_assert_ptr_null(iou_new(0));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(iou_new(32769));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .entries = 64, .cq_entries = 32 }), EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .flags = IOU_SQE128 }), EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .flags = 1U << 31 }), EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .engine = IOU_ENGINE_THREADS + 1 }), EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .engine = IOU_ENGINE_THREADS }), 0);
	ck_assert_int_eq(errno_of((iou_config_t){ .size = 8 }), EINVAL);
	ck_assert_int_eq(errno_of((iou_config_t){ .workers = 1 }), 0);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
}
END_TEST

/* A foreign loop: epoll, and one turn whenever iou_fd() is readable. */

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, timeout_ms) == 1;
}

struct built {
	struct seen seen;
	int n_left;
	int fd;
	char byte;
	int zero;
	struct __kernel_timespec soon;
};

static int build_next(void *data);

/* By turns a post, a job, a nop, a read of what is there, and a timeout: one that completes while nobody runs. */
static int build(struct built *built)
{
	iou_t *iou = built->seen.iou;

	if (built->n_left == 25)
		return -EDOM;
	if (built->n_left == 50 && iou_resize(iou, 64) < 0)
		return -EBUSY;
	switch (built->n_left % 5) {
	case 0:
		return iou_post(iou, build_next, built);
	case 1:
		return iou_async(iou, return_int, &built->zero, build_next, built);
	}
	built->seen.op = iou_op_new(iou);
	if (built->n_left % 5 == 2)
		io_uring_prep_nop(built->seen.op->sqe);
	else if (built->n_left % 5 == 3)
		io_uring_prep_read(built->seen.op->sqe, built->fd, &built->byte, 1, (__u64)-1);
	else
		io_uring_prep_timeout(built->seen.op->sqe, &built->soon, 0, 0);
	iou_op_queue(iou, built->seen.op, build_next, built);
	return 0;
}

static int build_next(void *data)
{
	struct built *built = data;

	built->seen.op = NULL;
	see(&built->seen);
	return built->n_left-- ? build(built) : 0;
}

/* Where a turn ends in the error that a callback asked for, the program builds on. */
static void drive(iou_t *iou, struct built *built, int epoll_fd)
{
	struct epoll_event event;
	int n_errors = 0;

	while (iou_pending(iou)) {
		ck_assert_int_eq(epoll_wait(epoll_fd, &event, 1, 10000), 1);

		int r = turn(iou);

		if (r == -EDOM) {
			n_errors++;
			built->n_left--;
			ck_assert_int_eq(build(built), 0);
			ck_assert_int_eq(iou_flush(iou), 0);
		} else {
			ck_assert_int_ge(r, 0);
		}
	}
	ck_assert_int_eq(n_errors, 1);
}

PROMISE(10, epoll_drives_a_chain_of_ops_an_error_and_a_resize)
{
	iou_t *iou = open_iou(4);
	struct built built = { .n_left = 99, .soon.tv_nsec = 1000000 };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fds[2], fd = iou_fd(iou);
	char bytes[100];

	open_pipe(fds);
	put_bytes(fds[1], memset(bytes, 'x', sizeof(bytes)), sizeof(bytes));
	built.seen.iou = iou;
	built.fd = fds[0];
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN }), 0);
	ck_assert(!is_readable(fd, 0));
	ck_assert_int_eq(build(&built), 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	drive(iou, &built, epoll_fd);
	ck_assert_int_eq(built.n_left, -1);
	ck_assert_int_eq(iou_fd(iou), fd);
	ck_assert_uint_eq(info_of(iou).sq_entries, 64);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert(!is_readable(fd, 0));
	run_and_free(iou);
	close(epoll_fd);
	close_pipe(fds);
}
END_TEST

/* Level-triggered, whatever it is that is due; and not readable when nothing is. */
PROMISE(10, fd_is_readable_whenever_a_turn_would_call)
{
	iou_t *iou = open_iou(4);
	struct seen nops[3], blocked, staged, post = { 0 };
	int fd = iou_fd(iou), fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert(!is_readable(fd, 0));
	for (int i = 0; i < 3; i++) {
		queue_nop(iou, &nops[i], 0);
		nops[i].answer = -1;
	}
	ck_assert_int_eq(iou_flush(iou), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert(is_readable(fd, 0));
		ck_assert(is_readable(fd, 0));
		ck_assert_int_eq(turn(iou), -1);
	}
	ck_assert_int_eq(turn(iou), 0);
	ck_assert(!is_readable(fd, 0));
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert(is_readable(fd, 0));
	ck_assert_int_eq(turn(iou), 1);
	queue_nop(iou, &staged, 0);
	ck_assert_int_eq(iou_op_cancel(iou, staged.op), 0);
	ck_assert(is_readable(fd, 0));
	ck_assert_int_eq(turn(iou), 1);
	ck_assert(!is_readable(fd, 0));
	put_bytes(fds[1], "x", 1);
	ck_assert(is_readable(fd, 10000));
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert(!is_readable(fd, 0));
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

PROMISE(10, fd_is_made_readable_by_other_threads)
{
	iou_t *iou = open_iou(4);
	struct seen async = { 0 };
	int fd = iou_fd(iou), zero = 0;

	for (int i = 1; i <= fewer(500, 50); i++) {
		ck_assert_int_eq(iou_async(iou, return_int, &zero, see, &async), 0);
		ck_assert(is_readable(fd, 10000));
		ck_assert_int_eq(turn(iou), 1);
		ck_assert_int_eq(async.n_calls, i);
		ck_assert(!is_readable(fd, 0));
	}
	run_and_free(iou);
}
END_TEST

/*
 * What the engine has others do, to whom nobody waits in a run. The thread that ends an op tells of it last: where a turn
 * has found the op done before, that makes the descriptor readable once more, for nothing.
 */
PROMISE(10, fd_is_made_readable_by_the_engine_s_own_threads)
{
	iou_t *iou = open_iou(4);
	struct seen fsync_op;
	/* No disk, which others may keep busy. */
	int file = memfd_create("file", MFD_CLOEXEC), fd = iou_fd(iou);
	int n_in_vain = 0, n_called;

	ck_assert_int_ge(file, 0);
	for (int i = 0; i < fewer(200, 30); i++) {
		io_uring_prep_fsync(take(iou, &fsync_op), file, 0);
		queue(&fsync_op);
		ck_assert_int_eq(iou_flush(iou), 0);
		do {
			ck_assert(is_readable(fd, 10000 * support_slowness()));
			n_called = turn(iou);
			n_in_vain += n_called == 0;
			ck_assert_int_le(n_in_vain, i);
		} while (n_called == 0);
		ck_assert_int_eq(n_called, 1);
		expect(&fsync_op, 0);
	}
	run_and_free(iou);
	close(file);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-resize");

	ADD_CASE(s, "resize", test_g10_idle_ring_can_be_resized_and_what_is_queued_stays_so,
		 test_g10_resize_to_1_in_a_callback, test_g10_resized_ring_is_woken,
		 test_g10_resize_with_ops_in_flight_loses_none);
	ADD_CASE(s, "failure", test_g12_new_without_descriptors_is_emfile_and_leaks_nothing,
		 test_g12_later_lack_of_descriptors_harms_nothing, test_g12_bad_setups_are_told_by_errno);
	ADD_CASE(s, "fd", test_g10_epoll_drives_a_chain_of_ops_an_error_and_a_resize,
		 test_g10_fd_is_readable_whenever_a_turn_would_call, test_g10_fd_is_made_readable_by_other_threads,
		 test_g10_fd_is_made_readable_by_the_engine_s_own_threads);
	ADD_RING_CASE(s, "ring", test_g10_resize_that_fails_leaves_the_ring_as_it_was,
		      test_g10_resize_never_loses_registrations);
	return s;
}
