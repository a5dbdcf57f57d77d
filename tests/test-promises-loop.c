/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G6: errors. G7: quit. */
#include "promises.h"

/* Errors. */

PROMISE(06, negative_result_ends_the_run_and_the_rest_goes_on_in_order)
{
	iou_t *iou = open_iou(4);
	struct seen nops[20];

	for (int i = 0; i < 20; i++) {
		queue_nop(iou, &nops[i], 0);
		nops[i].answer = i == 5 || i == 6 || i == 13 ? -100 - i : 0;
	}
	ck_assert_int_eq(iou_run(iou), -105);
	ck_assert_int_eq(n_seen, 6);
	ck_assert_int_eq(iou_pending(iou), 14);
	ck_assert_uint_eq(n_alive(iou), 14);
	ck_assert_int_eq(iou_run(iou), -106);
	ck_assert_int_eq(iou_run(iou), -113);
	ck_assert_uint_eq(n_alive(iou), 6);
	run_and_free(iou);
	for (int i = 0; i < 20; i++) {
		expect(&nops[i], 0);
		ck_assert_int_eq(nops[i].place, i + 1);
	}
}
END_TEST

static int queue_again_and_fail(void *data)
{
	struct seen *seen = data;

	see(seen);
	queue(seen);
	return -EPIPE;
}

PROMISE(06, op_queued_again_survives_the_error_of_its_callback)
{
	iou_t *iou = open_iou(4);
	struct seen nop;

	io_uring_prep_nop(take(iou, &nop));
	iou_op_queue(iou, nop.op, queue_again_and_fail, &nop);
	ck_assert_int_eq(iou_run(iou), -EPIPE);
	ck_assert_int_eq(iou_pending(iou), 1);
	run_and_free(iou);
	ck_assert_int_eq(nop.n_calls, 2);
}
END_TEST

PROMISE(06, positive_results_mean_zero)
{
	iou_t *iou = open_iou(4);
	struct seen nop, job, post = { .answer = 3 }, async = { .answer = 4 };
	int five = 5;

	queue_nop(iou, &nop, 0);
	nop.answer = 1;
	queue_job(iou, &job, return_int, &five);
	job.answer = 2;
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_eq(iou_async(iou, return_int, &five, see, &async), 0);
	run_and_free(iou);
	ck_assert_int_eq(n_seen, 4);
}
END_TEST

PROMISE(06, posts_and_jobs_end_a_run_as_ops_do)
{
	iou_t *iou = open_iou(4);
	struct seen job, posts[3] = { { .answer = -10 }, { .answer = 0 }, { .answer = -12 } };
	int five = 5;

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(iou_post(iou, see, &posts[i]), 0);
	ck_assert_int_eq(iou_run(iou), -10);
	ck_assert_int_eq(n_seen, 1);
	ck_assert_int_eq(iou_run(iou), -12);
	ck_assert_int_eq(n_seen, 3);
	queue_job(iou, &job, return_int, &five);
	job.answer = -13;
	ck_assert_int_eq(iou_run(iou), -13);
	expect(&job, 5);
	run_and_free(iou);
}
END_TEST

PROMISE(06, failing_work_ends_the_run_after_its_completion_callback)
{
	iou_t *iou = open_iou(4);
	struct seen done = { .answer = 0 }, both = { .answer = -21 }, own = { .answer = -22 };
	int minus_seven = -7, zero = 0;

	ck_assert_int_eq(iou_async(iou, return_int, &minus_seven, see, &done), 0);
	ck_assert_int_eq(iou_run(iou), -7);
	ck_assert_int_eq(done.n_calls, 1);
	ck_assert_int_eq(iou_async(iou, return_int, &minus_seven, see, &both), 0);
	ck_assert_int_eq(iou_run(iou), -7);
	ck_assert_int_eq(both.n_calls, 1);
	ck_assert_int_eq(iou_async(iou, return_int, &zero, see, &own), 0);
	ck_assert_int_eq(iou_run(iou), -22);
	ck_assert_int_eq(iou_async(iou, return_int, &minus_seven, NULL, NULL), 0);
	ck_assert_int_eq(iou_run(iou), -7);
	run_and_free(iou);
}
END_TEST

/* What a program submits through the ring completes as a foreign CQE. */
static int see_foreign(const struct io_uring_cqe *cqe, void *data)
{
	struct seen *seen = data;

	seen->result = cqe->res;
	seen->flags = (unsigned)cqe->user_data;
	return see(seen);
}

