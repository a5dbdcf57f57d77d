/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "ops.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define N_MANY 3000
#define N_THREADS 4
#define JOBS_PER_THREAD 500
#define ALL_STATES ((1U << N_OP_STATES) - 1)
#define LAST_INDEX ((1U << OP_INDEX_BITS) - 2)

static struct ops ops;
static struct tally tally;

static void set_up(void)
{
	iou__ops_init(&ops);
	memset(&tally, 0, sizeof(tally));
}

static void tear_down(void)
{
	iou__ops_destroy(&ops);
}

static struct op *take(void)
{
	struct op *op = iou__ops_take(&ops);

	ck_assert_ptr_nonnull(op);
	return op;
}

/* One that programs have seen: with an identity of its own, and queued. */
static struct op *take_queued(void)
{
	struct op *op = take();

	iou__ops_rename(op);
	iou__ops_move(&ops, op, OP_NEW, OP_QUEUED);
	return op;
}

START_TEST(test_op_is_two_cache_lines)
{
	ck_assert_uint_eq(sizeof(struct op), 128);
	for (int i = 0; i < 300; i++)
		ck_assert_uint_eq((uintptr_t)take() % 128, 0);
}
END_TEST

static void check_is_new(const struct op *op)
{
	static const struct io_uring_sqe zero;

	ck_assert_int_eq(iou__op_state(op), OP_NEW);
	ck_assert_ptr_eq(op->pub.sqe, &op->sqe);
	ck_assert_int_eq(op->pub.result, 0);
	ck_assert_uint_eq(op->pub.flags, 0);
	ck_assert_mem_eq(&op->sqe, &zero, sizeof(zero));
	ck_assert_ptr_eq(op->task.node.next, NODE_POISON);
}

START_TEST(test_op_is_new_and_zero_in_each_life)
{
	struct op *op = take(), *again;

	check_is_new(op);
	memset(&op->sqe, 0xff, sizeof(op->sqe));
	op->pub = (iou_op_t){ .sqe = NULL, .result = -1, .flags = 7 };
	iou__ops_give_back(&ops, op);
	again = take();
	ck_assert_ptr_eq(again, op);
	check_is_new(again);
}
END_TEST

START_TEST(test_ops_never_move)
{
	static struct op *all[N_MANY];

	for (int i = 0; i < N_MANY; i++) {
		all[i] = take();
		all[i]->sqe.off = (__u64)i;
	}
	for (uint32_t i = 0; i < N_MANY; i++) {
		ck_assert_ptr_eq(iou__ops_at(&ops, i + 1), all[i]);
		ck_assert_uint_eq(all[i]->sqe.off, i);
	}
}
END_TEST

START_TEST(test_memory_grows_with_the_most_ops_alive_at_once)
{
	size_t bytes;

	ck_assert_uint_eq(iou__ops_bytes(&ops), 0);
	for (int i = 0; i < N_MANY; i++)
		take_queued();
	bytes = iou__ops_bytes(&ops);
	ck_assert_uint_ge(bytes, N_MANY * sizeof(struct op));
	ck_assert_uint_le(bytes, (N_MANY + 1024) * sizeof(struct op));
	for (uint32_t i = 1; i <= N_MANY; i++)
		iou__ops_give_back(&ops, iou__ops_at(&ops, i));
	for (int i = 0; i < 10 * N_MANY; i++)
		iou__ops_give_back(&ops, take());
	ck_assert_uint_eq(iou__ops_bytes(&ops), bytes);
}
END_TEST

START_TEST(test_destroyed_pool_is_an_empty_one)
{
	for (int i = 0; i < N_MANY; i++)
		take();
	iou__ops_destroy(&ops);
	ck_assert_uint_eq(iou__ops_bytes(&ops), 0);
	ck_assert(iou__ops_add_up(&ops));
	ck_assert_uint_eq(iou__ops_n(&ops, OP_NEW), 0);
	check_is_new(take());
}
END_TEST

START_TEST(test_latest_to_come_back_goes_first)
{
	struct op *first = take(), *second = take();

	iou__ops_give_back(&ops, first);
	iou__ops_give_back(&ops, second);
	ck_assert_ptr_eq(take(), second);
	ck_assert_ptr_eq(take(), first);
}
END_TEST

