/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <semaphore.h>
#include <unistd.h>

#define N_ROUNDS 50
/* An upper bound; nothing takes as long. */
#define LONG_S 20

static const struct timespec at_once;
static iou_t *iou;
static int pipe_fds[2];
static char buffer[16];

/* What came of an op: how often it was called, and its last result. */
struct call {
	iou_op_t *op;
	int n, result, order;
};

static int n_calls;

static int note(void *data)
{
	struct call *it = data;

	it->n++;
	it->result = it->op ? it->op->result : 0;
	it->order = n_calls++;
	return 0;
}

static void set_up(void)
{
	iou = iou_new(4);
	ck_assert_ptr_nonnull(iou);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	n_calls = 0;
}

static void tear_down(void)
{
	iou_free(iou);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* Another instance than the usual one. */
static void set_up_with(iou_config_t config)
{
	config.size = sizeof(config);
	iou_free(iou);
	iou = iou_new_with(&config);
	ck_assert_ptr_nonnull(iou);
}

static iou_op_t *new_op(struct call *it)
{
	*it = (struct call){ .op = iou_op_new(iou) };
	ck_assert_ptr_nonnull(it->op);
	return it->op;
}

static void queue(struct call *it)
{
	iou_op_queue(iou, it->op, note, it);
}

static void queue_nop(struct call *it)
{
	io_uring_prep_nop(new_op(it)->sqe);
	queue(it);
}

static void queue_read(struct call *it)
{
	io_uring_prep_read(new_op(it)->sqe, pipe_fds[0], buffer, 1, 0);
	queue(it);
}

static void feed(void)
{
	ck_assert_int_eq(write(pipe_fds[1], "x", 1), 1);
}

static void check_was_called(const struct call *it, int result)
{
	ck_assert_int_eq(it->n, 1);
	ck_assert_int_eq(it->result, result);
}

/* Deadlines. */

static const struct {
	struct timespec timeout;
	int result;
} timeouts[] = {
	{ { 0, 0 }, 0 },
	{ { 0, NS_PER_S - 1 }, 0 },
	{ { 1000000, 1 }, 0 },
	{ { 0, NS_PER_S }, -EINVAL },
	{ { 0, -1 }, -EINVAL },
	{ { -1, 0 }, -EINVAL },
	{ { -1, -1 }, -EINVAL },
	{ { 1, LONG_MAX }, -EINVAL },
	{ { 1, LONG_MIN }, -EINVAL },
};

START_TEST(test_timeout_that_is_no_time_is_an_error)
{
	struct deadline deadline;

	ck_assert_int_eq(iou__deadline_in(&timeouts[_i].timeout, &deadline), timeouts[_i].result);
}
END_TEST

START_TEST(test_no_timeout_is_no_deadline)
{
	struct deadline deadline;
	struct timespec left;

	ck_assert_int_eq(iou__deadline_in(NULL, &deadline), 0);
	ck_assert(deadline.is_none);
	ck_assert_ptr_null(iou__deadline_left(&deadline, &left));
}
END_TEST

START_TEST(test_deadline_beyond_the_end_of_time_is_none)
{
	const struct timespec timeout = { sizeof(time_t) == 8 ? (time_t)INT64_MAX : INT32_MAX, NS_PER_S - 1 };
	struct timespec now, latest = { .tv_nsec = NS_PER_S - 1 }, left;
	struct deadline deadline;

	ck_assert_int_eq(iou__deadline_in(&timeout, &deadline), 0);
	ck_assert_ptr_null(iou__deadline_left(&deadline, &left));
	/* Those that are just before it, and just not: nothing may overflow. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (time_t i = 0; i < 5; i++) {
		latest.tv_sec = timeout.tv_sec - now.tv_sec - i;
		ck_assert_int_eq(iou__deadline_in(&latest, &deadline), 0);
		if (iou__deadline_left(&deadline, &left))
			ck_assert_int_ge(left.tv_sec, latest.tv_sec - LONG_S);
	}
}
END_TEST

static int64_t ns(const struct timespec *time)
{
	return (int64_t)time->tv_sec * NS_PER_S + time->tv_nsec;
}

/* Whatever the fraction of the second it is now. */
START_TEST(test_what_is_left_is_a_time_and_becomes_less)
{
	for (long nsec = 0; nsec < NS_PER_S; nsec += NS_PER_S / 16 - 1) {
		struct timespec timeout = { 100, nsec }, left;
		int64_t last = ns(&timeout);
		struct deadline deadline;

		ck_assert_int_eq(iou__deadline_in(&timeout, &deadline), 0);
		ck_assert(deadline.at.tv_nsec >= 0 && deadline.at.tv_nsec < NS_PER_S);
		for (int i = 0; i < 10; i++, last = ns(&left)) {
			ck_assert_ptr_eq(iou__deadline_left(&deadline, &left), &left);
			ck_assert(left.tv_nsec >= 0 && left.tv_nsec < NS_PER_S);
			ck_assert_int_le(ns(&left), last);
			ck_assert_int_gt(ns(&left), ns(&timeout) - LONG_S * NS_PER_S);
		}
	}
}
END_TEST

START_TEST(test_nothing_is_left_of_a_deadline_that_has_passed)
{
	struct deadline deadline;
	struct timespec left;

	ck_assert_int_eq(iou__deadline_in(&at_once, &deadline), 0);
	for (int i = 0; i < 3; i++, deadline.at.tv_sec -= i) {
		iou__deadline_left(&deadline, &left);
		ck_assert(iou__time_is_zero(&left));
	}
	ck_assert(!iou__time_is_zero(NULL));
	ck_assert(!iou__time_is_zero(&(struct timespec){ 0, 1 }));
	ck_assert(!iou__time_is_zero(&(struct timespec){ 1, 0 }));
}
END_TEST

/* Ownership, and what runs ask first. */

static void *try_to_run(void *data)
{
	int *results = data;

	results[0] = iou_flush(iou);
	results[1] = iou_run(iou);
	results[2] = iou__may_own(iou);
	return NULL;
}

START_TEST(test_first_who_flushes_is_the_owner)
{
	int results[3] = { 0 };
	pthread_t thread;

	ck_assert(iou__may_own(iou));
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(iou->is_bound);
	ck_assert_int_eq(iou->owner, gettid());
	pthread_create(&thread, NULL, try_to_run, results);
	pthread_join(thread, NULL);
	ck_assert_int_eq(results[0], -EPERM);
	ck_assert_int_eq(results[1], -EPERM);
	ck_assert_int_eq(results[2], false);
}
END_TEST

START_TEST(test_instance_for_any_thread_has_no_owner)
{
	int results[3] = { -1, -1, 0 };
	pthread_t thread;

	set_up_with((iou_config_t){ .flags = IOU_ANY_THREAD });
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou->owner, 0);
	pthread_create(&thread, NULL, try_to_run, results);
	pthread_join(thread, NULL);
	ck_assert_int_eq(results[0] | results[1], 0);
	ck_assert_int_eq(results[2], true);
}
END_TEST

START_TEST(test_run_begins_once)
{
	ck_assert_int_eq(iou__begin(iou), 0);
	ck_assert(iou->is_running);
	ck_assert_int_eq(iou__begin(iou), -EBUSY);
	ck_assert_int_eq(iou__end(iou, 17), 17);
	ck_assert(!iou->is_running);
	ck_assert_int_eq(iou__begin(iou), 0);
	iou__end(iou, 0);
}
END_TEST

START_TEST(test_misuse_is_told_once_and_before_anything_else)
{
	struct call nop;

	queue_nop(&nop);
	iou->has_misuse = true;
	ck_assert_int_eq(iou__begin(iou), -EINVAL);
	ck_assert(!iou->is_running);
	ck_assert_int_eq(nop.n, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(nop.n, 1);
}
END_TEST

START_TEST(test_engine_that_has_failed_is_not_used_again)
{
	struct call nop;
	uint64_t n_enters;

	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(&nop);
	n_enters = iou->engine->n_enters;
	iou->error = -EBADR;
	ck_assert_int_eq(iou_flush(iou), -EBADR);
	ck_assert_int_eq(iou_run(iou), -EBADR);
	ck_assert_int_eq(iou_run_once(iou, &at_once), -EBADR);
	ck_assert_int_eq(iou_resize(iou, 8), -EBADR);
	ck_assert_uint_eq(iou->engine->n_enters, n_enters);
	iou = iou_free(iou);
	check_was_called(&nop, -ECANCELED);
}
END_TEST

/* An engine that has trouble: the kernel's, but for one verb. */

static const struct engine_verbs *kernels_verbs;
static struct engine_verbs verbs;
static int trouble; /* -errno */
static int n_troubles;

static int enter_with_trouble(struct engine *engine, bool wait, const struct timespec *timeout)
{
	if (n_troubles == 0)
		return kernels_verbs->enter(engine, wait, timeout);
	n_troubles--;
	return trouble;
}

static int resize_with_trouble(struct engine *engine, unsigned entries, bool is_idle)
{
	(void)engine;
	(void)entries;
	(void)is_idle;
	return trouble;
}

static void make_trouble(int error, int n)
{
	trouble = error;
	n_troubles = n;
	kernels_verbs = iou->engine->verbs;
	verbs = *kernels_verbs;
	verbs.enter = enter_with_trouble;
	verbs.resize = resize_with_trouble;
	iou->engine->verbs = &verbs;
}

static const int passing_troubles[] = { -EAGAIN, -EBUSY, -EINTR, -ETIME };

START_TEST(test_trouble_that_passes_is_nobody_s)
{
	struct call nops[2];

	ck_assert_int_eq(iou_flush(iou), 0);
	make_trouble(passing_troubles[_i], 3);
	queue_nop(&nops[0]);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(nops[0].n, 1);
	/* A flush does not try for ever, and what it has left goes with the next. */
	n_troubles = 1000000;
	queue_nop(&nops[1]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_gt(n_troubles, 0);
	ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_QUEUED), 1);
	n_troubles = 0;
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(nops[1].n, 1);
}
END_TEST

START_TEST(test_ring_that_was_lost_while_it_was_resized_is_not_used_again)
{
	struct call nop;

	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(&nop);
	make_trouble(-ENOTRECOVERABLE, 0);
	ck_assert_int_eq(iou_resize(iou, 8), -ENOTRECOVERABLE);
	ck_assert_int_eq(iou_run(iou), -ENOTRECOVERABLE);
	ck_assert_int_eq(iou_resize(iou, 8), -ENOTRECOVERABLE);
	iou = iou_free(iou);
	check_was_called(&nop, -ECANCELED);
}
END_TEST

START_TEST(test_op_that_is_in_its_final_callback_is_not_pending)
{
	struct call nop;

	queue_nop(&nop);
	ck_assert_uint_eq(iou__n_ops_pending(iou), 1);
	iou->current = container_of(nop.op, struct op, pub);
	ck_assert_uint_eq(iou__n_ops_pending(iou), 0);
	iou->current = NULL;
	ck_assert(iou__is_pending(iou));
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert(!iou__is_pending(iou));
	iou_hold(iou);
	ck_assert(iou__is_pending(iou));
	iou_release(iou);
}
END_TEST

/* The wake-up. */

static unsigned n_own_staged(void)
{
	unsigned n = 0;

	for (struct node *node = iou__queue_first(&iou->stage.own); node;
	     node = iou__queue_after(&iou->stage.own, node))
		n++;
	return n;
}

static void *post_to_sleeper(void *data)
{
	int64_t deadline = support_now_ms() + LONG_S * 1000;

	while (!iou__mailbox_is_asleep(&iou->mailbox) && support_now_ms() < deadline)
		sched_yield();
	ck_assert_int_eq(iou_post(iou, note, data), 0);
	return NULL;
}

/* Another thread's post arrives at a loop that has gone to sleep. */
static void check_is_woken(void)
{
	const struct timespec long_time = { .tv_sec = LONG_S };
	struct call post = { 0 };
	uint64_t n_wakeups = iou->n_wakeups;
	pthread_t thread;
	int r;

	iou_hold(iou);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_to_sleeper, &post), 0);
	r = iou_run_once(iou, &long_time);
	pthread_join(thread, NULL);
	iou_release(iou);
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(post.n, 1);
	/* The completion of the poll may come after the mail. */
	iou_run_once(iou, &at_once);
	ck_assert_uint_eq(iou->n_wakeups, n_wakeups + 1);
}

