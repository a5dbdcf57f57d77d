/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G17: a turn delivers only what was there when it began. */
#include "promises.h"

/* An op or a post that comes again and again, at most this often before it gives up and the test with it. */

enum { MOST = 3000000 };

struct hog {
	iou_t *iou;
	iou_op_t *op;
	bool is_over;
	int n_calls;
};

static int hog_op(void *data)
{
	struct hog *hog = data;

	if (hog->is_over)
		return 0;
	if (++hog->n_calls == MOST)
		return -ELOOP;
	iou_op_queue(hog->iou, hog->op, hog_op, hog);
	return 0;
}

/* Two that need no turn to complete again: one is submitted at once, the other never gets so far. */
static int hog_flush(void *data)
{
	struct hog *hog = data;

	if (hog->is_over)
		return 0;
	if (++hog->n_calls == MOST)
		return -ELOOP;
	iou_op_queue(hog->iou, hog->op, hog_flush, hog);
	return iou_flush(hog->iou);
}

static int hog_cancel(void *data)
{
	struct hog *hog = data;

	if (hog->is_over)
		return 0;
	if (++hog->n_calls == MOST)
		return -ELOOP;
	iou_op_queue(hog->iou, hog->op, hog_cancel, hog);
	return iou_op_cancel(hog->iou, hog->op);
}

static int hog_post(void *data)
{
	struct hog *hog = data;

	if (hog->is_over)
		return 0;
	if (++hog->n_calls == MOST)
		return -ELOOP;
	return iou_post(hog->iou, hog_post, hog);
}

static int end_hog(void *data)
{
	struct hog *hog = data;

	hog->is_over = true;
	return 0;
}

static void start_hog(struct hog *hog, int (*cb)(void *))
{
	hog->op = iou_op_new(hog->iou);
	io_uring_prep_nop(hog->op->sqe);
	iou_op_queue(hog->iou, hog->op, cb, hog);
}

static void start_op_hog(struct hog *hog)
{
	start_hog(hog, hog_op);
}

static void *post_end(void *data)
{
	struct hog *hog = data;

	iou_post(hog->iou, end_hog, hog);
	return NULL;
}

PROMISE(17, op_that_rearms_does_not_starve_a_post)
{
	iou_t *iou = open_iou(4);
	struct hog hog = { .iou = iou };

	start_op_hog(&hog);

	pthread_t thread = start_thread(post_end, &hog);

	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(thread, NULL);
	run_and_free(iou);
}
END_TEST

PROMISE(17, op_that_rearms_does_not_starve_a_job)
{
	iou_t *iou = open_iou(4);
	struct hog hog = { .iou = iou };
	int zero = 0;

	start_op_hog(&hog);
	ck_assert_int_eq(iou_async(iou, return_int, &zero, end_hog, &hog), 0);
	run_and_free(iou);
	ck_assert(hog.is_over);
}
END_TEST

PROMISE(17, op_that_rearms_does_not_starve_a_timeout)
{
	iou_t *iou = open_iou(4);
	struct hog hog = { .iou = iou };
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	iou_op_t *timeout = iou_op_new(iou);

	start_op_hog(&hog);
	io_uring_prep_timeout(timeout->sqe, &soon, 0, 0);
	iou_op_queue(iou, timeout, end_hog, &hog);
	run_and_free(iou);
	ck_assert(hog.is_over);
}
END_TEST

static void *quit_soon(void *data)
{
	iou_quit(data);
	return NULL;
}

PROMISE(17, op_that_rearms_does_not_starve_a_quit)
{
	iou_t *iou = open_iou(4);
	struct hog hog = { .iou = iou };

	start_op_hog(&hog);

	pthread_t thread = start_thread(quit_soon, iou);

	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(iou_pending(iou), 1);
	hog.is_over = true;
	run_and_free(iou);
}
END_TEST

/* A timeout that looks again and again, until both have had their turns. */
struct referee {
	iou_t *iou;
	iou_op_t *op;
	struct hog *hogs[2];
};

static int end_both(void *data)
{
	struct referee *referee = data;

	if (referee->hogs[0]->n_calls < 3 || referee->hogs[1]->n_calls < 3) {
		iou_op_queue(referee->iou, referee->op, end_both, referee);
		return 0;
	}
	for (int i = 0; i < 2; i++)
		end_hog(referee->hogs[i]);
	return 0;
}

PROMISE(17, posts_that_post_do_not_starve_an_op_nor_it_them)
{
	iou_t *iou = open_iou(4);
	struct hog posts = { .iou = iou }, ops = { .iou = iou };
	struct referee referee = { .iou = iou, .op = iou_op_new(iou), .hogs = { &posts, &ops } };
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };

	ck_assert_int_eq(iou_post(iou, hog_post, &posts), 0);
	start_op_hog(&ops);
	io_uring_prep_timeout(referee.op->sqe, &soon, 0, 0);
	iou_op_queue(iou, referee.op, end_both, &referee);
	run_and_free(iou);
	ck_assert(posts.is_over && ops.is_over);
}
END_TEST

