/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timeouts that the library keeps itself, as programs see them; which of them it keeps; test-timers-kernel.c has the rest. */
#include <sys/wait.h>

#include "promises.h"

#define MULTISHOT (1U << 6) /* IORING_TIMEOUT_MULTISHOT, Linux 6.4 */
#define LONG_MS 60000

static struct __kernel_timespec in_ms(long long ms)
{
	return (struct __kernel_timespec){ ms / 1000, ms % 1000 * 1000000 };
}

static struct __kernel_timespec at_ms(long long ms)
{
	return in_ms(support_now_ms() + ms);
}

static void queue_with(iou_t *iou, struct seen *seen, struct __kernel_timespec *time, unsigned count, unsigned flags)
{
	io_uring_prep_timeout(take(iou, seen), time, count, flags);
	queue(seen);
}

static uint64_t n_submitted(iou_t *iou)
{
	return stats_of(iou).n_submitted;
}

/* How many of what is queued now reach the kernel. */
static uint64_t n_that_go(iou_t *iou)
{
	uint64_t n = n_submitted(iou);

	ck_assert_int_eq(iou_flush(iou), 0);
	return n_submitted(iou) - n;
}

/* Which are kept. */

static const unsigned kept[] = { 0,
				 IORING_TIMEOUT_REALTIME,
				 IORING_TIMEOUT_ETIME_SUCCESS,
				 MULTISHOT,
				 MULTISHOT | IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_ETIME_SUCCESS,
				 IORING_TIMEOUT_ABS,
				 IORING_TIMEOUT_ABS | IORING_TIMEOUT_ETIME_SUCCESS };

START_TEST(test_plain_timeout_never_reaches_the_kernel)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = in_ms(5), then = at_ms(5);
	bool is_absolute = kept[_i] & IORING_TIMEOUT_ABS;
	struct seen seen;

	queue_with(iou, &seen, is_absolute ? &then : &time, kept[_i] & MULTISHOT ? 3 : 0, kept[_i]);
	ck_assert_uint_eq(n_that_go(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_submitted, 1);
	ck_assert_int_eq(iou_pending(iou), 1);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(seen.n_calls, kept[_i] & MULTISHOT ? 3 : 1);
	ck_assert_int_eq(seen.result, -ETIME);
	ck_assert_uint_eq(seen.flags, 0);
	run_and_free(iou);
}
END_TEST

static const struct {
	unsigned flags;
	unsigned sqe_flags;
	unsigned count;
	unsigned length;
	long long nsec;
	int result;
} others[] = {
	{ IORING_TIMEOUT_BOOTTIME, 0, 0, 1, 0, -ETIME },
	{ IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME, 0, 0, 1, 0, -ETIME },
	{ 0, 0, 1, 1, 0, -ETIME },
	{ 0, IOSQE_IO_LINK, 0, 1, 0, -ETIME },
	{ 0, IOSQE_IO_DRAIN, 0, 1, 0, -ETIME },
	{ 0, IOSQE_ASYNC, 0, 1, 0, -ETIME },
	{ 0, 0, 0, 1, 1000000000, -ETIME },
	{ 0, 0, 0, 1, -1, -EINVAL },
	{ 0, 0, 0, 2, 0, -EINVAL },
	{ 0, 1U << 7, 0, 1, 0, -EINVAL },
	{ 0, IOSQE_FIXED_FILE, 0, 1, 0, -ETIME },
	{ 1U << 20, 0, 0, 1, 0, -EINVAL },
	{ MULTISHOT | IORING_TIMEOUT_ABS, 0, 0, 1, 0, -EINVAL },
	{ IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME, 0, 0, 1, 0, -EINVAL },
};

START_TEST(test_all_else_is_the_kernels)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = { .tv_nsec = others[_i].nsec };
	struct seen seen;
	struct io_uring_sqe *sqe = take(iou, &seen);

	io_uring_prep_timeout(sqe, &time, others[_i].count, others[_i].flags);
	sqe->flags = (__u8)others[_i].sqe_flags;
	sqe->len = others[_i].length;
	queue(&seen);
	ck_assert_uint_eq(n_that_go(iou), 1);
	run_and_free(iou);
	expect(&seen, others[_i].result);
}
END_TEST

