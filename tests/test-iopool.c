/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "threads/iopool.h"
#include "threads/opcodes.h"

#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#define N_REQUESTS 4

static struct iopool pool;
static struct request requests[N_REQUESTS];
static sem_t gate;
static _Atomic int n_begun;

static enum outcome at_once(struct request *request)
{
	n_begun++;
	return iou__done_as(request, 7);
}

static enum outcome at_the_gate(struct request *request)
{
	n_begun++;
	while (sem_wait(&gate) < 0)
		;
	return iou__done_as(request, 8);
}

static const struct opcode quick = { .attempt = at_once }, slow = { .attempt = at_the_gate };

static void set_up(void)
{
	memset(&pool, 0, sizeof(pool));
	memset(requests, 0, sizeof(requests));
	sem_init(&gate, 0, 0);
	n_begun = 0;
	ck_assert_int_eq(iou__iopool_init(&pool, (const unsigned[]){ 1, 1 }), 0);
}

static void tear_down(void)
{
	iou__iopool_destroy(&pool);
	sem_destroy(&gate);
}

static struct request *put(int i, const struct opcode *opcode)
{
	struct request *request = &requests[i];

	request->opcode = opcode;
	request->is_bounded = true;
	request->place = AT_WORKER;
	ck_assert_int_eq(iou__iopool_put(&pool, request), 0);
	return request;
}

static void wait_until_finished(void)
{
	while (!iou__iopool_has_finished(&pool))
		usleep(100);
}

static bool is_readable(int timeout_ms)
{
	return poll(&(struct pollfd){ .fd = pool.wake_fd, .events = POLLIN }, 1, timeout_ms) == 1;
}

static int n_taken(void)
{
	struct queue out;
	int n = 0;

	iou__queue_init(&out);
	iou__iopool_take(&pool, &out);
	while (iou__queue_pop(&out))
		n++;
	return n;
}

/* It would be told by nobody any more. */
START_TEST(test_g05_loop_does_not_sleep_while_there_is_something_to_take)
{
	put(0, &quick);
	wait_until_finished();
	ck_assert(!is_readable(0));
	ck_assert(!iou__iopool_doze(&pool));
	ck_assert_int_eq(n_taken(), 1);
	ck_assert_int_eq(requests[0].res, 7);
	ck_assert(!iou__iopool_has_finished(&pool));
	ck_assert(iou__iopool_doze(&pool));
}
END_TEST

/* Once it has said that it sleeps, and no more often than that. */
START_TEST(test_g05_loop_that_sleeps_is_woken_once)
{
	put(0, &slow);
	put(1, &quick);
	ck_assert(iou__iopool_doze(&pool));
	ck_assert(!is_readable(0));
	sem_post(&gate);
	ck_assert(is_readable(10000));
	iou__iopool_rouse(&pool);
	ck_assert(!is_readable(0));
	while (pool.n_out)
		n_taken();
	ck_assert(!is_readable(0));
	put(2, &quick);
	wait_until_finished();
	ck_assert(!is_readable(0));
	ck_assert_int_eq(n_taken(), 1);
}
END_TEST

START_TEST(test_what_no_worker_has_begun_can_be_taken_back)
{
	put(0, &slow);
	while (!n_begun)
		usleep(100);
	put(1, &quick);
	ck_assert_int_eq(iou__iopool_withdraw(&pool, &requests[0], WORD_CANCEL), IOPOOL_KEPT);
	ck_assert_int_eq(iou__iopool_withdraw(&pool, &requests[1], WORD_CANCEL), IOPOOL_WITHDRAWN);
	ck_assert_uint_eq(pool.n_out, 1);
	sem_post(&gate);
	wait_until_finished();
	ck_assert_int_eq(n_taken(), 1);
	ck_assert_int_eq(n_begun, 1);
	ck_assert_uint_eq(pool.n_out, 0);
}
END_TEST

static enum outcome until_told(struct request *request)
{
	uint32_t word;

	n_begun++;
	while ((word = iou__iopool_leave_off(request)) == WORD_NONE)
		usleep(100);
	return iou__done_as(request, (int)word);
}

static const struct opcode listener = { .attempt = until_told };

START_TEST(test_worker_that_listens_leaves_off_or_has_ended)
{
	requests[0].listens = requests[1].listens = true;
	put(0, &listener);
	while (!n_begun)
		usleep(100);
	ck_assert_int_eq(iou__iopool_withdraw(&pool, &requests[0], WORD_WOKEN + 5), IOPOOL_LEFT);
	ck_assert_int_eq(iou__iopool_withdraw(&pool, &requests[0], WORD_CANCEL), IOPOOL_KEPT);
	wait_until_finished();
	ck_assert_int_eq(n_taken(), 1);
	ck_assert_int_eq(requests[0].res, WORD_WOKEN + 5);
	put(1, &quick);
	wait_until_finished();
	ck_assert_int_eq(iou__iopool_withdraw(&pool, &requests[1], WORD_CANCEL), IOPOOL_KEPT);
	ck_assert_int_eq(n_taken(), 1);
	ck_assert_int_eq(requests[1].res, 7);
}
END_TEST

/* What it is told while it ends by itself is answered all the same. */
START_TEST(test_worker_that_is_told_too_late_says_so)
{
	enum withdrawal withdrawal;

	requests[0].listens = true;
	for (int i = 0; i < 1000; i++) {
		put(0, &quick);
		for (volatile int j = 0; j < 10 * i; j++)
			;
		withdrawal = iou__iopool_withdraw(&pool, &requests[0], WORD_CANCEL);
		ck_assert_int_ne(withdrawal, IOPOOL_LEFT);
		if (withdrawal == IOPOOL_KEPT)
			wait_until_finished();
		ck_assert_int_eq(n_taken(), withdrawal == IOPOOL_KEPT);
		requests[0].is_on_worker = false;
	}
}
END_TEST

START_TEST(test_stopping_waits_for_what_has_begun_and_drops_the_rest)
{
	put(0, &slow);
	while (!n_begun)
		usleep(100);
	put(1, &quick);
	sem_post(&gate);
	iou__iopool_stop(&pool);
	ck_assert_int_ge(n_taken(), 1);
	ck_assert_int_eq(requests[0].res, 8);
	for (int i = 0; i < N_LANES; i++)
		ck_assert_uint_eq(pool.lanes[i].n_threads, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("iopool");
	TCase *tcase =
		ADD_CASE(s, "iopool", test_g05_loop_does_not_sleep_while_there_is_something_to_take,
			 test_g05_loop_that_sleeps_is_woken_once, test_what_no_worker_has_begun_can_be_taken_back,
			 test_worker_that_listens_leaves_off_or_has_ended, test_worker_that_is_told_too_late_says_so,
			 test_stopping_waits_for_what_has_begun_and_drops_the_rest);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return s;
}
