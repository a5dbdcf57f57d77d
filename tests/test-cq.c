/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "cq.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* A ring in memory. The engine is us: what is pushed is numbered from 0. */
#define RING_SIZE 8
#define N_RANDOM 50000

static unsigned head, tail;
static struct io_uring_cqe *cqes; /* the type has a flexible tail, so no array can be declared */
static struct cq cq;
static unsigned n_pushed, n_taken;

static void start_at(unsigned position)
{
	head = tail = position;
	n_pushed = n_taken = 0;
	iou__cq_init(&cq, (struct cq_ring){ &head, &tail, RING_SIZE - 1, cqes });
}

static void set_up(void)
{
	cqes = calloc(RING_SIZE, sizeof(struct io_uring_cqe));
	ck_assert_ptr_nonnull(cqes);
	start_at(0);
}

static void tear_down(void)
{
	iou__cq_destroy(&cq);
	free(cqes);
}

static void push(void)
{
	struct io_uring_cqe *cqe = &cqes[tail % RING_SIZE];

	ck_assert_uint_lt(tail - head, RING_SIZE);
	cqe->user_data = n_pushed | 1ULL << 40;
	cqe->res = -(int)n_pushed;
	cqe->flags = n_pushed * 3;
	n_pushed++;
	__atomic_store_n(&tail, tail + 1, __ATOMIC_RELEASE);
}

static void push_n(unsigned n)
{
	for (; n; n--)
		push();
}

static void check_is(struct cqe cqe, unsigned number)
{
	ck_assert_uint_eq(cqe.user_data, number | 1ULL << 40);
	ck_assert_int_eq(cqe.res, -(int)number);
	ck_assert_uint_eq(cqe.flags, number * 3);
}

static void take(void)
{
	check_is(iou__cq_take(&cq), n_taken++);
}

static void take_n(unsigned n)
{
	for (; n; n--)
		take();
}

static void check_all_can_be_seen(void)
{
	size_t n = iou__cq_ready(&cq);

	ck_assert_uint_eq(n, n_pushed - n_taken);
	for (size_t i = 0; i < n; i++)
		check_is(iou__cq_at(&cq, i), n_taken + (unsigned)i);
}

START_TEST(test_new_cq_has_nothing)
{
	ck_assert_uint_eq(iou__cq_ready(&cq), 0);
	ck_assert_uint_eq(iou__cq_in_ring(&cq), 0);
	ck_assert_uint_eq(cq.n_read, 0);
}
END_TEST

START_TEST(test_completions_come_in_order)
{
	push_n(RING_SIZE);
	ck_assert_uint_eq(iou__cq_in_ring(&cq), RING_SIZE);
	take_n(RING_SIZE);
	ck_assert_uint_eq(iou__cq_ready(&cq), 0);
	ck_assert_uint_eq(cq.n_read, RING_SIZE);
}
END_TEST

START_TEST(test_ring_has_room_again_as_soon_as_one_is_taken)
{
	push_n(RING_SIZE);
	for (unsigned i = 0; i < 10 * RING_SIZE; i++) {
		take();
		ck_assert_uint_eq(head, n_taken);
		push();
	}
	take_n(RING_SIZE);
}
END_TEST

START_TEST(test_looking_ahead_takes_nothing)
{
	push_n(5);
	check_all_can_be_seen();
	ck_assert_uint_eq(head, 0);
	ck_assert_uint_eq(cq.n_read, 0);
	take_n(5);
}
END_TEST

/* Head and tail count on beyond 32 bits, and the ring's end is somewhere else. */
START_TEST(test_head_and_tail_wrap_around)
{
	start_at(UINT_MAX - (unsigned)_i);
	for (int i = 0; i < 4; i++) {
		push_n(RING_SIZE - 1);
		check_all_can_be_seen();
		ck_assert(iou__cq_ready(&cq) == RING_SIZE - 1);
		take_n(RING_SIZE - 1);
	}
	ck_assert_uint_lt(head, 4 * RING_SIZE);
}
END_TEST

START_TEST(test_copies_wrap_around_as_well)
{
	start_at(UINT_MAX - (unsigned)_i);
	push_n(RING_SIZE);
	ck_assert(iou__cq_empty_ring(&cq));
	push_n(3);
	check_all_can_be_seen();
	take_n(RING_SIZE + 3);
}
END_TEST

START_TEST(test_emptied_ring_may_be_overwritten)
{
	push_n(RING_SIZE);
	ck_assert(iou__cq_empty_ring(&cq));
	ck_assert_uint_eq(iou__cq_in_ring(&cq), 0);
	ck_assert_uint_eq(iou__cq_ready(&cq), RING_SIZE);
	ck_assert_uint_eq(cq.n_read, RING_SIZE);
	memset(cqes, 0xff, RING_SIZE * sizeof(struct io_uring_cqe));
	check_all_can_be_seen();
	take_n(RING_SIZE);
	/* They had been read before. */
	ck_assert_uint_eq(cq.n_read, RING_SIZE);
}
END_TEST

