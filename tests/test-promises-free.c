/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G9: iou_free() and iou_drain(). */
#include "promises.h"

/* 16 reads, half of them with io-wq threads. Each round has a pipe, so that no buffer can be filled by another's bytes. */

enum { N_READS = 16, N_BYTES = 64 };

struct round {
	struct seen reads[N_READS];
	char buffers[N_READS][N_BYTES];
	int fds[2];
};

static void begin_round(iou_t *iou, struct round *round)
{
	open_pipe(round->fds);
	memset(round->buffers, 'p', sizeof(round->buffers));
	for (int i = 0; i < N_READS; i++)
		queue_read(iou, &round->reads[i], round->fds[0], round->buffers[i], N_BYTES, i % 2 ? IOSQE_ASYNC : 0);
}

/* Whoever still reads gets something to read, and then the writer sees less of it. */
static void end_round(struct round *round)
{
	char wanted[N_BYTES], bytes[N_READS * N_BYTES];

	memset(wanted, 'p', sizeof(wanted));
	memset(bytes, 'k', sizeof(bytes));
	put_bytes(round->fds[1], bytes, sizeof(bytes));
	ck_assert_int_eq(read(round->fds[0], bytes, sizeof(bytes)), sizeof(bytes));
	for (int i = 0; i < N_READS; i++) {
		ck_assert_int_eq(round->reads[i].n_calls, 1);
		ck_assert_int_lt(round->reads[i].result, 0);
		ck_assert_mem_eq(round->buffers[i], wanted, N_BYTES);
	}
	close_pipe(round->fds);
}

PROMISE(09, thousand_frees_with_16_reads_in_flight_leave_nothing)
{
	static struct round round;
	int n_descriptors = support_descriptors(), n_threads = support_threads();

	for (int i = 0; i < fewer(1000, 20); i++) {
		iou_t *iou = open_iou(8);

		begin_round(iou, &round);
		/* By turns: staged, submitted, and given time to arrive in io-wq. */
		if (i % 3)
			ck_assert_int_eq(i % 3 == 1 ? iou_flush(iou) : turn(iou), 0);
		ck_assert_ptr_null(iou_free(iou));
		end_round(&round);
		ck_assert_int_eq(support_descriptors(), n_descriptors);
	}
	ck_assert_int_eq(support_settle(support_threads, n_threads), n_threads);
}
END_TEST

/* The callbacks of iou_free(): what they may and may not do. */

struct last {
	struct seen seen;
	struct seen late;
	int errors[10];
};

static int forbidden(void *data)
{
	(void)data;
	return 0;
}

static int errno_of_op_new(iou_t *iou)
{
	errno = 0;
	return iou_op_new(iou) ? 0 : -errno;
}

/* Results are ignored, and so is the quit. */
static int try_everything(void *data)
{
	struct last *last = data;
	iou_t *iou = last->seen.iou;
	int n = 0;

	see(&last->seen);
	last->errors[n++] = errno_of_op_new(iou);
	last->errors[n++] = iou_async(iou, forbidden, NULL, NULL, NULL);
	last->errors[n++] = iou_op_async(iou, last->seen.op, forbidden, NULL, forbidden, NULL);
	last->errors[n++] = iou_post(iou, forbidden, NULL);
	last->errors[n++] = iou_hold(iou);
	last->errors[n++] = iou_run(iou);
	last->errors[n++] = iou_run_once(iou, NULL);
	last->errors[n++] = iou_drain(iou, NULL);
	last->errors[n++] = iou_resize(iou, 16);
	last->errors[n++] = iou_flush(iou);
	iou_quit(iou);
	iou_op_queue(iou, last->seen.op, see, &last->seen);
	iou_op_queue(iou, last->late.op, see, &last->late);
	return -EPIPE;
}

