/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G2: re-arming. G3: depth. */
#include "promises.h"

#include <sys/uio.h>

/* An op that is queued again from its callback until it has been called often enough. */
struct again {
	struct seen seen;
	int n_left;
	struct io_uring_sqe sqe; /* as the program left it */
	__u64 identity;
	bool is_as_left;
	bool has_new_identity;
};

static bool is_same_sqe(const struct io_uring_sqe *a, struct io_uring_sqe b)
{
	b.user_data = a->user_data;
	return memcmp(a, &b, sizeof(b)) == 0;
}

static int read_again(void *data)
{
	struct again *again = data;
	iou_op_t *op = again->seen.op;

	see(&again->seen);
	again->is_as_left = again->is_as_left && is_same_sqe(op->sqe, again->sqe);
	if (--again->n_left == 0)
		return 0;
	iou_op_queue(again->seen.iou, op, read_again, again);
	again->has_new_identity = again->has_new_identity && op->sqe->user_data != again->identity;
	again->identity = op->sqe->user_data;
	return 0;
}

static void queue_again(struct again *again)
{
	again->sqe = *again->seen.op->sqe;
	again->is_as_left = again->has_new_identity = true;
	iou_op_queue(again->seen.iou, again->seen.op, read_again, again);
	again->identity = again->seen.op->sqe->user_data;
}

/* With flags that the library carries out itself, and so takes off on the way to the kernel. */
PROMISE(02, queueing_again_repeats_the_operation)
{
	iou_t *iou = open_iou(4);
	struct again again = { .n_left = 1000 };
	char bytes[1000], byte;
	int fds[2];

	open_pipe(fds);
	put_bytes(fds[1], memset(bytes, 'x', sizeof(bytes)), sizeof(bytes));
	io_uring_prep_read(take(iou, &again.seen), fds[0], &byte, 1, (__u64)-1);
	again.seen.op->sqe->flags = IOSQE_IO_DRAIN | IOSQE_IO_LINK;
	queue_again(&again);
	ck_assert_int_eq(turn(iou), 1);

	size_t n_bytes = stats_of(iou).pool_bytes;

	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(again.seen.n_calls, 1000);
	ck_assert_int_eq(again.seen.result, 1);
	ck_assert(again.is_as_left);
	ck_assert(again.has_new_identity);
	ck_assert_uint_eq(stats_of(iou).pool_bytes, n_bytes);
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), -1);
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

/* IOSQE_CQE_SKIP_SUCCESS, too, is there at each failure. */
PROMISE(02, flags_are_still_there_after_a_failure)
{
	iou_t *iou = open_iou(4);
	struct again again = { .n_left = 10 };
	char byte;

	io_uring_prep_read(take(iou, &again.seen), -1, &byte, 1, (__u64)-1);
	again.seen.op->sqe->flags = IOSQE_CQE_SKIP_SUCCESS | IOSQE_ASYNC | IOSQE_IO_HARDLINK;
	queue_again(&again);
	run_and_free(iou);
	ck_assert_int_eq(again.seen.n_calls, 10);
	ck_assert_int_eq(again.seen.result, -EBADF);
	ck_assert(again.is_as_left);
}
END_TEST

/* Another operation in the same op: what the first one set and the second does not set has to go. */
struct reset {
	struct seen seen;
	int fd;
	char byte;
};

static int reset_and_read(void *data)
{
	struct reset *reset = data;

	see(&reset->seen);
	iou_op_reset(reset->seen.iou, reset->seen.op);
	prepare(reset->seen.op, IORING_OP_READ, reset->fd, &reset->byte, 1, (__u64)-1);
	queue(&reset->seen);
	return 0;
}