START_TEST(test_flag_that_no_kernel_knows_is_einval)
{
	iou_t *iou = open_iou(4);
	struct seen nop, linked[2];

	queue_nop(iou, &nop, 1U << 7);
	queue_nop(iou, &linked[0], 1U << 7 | IOSQE_IO_LINK);
	queue_nop(iou, &linked[1], 0);
	run_and_free(iou);
	expect(&nop, -EINVAL);
	expect(&linked[0], -EINVAL);
	expect(&linked[1], -ECANCELED);
}
END_TEST

START_TEST(test_time_is_read_at_the_flush)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = in_ms(LONG_MS);
	struct seen seen;

	queue_timeout(iou, &seen, &time);
	time = in_ms(0);
	ck_assert_int_eq(iou_flush(iou), 0);
	time = in_ms(LONG_MS);
	run_and_free(iou);
	expect(&seen, -ETIME);
}
END_TEST

/* Order and time. */

#define N_MANY 2000

START_TEST(test_they_come_in_the_order_of_their_times_and_none_early)
{
	static struct seen seen[N_MANY];
	static struct __kernel_timespec times[N_MANY];
	iou_t *iou = open_iou(8);
	int64_t begin = support_now_us();

	for (int i = 0; i < N_MANY; i++) {
		times[i] = (struct __kernel_timespec){ .tv_nsec = (i * 7919LL % 500) * 20000 };
		queue_timeout(iou, &seen[i], &times[i]);
	}
	for (int n = 0; n < N_MANY;) {
		int r = iou_run_once(iou, NULL);

		ck_assert_int_gt(r, 0);
		n += r;
		for (int i = 0; i < N_MANY; i++)
			ck_assert(!seen[i].n_calls || support_now_us() >= begin + times[i].tv_nsec / 1000);
	}
	for (int i = 0; i < N_MANY; i++)
		for (int j = i + 1; j < i + 60 && j < N_MANY; j++)
			ck_assert_int_eq(seen[i].place < seen[j].place, times[i].tv_nsec <= times[j].tv_nsec);
	run_and_free(iou);
}
END_TEST

START_TEST(test_times_that_have_passed_come_as_they_were_armed)
{
	static const int ago[] = { 1, 5, 0, 3, 5, 0 };
	iou_t *iou = open_iou(4);
	struct __kernel_timespec times[6];
	struct seen seen[6];

	for (int i = 0; i < 6; i++) {
		times[i] = ago[i] ? at_ms(-ago[i]) : in_ms(0);
		queue_with(iou, &seen[i], &times[i], 0, ago[i] ? IORING_TIMEOUT_ABS : 0);
	}
	run_and_free(iou);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(seen[i].place, i + 1);
}
END_TEST

START_TEST(test_time_of_a_timer_is_not_that_of_a_run)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec soon = in_ms(20), later = in_ms(LONG_MS);
	struct seen first, second;
	int64_t begin = support_now_ms();

	queue_timeout(iou, &second, &later);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 10000000 }), 0);
	ck_assert_int_ge(support_now_ms() - begin, 9);
	queue_timeout(iou, &first, &soon);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_sec = 60 }), 1);
	expect(&first, -ETIME);
	ck_assert_int_eq(iou_cancel_all(iou), 1);
	run_and_free(iou);
	expect(&second, -ECANCELED);
}
END_TEST

static int flush_again(void *data)
{
	struct seen *seen = data;

	see(seen);
	if (seen->n_calls < 5) {
		iou_op_queue(seen->iou, seen->op, flush_again, seen);
		ck_assert_int_eq(iou_flush(seen->iou), 0);
	}
	return 0;
}

