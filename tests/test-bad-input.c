/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What iou.h calls an error gives the errno it names, and after it the loop works as before. */
#include "promises.h"

#include <limits.h>
#include <sys/resource.h>

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static int never(void *data)
{
	(void)data;
	ck_abort_msg("this callback must not be called");
	return 0;
}

static int count(void *data)
{
	++*(int *)data;
	return 0;
}

/* An op, a job and a post come through, and nobody complains. */
static void ck_unharmed(iou_t *iou)
{
	struct seen nop, job, post = { .iou = iou };
	int seven = 7;

	queue_nop(iou, &nop, 0);
	queue_job(iou, &job, return_int, &seven);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&nop, 0);
	expect(&job, 7);
	ck_assert_int_eq(post.n_calls, 1);
	ck_assert_int_eq(iou_pending(iou), 0);
}

static void close_unharmed(iou_t *iou)
{
	ck_unharmed(iou);
	run_and_free(iou);
}

/* Something was wrong, and the loop says so once. */
static void ck_remembered(iou_t *iou)
{
	ck_assert_int_eq(iou_flush(iou), -EINVAL);
	ck_assert_int_eq(iou_flush(iou), 0);
}

/* NULL. */

START_TEST(test_without_an_instance_nothing_is_done)
{
	const struct timespec zero = { 0 };
	iou_info_t info = { .size = sizeof(info) };
	iou_stats_t stats = { .size = sizeof(stats) };
	iou_t *iou = open_iou(4);
	iou_op_t *op = iou_op_new(iou);

	iou_op_queue(NULL, op, never, NULL);
	iou_op_reset(NULL, op);
	iou_op_free(NULL, op);
	ck_assert_int_eq(iou_op_cancel(NULL, op), -EINVAL);
	ck_assert_int_eq(iou_op_async(NULL, op, never, NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_async(NULL, never, NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_cancel_id(NULL, 1), -EINVAL);
	ck_assert_int_eq(iou_cancel_all(NULL), -EINVAL);
	ck_assert_int_eq(iou_flush(NULL), -EINVAL);
	ck_assert_int_eq(iou_run(NULL), -EINVAL);
	ck_assert_int_eq(iou_run_once(NULL, &zero), -EINVAL);
	ck_assert_int_eq(iou_drain(NULL, &zero), -EINVAL);
	ck_assert_int_eq(iou_resize(NULL, 8), -EINVAL);
	ck_assert_int_eq(iou_pending(NULL), -EINVAL);
	ck_assert_int_eq(iou_quit(NULL), -EINVAL);
	ck_assert_int_eq(iou_fd(NULL), -EINVAL);
	ck_assert_int_eq(iou_post(NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_hold(NULL), -EINVAL);
	ck_assert_int_eq(iou_release(NULL), -EINVAL);
	ck_assert_int_eq(iou_info(NULL, &info), -EINVAL);
	ck_assert_int_eq(iou_stats(NULL, &stats), -EINVAL);
	ck_assert_int_eq(iou_supports(NULL, IORING_OP_NOP), -EINVAL);
	ck_assert_uint_eq(stats_of(iou).ops_new, 1);
	iou_op_free(iou, op);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_pointers_that_are_missing_give_einval_in_errno)
{
	errno = 0;
	ck_assert_ptr_null(iou_op_new(NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(iou_ring(NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(iou_new_with(NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(iou_free(NULL));
	ck_assert_int_eq(errno, 0);
}
END_TEST

/* Calls that have a result say it there, and nothing is remembered. */
START_TEST(test_missing_arguments_are_told_at_once)
{
	iou_t *iou = open_iou(4);
	iou_op_t *op = iou_op_new(iou);

	ck_assert_int_eq(iou_op_cancel(iou, NULL), -EINVAL);
	ck_assert_int_eq(iou_async(iou, NULL, NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_op_async(iou, NULL, never, NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_op_async(iou, op, NULL, NULL, never, NULL), -EINVAL);
	ck_assert_int_eq(iou_op_async(iou, op, never, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(iou_post(iou, NULL, NULL), -EINVAL);
	ck_assert_int_eq(iou_info(iou, NULL), -EINVAL);
	ck_assert_int_eq(iou_stats(iou, NULL), -EINVAL);
	ck_assert_int_eq(iou_op_cancel(iou, op), -EINVAL);
	iou_op_free(iou, NULL);
	ck_assert_uint_eq(stats_of(iou).ops_new, 1);
	ck_assert_int_eq(iou_pending(iou), 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	iou_op_free(iou, op);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_job_needs_no_completion_callback)
{
	iou_t *iou = open_iou(4);
	int n = 0;

	ck_assert_int_eq(iou_async(iou, count, &n, NULL, NULL), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n, 1);
	close_unharmed(iou);
}
END_TEST

/* Making an instance. */

/* It fails with this errno and leaves no descriptor behind. */
static void ck_no_instance(const iou_config_t *config, int error)
{
	int n = support_descriptors();

	errno = 0;
	ck_assert_ptr_null(iou_new_with(config));
	ck_assert_int_eq(errno, error);
	ck_assert_int_eq(support_settle(support_descriptors, n), n);
}

START_TEST(test_entries_have_bounds)
{
	const unsigned bad[] = { 0, 32769, 65536, INT_MAX, 1U << 31, UINT_MAX };
	const struct {
		unsigned asked, given;
	} good[] = { { 1, 1 }, { 3, 4 }, { 4096, 4096 } };

	for (size_t i = 0; i < N_OF(bad); i++) {
		errno = 0;
		ck_assert_ptr_null(iou_new(bad[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	for (size_t i = 0; i < N_OF(good); i++) {
		iou_info_t info = { .size = sizeof(info) };
		iou_t *iou = open_iou(good[i].asked);

		ck_assert_int_eq(iou_info(iou, &info), 0);
		ck_assert_uint_eq(info.sq_entries, good[i].given);
		close_unharmed(iou);
	}
}
END_TEST

static const iou_config_t bad_configs[] = {
	{ .entries = 32769 },
	{ .entries = UINT32_MAX },
	{ .entries = 64, .cq_entries = 32 },
	{ .cq_entries = 65537 },
	{ .cq_entries = UINT32_MAX },
	{ .flags = IOU_SQE128 },
	{ .flags = IOU_CQE32 },
	{ .flags = 1U << 5 },
	{ .spin_ns = 1 },
	{ .flags = IOU_SPIN, .spin_ns = 1000000001 },
	{ .flags = 1U << 31 },
	{ .flags = UINT32_MAX },
	{ .engine = 3 },
	{ .engine = UINT32_MAX },
	{ .workers = 4097 },
	{ .workers = UINT32_MAX },
	{ .stack_size = 1 },
	{ .stack_size = 4095 },
	{ .reserved = { 1, 0 } },
	{ .reserved = { 0, UINT32_MAX } },
};

START_TEST(test_values_out_of_range_are_einval)
{
	iou_config_t config = bad_configs[_i];

	config.size = sizeof(config);
	ck_no_instance(&config, EINVAL);
}
END_TEST

/* Of a program that knows more fields than this library. */
struct longer_config {
	iou_config_t config;
	uint64_t tail[2];
};

START_TEST(test_sizes_that_are_no_configs)
{
	const size_t short_ones[] = { 0, 1, sizeof(size_t), sizeof(iou_config_t) - 8, sizeof(iou_config_t) - 1 };
	struct longer_config longer = { .config.size = sizeof(longer), .tail = { 0, 1 } };

	for (size_t i = 0; i < N_OF(short_ones); i++)
		ck_no_instance(&(iou_config_t){ .size = short_ones[i] }, EINVAL);
	ck_no_instance(&longer.config, E2BIG);
	longer.tail[1] = 0;
	longer.tail[0] = 1ULL << 63;
	ck_no_instance(&longer.config, E2BIG);
	longer.tail[0] = 0;
	close_unharmed(iou_new_with(&longer.config));
}
END_TEST

/* Nobody sets it: the caller's stack may hold anything. */
START_TEST(test_absurd_sizes_are_not_believed)
{
	ck_no_instance(&(iou_config_t){ .size = SIZE_MAX }, E2BIG);
	ck_no_instance(&(iou_config_t){ .size = SIZE_MAX / 2 }, E2BIG);
}
END_TEST

static void ck_engine(uint32_t wanted, uint32_t engine, const char *variable, bool is_told)
{
	setenv("LIBIOU_ENGINE", variable, 1);

	iou_info_t info = { .size = sizeof(info) };
	iou_t *iou = open_with((iou_config_t){ .engine = wanted });

	unsetenv("LIBIOU_ENGINE");
	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_eq(info.engine, engine);
	ck_assert_int_eq(info.engine_error, 0);
	ck_assert_int_eq(strstr(info.reason, "LIBIOU_ENGINE") != NULL, is_told);
	close_unharmed(iou);
}

START_TEST(test_environment_overrides_auto_alone)
{
	ck_engine(IOU_ENGINE_URING, IOU_ENGINE_URING, "threads", false);
	ck_engine(IOU_ENGINE_URING, IOU_ENGINE_URING, "uring", false);
	ck_engine(IOU_ENGINE_THREADS, IOU_ENGINE_THREADS, "uring", false);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_URING, "uring", true);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_THREADS, "threads", true);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_URING, "", false);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_URING, "URING", false);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_URING, "threads ", false);
	ck_engine(IOU_ENGINE_AUTO, IOU_ENGINE_URING, "no such engine", false);
}
END_TEST

/* Half of what can be addressed. Valgrind refuses to map so much with another error. */
START_TEST(test_worker_that_cannot_be_started_is_eagain)
{
	int error = RUNNING_ON_VALGRIND ? -EINVAL : -EAGAIN;
	iou_t *iou = open_with((iou_config_t){ .entries = 4, .stack_size = SIZE_MAX / 2 & ~(size_t)0xffff });
	struct seen seen;

	take(iou, &seen);
	io_uring_prep_nop(seen.op->sqe);
	ck_assert_int_eq(iou_async(iou, never, NULL, never, NULL), error);
	ck_assert_int_eq(iou_op_async(iou, seen.op, never, NULL, never, NULL), error);
	ck_assert_uint_eq(stats_of(iou).ops_new, 1);
	ck_assert_int_eq(seen.op->sqe->opcode, IORING_OP_NOP);
	ck_assert_int_eq(seen.op->sqe->fd, -1);
	queue(&seen);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	run_and_free(iou);
}
END_TEST

/* Describing one. */

START_TEST(test_descriptions_know_their_sizes)
{
	struct {
		iou_info_t info;
		uint64_t tail;
	} info = { .info = { .size = sizeof(info.info) - 1, .engine = 77 }, .tail = 88 };
	struct {
		iou_stats_t stats;
		uint64_t tail;
	} stats = { .stats = { .size = 0, .ops_new = 77 }, .tail = 88 };
	iou_t *iou = open_iou(4);

	ck_assert_int_eq(iou_info(iou, &info.info), -EINVAL);
	ck_assert_int_eq(iou_stats(iou, &stats.stats), -EINVAL);
	ck_assert_uint_eq(info.info.engine, 77);
	ck_assert_uint_eq(stats.stats.ops_new, 77);
	info.info.size = sizeof(info);
	stats.stats.size = SIZE_MAX;
	ck_assert_int_eq(iou_info(iou, &info.info), 0);
	ck_assert_int_eq(iou_stats(iou, &stats.stats), 0);
	ck_assert_uint_eq(info.info.size, sizeof(iou_info_t));
	ck_assert_uint_eq(stats.stats.size, sizeof(iou_stats_t));
	ck_assert_uint_eq(info.info.engine, support_has_ring() ? IOU_ENGINE_URING : IOU_ENGINE_THREADS);
	ck_assert_uint_eq(stats.stats.ops_new, 0);
	ck_assert_uint_eq(info.tail, 88);
	ck_assert_uint_eq(stats.tail, 88);
	close_unharmed(iou);
}
END_TEST

/* Calls without a result. */

START_TEST(test_queueing_nothing_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct seen seen;

	iou_op_queue(iou, NULL, never, NULL);
	ck_remembered(iou);
	iou_op_reset(iou, NULL);
	ck_remembered(iou);
	io_uring_prep_nop(take(iou, &seen));
	iou_op_queue(iou, seen.op, NULL, NULL);
	ck_assert_int_eq(iou_pending(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_new, 1);
	ck_remembered(iou);
	queue(&seen);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	close_unharmed(iou);
}
END_TEST

/* Everything that must not be done to an op which is the library's. */
static void meddle(iou_t *iou, iou_op_t *op, int i)
{
	switch (i) {
	case 0:
		iou_op_queue(iou, op, never, NULL);
		break;
	case 1:
		iou_op_reset(iou, op);
		break;
	case 2:
		iou_op_free(iou, op);
		break;
	}
}

/* The op that is queued is left as it is, and comes once. */
START_TEST(test_meddling_with_a_queued_op_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct seen seen;
	char byte = 0;
	int fds[2];

	open_pipe(fds);
	put_bytes(fds[1], "a", 1);
	queue_read(iou, &seen, fds[0], &byte, 1, 0);
	meddle(iou, seen.op, _i);
	ck_assert_int_eq(iou_pending(iou), 1);
	ck_remembered(iou);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 1);
	ck_assert_int_eq(byte, 'a');
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

START_TEST(test_meddling_with_an_op_in_flight_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct seen seen;
	char byte = 0;
	int fds[2];

	open_pipe(fds);
	queue_read(iou, &seen, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	meddle(iou, seen.op, _i);
	ck_remembered(iou);
	put_bytes(fds[1], "b", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 1);
	ck_assert_int_eq(byte, 'b');
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

START_TEST(test_meddling_with_a_job_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct seen seen;
	sem_t sem;

	sem_init(&sem, 0, 0);
	queue_job(iou, &seen, wait_for_sem, &sem);
	meddle(iou, seen.op, _i);
	ck_assert_int_eq(iou_op_async(iou, seen.op, never, NULL, never, NULL), -EINVAL);
	ck_remembered(iou);
	sem_post(&sem);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	close_unharmed(iou);
	sem_destroy(&sem);
}
END_TEST

/* An op that was cancelled before it was submitted: its callback is due. */
START_TEST(test_meddling_with_a_completed_op_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct seen seen;

	queue_nop(iou, &seen, 0);
	ck_assert_int_eq(iou_op_cancel(iou, seen.op), 0);
	meddle(iou, seen.op, _i);
	ck_remembered(iou);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, -ECANCELED);
	close_unharmed(iou);
}
END_TEST

/* In the final callback an op is the program's until it is queued. */
struct twice {
	struct seen seen;
	int what;
};

static int queue_and_meddle(void *data)
{
	struct twice *twice = data;

	queue(&twice->seen);
	meddle(twice->seen.iou, twice->seen.op, twice->what);
	return 0;
}

START_TEST(test_meddling_after_queueing_again_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct twice twice = { .what = _i };

	io_uring_prep_nop(take(iou, &twice.seen));
	iou_op_queue(iou, twice.seen.op, queue_and_meddle, &twice);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&twice.seen, 0);
	ck_remembered(iou);
	close_unharmed(iou);
}
END_TEST

/* A callback that is not the final one. */
static int meddle_more(void *data)
{
	struct twice *twice = data;

	see(&twice->seen);
	if (twice->seen.flags & IORING_CQE_F_MORE) {
		meddle(twice->seen.iou, twice->seen.op, twice->what);
		ck_assert_int_eq(iou_op_async(twice->seen.iou, twice->seen.op, never, NULL, never, NULL), -EINVAL);
		ck_assert_int_eq(iou_op_cancel(twice->seen.iou, twice->seen.op), 0);
	}
	return 0;
}

START_TEST(test_meddling_with_a_multishot_op_is_remembered)
{
	iou_t *iou = open_iou(4);
	struct twice twice = { .what = _i };
	int fds[2];

	open_pipe(fds);
	put_bytes(fds[1], "c", 1);
	io_uring_prep_poll_multishot(take(iou, &twice.seen), fds[0], POLLIN);
	iou_op_queue(iou, twice.seen.op, meddle_more, &twice);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(twice.seen.n_calls, 2);
	ck_assert_int_eq(twice.seen.result, -ECANCELED);
	ck_remembered(iou);
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

static int free_own_op(void *data)
{
	struct seen *seen = data;

	see(seen);
	iou_op_free(seen->iou, seen->op);
	iou_op_free(seen->iou, seen->op);
	return 0;
}

START_TEST(test_freeing_an_op_in_its_final_callback_is_fine)
{
	iou_t *iou = open_iou(4);
	struct seen seen;

	io_uring_prep_nop(take(iou, &seen));
	iou_op_queue(iou, seen.op, free_own_op, &seen);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	ck_assert_uint_eq(n_alive(iou), 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	close_unharmed(iou);
}
END_TEST

/* Remembering. */

static int drain_now(iou_t *iou)
{
	return iou_drain(iou, NULL);
}

static int (*const reporters[])(iou_t *) = { iou_flush, iou_run, turn, drain_now };

START_TEST(test_error_is_told_once_before_anything_else)
{
	iou_t *iou = open_iou(4);
	struct seen nop, post = { .iou = iou };

	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	iou_op_queue(iou, NULL, never, NULL);
	iou_op_queue(iou, nop.op, never, NULL);
	ck_assert_int_eq(reporters[_i](iou), -EINVAL);
	ck_assert_int_eq(nop.n_calls + post.n_calls, 0);
	ck_assert_uint_eq(stats_of(iou).ops_queued, 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&nop, 0);
	ck_assert_int_eq(post.n_calls, 1);
	close_unharmed(iou);
}
END_TEST

static int err_in_callback(void *data)
{
	struct seen *seen = data;

	iou_op_queue(seen->iou, NULL, never, NULL);
	return see(seen);
}

static int err_and_flush(void *data)
{
	struct seen *seen = data;

	iou_op_queue(seen->iou, NULL, never, NULL);
	ck_remembered(seen->iou);
	return see(seen);
}

/* The run goes on; the flush in the callback, or the next run, tells. */
START_TEST(test_error_in_a_callback_is_told_by_the_next_call)
{
	iou_t *iou = open_iou(4);
	struct seen first, second, third;

	queue_nop(iou, &third, 0);
	io_uring_prep_nop(take(iou, &first));
	iou_op_queue(iou, first.op, err_and_flush, &first);
	io_uring_prep_nop(take(iou, &second));
	iou_op_queue(iou, second.op, err_in_callback, &second);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 3);
	ck_assert_int_eq(iou_run(iou), -EINVAL);
	ck_assert_int_eq(iou_run(iou), 0);
	close_unharmed(iou);
}
END_TEST

/* A quit that was asked for is not used up by it. */
START_TEST(test_error_is_told_before_a_quit)
{
	iou_t *iou = open_iou(4);
	struct seen nop;

	queue_nop(iou, &nop, 0);
	iou_op_queue(iou, NULL, never, NULL);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_run(iou), -EINVAL);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(nop.n_calls, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&nop, 0);
	close_unharmed(iou);
}
END_TEST

/* Cancelling what cannot be cancelled. */

static int cancel_itself(void *data)
{
	struct seen *seen = data;

	see(seen);
	ck_assert_int_eq(iou_op_cancel(seen->iou, seen->op), -ENOENT);
	ck_assert_int_eq(iou_cancel_id(seen->iou, seen->op->sqe->user_data), -ENOENT);
	return 0;
}

START_TEST(test_cancel_of_what_has_ended_is_enoent)
{
	iou_t *iou = open_iou(4);
	struct seen seen;
	__u64 identity;

	io_uring_prep_nop(take(iou, &seen));
	ck_assert_int_eq(iou_cancel_id(iou, seen.op->sqe->user_data), -ENOENT);
	iou_op_queue(iou, seen.op, cancel_itself, &seen);
	identity = seen.op->sqe->user_data;
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	ck_assert_int_eq(iou_op_cancel(iou, seen.op), -ENOENT);
	ck_assert_int_eq(iou_cancel_id(iou, identity), -ENOENT);
	ck_assert_int_eq(iou_cancel_all(iou), 0);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_cancel_of_garbage_is_enoent_and_hits_nobody)
{
	const __u64 garbage[] = { 0, 1, 2, 255, 256, 1U << 24, 1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - 1 };
	iou_t *iou = open_iou(4);
	struct seen seen;

	queue_nop(iou, &seen, 0);
	for (size_t i = 0; i < N_OF(garbage); i++)
		ck_assert_int_eq(iou_cancel_id(iou, garbage[i]), -ENOENT);
	for (int bit = 0; bit < 64; bit++)
		ck_assert_int_eq(iou_cancel_id(iou, seen.op->sqe->user_data ^ 1ULL << bit), -ENOENT);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 0);
	close_unharmed(iou);
}
END_TEST

struct gate {
	sem_t is_running, may_end;
};

static int pass_gate(void *data)
{
	struct gate *gate = data;

	sem_post(&gate->is_running);
	return wait_for_sem(&gate->may_end);
}

START_TEST(test_cancel_of_running_work_or_a_due_callback_is_ealready)
{
	iou_t *iou = open_iou(4);
	struct seen job, nop;
	struct gate gate;

	sem_init(&gate.is_running, 0, 0);
	sem_init(&gate.may_end, 0, 0);
	queue_job(iou, &job, pass_gate, &gate);
	wait_for_sem(&gate.is_running);
	ck_assert_int_eq(iou_op_cancel(iou, job.op), -EALREADY);
	ck_assert_int_eq(iou_cancel_id(iou, job.op->sqe->user_data), -EALREADY);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_op_cancel(iou, nop.op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, nop.op), -EALREADY);
	ck_assert_int_eq(iou_cancel_id(iou, nop.op->sqe->user_data), -EALREADY);
	ck_assert_int_eq(iou_cancel_all(iou), 0);
	sem_post(&gate.may_end);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&job, 0);
	expect(&nop, -ECANCELED);
	close_unharmed(iou);
	sem_destroy(&gate.is_running);
	sem_destroy(&gate.may_end);
}
END_TEST

/* The wrong place. */

struct elsewhere {
	iou_t *iou;
	int flush, run, run_once, drain, resize;
};

static void *call_elsewhere(void *data)
{
	struct elsewhere *elsewhere = data;
	const struct timespec zero = { 0 };

	elsewhere->flush = iou_flush(elsewhere->iou);
	elsewhere->run = iou_run(elsewhere->iou);
	elsewhere->run_once = iou_run_once(elsewhere->iou, &zero);
	elsewhere->drain = iou_drain(elsewhere->iou, &zero);
	elsewhere->resize = iou_resize(elsewhere->iou, 64);
	return NULL;
}

/* An error that is remembered is for the loop thread, too. */
START_TEST(test_other_threads_get_eperm)
{
	struct elsewhere elsewhere = { .iou = open_iou(4) };
	struct seen nop;

	ck_assert_int_eq(iou_flush(elsewhere.iou), 0);
	queue_nop(elsewhere.iou, &nop, 0);
	iou_op_queue(elsewhere.iou, NULL, never, NULL);
	pthread_join(start_thread(call_elsewhere, &elsewhere), NULL);
	ck_assert_int_eq(elsewhere.flush, -EPERM);
	ck_assert_int_eq(elsewhere.run, -EPERM);
	ck_assert_int_eq(elsewhere.run_once, -EPERM);
	ck_assert_int_eq(elsewhere.drain, -EPERM);
	ck_assert_int_eq(elsewhere.resize, -EPERM);
	ck_assert_uint_eq(stats_of(elsewhere.iou).ops_queued, 1);
	ck_remembered(elsewhere.iou);
	ck_assert_int_eq(iou_run(elsewhere.iou), 0);
	expect(&nop, 0);
	close_unharmed(elsewhere.iou);
}
END_TEST

static int run_nested(void *data)
{
	struct seen *seen = data;

	ck_assert_int_eq(iou_run(seen->iou), -EBUSY);
	ck_assert_int_eq(iou_run_once(seen->iou, NULL), -EBUSY);
	ck_assert_int_eq(turn(seen->iou), -EBUSY);
	ck_assert_int_eq(iou_drain(seen->iou, NULL), -EBUSY);
	return see(seen);
}

static int foreign_nested(const struct io_uring_cqe *cqe, void *data)
{
	ck_assert_uint_eq(cqe->user_data, 5);
	return run_nested(data);
}

/* Without a ring there is none. */
static void queue_foreign(iou_t *iou)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(iou_ring(iou));

	ck_assert_int_eq(sqe != NULL, support_has_ring());
	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	sqe->user_data = 5;
}

/* From an op, a job, a post, and a completion that is none of ours. */
START_TEST(test_runs_within_a_run_are_ebusy)
{
	struct seen op, job, post, foreign = { 0 };
	iou_t *iou = open_with((iou_config_t){ .foreign_cqe = foreign_nested, .foreign_cqe_data = &foreign });
	int zero = 0;

	post = job = foreign = (struct seen){ .iou = iou };
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_foreign(iou);
	io_uring_prep_nop(take(iou, &op));
	iou_op_queue(iou, op.op, run_nested, &op);
	ck_assert_int_eq(iou_async(iou, return_int, &zero, run_nested, &job), 0);
	ck_assert_int_eq(iou_post(iou, run_nested, &post), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&op, 0);
	ck_assert_int_eq(job.n_calls, 1);
	ck_assert_int_eq(post.n_calls, 1);
	ck_assert_int_eq(foreign.n_calls, support_has_ring());
	close_unharmed(iou);
}
END_TEST

static const struct timespec no_times[] = {
	{ .tv_sec = -1 },       { .tv_nsec = -1 }, { .tv_nsec = 1000000000 }, { .tv_sec = 1, .tv_nsec = LONG_MAX },
	{ .tv_sec = LONG_MIN },
};

START_TEST(test_what_is_no_time_is_einval)
{
	iou_t *iou = open_iou(4);
	struct seen nop;

	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run_once(iou, &no_times[_i]), -EINVAL);
	ck_assert_int_eq(iou_drain(iou, &no_times[_i]), -EINVAL);
	ck_assert_int_eq(nop.n_calls, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_sec = LONG_MAX, .tv_nsec = 999999999 }), 1);
	expect(&nop, 0);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ .tv_sec = LONG_MAX }), 0);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_release_without_hold_is_einval)
{
	iou_t *iou = open_iou(4);

	ck_assert_int_eq(iou_release(iou), -EINVAL);
	ck_assert_int_eq(iou_hold(iou), 0);
	ck_assert_int_eq(iou_pending(iou), 1);
	ck_assert_int_eq(iou_release(iou), 0);
	ck_assert_int_eq(iou_release(iou), -EINVAL);
	ck_assert_int_eq(iou_pending(iou), 0);
	close_unharmed(iou);
}
END_TEST

/* Resizing. */

static void ck_no_resize(iou_t *iou, unsigned entries, int error)
{
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_resize(iou, entries), error);
	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_eq(info.sq_entries, 4);
}

START_TEST(test_resize_to_absurd_sizes_is_einval)
{
	iou_t *iou = open_iou(4);

	ck_no_resize(iou, 0, -EINVAL);
	ck_no_resize(iou, 32769, -EINVAL);
	ck_no_resize(iou, UINT_MAX, -EINVAL);
	ck_unharmed(iou);
	ck_no_resize(iou, 0, -EINVAL);
	close_unharmed(iou);
}
END_TEST

/* Such a ring is not resized in place by any kernel. */
START_TEST(test_resize_that_would_lose_something_is_ebusy)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 4, .flags = IOU_ANY_THREAD });
	struct seen seen;
	char byte = 0;
	int fds[2];

	open_pipe(fds);
	queue_read(iou, &seen, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_no_resize(iou, 8, -EBUSY);
	put_bytes(fds[1], "d", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&seen, 1);
	ck_assert_int_eq(io_uring_register_files(iou_ring(iou), fds, 2), 0);
	ck_no_resize(iou, 8, -EBUSY);
	ck_assert_int_eq(io_uring_unregister_files(iou_ring(iou)), 0);
	ck_assert_int_eq(iou_resize(iou, 8), 0);
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

/* The end. */

struct ending {
	iou_t *iou;
	iou_op_t *op;
	int n_calls;
	int post; /* what iou_post() and iou_hold() are to say */
};

static int try_everything(void *data)
{
	struct ending *ending = data;
	iou_t *iou = ending->iou;

	ending->n_calls++;
	errno = 0;
	ck_assert_ptr_null(iou_op_new(iou));
	ck_assert_int_eq(errno, ESHUTDOWN);
	ck_assert_int_eq(iou_async(iou, never, NULL, never, NULL), -ESHUTDOWN);
	ck_assert_int_eq(iou_op_async(iou, ending->op, never, NULL, never, NULL), -ESHUTDOWN);
	ck_assert_int_eq(iou_hold(iou), ending->post);
	ck_assert_int_eq(iou_release(iou), ending->post ? -EINVAL : 0);
	ck_assert_int_eq(iou_post(iou, count, &ending->n_calls), ending->post);
	ck_assert_int_eq(iou_run(iou), -EBUSY);
	ck_assert_int_eq(turn(iou), -EBUSY);
	ck_assert_int_eq(iou_drain(iou, NULL), -EBUSY);
	ck_assert_int_eq(iou_resize(iou, 16), -EBUSY);
	return -1;
}

static void queue_ending(struct ending *ending, iou_t *iou, int post)
{
	*ending = (struct ending){ .iou = iou, .op = iou_op_new(iou), .post = post };
	io_uring_prep_nop(ending->op->sqe);
	iou_op_queue(iou, ending->op, try_everything, ending);
}

START_TEST(test_draining_starts_nothing)
{
	iou_t *iou = open_iou(4);
	struct ending ending;

	queue_ending(&ending, iou, 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(ending.n_calls, 2);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_freeing_starts_nothing)
{
	iou_t *iou = open_iou(4);
	struct ending ending;

	if (_i)
		ck_assert_int_eq(iou_flush(iou), 0);
	queue_ending(&ending, iou, -ESHUTDOWN);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(ending.n_calls, 1);
}
END_TEST

static int free_twice(void *data)
{
	struct seen *seen = data;

	see(seen);
	ck_assert_ptr_null(iou_free(seen->iou));
	ck_assert_ptr_null(iou_free(seen->iou));
	return 0;
}

START_TEST(test_freeing_twice_in_a_callback_frees_once)
{
	int n = support_descriptors();
	iou_t *iou = open_iou(4);
	struct seen first, second;

	queue_nop(iou, &first, 0);
	io_uring_prep_nop(take(iou, &second));
	iou_op_queue(iou, second.op, free_twice, &second);
	ck_assert_int_eq(iou_run(iou), -ECANCELED);
	expect(&first, 0);
	expect(&second, 0);
	ck_assert_int_eq(support_settle(support_descriptors, n), n);
}
END_TEST

struct freeing {
	iou_t *iou, *result;
	int error;
};

static void *free_elsewhere(void *data)
{
	struct freeing *freeing = data;

	errno = 0;
	freeing->result = iou_free(freeing->iou);
	freeing->error = errno;
	return NULL;
}

static void ck_is_not_freed_elsewhere(iou_t *iou)
{
	struct freeing freeing = { .iou = iou };
	int n = support_descriptors();

	pthread_join(start_thread(free_elsewhere, &freeing), NULL);
	ck_assert_ptr_eq(freeing.result, iou);
	ck_assert_int_eq(freeing.error, EBUSY);
	ck_assert_int_eq(support_descriptors(), n);
}

START_TEST(test_free_elsewhere_is_ebusy_while_ops_are_in_flight)
{
	iou_t *iou = open_iou(4);
	struct seen read, nop;
	char byte = 0;
	int fds[2];

	open_pipe(fds);
	queue_read(iou, &read, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &nop, 0);
	ck_is_not_freed_elsewhere(iou);
	ck_assert_int_eq(read.n_calls + nop.n_calls, 0);
	ck_assert_int_eq(iou_pending(iou), 2);
	put_bytes(fds[1], "e", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&read, 1);
	expect(&nop, 0);
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

static int be_freed_elsewhere(void *data)
{
	struct seen *seen = data;

	ck_is_not_freed_elsewhere(seen->iou);
	return see(seen);
}

START_TEST(test_free_elsewhere_is_ebusy_during_a_run)
{
	iou_t *iou = open_iou(4);
	struct seen post = { .iou = iou };

	ck_assert_int_eq(iou_post(iou, be_freed_elsewhere, &post), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(post.n_calls, 1);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_free_elsewhere_of_an_idle_instance)
{
	int n = support_descriptors();
	struct freeing freeing = { .iou = open_iou(4) };

	ck_unharmed(freeing.iou);
	freeing.result = freeing.iou;
	pthread_join(start_thread(free_elsewhere, &freeing), NULL);
	ck_assert_ptr_null(freeing.result);
	ck_assert_int_eq(support_settle(support_descriptors, n), n);
}
END_TEST

/* Operations that the kernel refuses. */

static const struct {
	unsigned opcode, flags;
	int result;
} refused[] = {
	{ 255, 0, -EINVAL },
	{ IORING_OP_NOP, 0x80, -EINVAL },
	{ IORING_OP_READ, 0, -EBADF },
	{ IORING_OP_READ, IOSQE_FIXED_FILE, -EBADF },
	{ IORING_OP_READ, IOSQE_BUFFER_SELECT, -EBADF },
	{ IORING_OP_LINK_TIMEOUT, 0, -EINVAL },
};

START_TEST(test_bad_operation_is_a_result_of_its_own)
{
	iou_t *iou = open_iou(4);
	struct seen bad, good;
	char byte = 0;

	take(iou, &bad);
	prepare(bad.op, refused[_i].opcode, -1, refused[_i].opcode == IORING_OP_READ ? &byte : NULL, 0, 0);
	bad.op->sqe->flags = (__u8)refused[_i].flags;
	queue(&bad);
	queue_nop(iou, &good, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&bad, refused[_i].result);
	expect(&good, 0);
	close_unharmed(iou);
}
END_TEST

START_TEST(test_identities_cannot_be_changed)
{
	iou_t *iou = open_iou(4);
	struct seen poll, update;
	int fds[2];

	open_pipe(fds);
	io_uring_prep_poll_add(take(iou, &poll), fds[0], POLLIN);
	queue(&poll);
	io_uring_prep_poll_update(take(iou, &update), poll.op->sqe->user_data, 5, 0, IORING_POLL_UPDATE_USER_DATA);
	queue(&update);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(&update, -EINVAL);
	ck_assert_int_eq(poll.n_calls, 0);
	put_bytes(fds[1], "f", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&poll, POLLIN);
	close_unharmed(iou);
	close_pipe(fds);
}
END_TEST

/* Descriptors. */

START_TEST(test_fd_without_a_descriptor_to_spare_is_emfile)
{
	iou_t *iou = open_iou(4);
	struct rlimit limit, none;
	int fd;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	fd = iou_fd(iou);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(fd, -EMFILE);
	ck_assert_int_ge(iou_fd(iou), 0);
	close_unharmed(iou);
}
END_TEST

static void add_loop(TCase *tcase, const TTest *test, size_t n)
{
	tcase_add_loop_test(tcase, test, 0, (int)n);
}

static void add_loops(Suite *suite)
{
	TCase *tcase = tcase_create("each");

	suite_add_tcase(suite, tcase);
	add_loop(tcase, test_values_out_of_range_are_einval, N_OF(bad_configs));
	add_loop(tcase, test_meddling_with_a_queued_op_is_remembered, 3);
	add_loop(tcase, test_meddling_with_an_op_in_flight_is_remembered, 3);
	add_loop(tcase, test_meddling_with_a_job_is_remembered, 3);
	add_loop(tcase, test_meddling_with_a_completed_op_is_remembered, 3);
	add_loop(tcase, test_meddling_after_queueing_again_is_remembered, 3);
	add_loop(tcase, test_meddling_with_a_multishot_op_is_remembered, 3);
	add_loop(tcase, test_error_is_told_once_before_anything_else, N_OF(reporters));
	add_loop(tcase, test_what_is_no_time_is_einval, N_OF(no_times));
	add_loop(tcase, test_freeing_starts_nothing, 2);
	add_loop(tcase, test_bad_operation_is_a_result_of_its_own, N_OF(refused));
}

Suite *suite(void)
{
	Suite *suite = suite_create("bad input");

	ADD_CASE(suite, "arguments", test_without_an_instance_nothing_is_done,
		 test_pointers_that_are_missing_give_einval_in_errno, test_missing_arguments_are_told_at_once,
		 test_job_needs_no_completion_callback, test_entries_have_bounds, test_sizes_that_are_no_configs,
		 test_absurd_sizes_are_not_believed, test_worker_that_cannot_be_started_is_eagain,
		 test_descriptions_know_their_sizes, test_fd_without_a_descriptor_to_spare_is_emfile);
	ADD_CASE(suite, "misuse", test_queueing_nothing_is_remembered, test_freeing_an_op_in_its_final_callback_is_fine,
		 test_error_in_a_callback_is_told_by_the_next_call, test_error_is_told_before_a_quit,
		 test_cancel_of_what_has_ended_is_enoent, test_cancel_of_garbage_is_enoent_and_hits_nobody,
		 test_cancel_of_running_work_or_a_due_callback_is_ealready, test_other_threads_get_eperm,
		 test_runs_within_a_run_are_ebusy, test_release_without_hold_is_einval,
		 test_resize_to_absurd_sizes_is_einval, test_draining_starts_nothing,
		 test_freeing_twice_in_a_callback_frees_once, test_free_elsewhere_is_ebusy_while_ops_are_in_flight,
		 test_free_elsewhere_is_ebusy_during_a_run, test_free_elsewhere_of_an_idle_instance,
		 test_identities_cannot_be_changed);
	add_loops(suite);
	ADD_RING_CASE(suite, "ring", test_environment_overrides_auto_alone,
		      test_resize_that_would_lose_something_is_ebusy);
	return suite;
}
