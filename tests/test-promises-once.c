/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G1: one callback per completion and one final one; IOSQE_CQE_SKIP_SUCCESS. G11: ops with several completions. */
#include "promises.h"

#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

static const int seven = 7, minus_seven = -7;

PROMISE(01, one_final_call_never_from_within_the_call_that_queued)
{
	iou_t *iou = open_iou(8);
	struct seen ok, bad, cancelled, job, async = { 0 }, post = { 0 };
	char byte;

	queue_nop(iou, &ok, 0);
	queue_read(iou, &bad, -1, &byte, 1, 0);
	queue_nop(iou, &cancelled, 0);
	ck_assert_int_eq(iou_op_cancel(iou, cancelled.op), 0);
	queue_job(iou, &job, return_int, (void *)(uintptr_t)&seven);
	ck_assert_int_eq(iou_async(iou, return_int, (void *)(uintptr_t)&seven, see, &async), 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_pending(iou), 6);
	ck_assert_int_eq(n_seen, 0);
	run_and_free(iou);
	expect(&ok, 0);
	expect(&bad, -EBADF);
	expect(&cancelled, -ECANCELED);
	expect(&job, 7);
	ck_assert_int_eq(async.n_calls, 1);
	ck_assert_int_eq(post.n_calls, 1);
	ck_assert_int_eq(n_seen, 6);
}
END_TEST

