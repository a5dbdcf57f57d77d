/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "jobs.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS (1U << JOBS_FIRST_SHIFT)
#define N_WORKERS 3
#define N_STRESS 50000

static struct jobs jobs;
static struct job_reader reader;
static struct op *ops;

static int work(void *data)
{
	return *(int *)data;
}

static void set_up(void)
{
	memset(&jobs, 0, sizeof(jobs));
	ops = aligned_alloc(_Alignof(struct op), N_STRESS * sizeof(*ops));
	ck_assert_ptr_nonnull(ops);
	memset(ops, 0, N_STRESS * sizeof(*ops));
	ck_assert_int_eq(iou__jobs_make_room(&jobs), 0);
	reader = iou__jobs_read(&jobs);
}

static void tear_down(void)
{
	iou__jobs_destroy(&jobs);
	free(ops);
}

static int rounds(int n)
{
	return support_slowness() > 1 ? n / 10 : n;
}

static void put(unsigned i)
{
	ops[i].job.work = work;
	ops[i].job.work_data = &ops[i];
	ck_assert_int_eq(iou__jobs_make_room(&jobs), 0);
	iou__jobs_put(&jobs, &ops[i]);
}

static void put_n(unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++)
		put(i);
}

static void check_takes(struct job_reader *from, unsigned i)
{
	struct claimed_job job;

	ck_assert(iou__jobs_take(from, &job));
	ck_assert_ptr_eq(job.op, &ops[i]);
	ck_assert_ptr_eq(job.work_data, &ops[i]);
	ck_assert(job.work == work);
}

static void check_takes_none(struct job_reader *from)
{
	struct claimed_job job;

	ck_assert(!iou__jobs_take(from, &job));
}

START_TEST(test_jobs_are_taken_in_order_lap_after_lap)
{
	check_takes_none(&reader);
	for (unsigned i = 0; i < 10 * FIRST_SLOTS; i += 3) {
		put_n(i, 3);
		for (unsigned j = 0; j < 3; j++)
			check_takes(&reader, i + j);
		check_takes_none(&reader);
	}
	ck_assert_ptr_eq(jobs.first, jobs.last);
}
END_TEST

START_TEST(test_ring_that_is_full_is_followed_by_a_larger_one)
{
	unsigned n = 9 * FIRST_SLOTS;

	put_n(0, n);
	ck_assert_ptr_ne(jobs.first, jobs.last);
	for (unsigned i = 0; i < n; i++)
		check_takes(&reader, i);
	check_takes_none(&reader);
	/* From now on that is large enough. */
	struct job_ring *last = jobs.last;

	for (int lap = 0; lap < 5; lap++) {
		put_n(0, FIRST_SLOTS * 8);
		for (unsigned i = 0; i < FIRST_SLOTS * 8; i++)
			check_takes(&reader, i);
	}
	ck_assert_ptr_eq(jobs.last, last);
}
END_TEST

/* It is allocated before it is needed, and there is room all the same. */
START_TEST(test_larger_ring_that_is_not_needed_after_all_is_kept_for_later)
{
	put_n(0, FIRST_SLOTS);
	ck_assert_int_eq(iou__jobs_make_room(&jobs), 0);
	ck_assert_ptr_nonnull(jobs.spare);
	check_takes(&reader, 0);
	put(FIRST_SLOTS);
	ck_assert_ptr_eq(jobs.first, jobs.last);
	ck_assert_ptr_nonnull(jobs.spare);
	put(FIRST_SLOTS + 1);
	ck_assert_ptr_null(jobs.spare);
	for (unsigned i = 1; i < FIRST_SLOTS + 2; i++)
		check_takes(&reader, i);
	check_takes_none(&reader);
}
END_TEST

START_TEST(test_two_workers_never_take_the_same)
{
	struct job_reader other = iou__jobs_read(&jobs);

	put_n(0, 5 * FIRST_SLOTS);
	for (unsigned i = 0; i < 5 * FIRST_SLOTS; i++)
		check_takes(i % 3 ? &reader : &other, i);
	check_takes_none(&reader);
	check_takes_none(&other);
}
END_TEST