START_TEST(test_emptying_an_empty_ring_is_fine)
{
	ck_assert(iou__cq_empty_ring(&cq));
	ck_assert_uint_eq(iou__cq_ready(&cq), 0);
	push_n(2);
	ck_assert(iou__cq_empty_ring(&cq));
	ck_assert(iou__cq_empty_ring(&cq));
	take_n(2);
}
END_TEST

START_TEST(test_copies_come_before_the_ring)
{
	push_n(6);
	ck_assert(iou__cq_empty_ring(&cq));
	push_n(4);
	check_all_can_be_seen();
	take_n(3);
	ck_assert(iou__cq_empty_ring(&cq));
	push_n(2);
	check_all_can_be_seen();
	ck_assert_uint_eq(iou__cq_in_ring(&cq), 2);
	take_n(9);
	ck_assert_uint_eq(iou__cq_ready(&cq), 0);
}
END_TEST

START_TEST(test_ring_can_be_replaced_once_it_is_empty)
{
	unsigned other_head = 100, other_tail = 101;
	struct io_uring_cqe *other = calloc(2, sizeof(*other));

	push_n(5);
	ck_assert(iou__cq_empty_ring(&cq));
	other[0].user_data = 5 | 1ULL << 40;
	other[0].res = -5;
	other[0].flags = 15;
	cq.ring = (struct cq_ring){ &other_head, &other_tail, 1, other };
	n_pushed++;
	check_all_can_be_seen();
	take_n(6);
	ck_assert_uint_eq(other_head, 101);
	free(other);
}
END_TEST

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 16;
}

/* Whatever the order of what is done, the order of what comes out is one. */
START_TEST(test_any_order_of_calls_keeps_the_order_of_completions)
{
	unsigned seed = 1;
	int n = support_slowness() > 1 ? N_RANDOM / 10 : N_RANDOM;

	start_at(UINT_MAX - 1000);
	for (int i = 0; i < n; i++) {
		unsigned what = next_random(&seed) % 16;

		if (what < 8 && tail - head < RING_SIZE)
			push();
		else if (what < 15 && iou__cq_ready(&cq))
			take();
		else if (iou__cq_ready(&cq) < 1000)
			ck_assert(iou__cq_empty_ring(&cq));
	}
	check_all_can_be_seen();
	take_n(n_pushed - n_taken);
	ck_assert_uint_eq(cq.n_read, n_pushed);
}
END_TEST

START_TEST(test_memory_of_copies_is_bounded_by_the_most_there_were)
{
	for (int i = 0; i < 500; i++) {
		push_n(RING_SIZE);
		ck_assert(iou__cq_empty_ring(&cq));
		take_n(i % 2 ? RING_SIZE + 1 : RING_SIZE - 1);
		ck_assert_uint_le(cq.cap, 4 * (RING_SIZE + 2));
	}
}
END_TEST

/* So many that memory for them is mapped, and then there is none to be had. */
START_TEST(test_without_memory_the_ring_keeps_what_it_has)
{
	const rlim_t limit = 32 << 20;
	struct rlimit before, less;

	cq.ring.mask = 0;
	cqes[0].res = 42;
	tail = 4U << 20;
	getrlimit(RLIMIT_DATA, &before);
	less = (struct rlimit){ limit, before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_DATA, &less), 0);
	bool is_empty = iou__cq_empty_ring(&cq);
	setrlimit(RLIMIT_DATA, &before);
	ck_assert(!is_empty);
	ck_assert_uint_eq(iou__cq_in_ring(&cq), 4U << 20);
	ck_assert_uint_eq(iou__cq_ready(&cq), 4U << 20);
	ck_assert_int_eq(iou__cq_take(&cq).res, 42);
}
END_TEST

START_TEST(test_destroying_is_for_good_and_can_be_repeated)
{
	push_n(3);
	ck_assert(iou__cq_empty_ring(&cq));
	iou__cq_destroy(&cq);
	ck_assert_ptr_null(cq.copies);
	iou__cq_destroy(&cq);
}
END_TEST

Suite *suite(void)
{
	Suite *cq_suite = suite_create("cq");
	TCase *tcase;

	tcase = ADD_CASE(cq_suite, "ring", test_new_cq_has_nothing, test_completions_come_in_order,
			 test_ring_has_room_again_as_soon_as_one_is_taken, test_looking_ahead_takes_nothing);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_head_and_tail_wrap_around, 0, RING_SIZE);
	tcase = ADD_CASE(cq_suite, "copies", test_emptied_ring_may_be_overwritten, test_emptying_an_empty_ring_is_fine,
			 test_copies_come_before_the_ring, test_ring_can_be_replaced_once_it_is_empty,
			 test_any_order_of_calls_keeps_the_order_of_completions,
			 test_memory_of_copies_is_bounded_by_the_most_there_were,
			 test_destroying_is_for_good_and_can_be_repeated);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_copies_wrap_around_as_well, 0, RING_SIZE);
	/* Other allocators do not heed RLIMIT_DATA. */
	if (!support_sanitized() && !RUNNING_ON_VALGRIND)
		tcase_add_test(tcase, test_without_memory_the_ring_keeps_what_it_has);
	return cq_suite;
}