START_TEST(test_wake_up_is_armed_once)
{
	iou__own_arm_wake(iou);
	iou__own_arm_wake(iou);
	ck_assert_uint_eq(n_own_staged(), 1);
	for (int i = 0; i < N_ROUNDS; i++)
		check_is_woken();
	/* It is the only thing that has been submitted. */
	ck_assert_uint_eq(iou->engine->n_submitted, 1);
}
END_TEST

static void cancel_any(void)
{
	struct call cancel;

	io_uring_prep_cancel64(new_op(&cancel)->sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	queue(&cancel);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(cancel.n, 1);
	ck_assert_int_gt(cancel.result, 0);
	/* That the wake-up has been cancelled may come later, and would end a wait. */
	while (iou->is_wake_armed)
		iou_run_once(iou, &at_once);
}

START_TEST(test_wake_up_survives_that_the_program_cancels_everything)
{
	check_is_woken();
	for (int i = 0; i < N_ROUNDS; i++) {
		cancel_any();
		check_is_woken();
	}
}
END_TEST

START_TEST(test_wake_up_survives_iou_cancel_all)
{
	struct call read;

	check_is_woken();
	for (int i = 0; i < N_ROUNDS; i++) {
		queue_read(&read);
		ck_assert_int_eq(iou_flush(iou), 0);
		ck_assert_int_eq(iou_cancel_all(iou), 1);
		ck_assert_int_eq(iou_run(iou), 0);
		check_was_called(&read, -ECANCELED);
		check_is_woken();
	}
}
END_TEST

START_TEST(test_wake_up_survives_a_resize)
{
	set_up_with((iou_config_t){ .entries = 4, .flags = _i ? IOU_ANY_THREAD : 0 });
	check_is_woken();
	for (unsigned entries = 8; entries <= 64; entries *= 2) {
		ck_assert_int_eq(iou_resize(iou, entries), 0);
		check_is_woken();
	}
}
END_TEST

START_TEST(test_without_multishot_the_wake_up_is_armed_each_time)
{
	iou->has_no_multishot_poll = true;
	for (int i = 0; i < N_ROUNDS; i++)
		check_is_woken();
	ck_assert_uint_eq(iou->engine->n_submitted, N_ROUNDS);
	ck_assert_uint_eq(iou->wake->sqe.len & IORING_POLL_ADD_MULTI, 0);
}
END_TEST

START_TEST(test_multishot_that_is_refused_is_not_tried_again)
{
	const struct cqe refused = { .res = -EINVAL };

	iou__own_arm_wake(iou);
	ck_assert_uint_ne(iou->wake->sqe.len & IORING_POLL_ADD_MULTI, 0);
	iou__queue_pop(&iou->stage.own);
	iou__own_completed(iou, iou->wake, &refused);
	ck_assert(iou->has_no_multishot_poll);
	ck_assert(!iou->is_wake_armed);
	ck_assert_uint_eq(iou->n_wakeups, 0);
	check_is_woken();
	ck_assert_uint_eq(iou->wake->sqe.len & IORING_POLL_ADD_MULTI, 0);
}
END_TEST

START_TEST(test_wake_up_that_is_staged_is_not_forgotten)
{
	iou__own_arm_wake(iou);
	iou__own_forget_wake(iou);
	iou__own_arm_wake(iou);
	ck_assert_uint_eq(n_own_staged(), 1);
	ck_assert_int_eq(iou_flush(iou), 0);
	iou__own_forget_wake(iou);
	ck_assert(!iou->is_wake_armed);
}
END_TEST

/* Ring messages can look like ours. */
START_TEST(test_forged_completion_does_not_stage_the_wake_up_twice)
{
	const struct cqe forged = { .user_data = iou->wake->identity, .res = -ECANCELED };

	iou__own_arm_wake(iou);
	iou__own_completed(iou, iou->wake, &forged);
	iou__own_arm_wake(iou);
	ck_assert_uint_eq(n_own_staged(), 1);
	check_is_woken();
}
END_TEST

START_TEST(test_wake_up_without_a_descriptor_is_not_tried_again)
{
	close(iou->mailbox.fd);
	ck_assert_int_eq(iou_hold(iou), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 }), 0);
	ck_assert(iou->mailbox.is_deaf);
	ck_assert_uint_eq(iou->engine->n_submitted, 1);
	ck_assert_int_eq(iou_release(iou), 0);
	/* Its number may be another's by the time this is freed. */
	iou->mailbox.fd = -1;
}
END_TEST