PROMISE(06, foreign_completions_end_a_run_too)
{
	struct seen foreign = { .answer = -30 }, nop;
	iou_t *iou = open_with((iou_config_t){ .foreign_cqe = see_foreign, .foreign_cqe_data = &foreign });
	struct io_uring_sqe *sqe;

	ck_assert_int_eq(iou_run(iou), 0);
	sqe = io_uring_get_sqe(iou_ring(iou));
	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = 77;
	ck_assert_int_eq(io_uring_submit(iou_ring(iou)), 1);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run(iou), -30);
	ck_assert_int_eq(foreign.n_calls, 1);
	ck_assert_uint_eq(foreign.flags, 77);
	ck_assert_uint_eq(stats_of(iou).n_foreign, 1);
	ck_assert_int_eq(nop.n_calls, 0);
	run_and_free(iou);
	expect(&nop, 0);
}
END_TEST

/* Quit. */

static int quit_and_see(void *data)
{
	struct seen *seen = data;

	ck_assert_int_eq(iou_quit(seen->iou), 0);
	ck_assert_int_eq(iou_quit(seen->iou), 0);
	return see(seen);
}

PROMISE(07, quit_ends_the_run_after_the_callback_that_is_running)
{
	iou_t *iou = open_iou(4);
	struct seen nops[10], posts[2] = { { 0 }, { 0 } };

	for (int i = 0; i < 10; i++) {
		io_uring_prep_nop(take(iou, &nops[i]));
		iou_op_queue(iou, nops[i].op, i == 3 ? quit_and_see : see, &nops[i]);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 4);
	ck_assert_int_eq(iou_pending(iou), 6);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 10);
	posts[0].iou = iou;
	ck_assert_int_eq(iou_post(iou, quit_and_see, &posts[0]), 0);
	ck_assert_int_eq(iou_post(iou, see, &posts[1]), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 11);
	ck_assert_int_eq(iou_pending(iou), 1);
	run_and_free(iou);
	ck_assert_int_eq(n_seen, 12);
}
END_TEST

PROMISE(07, quit_outside_a_run_ends_the_next_one_and_no_other)
{
	iou_t *iou = open_iou(4);
	struct seen nop, blocked;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_nop(iou, &nop, 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 0);
	ck_assert_int_eq(iou_pending(iou), 2);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 0);
	ck_assert_int_eq(n_seen, 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(&nop, 0);
	ck_assert_int_eq(iou_quit(iou), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(blocked.n_calls, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&blocked, 1);
	close_pipe(fds);
}
END_TEST

static iou_t *_Atomic to_quit;

static void quit_from_handler(int signal_number)
{
	(void)signal_number;
	iou_quit(to_quit);
}

struct sender {
	pthread_t to;
	sem_t go;
	int n;
};

static void *send_signals(void *data)
{
	struct sender *sender = data;

	for (int i = 0; i < sender->n; i++) {
		wait_for_sem(&sender->go);
		pthread_kill(sender->to, SIGUSR1);
	}
	return NULL;
}

/* Before the run, on the way to the kernel, or in it; sem_wait() returns to a loop that it may interrupt, too. */
PROMISE(07, quit_in_a_signal_handler_is_never_lost)
{
	const struct sigaction action = { .sa_handler = quit_from_handler };
	/*
	 * TSan keeps a signal that comes just before a system call it does not know until the thread's next atomic operation:
	 * once in some 3,000, so that only a few can be sent there.
	 */
	struct sender sender = { .to = pthread_self(), .n = support_sanitized() ? 5 : fewer(3000, 100) };
	iou_t *iou = open_iou(4);
	struct sigaction old;

	to_quit = iou;
	sem_init(&sender.go, 0, 0);
	sigaction(SIGUSR1, &action, &old);
	ck_assert_int_eq(iou_hold(iou), 0);

	pthread_t thread = start_thread(send_signals, &sender);

	for (int i = 0; i < sender.n; i++) {
		sem_post(&sender.go);
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(iou_pending(iou), 1);
	}
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	ck_assert_int_eq(iou_release(iou), 0);
	run_and_free(iou);
	sem_destroy(&sender.go);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-loop");

	ADD_CASE(s, "errors", test_g06_negative_result_ends_the_run_and_the_rest_goes_on_in_order,
		 test_g06_op_queued_again_survives_the_error_of_its_callback, test_g06_positive_results_mean_zero,
		 test_g06_posts_and_jobs_end_a_run_as_ops_do,
		 test_g06_failing_work_ends_the_run_after_its_completion_callback);
	ADD_CASE(s, "quit", test_g07_quit_ends_the_run_after_the_callback_that_is_running,
		 test_g07_quit_outside_a_run_ends_the_next_one_and_no_other,
		 test_g07_quit_in_a_signal_handler_is_never_lost);
	ADD_RING_CASE(s, "ring", test_g06_foreign_completions_end_a_run_too);
	return s;
}