PROMISE(09, nothing_new_starts_while_free_delivers)
{
	iou_t *iou = open_iou(4);
	struct seen others[4];
	struct last last;
	int fds[2];
	char byte;

	open_pipe(fds);
	io_uring_prep_nop(take(iou, &last.late));
	io_uring_prep_read(take(iou, &last.seen), fds[0], &byte, 1, (__u64)-1);
	iou_op_queue(iou, last.seen.op, try_everything, &last);
	for (int i = 0; i < 4; i++)
		queue_read(iou, &others[i], fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&last.seen, -ECANCELED);
	expect(&last.late, -ECANCELED);
	for (int i = 0; i < 4; i++)
		expect(&others[i], -ECANCELED);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(last.errors[i], -ESHUTDOWN);
	for (int i = 5; i < 9; i++)
		ck_assert_int_eq(last.errors[i], -EBUSY);
	/* It has nothing to do. */
	ck_assert_int_eq(last.errors[9], 0);
	close_pipe(fds);
}
END_TEST

/* Jobs, posts, and ops that were never queued. */
PROMISE(09, jobs_and_posts_come_to_their_end)
{
	iou_t *iou = open_with((iou_config_t){ .workers = 1 });
	struct seen waiting, never, asyncs[3] = { { 0 } }, posts[2] = { { 0 } };
	sem_t gate;
	int five = 5;

	sem_init(&gate, 0, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(iou_async(iou, wait_for_sem, &gate, see, &asyncs[i]), 0);
	queue_job(iou, &waiting, return_int, &five);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(iou_post(iou, see, &posts[i]), 0);
	io_uring_prep_nop(take(iou, &never));
	ck_assert_int_eq(iou_hold(iou), 0);
	for (int i = 0; i < 3; i++)
		sem_post(&gate);
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(asyncs[i].n_calls, 1);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(posts[i].n_calls, 1);
	/* It was cancelled, unless the worker was quicker. */
	ck_assert_msg(waiting.result == -ECANCELED || waiting.result == 5, "result %d", waiting.result);
	ck_assert_int_eq(waiting.n_calls, 1);
	ck_assert_int_eq(never.n_calls, 0);
	sem_destroy(&gate);
}
END_TEST

/* What a thread does last of all: the destructor of its own data. */
struct ending {
	pthread_key_t key;
	int n_ended;
};

static void end_slowly(void *data)
{
	struct ending *ending = data;

	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	ending->n_ended++;
}

static int set_own_data(void *data)
{
	struct ending *ending = data;

	return pthread_setspecific(ending->key, ending);
}

PROMISE(09, workers_have_ended_when_free_returns)
{
	iou_t *iou = open_with((iou_config_t){ .workers = 1 });
	struct ending ending = { .n_ended = 0 };

	ck_assert_int_eq(pthread_key_create(&ending.key, end_slowly), 0);
	ck_assert_int_eq(iou_async(iou, set_own_data, &ending, NULL, NULL), 0);
	run_and_free(iou);
	ck_assert_int_eq(ending.n_ended, 1);
	pthread_key_delete(ending.key);
}
END_TEST

/* Ops that do not want to end. */

struct echo {
	struct seen seen;
	int fds[2];
	char byte;
};

/* What a server does: read, write, read, ... whatever comes of it. */
static int echo_again(void *data)
{
	struct echo *echo = data;
	bool was_read = echo->seen.op->sqe->opcode == IORING_OP_READ;

	see(&echo->seen);
	iou_op_reset(echo->seen.iou, echo->seen.op);
	prepare(echo->seen.op, was_read ? IORING_OP_WRITE : IORING_OP_READ, echo->fds[was_read], &echo->byte, 1,
		(__u64)-1);
	iou_op_queue(echo->seen.iou, echo->seen.op, echo_again, echo);
	return 0;
}

PROMISE(09, free_returns_though_an_op_rearms_itself_for_ever)
{
	for (int i = 0; i < 20; i++) {
		iou_t *iou = open_iou(4);
		struct echo echo;

		open_pipe(echo.fds);
		echo.byte = 'e';
		io_uring_prep_write(take(iou, &echo.seen), echo.fds[1], &echo.byte, 1, (__u64)-1);
		iou_op_queue(iou, echo.seen.op, echo_again, &echo);
		for (int j = 0; j < i; j++)
			ck_assert_int_eq(iou_run_once(iou, NULL), 1);

		int n_calls = echo.seen.n_calls;

		ck_assert_ptr_null(iou_free(iou));
		ck_assert_int_eq(echo.seen.n_calls, n_calls + 1);
		close_pipe(echo.fds);
	}
}
END_TEST

PROMISE(09, free_returns_though_a_hard_linked_chain_starts_the_next_read)
{
	for (int i = 0; i < 20; i++) {
		iou_t *iou = open_iou(4);
		struct seen reads[4];
		char bytes[4];
		int fds[2];

		open_pipe(fds);
		for (int j = 0; j < 4; j++)
			queue_read(iou, &reads[j], fds[0], &bytes[j], 1,
				   (j < 3 ? IOSQE_IO_HARDLINK : 0) | (i % 2 ? IOSQE_ASYNC : 0));
		ck_assert_int_eq(turn(iou), 0);
		ck_assert_ptr_null(iou_free(iou));
		for (int j = 0; j < 4; j++) {
			ck_assert_int_eq(reads[j].n_calls, 1);
			ck_assert_int_lt(reads[j].result, 0);
		}
		close_pipe(fds);
	}
}
END_TEST

PROMISE(09, ops_behind_a_drain_end_as_well)
{
	iou_t *iou = open_iou(4);
	struct seen blocked, drained, after;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	queue_nop(iou, &drained, IOSQE_IO_DRAIN);
	queue_nop(iou, &after, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&blocked, -ECANCELED);
	expect(&drained, -ECANCELED);
	expect(&after, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* In a callback, and from elsewhere. */

static int free_from_callback(void *data)
{
	struct last *last = data;

	see(&last->seen);
	last->errors[0] = iou_free(last->seen.iou) == NULL;
	/* It is all still there. */
	last->errors[1] = iou_pending(last->seen.iou);
	queue_nop(last->seen.iou, &last->late, 0);
	return -EPIPE;
}

static void free_while_running(int (*run)(iou_t *))
{
	iou_t *iou = open_iou(4);
	int n_descriptors = support_descriptors(), fds[2];
	struct seen blocked;
	struct last last;
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	io_uring_prep_nop(take(iou, &last.seen));
	iou_op_queue(iou, last.seen.op, free_from_callback, &last);
	ck_assert_int_ge(iou_fd(iou), 0);
	ck_assert_int_eq(run(iou), -ECANCELED);
	ck_assert_int_eq(last.errors[0], 1);
	ck_assert_int_ge(last.errors[1], 1);
	expect(&last.seen, 0);
	expect(&last.late, -ECANCELED);
	expect(&blocked, -ECANCELED);
	close_pipe(fds);
	ck_assert_int_lt(support_descriptors(), n_descriptors);
}

static int run_one_turn(iou_t *iou)
{
	return iou_run_once(iou, NULL);
}

static int drain(iou_t *iou)
{
	return iou_drain(iou, NULL);
}

PROMISE(09, free_in_a_callback_is_carried_out_when_the_run_returns)
{
	free_while_running(iou_run);
	free_while_running(run_one_turn);
}
END_TEST

static int just_free(void *data)
{
	struct last *last = data;

	see(&last->seen);
	iou_free(last->seen.iou);
	return 0;
}

PROMISE(09, free_in_a_drain_is_carried_out_when_that_returns)
{
	iou_t *iou = open_iou(4);
	struct last last;

	io_uring_prep_nop(take(iou, &last.seen));
	iou_op_queue(iou, last.seen.op, just_free, &last);
	ck_assert_int_eq(drain(iou), -ECANCELED);
	expect(&last.seen, -ECANCELED);
}
END_TEST

static void *free_elsewhere(void *data)
{
	iou_t **iou = data;

	errno = 0;
	*iou = iou_free(*iou);
	return (void *)(intptr_t)errno;
}

PROMISE(09, free_elsewhere_is_busy_while_ops_of_a_live_thread_are_in_flight)
{
	iou_t *iou = open_iou(4), *after = iou;
	struct seen blocked;
	void *error;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	pthread_join(start_thread(free_elsewhere, &after), &error);
	ck_assert_ptr_eq(after, iou);
	ck_assert_int_eq((intptr_t)error, EBUSY);
	ck_assert_int_eq(blocked.n_calls, 0);
	put_bytes(fds[1], "x", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&blocked, 1);
	/* With nothing in flight anybody may. */
	pthread_join(start_thread(free_elsewhere, &after), &error);
	ck_assert_ptr_null(after);
	close_pipe(fds);
}
END_TEST

static int leave(void *data)
{
	see(data);
	pthread_exit(NULL);
}

static void *run_it(void *iou)
{
	iou_run(iou);
	return NULL;
}

PROMISE(09, free_ends_the_rest_where_the_loop_thread_left_in_a_callback)
{
	const unsigned flags[] = { 0, IOU_ANY_THREAD };

	for (int i = 0; i < 2; i++) {
		iou_t *iou = open_with((iou_config_t){ .flags = flags[i] });
		struct seen last, blocked;
		int fds[2];
		char byte;

		open_pipe(fds);
		io_uring_prep_nop(take(iou, &last));
		iou_op_queue(iou, last.op, leave, &last);
		queue_read(iou, &blocked, fds[0], &byte, 1, 0);
		pthread_join(start_thread(run_it, iou), NULL);
		expect(&last, 0);
		ck_assert_int_eq(blocked.n_calls, 0);
		ck_assert_ptr_null(iou_free(iou));
		expect(&last, 0);
		expect(&blocked, -ECANCELED);
		close_pipe(fds);
	}
}
END_TEST

/* The calls are made one at a time: the callback waits. */
static int have_it_freed_elsewhere(void *data)
{
	struct seen *seen = data;
	iou_t *iou = seen->iou;

	pthread_join(start_thread(free_elsewhere, &iou), NULL);
	seen->answer = iou != NULL;
	return see(seen);
}

PROMISE(09, free_by_any_thread_while_a_callback_waits_is_carried_out_when_the_run_returns)
{
	iou_t *iou = open_with((iou_config_t){ .flags = IOU_ANY_THREAD });
	struct seen seen;

	io_uring_prep_nop(take(iou, &seen));
	iou_op_queue(iou, seen.op, have_it_freed_elsewhere, &seen);
	ck_assert_int_eq(iou_run(iou), -ECANCELED);
	expect(&seen, 0);
	ck_assert_int_eq(seen.answer, 0);
}
END_TEST

/* Drain. */

PROMISE(09, drain_has_a_bound_and_the_instance_is_usable_afterwards)
{
	iou_t *iou = open_iou(4);
	struct seen blocked, nop, async = { 0 };
	int64_t began_us = support_now_us();
	sem_t gate;
	int fds[2];
	char byte;

	open_pipe(fds);
	sem_init(&gate, 0, 0);
	ck_assert_int_eq(iou_async(iou, wait_for_sem, &gate, see, &async), 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_hold(iou), 0);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ .tv_nsec = 50000000 }), -ETIME);
	ck_assert_int_ge(support_now_us() - began_us, 50000);
	ck_assert_int_lt(support_now_us() - began_us, 5000000 * support_slowness());
	expect(&blocked, -ECANCELED);
	ck_assert_int_eq(async.n_calls, 0);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ 0 }), -ETIME);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(&nop, 0);
	sem_post(&gate);
	/* Holds are not waited for. */
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	ck_assert_int_eq(async.n_calls, 1);
	ck_assert_int_eq(iou_release(iou), 0);
	run_and_free(iou);
	sem_destroy(&gate);
	close_pipe(fds);
}
END_TEST