START_TEST(test_wait_for_others_has_a_bound_that_depends_on_hearing)
{
	const struct timespec short_time = { .tv_nsec = 1 }, long_time = { .tv_sec = LONG_S };

	/* Nobody has anything to say. */
	ck_assert_ptr_eq(iou__longest_wait(iou, &long_time), &long_time);
	ck_assert_ptr_null(iou__longest_wait(iou, NULL));
	ck_assert_int_eq(iou_hold(iou), 0);
	ck_assert_ptr_eq(iou__longest_wait(iou, &short_time), &short_time);
	ck_assert_int_ge(iou__longest_wait(iou, NULL)->tv_sec, 1);
	ck_assert_int_lt(iou__longest_wait(iou, &long_time)->tv_sec, LONG_S);
	ck_assert_int_eq(iou_release(iou), 0);
	iou->mailbox.is_deaf = true;
	ck_assert_ptr_eq(iou__longest_wait(iou, &short_time), &short_time);
	ck_assert_int_eq(iou__longest_wait(iou, NULL)->tv_sec, 0);
}
END_TEST

/* The other requests of our own. */

START_TEST(test_own_requests_are_recycled_and_the_program_never_sees_them)
{
	uint32_t n_own = iou__ops_n(&iou->ops, OP_OWN);

	for (int i = 0; i < N_ROUNDS; i++) {
		ck_assert_int_eq(iou__own_cancel(iou, 12345), 0);
		ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_OWN), n_own + 1);
		ck_assert_int_eq(iou_pending(iou), 0);
		ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
		iou_run_once(iou, &at_once);
		ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_OWN), n_own);
	}
	ck_assert_uint_eq(iou->n_foreign + iou->n_callbacks, 0);
}
END_TEST