PROMISE(02, reset_makes_way_for_another_operation)
{
	iou_t *iou = open_iou(4);
	struct reset reset;
	unsigned flags = IOSQE_CQE_SKIP_SUCCESS | (support_has_ring() ? IOSQE_FIXED_FILE : 0);
	int fds[2];

	open_pipe(fds);
	put_bytes(fds[1], "ab", 2);
	if (support_has_ring())
		ck_assert_int_eq(io_uring_register_files(iou_ring(iou), &fds[0], 1), 0);
	reset.fd = fds[0];
	io_uring_prep_read(take(iou, &reset.seen), support_has_ring() ? 0 : fds[0], &reset.byte, 1, (__u64)-1);
	reset.seen.op->sqe->flags = (__u8)flags;
	reset.seen.op->sqe->rw_flags = 0x40000000; /* RWF_ of no kernel: it fails, so it is called */
	iou_op_queue(iou, reset.seen.op, reset_and_read, &reset);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(reset.seen.n_calls, 2);
	ck_assert_int_eq(reset.seen.result, 1);
	VALGRIND_MAKE_MEM_DEFINED(&reset.byte, 1);
	ck_assert_int_eq(reset.byte, 'a');
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

/* Op, job, op, job: in one op. */
struct mixed {
	struct seen seen;
	int n_left;
	int n_zero;
	int n_worked;
};

static int work_mixed(void *data)
{
	return ++*(int *)data;
}

static int after_work(void *data);

static int after_nop(void *data)
{
	struct mixed *mixed = data;

	see(&mixed->seen);
	return iou_op_async(mixed->seen.iou, mixed->seen.op, work_mixed, &mixed->n_worked, after_work, mixed);
}

static int after_work(void *data)
{
	static const struct io_uring_sqe zero;
	struct mixed *mixed = data;

	see(&mixed->seen);
	mixed->n_zero += memcmp(mixed->seen.op->sqe, &zero, sizeof(zero)) == 0;
	if (--mixed->n_left == 0)
		return 0;
	prepare(mixed->seen.op, IORING_OP_NOP, -1, NULL, 0, 0);
	iou_op_queue(mixed->seen.iou, mixed->seen.op, after_nop, mixed);
	return 0;
}

PROMISE(02, after_a_job_the_sqe_is_all_zero)
{
	iou_t *iou = open_iou(4);
	struct mixed mixed = { .n_left = 50 };

	memset(take(iou, &mixed.seen), 0xff, sizeof(struct io_uring_sqe));
	iou_op_reset(iou, mixed.seen.op);
	prepare(mixed.seen.op, IORING_OP_NOP, -1, NULL, 0, 0);
	iou_op_queue(iou, mixed.seen.op, after_nop, &mixed);
	run_and_free(iou);
	ck_assert_int_eq(mixed.n_zero, 50);
	ck_assert_int_eq(mixed.n_worked, 50);
	ck_assert_int_eq(mixed.seen.result, 50);
	ck_assert_int_eq(mixed.seen.n_calls, 100);
}
END_TEST

struct busy {
	struct seen seen;
	struct seen others[300]; /* more than fit into memory that is there */
	struct io_uring_sqe sqe;
	bool is_readable;
};

static int be_busy(void *data)
{
	struct busy *busy = data;

	see(&busy->seen);
	for (int i = 0; i < 300; i++)
		queue_nop(busy->seen.iou, &busy->others[i], 0);
	busy->is_readable = busy->seen.op->result == -EBADF && is_same_sqe(busy->seen.op->sqe, busy->sqe);
	return 0;
}

PROMISE(02, op_stays_readable_until_its_callback_returns)
{
	static struct busy busy;
	iou_t *iou = open_iou(4);
	char byte;

	io_uring_prep_read(take(iou, &busy.seen), -1, &byte, 1, 17);
	busy.sqe = *busy.seen.op->sqe;
	iou_op_queue(iou, busy.seen.op, be_busy, &busy);
	run_and_free(iou);
	ck_assert(busy.is_readable);
	for (int i = 0; i < 300; i++)
		expect(&busy.others[i], 0);
}
END_TEST

/* Depth. */

static int count(void *data)
{
	++*(int *)data;
	return 0;
}

PROMISE(03, a_million_nops_at_once_on_8_entries_complete)
{
	iou_t *iou = open_iou(8);
	int n = fewer(1000000, 10000), n_called = 0;

	for (int i = 0; i < n; i++) {
		iou_op_t *op = iou_op_new(iou);

		ck_assert_ptr_nonnull(op);
		io_uring_prep_nop(op->sqe);
		iou_op_queue(iou, op, count, &n_called);
	}
	ck_assert_int_eq(iou_pending(iou), n);
	run_and_free(iou);
	ck_assert_int_eq(n_called, n);
}
END_TEST

PROMISE(03, twenty_thousand_timeouts_on_2_entries_complete)
{
	iou_t *iou = open_iou(2);
	struct __kernel_timespec soon = { .tv_nsec = 10000000 };
	int n = fewer(20000, 1000);
	struct seen *timeouts = calloc((size_t)n, sizeof(*timeouts));

	for (int i = 0; i < n; i++)
		queue_timeout(iou, &timeouts[i], &soon);
	run_and_free(iou);
	for (int i = 0; i < n; i++)
		expect(&timeouts[i], -ETIME);
	free(timeouts);
}
END_TEST

/* Many completions while nobody may be called: more than the CQ takes. */
PROMISE(03, full_completion_queue_never_reaches_the_caller)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 2, .cq_entries = 2 });
	int n = fewer(10000, 500);
	struct seen *nops = calloc((size_t)n, sizeof(*nops));

	for (int i = 0; i < n; i++) {
		queue_nop(iou, &nops[i], 0);
		if (i % 7 == 0)
			ck_assert_int_eq(iou_flush(iou), 0);
	}
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_queued, 0);
	run_and_free(iou);
	for (int i = 0; i < n; i++)
		expect(&nops[i], 0);
	free(nops);
}
END_TEST