PROMISE(01, cancelling_everything_calls_nobody)
{
	iou_t *iou = open_iou(8);
	struct seen staged[4], blocked;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	for (int i = 0; i < 4; i++)
		queue_nop(iou, &staged[i], 0);
	ck_assert_int_eq(iou_cancel_all(iou), 5);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(n_seen, 0);
	run_and_free(iou);
	expect(&blocked, -ECANCELED);
	for (int i = 0; i < 4; i++)
		expect(&staged[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* After the final callback the buffer is the program's, and what comes through the pipe is nobody's. */
static void cancel_a_read(iou_t *iou, unsigned flags)
{
	char buffer[64], bytes[64], wanted[64];
	struct seen read_op;
	int fds[2];

	open_pipe(fds);
	queue_read(iou, &read_op, fds[0], buffer, sizeof(buffer), flags);
	ck_assert_int_eq(turn(iou), 0);
	/* One that is just going to an io-wq thread may be missed: try until it ends. */
	while (!read_op.n_calls) {
		ck_assert_int_eq(iou_op_cancel(iou, read_op.op), 0);
		ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 }), 0);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(read_op.n_calls, 1);
	ck_assert_msg(read_op.result == -ECANCELED || read_op.result == -EINTR, "result %d", read_op.result);
	memset(buffer, 'p', sizeof(buffer));
	memset(wanted, 'p', sizeof(wanted));
	memset(bytes, 'k', sizeof(bytes));
	put_bytes(fds[1], bytes, sizeof(bytes));
	ck_assert_int_eq(read(fds[0], bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_mem_eq(buffer, wanted, sizeof(buffer));
	close_pipe(fds);
}

PROMISE(01, the_kernel_has_let_go_of_the_memory_at_the_final_call)
{
	iou_t *iou = open_iou(8);

	for (int i = 0; i < fewer(1000, 20); i++)
		cancel_a_read(iou, i % 2 ? IOSQE_ASYNC : 0);
	run_and_free(iou);
}
END_TEST

PROMISE(01, counters_add_up)
{
	iou_t *iou = open_iou(8);
	struct seen nops[10];
	iou_stats_t stats;

	for (int i = 0; i < 10; i++)
		take(iou, &nops[i]);
	ck_assert_uint_eq(stats_of(iou).ops_new, 10);
	for (int i = 0; i < 10; i++) {
		io_uring_prep_nop(nops[i].op->sqe);
		queue(&nops[i]);
	}
	stats = stats_of(iou);
	ck_assert_uint_eq(stats.ops_new, 0);
	ck_assert_uint_eq(stats.ops_queued, 10);
	ck_assert_int_eq(iou_flush(iou), 0);
	stats = stats_of(iou);
	ck_assert_uint_eq(stats.ops_queued, 0);
	ck_assert_uint_eq(stats.ops_submitted, 10);
	ck_assert_uint_eq(stats.n_submitted, 10);
	ck_assert_uint_ge(stats.n_enters, 1);
	ck_assert_uint_gt(stats.pool_bytes, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	stats = stats_of(iou);
	ck_assert_uint_eq(stats.n_callbacks, 10);
	ck_assert_uint_ge(stats.n_cqes, 10);
	ck_assert_uint_eq(stats.n_foreign, 0);
	ck_assert_uint_eq(stats.ops_submitted, 0);
	run_and_free(iou);
}
END_TEST

/* SKIP_SUCCESS. */

#define SKIP_SUCCESS IOSQE_CQE_SKIP_SUCCESS

PROMISE(01, skipped_success_recycles_without_a_call)
{
	iou_t *iou = open_iou(8);
	struct seen nop;
	size_t n_bytes = 0;

	for (int i = 0; i < 2000; i++) {
		queue_nop(iou, &nop, SKIP_SUCCESS);
		ck_assert_int_eq(iou_run(iou), 0);
		if (!i)
			n_bytes = stats_of(iou).pool_bytes;
	}
	ck_assert_int_eq(nop.n_calls, 0);
	ck_assert_uint_eq(stats_of(iou).pool_bytes, n_bytes);
	ck_assert_uint_eq(stats_of(iou).n_callbacks, 0);
	run_and_free(iou);
}
END_TEST

PROMISE(01, skipped_failure_and_cancellation_call)
{
	iou_t *iou = open_iou(8);
	struct seen bad, blocked, staged;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &bad, -1, &byte, 1, SKIP_SUCCESS);
	queue_read(iou, &blocked, fds[0], &byte, 1, SKIP_SUCCESS);
	ck_assert_int_eq(turn(iou), 1);
	queue_nop(iou, &staged, SKIP_SUCCESS);
	ck_assert_int_eq(iou_op_cancel(iou, staged.op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, blocked.op), 0);
	run_and_free(iou);
	expect(&bad, -EBADF);
	expect(&blocked, -ECANCELED);
	expect(&staged, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* A failing head: each follower gets its own callback, whatever its flags. */
PROMISE(01, followers_of_a_skipping_head_that_fails_each_get_their_call)
{
	iou_t *iou = open_iou(8);
	struct seen head, members[3];
	char byte;

	queue_read(iou, &head, -1, &byte, 1, SKIP_SUCCESS | IOSQE_IO_LINK);
	queue_nop(iou, &members[0], SKIP_SUCCESS | IOSQE_IO_LINK);
	queue_nop(iou, &members[1], IOSQE_IO_LINK);
	queue_nop(iou, &members[2], SKIP_SUCCESS);
	run_and_free(iou);
	expect(&head, -EBADF);
	for (int i = 0; i < 3; i++)
		expect(&members[i], -ECANCELED);
}
END_TEST

/* What is success is the kernel's rule for links: a short read breaks a chain, so it is told. */
PROMISE(01, skipped_short_read_calls_and_a_full_one_does_not)
{
	iou_t *iou = open_iou(8);
	struct seen full, full_next, brief, brief_next;
	char buffer[8];
	int fds[2];

	open_pipe(fds);
	put_bytes(fds[1], "12345678123", 11);
	queue_read(iou, &full, fds[0], buffer, 8, SKIP_SUCCESS | IOSQE_IO_LINK);
	queue_nop(iou, &full_next, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	queue_read(iou, &brief, fds[0], buffer, 8, SKIP_SUCCESS | IOSQE_IO_LINK);
	queue_nop(iou, &brief_next, 0);
	run_and_free(iou);
	ck_assert_int_eq(full.n_calls, 0);
	expect(&full_next, 0);
	expect(&brief, 3);
	expect(&brief_next, -ECANCELED);
	close_pipe(fds);
}
END_TEST

PROMISE(01, skipped_timeout_is_success_only_where_it_says_so)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec soon = { .tv_nsec = 1000 };
	struct seen failure, success;

	io_uring_prep_timeout(take(iou, &failure), &soon, 0, 0);
	failure.op->sqe->flags = SKIP_SUCCESS;
	queue(&failure);
	io_uring_prep_timeout(take(iou, &success), &soon, 0, IORING_TIMEOUT_ETIME_SUCCESS);
	success.op->sqe->flags = SKIP_SUCCESS;
	queue(&success);
	run_and_free(iou);
	expect(&failure, -ETIME);
	ck_assert_int_eq(success.n_calls, 0);
}
END_TEST

PROMISE(01, negative_result_of_a_job_is_just_its_result)
{
	iou_t *iou = open_iou(8);
	struct seen job;

	queue_job(iou, &job, return_int, (void *)(uintptr_t)&minus_seven);
	run_and_free(iou);
	expect(&job, -7);
}
END_TEST

/* Multishot. */

PROMISE(11, multishot_poll_has_a_call_per_completion)
{
	iou_t *iou = open_iou(8);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	eventfd_t n;
	struct seen polls;

	io_uring_prep_poll_multishot(take(iou, &polls), fd, POLLIN);
	queue(&polls);
	ck_assert_int_eq(turn(iou), 0);
	for (int i = 1; i <= 20; i++) {
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		ck_assert_int_eq(iou_run_once(iou, NULL), 1);
		ck_assert_int_eq(polls.n_calls, i);
		ck_assert_int_eq(polls.result, POLLIN);
		ck_assert_uint_ne(polls.flags & IORING_CQE_F_MORE, 0);
		ck_assert_uint_eq(stats_of(iou).ops_submitted, 1);
		ck_assert_int_eq(eventfd_read(fd, &n), 0);
	}
	ck_assert_int_eq(iou_op_cancel(iou, polls.op), 0);
	run_and_free(iou);
	ck_assert_int_eq(polls.n_calls, 21);
	ck_assert_int_eq(polls.result, -ECANCELED);
	ck_assert_uint_eq(polls.flags & IORING_CQE_F_MORE, 0);
	close(fd);
}
END_TEST

#define N_CLIENTS 5

static int accepted(void *data)
{
	struct seen *seen = data;

	see(seen);
	if (seen->result >= 0)
		close(seen->result);
	return 0;
}

static void connect_clients(const struct sockaddr_un *address, socklen_t length)
{
	for (int i = 0; i < N_CLIENTS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ck_assert_int_eq(connect(fd, (const struct sockaddr *)address, length), 0);
		close(fd);
	}
}

PROMISE(11, multishot_accept_ends_once_when_the_instance_does)
{
	iou_t *iou = open_iou(8);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	struct seen accepts;

	/* No name: the kernel finds one. */
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(listen(fd, N_CLIENTS), 0);
	io_uring_prep_multishot_accept(take(iou, &accepts), fd, NULL, NULL, SOCK_CLOEXEC);
	iou_op_queue(iou, accepts.op, accepted, &accepts);
	connect_clients(&address, length);
	while (accepts.n_calls < N_CLIENTS) {
		ck_assert_int_ge(iou_run_once(iou, NULL), 1);
		ck_assert_uint_ne(accepts.flags & IORING_CQE_F_MORE, 0);
	}
	ck_assert_int_eq(accepts.n_calls, N_CLIENTS);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(accepts.n_calls, N_CLIENTS + 1);
	ck_assert_uint_eq(accepts.flags & IORING_CQE_F_MORE, 0);
	close(fd);
}
END_TEST

/* The first tells of the bytes, the second that the buffer is free; queueing it again in the first is an error. */
static int sent(void *data)
{
	struct seen *seen = data;
	int result = seen->result;

	see(seen);
	if (seen->flags & IORING_CQE_F_NOTIF)
		seen->result = result;
	else
		iou_op_queue(seen->iou, seen->op, see, seen);
	return 0;
}

PROMISE(11, zero_copy_send_has_two_completions)
{
	static char bytes[10000], arrived[10000];
	iou_t *iou = open_iou(8);
	struct seen send_op;
	int fds[2];

	support_connect_tcp(fds, 0);
	memset(bytes, 'z', sizeof(bytes));
	io_uring_prep_send_zc(take(iou, &send_op), fds[0], bytes, sizeof(bytes), 0, 0);
	iou_op_queue(iou, send_op.op, sent, &send_op);
	while (!send_op.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	if (send_op.n_calls == 1)
		ck_assert_uint_ne(send_op.flags & IORING_CQE_F_MORE, 0);
	ck_assert_int_eq(recv(fds[1], arrived, sizeof(arrived), MSG_WAITALL), sizeof(arrived));
	ck_assert_int_eq(iou_run(iou), -EINVAL);
	run_and_free(iou);
	ck_assert_int_eq(send_op.n_calls, 2);
	ck_assert_int_eq(send_op.result, sizeof(bytes));
	ck_assert_uint_eq(send_op.flags & (IORING_CQE_F_MORE | IORING_CQE_F_NOTIF), IORING_CQE_F_NOTIF);
	ck_assert_mem_eq(bytes, arrived, sizeof(bytes));
	close_pipe(fds);
}
END_TEST

/* Kernels differ in whether a second one follows. */
static int failed_to_send(void *data)
{
	struct seen *seen = data;
	int result = seen->result;

	see(seen);
	if (seen->flags & IORING_CQE_F_NOTIF)
		seen->result = result;
	return 0;
}

PROMISE(11, zero_copy_send_that_fails_ends_as_well)
{
	iou_t *iou = open_iou(8);
	struct seen send_op;

	io_uring_prep_send_zc(take(iou, &send_op), -1, "x", 1, 0, 0);
	iou_op_queue(iou, send_op.op, failed_to_send, &send_op);
	run_and_free(iou);
	ck_assert_int_eq(send_op.n_calls, send_op.flags & IORING_CQE_F_NOTIF ? 2 : 1);
	ck_assert_uint_eq(send_op.flags & IORING_CQE_F_MORE, 0);
	ck_assert_int_eq(send_op.result, -EBADF);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-once");

	ADD_CASE(s, "calls", test_g01_one_final_call_never_from_within_the_call_that_queued,
		 test_g01_cancelling_everything_calls_nobody,
		 test_g01_the_kernel_has_let_go_of_the_memory_at_the_final_call, test_g01_counters_add_up,
		 test_g01_negative_result_of_a_job_is_just_its_result);
	ADD_CASE(s, "skip", test_g01_skipped_success_recycles_without_a_call,
		 test_g01_skipped_failure_and_cancellation_call,
		 test_g01_followers_of_a_skipping_head_that_fails_each_get_their_call,
		 test_g01_skipped_short_read_calls_and_a_full_one_does_not,
		 test_g01_skipped_timeout_is_success_only_where_it_says_so);
	ADD_CASE(s, "multishot", test_g11_multishot_poll_has_a_call_per_completion,
		 test_g11_multishot_accept_ends_once_when_the_instance_does,
		 test_g11_zero_copy_send_has_two_completions, test_g11_zero_copy_send_that_fails_ends_as_well);
	return s;
}