START_TEST(test_forged_completion_does_not_recycle_what_is_staged)
{
	uint32_t n_own = iou__ops_n(&iou->ops, OP_OWN);

	ck_assert_int_eq(iou__own_cancel(iou, 12345), 0);

	struct op *op = container_of(iou__queue_first(&iou->stage.own), struct op, task.node);
	const struct cqe forged = { .user_data = op->identity };

	iou__own_completed(iou, op, &forged);
	ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_OWN), n_own + 1);
	ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
	iou_run_once(iou, &at_once);
	ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_OWN), n_own);
}
END_TEST

START_TEST(test_reaper_is_staged_once)
{
	iou__own_cancel_any(iou);
	iou__own_cancel_any(iou);
	ck_assert_uint_eq(n_own_staged(), 1);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(n_own_staged(), 0);
	iou__own_cancel_any(iou);
	ck_assert_uint_eq(n_own_staged(), 1);
}
END_TEST

/* Each that is cancelled cancels the next, on a ring that has room for one request at a time. */
struct domino {
	struct call call;
	iou_op_t *next;
};

static int topple(void *data)
{
	struct domino *it = data;

	note(&it->call);
	iou_op_cancel(iou, it->next);
	return 0;
}

static void queue_domino(struct domino *it)
{
	io_uring_prep_read(new_op(&it->call)->sqe, pipe_fds[0], buffer, 1, 0);
	iou_op_queue(iou, it->call.op, topple, it);
}