/* One that was at work for many laps, of each ring, finds the oldest. */
START_TEST(test_worker_that_was_away_for_long_takes_the_oldest)
{
	for (unsigned n_away = 0; n_away < 6 * FIRST_SLOTS; n_away += 7) {
		struct job_reader away = reader;

		for (unsigned i = 0; i < n_away; i++) {
			put(i);
			check_takes(&reader, i);
		}
		put_n(0, 5);
		for (unsigned i = 0; i < 5; i++)
			check_takes(&away, i);
		check_takes_none(&away);
		check_takes_none(&reader);
	}
	/* The jobs of a lap are not all taken. */
	struct job_reader away = reader;

	put_n(0, FIRST_SLOTS);
	for (unsigned i = 0; i < FIRST_SLOTS / 2; i++)
		check_takes(&reader, i);
	put_n(FIRST_SLOTS, FIRST_SLOTS / 4);
	check_takes(&away, FIRST_SLOTS / 2);
	check_takes(&reader, FIRST_SLOTS / 2 + 1);
}
END_TEST

START_TEST(test_job_is_withdrawn_from_anywhere_and_once)
{
	put_n(0, 3 * FIRST_SLOTS);
	check_takes(&reader, 0);
	ck_assert(!iou__jobs_withdraw(&ops[0]));
	for (unsigned i = 1; i < 3 * FIRST_SLOTS; i += 2) {
		ck_assert(iou__jobs_withdraw(&ops[i]));
		ck_assert(!iou__jobs_withdraw(&ops[i]));
	}
	for (unsigned i = 2; i < 3 * FIRST_SLOTS; i += 2) {
		check_takes(&reader, i);
		ck_assert(!iou__jobs_withdraw(&ops[i]));
	}
	check_takes_none(&reader);
}
END_TEST

START_TEST(test_job_whose_slot_another_has_cannot_be_withdrawn)
{
	put(0);
	check_takes(&reader, 0);
	for (unsigned i = 1; i < FIRST_SLOTS; i++) {
		put(i);
		check_takes(&reader, i);
	}
	put(FIRST_SLOTS);
	ck_assert_ptr_eq(ops[0].job.slot, ops[FIRST_SLOTS].job.slot);
	ck_assert(!iou__jobs_withdraw(&ops[0]));
	check_takes(&reader, FIRST_SLOTS);
}
END_TEST

/* Threads. */

static atomic_int n_taken, n_times[N_STRESS];
static atomic_bool is_over;

static void *take_all(void *data)
{
	struct job_reader *mine = data;
	struct claimed_job job;
	const struct op *last = NULL;

	while (!atomic_load(&is_over)) {
		if (!iou__jobs_take(mine, &job)) {
			sched_yield();
			continue;
		}
		/* What one takes was put in this order. */
		ck_assert(!last || job.op > last);
		ck_assert_ptr_eq(job.op, job.work_data);
		last = job.op;
		atomic_fetch_add(&n_times[job.op - ops], 1);
		atomic_fetch_add(&n_taken, 1);
	}
	return NULL;
}

START_TEST(test_every_job_is_taken_once_or_withdrawn)
{
	struct job_reader readers[N_WORKERS];
	pthread_t threads[N_WORKERS];
	int n = rounds(N_STRESS), n_withdrawn = 0;

	atomic_store(&n_taken, 0);
	atomic_store(&is_over, false);
	/* So many that they are at them at the same time, and then one by one. */
	put_n(0, (unsigned)n / 2);
	for (int i = 0; i < N_WORKERS; i++) {
		readers[i] = iou__jobs_read(&jobs);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_all, &readers[i]), 0);
	}
	for (int i = n / 2; i < n; i++) {
		put((unsigned)i);
		if (i % 5 == 4 && iou__jobs_withdraw(&ops[i - i % 3])) {
			atomic_fetch_add(&n_times[i - i % 3], 1);
			n_withdrawn++;
		}
	}
	while (atomic_load(&n_taken) + n_withdrawn < n)
		sched_yield();
	atomic_store(&is_over, true);
	for (int i = 0; i < N_WORKERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&n_taken) + n_withdrawn, n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(atomic_load(&n_times[i]), 1);
}
END_TEST

Suite *suite(void)
{
	Suite *jobs_suite = suite_create("jobs");
	TCase *tcase;

	tcase = ADD_CASE(jobs_suite, "ring", test_jobs_are_taken_in_order_lap_after_lap,
			 test_ring_that_is_full_is_followed_by_a_larger_one,
			 test_larger_ring_that_is_not_needed_after_all_is_kept_for_later,
			 test_two_workers_never_take_the_same, test_worker_that_was_away_for_long_takes_the_oldest,
			 test_job_is_withdrawn_from_anywhere_and_once,
			 test_job_whose_slot_another_has_cannot_be_withdrawn,
			 test_every_job_is_taken_once_or_withdrawn);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return jobs_suite;
}