PROMISE(17, timer_that_is_due_again_at_once_waits_for_the_next_turn)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec now = in_ms(0);
	struct seen seen, post = { 0 };

	io_uring_prep_timeout(take(iou, &seen), &now, 0, 0);
	iou_op_queue(iou, seen.op, flush_again, &seen);
	for (int i = 1; i <= 5; i++) {
		ck_assert_int_eq(iou_post(iou, see, &post), 0);
		ck_assert_int_eq(iou_run_once(iou, NULL), 2);
		ck_assert_int_eq(seen.n_calls, i);
		ck_assert_int_eq(post.n_calls, i);
	}
	run_and_free(iou);
}
END_TEST

PROMISE(17, multishot_without_a_time_runs_once_a_turn)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec now = in_ms(0);
	struct seen seen;

	queue_with(iou, &seen, &now, 0, MULTISHOT);
	for (int i = 1; i <= 5; i++) {
		ck_assert_int_eq(iou_run_once(iou, NULL), 1);
		ck_assert_int_eq(seen.n_calls, i);
		ck_assert_uint_eq(seen.flags, IORING_CQE_F_MORE);
	}
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(seen.n_calls, 6);
	ck_assert_int_eq(seen.result, -ECANCELED);
}
END_TEST

/* Drains, skips. */

START_TEST(test_drain_waits_for_a_timer)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = in_ms(5);
	struct seen timer, nop;

	queue_timeout(iou, &timer, &time);
	queue_nop(iou, &nop, IOSQE_IO_DRAIN);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_queued, 1);
	run_and_free(iou);
	ck_assert_int_lt(timer.place, nop.place);
}
END_TEST

START_TEST(test_success_is_skipped_of_timers_and_of_requests)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = in_ms(1), far = in_ms(LONG_MS);
	struct seen timer, failing, target, removal;

	io_uring_prep_timeout(take(iou, &timer), &time, 0, IORING_TIMEOUT_ETIME_SUCCESS);
	timer.op->sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	queue(&timer);
	io_uring_prep_timeout(take(iou, &failing), &time, 0, 0);
	failing.op->sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	queue(&failing);
	queue_timeout(iou, &target, &far);
	io_uring_prep_timeout_remove(take(iou, &removal), target.op->sqe->user_data, 0);
	removal.op->sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	queue(&removal);
	ck_assert_uint_eq(n_that_go(iou), 0);
	run_and_free(iou);
	ck_assert_int_eq(timer.n_calls, 0);
	expect(&failing, -ETIME);
	expect(&target, -ECANCELED);
	ck_assert_int_eq(removal.n_calls, 0);
}
END_TEST

/* A loop that has been in vain for what completes at once goes to wait right away. */
START_TEST(test_what_ends_as_it_is_submitted_is_not_waited_for)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec far = in_ms(LONG_MS);
	struct seen reader, target, removal;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &reader, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	queue_timeout(iou, &target, &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	io_uring_prep_timeout_remove(take(iou, &removal), target.op->sqe->user_data, 0);
	queue(&removal);
	ck_assert_int_eq(iou_run_once(iou, NULL), 2);
	expect(&target, -ECANCELED);
	expect(&removal, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

/* The end. */

PROMISE(08, cancelled_timers_end_at_once)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec far = in_ms(LONG_MS);
	struct seen seen[3], again;
	__u64 identity;

	for (int i = 0; i < 3; i++)
		queue_timeout(iou, &seen[i], &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	identity = seen[1].op->sqe->user_data;
	ck_assert_int_eq(iou_op_cancel(iou, seen[0].op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, seen[0].op), -EALREADY);
	ck_assert_int_eq(iou_cancel_id(iou, identity), 0);
	ck_assert_int_eq(iou_cancel_id(iou, identity), -EALREADY);
	ck_assert_int_eq(turn(iou), 2);
	ck_assert_int_eq(iou_cancel_id(iou, identity), -ENOENT);
	queue_timeout(iou, &again, &far);
	ck_assert_int_eq(iou_cancel_all(iou), 2);
	ck_assert_uint_eq(n_that_go(iou), 0);
	run_and_free(iou);
	for (int i = 0; i < 3; i++)
		expect(&seen[i], -ECANCELED);
	expect(&again, -ECANCELED);
}
END_TEST

PROMISE(09, free_and_drain_end_timers)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec far = in_ms(LONG_MS);
	struct seen first, second, third;

	queue_with(iou, &first, &far, 0, MULTISHOT);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	expect(&first, -ECANCELED);
	queue_timeout(iou, &second, &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_timeout(iou, &third, &far);
	ck_assert_ptr_null(iou_free(iou));
	expect(&second, -ECANCELED);
	expect(&third, -ECANCELED);
}
END_TEST

PROMISE(10, resize_keeps_timers_also_where_the_ring_is_built_anew)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 4, .flags = _i ? IOU_ANY_THREAD : 0 });
	struct __kernel_timespec soon = in_ms(30), far = in_ms(LONG_MS);
	struct seen timer, other;

	queue_timeout(iou, &timer, &soon);
	queue_timeout(iou, &other, &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 64), 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(&timer, -ETIME);
	ck_assert_int_eq(iou_op_cancel(iou, other.op), 0);
	run_and_free(iou);
	expect(&other, -ECANCELED);
}
END_TEST