START_TEST(test_cancellations_never_wait_behind_the_wake_up)
{
	struct __kernel_timespec a_while = { .tv_sec = 2 };
	struct domino first, second;
	struct call watchdog;

	set_up_with((iou_config_t){ .entries = 1 });
	queue_domino(&first);
	queue_domino(&second);
	io_uring_prep_timeout(new_op(&watchdog)->sqe, &a_while, 0, 0);
	queue(&watchdog);
	first.next = second.call.op;
	second.next = watchdog.op;
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, first.call.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	check_was_called(&first.call, -ECANCELED);
	check_was_called(&second.call, -ECANCELED);
	check_was_called(&watchdog, -ECANCELED);
}
END_TEST

/* Whether the engine is idle is asked where it would have to be built again. */

static void set_up_rebuilt(void)
{
	set_up_with((iou_config_t){ .entries = 4, .flags = IOU_ANY_THREAD });
}

START_TEST(test_engine_is_idle_when_completions_wait_to_be_delivered)
{
	struct call nops[3];

	set_up_rebuilt();
	for (int i = 0; i < 3; i++)
		queue_nop(&nops[i]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 16), 0);
	/* Those that have been copied count as well. */
	ck_assert_int_eq(iou_resize(iou, 32), 0);
	ck_assert_int_eq(nops[0].n, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < 3; i++)
		check_was_called(&nops[i], 0);
}
END_TEST

START_TEST(test_engine_is_not_idle_with_an_op_in_flight)
{
	struct call nop, read;

	set_up_rebuilt();
	queue_nop(&nop);
	queue_read(&read);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 16), -EBUSY);
	feed();
	ck_assert_int_eq(iou_run(iou), 0);
	check_was_called(&read, 1);
	ck_assert_int_eq(iou_resize(iou, 16), 0);
}
END_TEST

/* One completion of a multishot op is not its last. */
START_TEST(test_engine_is_not_idle_with_a_multishot_op_in_flight)
{
	struct call poll_op;

	set_up_rebuilt();
	io_uring_prep_poll_multishot(new_op(&poll_op)->sqe, pipe_fds[0], POLLIN);
	queue(&poll_op);
	feed();
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(iou__cq_ready(&iou->cq), 1);
	ck_assert_int_eq(iou_resize(iou, 16), -EBUSY);
	ck_assert_int_eq(iou_op_cancel(iou, poll_op.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(poll_op.n, 2);
	ck_assert_int_eq(iou_resize(iou, 16), 0);
}
END_TEST

START_TEST(test_completion_of_somebody_else_s_does_not_make_the_engine_idle)
{
	struct call read;
	struct io_uring_sqe *sqe;

	set_up_rebuilt();
	queue_read(&read);
	ck_assert_int_eq(iou_flush(iou), 0);
	sqe = io_uring_get_sqe(iou_ring(iou));
	io_uring_prep_nop(sqe);
	sqe->user_data = 42;
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(iou__cq_ready(&iou->cq), 1);
	ck_assert_int_eq(iou_resize(iou, 16), -EBUSY);
	feed();
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_uint_eq(iou->n_foreign, 1);
}
END_TEST

/* Chains that are longer than the ring. */

static void queue_chain(struct call *calls, int n)
{
	for (int i = 0; i < n; i++) {
		io_uring_prep_nop(new_op(&calls[i])->sqe);
		calls[i].op->sqe->flags |= i < n - 1 ? IOSQE_IO_LINK : 0;
		queue(&calls[i]);
	}
}

static const unsigned config_flags[] = { 0, IOU_ANY_THREAD, IOU_SQPOLL };

START_TEST(test_ring_grows_for_a_chain)
{
	struct call calls[10], before;

	set_up_with((iou_config_t){ .entries = 4, .flags = config_flags[_i] });
	queue_nop(&before);
	ck_assert_int_eq(iou_run(iou), 0);
	queue_chain(calls, 10);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < 10; i++)
		check_was_called(&calls[i], 0);
	ck_assert_uint_eq(iou->engine->sq_entries, 16);
	check_is_woken();
}
END_TEST

START_TEST(test_chain_for_which_the_ring_cannot_grow_ends)
{
	struct call calls[5], read, after;

	set_up_rebuilt();
	queue_read(&read);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_chain(calls, 5);
	queue_nop(&after);
	ck_assert_int_eq(iou_flush(iou), 0);
	feed();
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < 5; i++) {
		check_was_called(&calls[i], -E2BIG);
		ck_assert(i == 0 || calls[i].order > calls[i - 1].order);
	}
	check_was_called(&after, 0);
	check_was_called(&read, 1);
	ck_assert_uint_eq(iou->engine->sq_entries, 4);
}
END_TEST

