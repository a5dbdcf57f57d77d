/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The heap of timers, against a list that is searched. */
#include "support.h"

#include "timers.h"

#include <stdlib.h>

#define N_OPS 400
#define N_STEPS 60000

static struct ops ops;
static struct timers timers;
static struct op *all[N_OPS];
static uint64_t due_ns[N_OPS]; /* of those that are armed */
static uint64_t seed;

static uint64_t pick(uint64_t n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % n;
}

static void set_up(void)
{
	iou__ops_init(&ops);
	iou__timers_init(&timers);
	for (int i = 0; i < N_OPS; i++) {
		all[i] = iou__ops_take(&ops);
		ck_assert_ptr_nonnull(all[i]);
	}
}

static void tear_down(void)
{
	iou__timers_destroy(&timers);
	iou__ops_destroy(&ops);
}

static void arm(int i, uint64_t due, enum kept how)
{
	ck_assert(iou__timers_reserve(&timers));
	iou__timers_arm(&timers, all[i], how, due);
	due_ns[i] = due;
}

static bool is_armed(int i)
{
	return all[i]->task.kept_how != NOT_KEPT;
}

static uint64_t number_of(int i)
{
	return all[i]->task.kept.number;
}

/* Of the armed ones, by the order of what is due or by that of arming; -1: there is none. */
static int search(bool is_by_due)
{
	int first = -1;

	for (int i = 0; i < N_OPS; i++) {
		if (!is_armed(i))
			continue;
		if (first < 0 || (is_by_due && due_ns[i] < due_ns[first]) ||
		    ((!is_by_due || due_ns[i] == due_ns[first]) && number_of(i) < number_of(first)))
			first = i;
	}
	return first;
}

static uint32_t count_armed(void)
{
	uint32_t n = 0;

	for (int i = 0; i < N_OPS; i++)
		n += is_armed(i);
	return n;
}

static void check(void)
{
	int first = search(true), oldest = search(false);
	uint64_t next = 0;

	ck_assert_uint_eq(timers.n_armed, count_armed());
	ck_assert_int_eq(iou__timers_next(&timers, &next), first >= 0);
	ck_assert_ptr_eq(iou__timers_first(&timers), first < 0 ? NULL : all[first]);
	ck_assert_ptr_eq(iou__timers_oldest(&timers), oldest < 0 ? NULL : all[oldest]);
	if (first < 0)
		return;
	ck_assert_uint_eq(next, due_ns[first]);
	ck_assert_uint_eq(iou__timers_due(&timers, all[oldest]), due_ns[oldest]);
}

/* All that is due by then, but not what has a number from this one on. */
static void pop(uint64_t by_ns, uint64_t under)
{
	const struct due due = { by_ns, under };
	enum kept how;

	for (;;) {
		int first = search(true);
		bool is_due = first >= 0 && due_ns[first] <= by_ns && number_of(first) < under;
		unsigned kept = first < 0 ? 0 : all[first]->task.kept_how;
		struct op *op = iou__timers_pop(&timers, &due, &how);

		ck_assert_ptr_eq(op, is_due ? all[first] : NULL);
		if (!op)
			return;
		ck_assert_int_eq(how, kept);
		ck_assert(!is_armed(first));
	}
}

/* Few different times, so that many are due together. */
static void step(uint64_t *now)
{
	int i = (int)pick(N_OPS);

	switch (pick(40)) {
	case 0:
		*now += pick(20);
		pop(*now, UINT64_MAX);
		break;
	case 1:
		pop(*now, timers.n_armings - pick(timers.n_armings + 1));
		break;
	case 2:
		check();
		break;
	default:
		if (is_armed(i))
			iou__timers_disarm(&timers, all[i]);
		if (pick(3))
			arm(i, *now + pick(50), pick(2) ? KEPT_ONCE : KEPT_MULTISHOT);
	}
}

START_TEST(test_random_steps_agree_with_a_list)
{
	uint64_t now = 1000;

	seed = (uint64_t)_i;
	for (int i = 0; i < N_STEPS / support_slowness(); i++)
		step(&now);
	check();
	pop(UINT64_MAX, UINT64_MAX);
	ck_assert_uint_eq(timers.n_armed, 0);
	ck_assert_uint_eq(timers.n, 0);
}
END_TEST

START_TEST(test_hurry_makes_the_oldest_first)
{
	const struct due always = { UINT64_MAX, UINT64_MAX };
	enum kept how;
	int oldest;

	seed = 7;
	for (int i = 0; i < N_OPS; i++)
		arm(i, pick(1000), KEPT_ONCE);
	for (int i = 0; i < N_OPS; i += 3)
		iou__timers_disarm(&timers, all[i]);
	for (int i = 0; i < N_OPS; i += 6)
		arm(i, pick(1000), KEPT_ONCE);
	iou__timers_hurry(&timers);
	while ((oldest = search(false)) >= 0)
		ck_assert_ptr_eq(iou__timers_pop(&timers, &always, &how), all[oldest]);
	ck_assert_ptr_null(iou__timers_pop(&timers, &always, &how));
}
END_TEST

/* The usual life of a timeout: it is armed, and not needed. */
START_TEST(test_what_is_disarmed_leaves_no_memory_behind)
{
	arm(0, 1, KEPT_ONCE);
	for (int i = 0; i < 100000; i++) {
		arm(1 + i % 10, 1000000 - (uint64_t)i, KEPT_ONCE);
		iou__timers_disarm(&timers, all[1 + i % 10]);
	}
	ck_assert_uint_le(timers.cap, 64);
	check();
}
END_TEST

START_TEST(test_what_was_disarmed_can_be_armed_without_room)
{
	int n = 0;

	while (n == 0 || timers.n < timers.cap)
		arm(n++, 5, KEPT_ONCE);
	for (int i = 0; i < 1000; i++) {
		iou__timers_disarm(&timers, all[i % n]);
		iou__timers_arm(&timers, all[i % n], KEPT_ONCE, due_ns[i % n] = pick(100));
	}
	ck_assert_int_eq(timers.cap, n);
	check();
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("timers");
	TCase *tcase =
		ADD_CASE(s, "timers", test_hurry_makes_the_oldest_first, test_what_is_disarmed_leaves_no_memory_behind,
			 test_what_was_disarmed_can_be_armed_without_room);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_random_steps_agree_with_a_list, 0, 5);
	return s;
}
