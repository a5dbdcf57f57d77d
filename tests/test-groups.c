/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "threads/groups.h"
#include "threads/requests.h"

#include <stdlib.h>
#include <string.h>

#define N_BUFFERS 4
#define SIZE 8

static struct threads threads;
static struct request request;
static char memory[N_BUFFERS][SIZE];

static void set_up(void)
{
	memset(&threads, 0, sizeof(threads));
	request = (struct request){ .threads = &threads, .sqe.buf_group = 3 };
}

static void tear_down(void)
{
	iou__groups_destroy(&threads.groups);
}

static struct group *group(void)
{
	return threads.groups.first;
}

static void provide(unsigned n)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_provide_buffers(&sqe, memory, SIZE, (int)n, 3, 0);
	ck_assert_int_eq(iou__groups_provide(&threads.groups, &sqe), 0);
}

static void take(unsigned id)
{
	ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
	ck_assert_uint_eq(request.buffer.id, id);
	ck_assert(request.buffer.is_taken);
	ck_assert_uint_eq(group()->n_taken, 1);
}

/* Each is one that is away, for which room is kept: a count that is wrong takes ever more memory, or too little. */
START_TEST(test_what_was_given_back_or_used_is_taken_no_more)
{
	provide(N_BUFFERS);
	for (int i = 0; i < 3; i++) {
		take(0);
		iou__groups_give_back(&threads.groups, &request);
		ck_assert(!request.buffer.is_taken);
		ck_assert_uint_eq(group()->n_taken, 0);
		ck_assert_uint_eq(group()->n, N_BUFFERS);
	}
	take(0);
	ck_assert_uint_eq(iou__groups_use(&request), IORING_CQE_F_BUFFER);
	ck_assert_uint_eq(group()->n_taken, 0);
	ck_assert_uint_eq(group()->n, N_BUFFERS - 1);
	ck_assert_uint_eq(iou__groups_use(&request), 0);
	take(1);
	iou__groups_give_back(&threads.groups, &request);
}
END_TEST

/* Again and again: used and provided, waited for in vain. */
START_TEST(test_steady_state_takes_no_more_memory)
{
	size_t cap = 0;

	for (int i = 0; i < 1000; i++) {
		provide(1);
		ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
		iou__groups_give_back(&threads.groups, &request);
		ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
		iou__groups_use(&request);
		cap = i == 10 ? group()->cap : cap;
	}
	ck_assert_uint_gt(cap, 0);
	ck_assert_uint_eq(group()->cap, cap);
}
END_TEST

/* There is room for it, whatever was provided since. */
START_TEST(test_what_is_given_back_is_there_again)
{
	struct request others[2] = { request, request };
	int n_seen[N_BUFFERS] = { 0 };

	provide(N_BUFFERS);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(iou__groups_take(&threads.groups, &others[i]), 0);
	provide(N_BUFFERS);
	provide(N_BUFFERS);
	for (int i = 1; i >= 0; i--)
		iou__groups_give_back(&threads.groups, &others[i]);
	ck_assert_uint_eq(group()->n, 3 * N_BUFFERS);
	ck_assert_uint_le(group()->first + group()->n, group()->cap);
	for (int i = 0; i < 3 * N_BUFFERS; i++) {
		ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
		n_seen[request.buffer.id]++;
		iou__groups_use(&request);
	}
	for (int i = 0; i < N_BUFFERS; i++)
		ck_assert_int_eq(n_seen[i], 3);
	ck_assert_int_eq(iou__groups_take(&threads.groups, &request), -ENOBUFS);
}
END_TEST

static struct io_uring_buf_ring *ring;

static void add_ring(unsigned n_provided)
{
	const struct io_uring_buf_reg reg = { .ring_addr = (__u64)(uintptr_t)ring, .ring_entries = 2, .bgid = 3 };

	memset(ring, 0x55, 2 * sizeof(struct io_uring_buf));
	ring->tail = (__u16)n_provided;
	ck_assert_int_eq(iou__groups_add_ring(&threads.groups, &reg), 0);
}

static void expect_untouched_ring(unsigned tail)
{
	ck_assert_uint_eq(ring->bufs[0].addr, 0x5555555555555555);
	ck_assert_uint_eq(ring->bufs[1].addr, 0x5555555555555555);
	ck_assert_uint_eq(ring->tail, tail);
	ck_assert_uint_eq(group()->head, 0);
}

/* A buffer that is given back late is none of the ring's that has come in the place of its list, or of its ring. */
START_TEST(test_ring_is_given_back_none_but_its_own)
{
	ring = calloc(2, sizeof(struct io_uring_buf));
	provide(1);
	take(0);
	add_ring(1);
	iou__groups_give_back(&threads.groups, &request);
	expect_untouched_ring(1);
	ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
	ck_assert_int_eq(iou__groups_remove_ring(&threads.groups, 3), 0);
	add_ring(2);
	iou__groups_give_back(&threads.groups, &request);
	expect_untouched_ring(2);
	ck_assert_uint_eq(group()->n_taken, 0);
	ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
	iou__groups_give_back(&threads.groups, &request);
	ck_assert_uint_eq(group()->head, 0);
	ck_assert_int_eq(iou__groups_take(&threads.groups, &request), 0);
	ck_assert_int_eq(iou__groups_remove_ring(&threads.groups, 3), 0);
	iou__groups_give_back(&threads.groups, &request);
	ck_assert_uint_eq(group()->n, 0);
	ck_assert_uint_eq(group()->n_taken, 0);
	free(ring);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("groups");
	TCase *tcase = ADD_CASE(s, "groups", test_what_was_given_back_or_used_is_taken_no_more,
				test_steady_state_takes_no_more_memory, test_what_is_given_back_is_there_again,
				test_ring_is_given_back_none_but_its_own);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return s;
}