/* Submitting. */

START_TEST(test_flush_submits_all_and_loses_no_completion)
{
	static struct call calls[500];

	for (int i = 0; i < 500; i++)
		queue_nop(&calls[i]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_QUEUED), 0);
	ck_assert_int_eq(n_calls, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < 500; i++) {
		check_was_called(&calls[i], 0);
		ck_assert_int_eq(calls[i].order, i);
	}
}
END_TEST

START_TEST(test_delivery_takes_no_more_than_was_there)
{
	struct call posts[3] = { { 0 } }, nops[2];

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(iou_post(iou, note, &posts[i]), 0);
	for (int i = 0; i < 2; i++)
		queue_nop(&nops[i]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(iou__has_deliverable(iou));
	ck_assert_int_eq(iou__begin(iou), 0);
	ck_assert_int_eq(iou__deliver(iou), 0);
	ck_assert_int_eq(n_calls, 5);
	ck_assert(!iou__has_deliverable(iou));
	iou__end(iou, 0);
}
END_TEST

START_TEST(test_quit_stops_delivery_but_for_that_of_the_end)
{
	ck_assert(!iou__has_to_stop(iou));
	iou_quit(iou);
	ck_assert(iou__has_to_stop(iou));
	iou->is_ending = true;
	iou__calm(iou);
	ck_assert(!iou__has_to_stop(iou));
	iou->has_to_free = true;
	ck_assert(iou__has_to_stop(iou));
	iou->is_ending = iou->has_to_free = false;
	iou__calm(iou);
	ck_assert(iou__has_to_stop(iou));
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert(iou__is_steady(iou));
}
END_TEST

/* The descriptor for foreign loops. */

static bool is_readable(void)
{
	struct pollfd fd = { .fd = iou_fd(iou), .events = POLLIN };

	ck_assert_int_ge(fd.fd, 0);
	return poll(&fd, 1, 0) == 1;
}

START_TEST(test_descriptor_is_readable_while_there_is_something_to_deliver)
{
	struct call post = { 0 }, nop;

	ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
	ck_assert(!is_readable());
	ck_assert_int_eq(iou_post(iou, note, &post), 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 1);
	ck_assert(!is_readable());
	queue_nop(&nop);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 1);
	ck_assert(!is_readable());
}
END_TEST

START_TEST(test_descriptor_made_late_tells_of_what_was_there)
{
	struct call post = { 0 };

	ck_assert_int_eq(iou_post(iou, note, &post), 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert(!is_readable());
}
END_TEST

START_TEST(test_descriptor_tells_of_what_never_reached_the_engine)
{
	struct call nop;

	ck_assert(!is_readable());
	queue_nop(&nop);
	ck_assert_int_eq(iou_op_cancel(iou, nop.op), 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 1);
	check_was_called(&nop, -ECANCELED);
	ck_assert(!is_readable());
}
END_TEST

START_TEST(test_descriptor_tells_of_copies_and_of_what_is_unsent)
{
	struct call nop;

	ck_assert(!is_readable());
	queue_nop(&nop);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert(iou__cq_empty_ring(&iou->cq));
	iou__expose(iou);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 1);
	ck_assert(!is_readable());
	iou->has_unsent = true;
	iou__expose(iou);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
	ck_assert(!is_readable());
}
END_TEST