/* The kernel cannot tell who such a completion is of, so it counts as that op's. */
PROMISE(01, message_that_bears_the_name_of_a_timer_is_its_only_completion)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec soon = in_ms(5), far = in_ms(LONG_MS);
	struct seen timer, message, later;

	queue_timeout(iou, &timer, &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	io_uring_prep_msg_ring(take(iou, &message), iou_ring(iou)->ring_fd, 42, timer.op->sqe->user_data, 0);
	queue(&message);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&timer, 42);
	queue_timeout(iou, &later, &soon);
	run_and_free(iou);
	expect(&later, -ETIME);
	expect(&timer, 42);
}
END_TEST

/* Handed on. */

/* The chain's turn comes when a byte does. */
static void queue_chain(iou_t *iou, struct seen *reader, int fd, char *byte)
{
	queue_read(iou, reader, fd, byte, 1, IOSQE_IO_LINK);
}

START_TEST(test_chained_request_takes_effect_when_its_turn_comes)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec soon = in_ms(10), far = in_ms(LONG_MS);
	struct seen reader, removal, timer, late, multishot;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_timeout(iou, &timer, &far);
	queue_with(iou, &multishot, &soon, 0, MULTISHOT);
	ck_assert_uint_eq(n_that_go(iou), 0);
	queue_chain(iou, &reader, fds[0], &byte);
	io_uring_prep_cancel64(take(iou, &removal), 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	queue(&removal);
	ck_assert_uint_eq(n_that_go(iou), 4);
	queue_timeout(iou, &late, &far);
	/* The multishot one goes on meanwhile. */
	while (multishot.n_calls < 4)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_uint_eq(multishot.flags, IORING_CQE_F_MORE);
	ck_assert_int_eq(timer.n_calls + late.n_calls + removal.n_calls, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&reader, 1);
	/* The library's own wake-up is among them, and the multishot one may be on its way. */
	ck_assert_int_ge(removal.result, 2);
	expect(&timer, -ECANCELED);
	expect(&late, -ECANCELED);
	ck_assert_int_eq(multishot.result, -ECANCELED);
	close_pipe(fds);
}
END_TEST

START_TEST(test_absolute_update_of_a_realtime_one_is_by_its_own_clock)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec far = in_ms(LONG_MS), then = { .tv_sec = time(NULL) + 1 };
	struct seen update, timer;

	queue_with(iou, &timer, &far, 0, IORING_TIMEOUT_REALTIME);
	ck_assert_uint_eq(n_that_go(iou), 0);
	io_uring_prep_timeout_update(take(iou, &update), &then, timer.op->sqe->user_data, IORING_TIMEOUT_ABS);
	queue(&update);
	ck_assert_uint_eq(n_that_go(iou), 2);
	run_and_free(iou);
	expect(&update, 0);
	expect(&timer, -ETIME);
}
END_TEST