/* The reads end only if the writes behind them are let through. */
PROMISE(03, no_op_is_held_back_behind_others_in_flight)
{
	enum { N = 200 };
	iou_t *iou = open_with((iou_config_t){ .entries = 1, .cq_entries = 1 });
	struct seen reads[N], writes[N];
	char bytes[N];
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N; i++)
		queue_read(iou, &reads[i], fds[0], &bytes[i], 1, 0);
	for (int i = 0; i < N; i++) {
		io_uring_prep_write(take(iou, &writes[i]), fds[1], "x", 1, (__u64)-1);
		queue(&writes[i]);
	}
	run_and_free(iou);
	for (int i = 0; i < N; i++) {
		expect(&reads[i], 1);
		expect(&writes[i], 1);
	}
	close_pipe(fds);
}
END_TEST

/* Identities. */

/* A user_data of the program's own would make an op deaf. */
PROMISE(02, identity_is_the_librarys_and_names_the_op)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec late = { .tv_sec = 1000 };
	struct seen timeout, remove, update, poll;
	int fds[2];

	open_pipe(fds);
	queue_timeout(iou, &timeout, &late);
	io_uring_prep_poll_add(take(iou, &poll), fds[0], POLLIN);
	queue(&poll);
	io_uring_prep_timeout_remove(take(iou, &remove), timeout.op->sqe->user_data, 0);
	queue(&remove);
	io_uring_prep_poll_update(take(iou, &update), poll.op->sqe->user_data, 1, 0, IORING_POLL_UPDATE_USER_DATA);
	queue(&update);
	while (n_seen < 3)
		ck_assert_int_ge(iou_run_once(iou, NULL), 1);
	expect(&timeout, -ECANCELED);
	expect(&remove, 0);
	expect(&update, -EINVAL);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&poll, POLLIN);
	close_pipe(fds);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-ops");

	ADD_CASE(s, "re-arming", test_g02_queueing_again_repeats_the_operation,
		 test_g02_flags_are_still_there_after_a_failure, test_g02_reset_makes_way_for_another_operation,
		 test_g02_after_a_job_the_sqe_is_all_zero, test_g02_op_stays_readable_until_its_callback_returns,
		 test_g02_identity_is_the_librarys_and_names_the_op);
	ADD_CASE(s, "depth", test_g03_a_million_nops_at_once_on_8_entries_complete,
		 test_g03_twenty_thousand_timeouts_on_2_entries_complete,
		 test_g03_full_completion_queue_never_reaches_the_caller,
		 test_g03_no_op_is_held_back_behind_others_in_flight);
	return s;
}