START_TEST(test_descriptor_that_cannot_be_made_leaves_nothing_open)
{
	int fd = iou->mailbox.fd, n;

	/* What the engine has to be watched by it keeps. */
	ck_assert_int_ge(iou->engine->verbs->watch(iou->engine), 0);
	n = support_descriptors();
	iou->mailbox.fd = -1;
	ck_assert_int_eq(iou_fd(iou), -EBADF);
	iou->mailbox.fd = fd;
	ck_assert_int_eq(support_descriptors(), n);
	ck_assert_int_ge(iou_fd(iou), 0);
}
END_TEST

START_TEST(test_running_loop_exposes_nothing)
{
	struct call post = { 0 };

	ck_assert(!is_readable());
	ck_assert_int_eq(iou__begin(iou), 0);
	ck_assert_int_eq(iou_post(iou, note, &post), 0);
	iou__expose(iou);
	ck_assert(!is_readable());
	/* As the run ends it must be: nobody else will see to that. */
	iou__end(iou, 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run(iou), 0);
}
END_TEST

/* Foreign loops would spin. */
START_TEST(test_descriptor_is_not_readable_for_ever_after_a_resize)
{
	set_up_with((iou_config_t){ .entries = 4, .flags = _i ? IOU_ANY_THREAD : 0 });
	ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
	ck_assert(!is_readable());
	ck_assert_int_eq(iou_resize(iou, 16), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(iou_run_once(iou, &at_once), 0);
	ck_assert(!is_readable());
}
END_TEST

START_TEST(test_counting_what_is_pending_hides_nothing)
{
	struct call post = { 0 };

	ck_assert(!is_readable());
	ck_assert_int_eq(iou_post(iou, note, &post), 0);
	ck_assert_int_eq(iou_pending(iou), 1);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run_once(iou, &at_once), 1);
	ck_assert_int_eq(iou_post(iou, note, &post), 0);
	ck_assert(is_readable());
	ck_assert_int_eq(iou_run(iou), 0);
}
END_TEST

/* The end of everything. */

static int wait_at(void *data)
{
	sem_wait(data);
	return 0;
}

START_TEST(test_drain_ends_when_the_time_is_over_and_can_be_repeated)
{
	const struct timespec short_time = { .tv_nsec = NS_PER_S / 50 };
	struct call job;
	sem_t may_end;

	sem_init(&may_end, 0, 0);
	new_op(&job);
	ck_assert_int_eq(iou_op_async(iou, job.op, wait_at, &may_end, note, &job), 0);
	while (iou__ops_n(&iou->ops, OP_WORKING) == 0)
		sched_yield();
	ck_assert_int_eq(iou_drain(iou, &at_once), -ETIME);
	ck_assert_int_eq(iou_drain(iou, &short_time), -ETIME);
	ck_assert(!iou->is_ending && !iou->is_running);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ 0, NS_PER_S }), -EINVAL);
	ck_assert_int_eq(job.n, 0);
	sem_post(&may_end);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	check_was_called(&job, 0);
	sem_destroy(&may_end);
}
END_TEST

/* Each that is cancelled starts the next. */
START_TEST(test_drain_ends_a_hard_linked_chain)
{
	struct call calls[4];

	for (int i = 0; i < 4; i++) {
		io_uring_prep_read(new_op(&calls[i])->sqe, pipe_fds[0], buffer, 1, 0);
		calls[i].op->sqe->flags |= i < 3 ? IOSQE_IO_HARDLINK : 0;
		queue(&calls[i]);
	}
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	for (int i = 0; i < 4; i++)
		check_was_called(&calls[i], -ECANCELED);
	check_is_woken();
}
END_TEST