PROMISE(17, turn_delivers_only_what_was_there_when_it_began)
{
	iou_t *iou = open_iou(4);
	struct hog ops = { .iou = iou }, posts = { .iou = iou };

	start_op_hog(&ops);
	for (int i = 1; i <= 10; i++) {
		ck_assert_int_eq(iou_run_once(iou, NULL), 1);
		ck_assert_int_eq(ops.n_calls, i);
	}
	ck_assert_int_eq(iou_post(iou, hog_post, &posts), 0);
	for (int i = 1; i <= 10; i++) {
		ck_assert_int_eq(iou_run_once(iou, NULL), 2);
		ck_assert_int_eq(posts.n_calls, i);
	}
	posts.is_over = ops.is_over = true;
	run_and_free(iou);
}
END_TEST

static void check_one_call_each_turn(int (*cb)(void *))
{
	iou_t *iou = open_iou(4);
	struct hog hog = { .iou = iou };
	struct seen post = { 0 };

	start_hog(&hog, cb);
	for (int i = 1; i <= 10; i++) {
		ck_assert_int_eq(iou_run_once(iou, NULL), 1);
		ck_assert_int_eq(hog.n_calls, i);
	}
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_eq(iou_run_once(iou, NULL), 2);
	ck_assert_int_eq(post.n_calls, 1);
	hog.is_over = true;
	run_and_free(iou);
}

PROMISE(17, op_that_flushes_itself_in_its_callback_waits_for_the_next_turn)
{
	check_one_call_each_turn(hog_flush);
}
END_TEST

PROMISE(17, op_that_cancels_itself_in_its_callback_waits_for_the_next_turn)
{
	check_one_call_each_turn(hog_cancel);
}
END_TEST

/* Each run ends early, after the first that it delivers, and there is another of that kind for the next one. */

struct ender {
	iou_t *iou;
	iou_op_t *op;
	int result;
	bool is_over;
};

static int end_by(const struct ender *ender)
{
	if (ender->result == 0)
		iou_quit(ender->iou);
	return ender->result;
}

static int post_again(void *data)
{
	struct ender *ender = data;

	if (ender->is_over)
		return 0;
	iou_post(ender->iou, post_again, ender);
	return end_by(ender);
}

static int cancel_again(void *data)
{
	struct ender *ender = data;

	if (ender->is_over)
		return 0;
	iou_op_queue(ender->iou, ender->op, cancel_again, ender);
	iou_op_cancel(ender->iou, ender->op);
	return end_by(ender);
}

static int fire_again(void *data)
{
	struct ender *ender = data;

	return ender->is_over ? 0 : end_by(ender);
}

static void start_post(struct ender *ender)
{
	ck_assert_int_eq(iou_post(ender->iou, post_again, ender), 0);
}

static void start_cancelled_op(struct ender *ender)
{
	ender->op = iou_op_new(ender->iou);
	io_uring_prep_nop(ender->op->sqe);
	iou_op_queue(ender->iou, ender->op, cancel_again, ender);
	ck_assert_int_eq(iou_op_cancel(ender->iou, ender->op), 0);
}

static void start_timer(struct ender *ender)
{
	static struct __kernel_timespec soon = { .tv_nsec = 1 };

	ender->op = iou_op_new(ender->iou);
	io_uring_prep_timeout(ender->op->sqe, &soon, 0, 1U << 6 /* IORING_TIMEOUT_MULTISHOT */);
	iou_op_queue(ender->iou, ender->op, fire_again, ender);
}

PROMISE(17, runs_that_all_end_early_get_to_everything)
{
	void (*const starts[])(struct ender *) = { start_post, start_cancelled_op, start_timer };

	for (int i = 0; i < 6; i++) {
		struct ender ender = { .iou = open_iou(8), .result = i % 2 ? -ECHILD : 0 };
		struct seen nop;

		queue_nop(ender.iou, &nop, 0);
		ck_assert_int_eq(iou_flush(ender.iou), 0);
		starts[i / 2](&ender);
		for (int j = 0; j < 10 && nop.n_calls == 0; j++)
			ck_assert_int_eq(iou_run(ender.iou), ender.result);
		expect(&nop, 0);
		ender.is_over = true;
		ck_assert_ptr_null(iou_free(ender.iou));
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-fairness");

	ADD_CASE(s, "fairness", test_g17_op_that_rearms_does_not_starve_a_post,
		 test_g17_op_that_rearms_does_not_starve_a_job, test_g17_op_that_rearms_does_not_starve_a_timeout,
		 test_g17_op_that_rearms_does_not_starve_a_quit,
		 test_g17_posts_that_post_do_not_starve_an_op_nor_it_them,
		 test_g17_turn_delivers_only_what_was_there_when_it_began,
		 test_g17_op_that_flushes_itself_in_its_callback_waits_for_the_next_turn,
		 test_g17_op_that_cancels_itself_in_its_callback_waits_for_the_next_turn,
		 test_g17_runs_that_all_end_early_get_to_everything);
	return s;
}