PROMISE(09, drain_keeps_a_quit_for_the_next_run)
{
	iou_t *iou = open_iou(4);
	struct seen drained, next;

	queue_nop(iou, &drained, 0);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	expect(&drained, -ECANCELED);
	queue_nop(iou, &next, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(next.n_calls, 0);
	run_and_free(iou);
	expect(&next, 0);
}
END_TEST

/* Fires again while its callback runs. */
static int be_slow(void *data)
{
	struct seen *seen = data;

	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	return see(seen);
}

static void drain_a_multishot_timer(bool is_in_chain)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec time = { .tv_nsec = 500000 };
	struct seen head, timer;

	if (is_in_chain)
		queue_nop(iou, &head, IOSQE_IO_LINK);
	/* IORING_TIMEOUT_MULTISHOT, Linux 6.4 */
	io_uring_prep_timeout(take(iou, &timer), &time, 0, 1U << 6);
	iou_op_queue(iou, timer.op, be_slow, &timer);
	while (!timer.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 1);
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ .tv_sec = 20 }), 0);
	ck_assert_int_eq(timer.result, -ECANCELED);
	run_and_free(iou);
}

/* The library's own, and one in a chain, which is the engine's. */
PROMISE(09, drain_ends_a_multishot_timer_that_fires_while_its_callback_runs)
{
	drain_a_multishot_timer(false);
	drain_a_multishot_timer(true);
}
END_TEST