/* On its own, and in a chain. */
START_TEST(test_update_of_a_multishot_one_gives_it_another_time_without_end)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec far = in_ms(LONG_MS), soon = in_ms(support_slowness());
	struct seen nop, update, multishot;

	queue_with(iou, &multishot, &far, 2, MULTISHOT);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &nop, _i ? IOSQE_IO_LINK : 0);
	io_uring_prep_timeout_update(take(iou, &update), &soon, multishot.op->sqe->user_data, 0);
	queue(&update);
	ck_assert_uint_eq(n_that_go(iou), _i ? 3 : 1);
	while (multishot.n_calls < 6)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&update, 0);
	ck_assert_uint_eq(multishot.flags, IORING_CQE_F_MORE);
	/* Who fires at that very moment is not found, by Linux neither. */
	while (multishot.flags & IORING_CQE_F_MORE) {
		ck_assert_int_eq(iou_op_cancel(iou, multishot.op), 0);
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	}
	run_and_free(iou);
	ck_assert_int_eq(multishot.result, -ECANCELED);
}
END_TEST

/* Time and again it is due before it could be cancelled. */
PROMISE(09, free_ends_one_that_fires_all_the_time)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec far = in_ms(LONG_MS), soon = { .tv_nsec = 1000 };
	struct seen nop, update, multishot;

	queue_with(iou, &multishot, &far, 2, MULTISHOT);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &nop, IOSQE_IO_LINK);
	io_uring_prep_timeout_update(take(iou, &update), &soon, multishot.op->sqe->user_data, 0);
	queue(&update);
	while (multishot.n_calls < 6)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(multishot.result, -ECANCELED);
}
END_TEST

struct quitter {
	iou_t *iou;
	iou_op_t *op;
	int n_calls, result;
};

static int cancel_after_some(void *data)
{
	struct quitter *quitter = data;

	quitter->result = quitter->op->result;
	if (++quitter->n_calls == 3)
		ck_assert_int_eq(iou_op_cancel(quitter->iou, quitter->op), 0);
	return 0;
}

/* In its callback, between two times. */
PROMISE(08, one_that_was_handed_on_is_cancelled_at_once_by_its_callback)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec far = in_ms(LONG_MS), soon = { .tv_nsec = 1000 };
	struct seen nop, update;
	struct quitter quitter = { .iou = iou, .op = iou_op_new(iou) };

	io_uring_prep_timeout(quitter.op->sqe, &far, 0, MULTISHOT);
	iou_op_queue(iou, quitter.op, cancel_after_some, &quitter);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &nop, IOSQE_IO_LINK);
	io_uring_prep_timeout_update(take(iou, &update), &soon, quitter.op->sqe->user_data, 0);
	queue(&update);
	run_and_free(iou);
	ck_assert_int_eq(quitter.n_calls, 4);
	ck_assert_int_eq(quitter.result, -ECANCELED);
}
END_TEST

static int fail_at_first(void *data)
{
	see(data);
	return ((struct seen *)data)->n_calls == 1 ? -ECHILD : 0;
}

/* It was between two of its times when the loop thread left; the engine has no request for it then. */
static void *hand_on_and_leave(void *data)
{
	struct seen *multishot = data, bad, request;
	struct __kernel_timespec soon = in_ms(10);

	io_uring_prep_timeout(take(multishot->iou, multishot), &soon, 0, MULTISHOT);
	iou_op_queue(multishot->iou, multishot->op, fail_at_first, multishot);
	if (turn(multishot->iou) != 0)
		return NULL;
	queue_read(multishot->iou, &bad, -1, NULL, 0, IOSQE_IO_LINK);
	io_uring_prep_cancel64(take(multishot->iou, &request), multishot->op->sqe->user_data, 0);
	queue(&request);
	while (iou_run(multishot->iou) != -ECHILD)
		;
	return data;
}