static int by_value(const void *left, const void *right)
{
	const __u64 *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

/* Some ops, many lives. */
START_TEST(test_identities_are_never_0_and_never_twice_the_same)
{
	static __u64 identities[N_MANY];

	for (int i = 0; i < N_MANY; i++) {
		struct op *op = take_queued();

		identities[i] = op->identity;
		ck_assert_uint_eq(op->sqe.user_data, op->identity);
		if (i % 3)
			iou__ops_give_back(&ops, op);
	}
	qsort(identities, N_MANY, sizeof(identities[0]), by_value);
	ck_assert_uint_ne(identities[0], 0);
	for (int i = 1; i < N_MANY; i++)
		ck_assert_uint_ne(identities[i], identities[i - 1]);
}
END_TEST

START_TEST(test_identity_is_not_0_even_after_2_to_40_lives)
{
	struct op *op = take();
	__u64 index = op->identity & ((1U << OP_INDEX_BITS) - 1);

	op->identity = ~0ULL << OP_INDEX_BITS | index;
	iou__ops_rename(op);
	ck_assert_uint_eq(op->identity, index);
	ck_assert_uint_ne(op->identity, 0);
	ck_assert_uint_eq(op->sqe.user_data, index);
}
END_TEST

START_TEST(test_generation_counts_lives)
{
	struct op *op = take();
	__u64 before = op->identity;

	for (unsigned i = 1; i <= 1000; i++) {
		iou__ops_rename(op);
		ck_assert_uint_eq(op->identity - before, (__u64)i << OP_INDEX_BITS);
	}
}
END_TEST

/* All ones is the user_data that liburing gives to a request of its own. */
START_TEST(test_index_of_all_ones_is_never_handed_out)
{
	ops.n_fresh = LAST_INDEX + 1;
	ck_assert_ptr_null(iou__ops_take(&ops));
	ck_assert_uint_eq(ops.n_fresh, LAST_INDEX + 1);
	ck_assert(iou__ops_add_up(&ops));
	ops.n_fresh = 1;
	check_is_new(take());
}
END_TEST

START_TEST(test_op_is_found_by_its_identity)
{
	for (int i = 0; i < N_MANY; i++) {
		struct op *op = take_queued();

		ck_assert_ptr_eq(iou__ops_find(&ops, op->identity, 1U << OP_QUEUED), op);
		ck_assert_ptr_eq(iou__ops_find(&ops, op->identity, ALL_STATES), op);
	}
}
END_TEST

START_TEST(test_op_is_found_in_the_states_asked_for_alone)
{
	struct op *op = take_queued();

	ck_assert_ptr_null(iou__ops_find(&ops, op->identity, ALL_STATES & ~(1U << OP_QUEUED)));
	iou__ops_move(&ops, op, OP_QUEUED, OP_SUBMITTED);
	ck_assert_ptr_null(iou__ops_find(&ops, op->identity, 1U << OP_QUEUED));
	ck_assert_ptr_eq(iou__ops_find(&ops, op->identity, 1U << OP_QUEUED | 1U << OP_SUBMITTED), op);
}
END_TEST

START_TEST(test_unknown_identities_are_not_found)
{
	struct op *op = take_queued();
	const __u64 unknown[] = {
		0,
		~0ULL,
		1ULL << OP_INDEX_BITS,                  /* index 0 */
		op->identity + 1,                       /* never handed out */
		LAST_INDEX,                             /* beyond all chunks */
		(op->identity & ~0xffULL) | 0xff,       /* in the chunk, and not handed out yet */
		op->identity + (1ULL << OP_INDEX_BITS), /* its next life */
		op->identity | 1ULL << 63,              /* a life far away */
		(__u64)(uintptr_t)op,                   /* a pointer */
	};

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		ck_assert_ptr_null(iou__ops_find(&ops, unknown[i], ALL_STATES));
	iou__ops_destroy(&ops);
	ck_assert_ptr_null(iou__ops_find(&ops, 1, ALL_STATES));
}
END_TEST

START_TEST(test_late_identity_does_not_find_the_next_life)
{
	struct op *op = take_queued();
	__u64 late = op->identity;

	iou__ops_give_back(&ops, op);
	ck_assert_ptr_null(iou__ops_find(&ops, late, ALL_STATES & ~(1U << OP_FREE)));
	ck_assert_ptr_eq(take_queued(), op);
	ck_assert_ptr_null(iou__ops_find(&ops, late, ALL_STATES));
	ck_assert_ptr_eq(iou__ops_find(&ops, op->identity, ALL_STATES), op);
}
END_TEST

/* The lives that the comment above the states tells of. */
static const enum op_state lives[][8] = {
	{ OP_NEW, OP_QUEUED, OP_SUBMITTED, OP_COMPLETED, OP_FREE },
	{ OP_NEW, OP_QUEUED, OP_SUBMITTED, OP_COMPLETED, OP_QUEUED, OP_COMPLETED, OP_FREE },
	{ OP_NEW, OP_WAITING, OP_WORKING, OP_FINISHED, OP_COMPLETED, OP_FREE },
	{ OP_NEW, OP_WAITING, OP_COMPLETED, OP_WAITING, OP_COMPLETED, OP_FREE },
	{ OP_NEW, OP_OWN, OP_FREE },
};

static void check_one_is_in(enum op_state in)
{
	bool is_job = in == OP_WAITING || in == OP_WORKING || in == OP_FINISHED;

	ck_assert_uint_eq(ops.n_jobs, is_job);
	for (int state = OP_NEW; state < N_OP_STATES; state++)
		ck_assert_uint_eq(iou__ops_n(&ops, (enum op_state)state), state == (int)in);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FREE), in == OP_FREE ? 0 : (uint32_t)-1);
	ck_assert(iou__ops_add_up(&ops));
}