static void *flush_it(void *iou)
{
	return (void *)(intptr_t)iou_flush(iou);
}

static int flush_elsewhere(void *data)
{
	struct seen *seen = data;
	void *result;

	pthread_join(start_thread(flush_it, seen->iou), &result);
	seen->answer = (int)(intptr_t)result;
	return see(seen);
}

static int post_again(void *data)
{
	struct seen *seen = data;

	iou_post(seen->iou, post_again, seen);
	return ++seen->n_calls < 1000000 ? -ECHILD : -ELOOP;
}

PROMISE(09, drain_gets_to_everything_whatever_callbacks_return)
{
	iou_t *iou = open_iou(4);
	struct seen nop, post = { .iou = iou };

	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_post(iou, post_again, &post), 0);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	expect(&nop, 0);
	ck_assert_int_lt(post.n_calls, 1000);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

static int take_a_moment(void *data)
{
	int64_t end = support_now_us() + 20;

	(void)data;
	while (support_now_us() < end)
		;
	return 0;
}

/* In each round of it some of them end. */
PROMISE(09, drain_does_not_wait_for_jobs_beyond_its_time)
{
	enum { N_JOBS = 50000 };
	iou_t *iou = open_with((iou_config_t){ .workers = 1 });
	struct seen async = { 0 };

	for (int i = 0; i < N_JOBS; i++)
		ck_assert_int_eq(iou_async(iou, take_a_moment, NULL, see, &async), 0);
	ck_assert_int_eq(iou_drain(iou, &(struct timespec){ .tv_nsec = 1000000 }), -ETIME);
	ck_assert_int_lt(async.n_calls, N_JOBS);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(async.n_calls, N_JOBS);
}
END_TEST