PROMISE(09, one_that_was_handed_on_ends_once_where_the_loop_thread_has_left)
{
	struct seen multishot = { .iou = open_iou(8) };
	iou_t *iou = multishot.iou;
	void *end;

	pthread_join(start_thread(hand_on_and_leave, &multishot), &end);
	ck_assert_ptr_nonnull(end);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(multishot.n_calls, 2);
	ck_assert_int_eq(multishot.result, -ECANCELED);
}
END_TEST

/* Both are due when the loop gets to them. */
static int keep_busy(void *data)
{
	const int *fds = data;

	put_bytes(fds[1], "x", 1);
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
	return 0;
}

START_TEST(test_what_has_completed_comes_before_a_timer_that_is_due)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec soon = in_ms(20);
	struct seen read, timer, nop;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_timeout(iou, &timer, &soon);
	queue_read(iou, &read, fds[0], &byte, 1, 0);
	io_uring_prep_nop(take(iou, &nop));
	iou_op_queue(iou, nop.op, keep_busy, fds);
	run_and_free(iou);
	expect(&read, 1);
	expect(&timer, -ETIME);
	ck_assert_int_lt(read.place, timer.place);
	close_pipe(fds);
}
END_TEST

/* Which would be relative from then on, and that is far away: so does the kernel. */
START_TEST(test_absolute_update_of_a_multishot_one_is_for_one_time)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec far = in_ms(LONG_MS), then = at_ms(5);
	struct seen nop, update, multishot;

	queue_with(iou, &multishot, &far, 0, MULTISHOT);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &nop, _i ? IOSQE_IO_LINK : 0);
	io_uring_prep_timeout_update(take(iou, &update), &then, multishot.op->sqe->user_data, IORING_TIMEOUT_ABS);
	queue(&update);
	while (multishot.n_calls < 1)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&update, 0);
	ck_assert_uint_eq(multishot.flags, IORING_CQE_F_MORE);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 20000000 }), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(multishot.result, -ECANCELED);
}
END_TEST

START_TEST(test_count_of_a_multishot_one_that_is_handed_on_is_kept)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec time = in_ms(2), far = in_ms(LONG_MS);
	struct seen reader, removal, multishot, others_[20];
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_with(iou, &multishot, &time, 5, MULTISHOT);
	for (int i = 0; i < 20; i++)
		queue_timeout(iou, &others_[i], &far);
	while (multishot.n_calls < 2)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	queue_chain(iou, &reader, fds[0], &byte);
	io_uring_prep_cancel64(take(iou, &removal), 0, IORING_ASYNC_CANCEL_ANY);
	queue(&removal);
	while (multishot.n_calls < 5)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_uint_eq(multishot.flags, 0);
	ck_assert_int_eq(multishot.result, -ETIME);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	ck_assert_int_ge(removal.result, 20);
	for (int i = 0; i < 20; i++)
		expect(&others_[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* The descriptor. */

static bool is_readable(int fd, int ms)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, ms) == 1;
}

START_TEST(test_descriptor_is_readable_when_one_is_due)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec soon = in_ms(10), later = in_ms(40), far = in_ms(LONG_MS);
	struct seen first, second, third;
	int fd = iou_fd(iou);

	ck_assert_int_ge(fd, 0);
	queue_timeout(iou, &second, &far);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(!is_readable(fd, 0));
	queue_timeout(iou, &first, &later);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_timeout(iou, &third, &soon);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(is_readable(fd, LONG_MS));
	/* Not read, it stays so. */
	ck_assert(is_readable(fd, 0));
	ck_assert_int_ge(turn(iou), 1);
	expect(&third, -ETIME);
	while (!first.n_calls) {
		ck_assert(is_readable(fd, LONG_MS));
		ck_assert_int_ge(turn(iou), 1);
	}
	ck_assert(!is_readable(fd, 0));
	ck_assert_int_eq(iou_op_cancel(iou, second.op), 0);
	ck_assert(is_readable(fd, 0));
	run_and_free(iou);
}
END_TEST