/* By whom it is done. */
static void move(struct op *op, enum op_state from, enum op_state to)
{
	if (to == OP_WORKING)
		iou__tally_begin(&tally);
	else if (to == OP_FINISHED)
		iou__tally_finish(&tally);
	else
		iou__ops_move(&ops, op, from, to);
}

START_TEST(test_counters_follow_a_life)
{
	const enum op_state *life = lives[_i];
	struct op *op = take();

	iou__ops_add_tally(&ops, &tally);
	for (; life[1] != OP_FREE; life++) {
		check_one_is_in(life[0]);
		move(op, life[0], life[1]);
		ck_assert(iou__op_may_be(op, life[1]));
	}
	check_one_is_in(life[0]);
	iou__ops_give_back(&ops, op);
	check_one_is_in(OP_FREE);
}
END_TEST

START_TEST(test_counters_that_do_not_add_up_are_noticed)
{
	take();
	ck_assert(iou__ops_add_up(&ops));
	ops.n[OP_QUEUED]++;
	ck_assert(!iou__ops_add_up(&ops));
}
END_TEST

/* What has been counted stays so when the tallies go. */
START_TEST(test_counters_are_the_same_without_the_tallies)
{
	struct op *waiting = take(), *working = take(), *finished = take();

	iou__ops_add_tally(&ops, &tally);
	iou__ops_move(&ops, waiting, OP_NEW, OP_WAITING);
	iou__ops_move(&ops, working, OP_NEW, OP_WAITING);
	iou__ops_move(&ops, finished, OP_NEW, OP_WAITING);
	iou__tally_begin(&tally);
	iou__tally_begin(&tally);
	iou__tally_finish(&tally);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 1);
		ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING), 1);
		ck_assert_uint_eq(iou__ops_n(&ops, OP_FINISHED), 1);
		ck_assert_uint_eq(iou__ops_n_unfinished(&ops), 2);
		ck_assert(iou__ops_add_up(&ops));
		iou__ops_end_tallies(&ops);
	}
}
END_TEST

static pthread_barrier_t start;

struct share {
	struct tally tally;
	struct op *jobs[JOBS_PER_THREAD];
};

/* A worker's moves of its share of the jobs. */
static void *work(void *data)
{
	struct share *share = data;

	pthread_barrier_wait(&start);
	for (int i = 0; i < JOBS_PER_THREAD; i++) {
		iou__tally_begin(&share->tally);
		iou__tally_finish(&share->tally);
	}
	return NULL;
}

START_TEST(test_no_move_of_a_worker_is_lost)
{
	static struct share shares[N_THREADS];
	pthread_t threads[N_THREADS];
	uint32_t n_jobs = N_THREADS * JOBS_PER_THREAD, n_finished = 0;

	for (uint32_t i = 0; i < n_jobs; i++) {
		struct op *op = take();

		iou__ops_move(&ops, op, OP_NEW, OP_WAITING);
		shares[i / JOBS_PER_THREAD].jobs[i % JOBS_PER_THREAD] = op;
	}
	pthread_barrier_init(&start, NULL, N_THREADS + 1);
	for (int i = 0; i < N_THREADS; i++) {
		iou__ops_add_tally(&ops, &shares[i].tally);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &shares[i]), 0);
	}
	pthread_barrier_wait(&start);
	/* Meanwhile the loop goes on with its own, and what it sees makes sense. */
	while (n_finished < n_jobs) {
		uint32_t n = iou__ops_n(&ops, OP_FINISHED);

		ck_assert_uint_ge(n, n_finished);
		ck_assert_uint_le(n, n_jobs);
		n_finished = n;
		ck_assert_uint_le(iou__ops_n(&ops, OP_WAITING), n_jobs);
		ck_assert_uint_le(iou__ops_n(&ops, OP_WORKING), n_jobs);
		iou__ops_give_back(&ops, take_queued());
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 0);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING), 0);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FINISHED), n_jobs);
	ck_assert_uint_eq(ops.n_jobs, n_jobs);
	ck_assert(iou__ops_add_up(&ops));
}
END_TEST

Suite *suite(void)
{
	Suite *ops_suite = suite_create("ops");
	TCase *tcase;

	tcase = ADD_CASE(ops_suite, "pool", test_op_is_two_cache_lines, test_op_is_new_and_zero_in_each_life,
			 test_ops_never_move, test_memory_grows_with_the_most_ops_alive_at_once,
			 test_destroyed_pool_is_an_empty_one, test_latest_to_come_back_goes_first);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(ops_suite, "identities", test_identities_are_never_0_and_never_twice_the_same,
			 test_identity_is_not_0_even_after_2_to_40_lives, test_generation_counts_lives,
			 test_index_of_all_ones_is_never_handed_out, test_op_is_found_by_its_identity,
			 test_op_is_found_in_the_states_asked_for_alone, test_unknown_identities_are_not_found,
			 test_late_identity_does_not_find_the_next_life);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(ops_suite, "states", test_counters_that_do_not_add_up_are_noticed,
			 test_counters_are_the_same_without_the_tallies, test_no_move_of_a_worker_is_lost);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_counters_follow_a_life, 0, (int)(sizeof(lives) / sizeof(lives[0])));
	return ops_suite;
}