/* Kernels before 5.19. */
START_TEST(test_drain_works_where_requests_are_cancelled_one_by_one)
{
	struct call reads[3];

	iou->engine->can_cancel_any = false;
	for (int i = 0; i < 3; i++)
		queue_read(&reads[i]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	for (int i = 0; i < 3; i++)
		check_was_called(&reads[i], -ECANCELED);
	ck_assert_uint_eq(iou__ops_n(&iou->ops, OP_OWN), 2);
}
END_TEST

static int work(void *data)
{
	return *(int *)data;
}

START_TEST(test_without_an_engine_everything_ends_once_all_the_same)
{
	const struct deadline none = { .is_none = true };
	struct call read, nop, queued, job;
	int answer = 42;

	queue_read(&read);
	queue_nop(&nop);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(&queued);
	new_op(&job);
	ck_assert_int_eq(iou_op_async(iou, job.op, work, &answer, note, &job), 0);
	while (iou__ops_n(&iou->ops, OP_FINISHED) == 0)
		sched_yield();
	iou->error = -EBADFD;
	ck_assert_int_eq(iou__end_all(iou, &none, false), 0);
	check_was_called(&read, -ECANCELED);
	check_was_called(&nop, 0);
	check_was_called(&queued, -ECANCELED);
	check_was_called(&job, 42);
	ck_assert_uint_eq(iou__n_ops_pending(iou), 0);
	ck_assert(iou__ops_add_up(&iou->ops));
}
END_TEST

START_TEST(test_without_io_uring_there_is_no_instance)
{
	iou = iou_new(4);
	ck_assert_ptr_null(iou);
	SKIP("no io_uring");
}
END_TEST

static bool has_io_uring(void)
{
	iou_t *probe = iou_new(4);
	bool has = probe;

	iou_free(probe);
	return has;
}

static void add_wake_up(Suite *to)
{
	TCase *tcase;

	tcase = ADD_CASE(to, "wake-up", test_wake_up_is_armed_once,
			 test_wake_up_survives_that_the_program_cancels_everything,
			 test_wake_up_survives_iou_cancel_all, test_without_multishot_the_wake_up_is_armed_each_time,
			 test_multishot_that_is_refused_is_not_tried_again,
			 test_wake_up_that_is_staged_is_not_forgotten,
			 test_forged_completion_does_not_stage_the_wake_up_twice,
			 test_wake_up_without_a_descriptor_is_not_tried_again,
			 test_wait_for_others_has_a_bound_that_depends_on_hearing);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_wake_up_survives_a_resize, 0, 2);
	tcase = ADD_CASE(to, "own requests", test_own_requests_are_recycled_and_the_program_never_sees_them,
			 test_forged_completion_does_not_recycle_what_is_staged, test_reaper_is_staged_once,
			 test_cancellations_never_wait_behind_the_wake_up);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
}

static void add_loop(Suite *to)
{
	TCase *tcase;

	tcase = ADD_CASE(to, "beginning", test_first_who_flushes_is_the_owner,
			 test_instance_for_any_thread_has_no_owner, test_run_begins_once,
			 test_misuse_is_told_once_and_before_anything_else,
			 test_engine_that_has_failed_is_not_used_again,
			 test_ring_that_was_lost_while_it_was_resized_is_not_used_again,
			 test_op_that_is_in_its_final_callback_is_not_pending);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_trouble_that_passes_is_nobody_s, 0, 4);
	tcase = ADD_CASE(to, "idle", test_engine_is_idle_when_completions_wait_to_be_delivered,
			 test_engine_is_not_idle_with_an_op_in_flight,
			 test_engine_is_not_idle_with_a_multishot_op_in_flight,
			 test_completion_of_somebody_else_s_does_not_make_the_engine_idle);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(to, "turn", test_chain_for_which_the_ring_cannot_grow_ends,
			 test_flush_submits_all_and_loses_no_completion, test_delivery_takes_no_more_than_was_there,
			 test_quit_stops_delivery_but_for_that_of_the_end);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_ring_grows_for_a_chain, 0, 3);
	tcase = ADD_CASE(to, "descriptor", test_descriptor_is_readable_while_there_is_something_to_deliver,
			 test_descriptor_made_late_tells_of_what_was_there,
			 test_descriptor_tells_of_what_never_reached_the_engine,
			 test_descriptor_tells_of_copies_and_of_what_is_unsent, test_running_loop_exposes_nothing,
			 test_counting_what_is_pending_hides_nothing,
			 test_descriptor_that_cannot_be_made_leaves_nothing_open);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_descriptor_is_not_readable_for_ever_after_a_resize, 0, 2);
	tcase = ADD_CASE(to, "end", test_drain_ends_when_the_time_is_over_and_can_be_repeated,
			 test_drain_ends_a_hard_linked_chain, test_drain_works_where_requests_are_cancelled_one_by_one,
			 test_without_an_engine_everything_ends_once_all_the_same);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
}

Suite *suite(void)
{
	Suite *loop_suite = suite_create("loop");
	TCase *tcase;

	tcase = ADD_CASE(loop_suite, "deadlines", test_no_timeout_is_no_deadline,
			 test_deadline_beyond_the_end_of_time_is_none, test_what_is_left_is_a_time_and_becomes_less,
			 test_nothing_is_left_of_a_deadline_that_has_passed);
	tcase_add_loop_test(tcase, test_timeout_that_is_no_time_is_an_error, 0,
			    (int)(sizeof(timeouts) / sizeof(timeouts[0])));
	if (has_io_uring()) {
		add_wake_up(loop_suite);
		add_loop(loop_suite);
	} else {
		ADD_CASE(loop_suite, "none", test_without_io_uring_there_is_no_instance);
	}
	return loop_suite;
}