START_TEST(test_descriptor_forgets_a_timer_that_is_cancelled)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec soon = in_ms(20);
	struct seen timer;
	int fd = iou_fd(iou);
	int64_t began_us;

	/* In time, or it is not what this is about. */
	do {
		began_us = support_now_us();
		queue_timeout(iou, &timer, &soon);
		ck_assert_int_eq(iou_flush(iou), 0);
		ck_assert_int_eq(iou_op_cancel(iou, timer.op), 0);
		ck_assert_int_eq(turn(iou), 1);
	} while (support_now_us() - began_us >= 20000);
	ck_assert(!is_readable(fd, 60));
	/* It was armed before there was a descriptor. */
	run_and_free(iou);
	iou = open_iou(4);
	queue_timeout(iou, &timer, &soon);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(is_readable(iou_fd(iou), LONG_MS));
	ck_assert_int_eq(turn(iou), 1);
	run_and_free(iou);
}
END_TEST

PROMISE(14, child_frees_what_it_has_of_timers)
{
	iou_t *iou = open_iou(4);
	struct __kernel_timespec soon = in_ms(30);
	struct seen timer;
	int status;

	queue_timeout(iou, &timer, &soon);
	ck_assert_int_ge(iou_fd(iou), 0);
	ck_assert_int_eq(iou_flush(iou), 0);

	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(iou_free(iou) ? 1 : timer.n_calls);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(is_readable(iou_fd(iou), LONG_MS));
	run_and_free(iou);
	expect(&timer, -ETIME);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("timeouts");
	TCase *tcase = ADD_CASE(s, "kept", test_flag_that_no_kernel_knows_is_einval, test_time_is_read_at_the_flush);

	tcase_add_loop_test(tcase, test_plain_timeout_never_reaches_the_kernel, 0, sizeof(kept) / sizeof(kept[0]));
	tcase_add_loop_test(tcase, test_all_else_is_the_kernels, 0, sizeof(others) / sizeof(others[0]));
	ADD_CASE(s, "time", test_they_come_in_the_order_of_their_times_and_none_early,
		 test_times_that_have_passed_come_as_they_were_armed, test_time_of_a_timer_is_not_that_of_a_run,
		 test_g17_timer_that_is_due_again_at_once_waits_for_the_next_turn,
		 test_g17_multishot_without_a_time_runs_once_a_turn, test_drain_waits_for_a_timer,
		 test_what_has_completed_comes_before_a_timer_that_is_due,
		 test_what_ends_as_it_is_submitted_is_not_waited_for,
		 test_success_is_skipped_of_timers_and_of_requests);
	tcase = ADD_CASE(s, "end", test_g08_cancelled_timers_end_at_once, test_g09_free_and_drain_end_timers,
			 test_g14_child_frees_what_it_has_of_timers);
	tcase_add_loop_test(tcase, test_g10_resize_keeps_timers_also_where_the_ring_is_built_anew, 0, 2);
	tcase = ADD_CASE(s, "handed on", test_chained_request_takes_effect_when_its_turn_comes,
			 test_absolute_update_of_a_realtime_one_is_by_its_own_clock,
			 test_count_of_a_multishot_one_that_is_handed_on_is_kept);
	tcase_add_loop_test(tcase, test_update_of_a_multishot_one_gives_it_another_time_without_end, 0, 2);
	tcase_add_test(tcase, test_g09_free_ends_one_that_fires_all_the_time);
	tcase_add_test(tcase, test_g08_one_that_was_handed_on_is_cancelled_at_once_by_its_callback);
	tcase_add_test(tcase, test_g09_one_that_was_handed_on_ends_once_where_the_loop_thread_has_left);
	tcase_add_loop_test(tcase, test_absolute_update_of_a_multishot_one_is_for_one_time, 0, 2);
	ADD_CASE(s, "ring", test_g01_message_that_bears_the_name_of_a_timer_is_its_only_completion);
	ADD_CASE(s, "descriptor", test_descriptor_is_readable_when_one_is_due,
		 test_descriptor_forgets_a_timer_that_is_cancelled);
	return s;
}