PROMISE(09, flush_elsewhere_is_refused_while_drain_delivers)
{
	iou_t *iou = open_iou(8);
	struct seen nop;

	io_uring_prep_nop(take(iou, &nop));
	iou_op_queue(iou, nop.op, flush_elsewhere, &nop);
	ck_assert_int_eq(iou_drain(iou, NULL), 0);
	ck_assert_int_eq(nop.n_calls, 1);
	ck_assert_int_eq(nop.answer, -EPERM);
	run_and_free(iou);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-free");

	ADD_CASE(s, "free", test_g09_thousand_frees_with_16_reads_in_flight_leave_nothing,
		 test_g09_nothing_new_starts_while_free_delivers, test_g09_jobs_and_posts_come_to_their_end,
		 test_g09_workers_have_ended_when_free_returns,
		 test_g09_free_returns_though_an_op_rearms_itself_for_ever,
		 test_g09_free_returns_though_a_hard_linked_chain_starts_the_next_read,
		 test_g09_ops_behind_a_drain_end_as_well,
		 test_g09_free_in_a_callback_is_carried_out_when_the_run_returns,
		 test_g09_free_in_a_drain_is_carried_out_when_that_returns,
		 test_g09_free_elsewhere_is_busy_while_ops_of_a_live_thread_are_in_flight,
		 test_g09_free_ends_the_rest_where_the_loop_thread_left_in_a_callback,
		 test_g09_free_by_any_thread_while_a_callback_waits_is_carried_out_when_the_run_returns);
	ADD_CASE(s, "drain", test_g09_drain_has_a_bound_and_the_instance_is_usable_afterwards,
		 test_g09_drain_keeps_a_quit_for_the_next_run,
		 test_g09_drain_ends_a_multishot_timer_that_fires_while_its_callback_runs,
		 test_g09_drain_gets_to_everything_whatever_callbacks_return,
		 test_g09_drain_does_not_wait_for_jobs_beyond_its_time,
		 test_g09_flush_elsewhere_is_refused_while_drain_delivers);
	return s;
}
