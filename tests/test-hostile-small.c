/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G3: the smallest ring there is, one SQE and one CQE (of which the kernel makes two), under load. */
#include "promises.h"

#define MS 1000000L

static iou_t *open_smallest(void)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 1, .cq_entries = 1, .workers = 2 });
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_eq(info.sq_entries, 1);
	ck_assert_uint_le(info.cq_entries, 2);
	return iou;
}

/* What many ops share. */
struct crowd {
	iou_t *iou;
	int n_calls;
	int n_wrong;
	int n_left; /* to queue again */
	int turn;
};

struct member {
	struct crowd *crowd;
	iou_op_t *op;
	int wanted;
	int n_calls;
};

static int see_member(void *data)
{
	struct member *member = data;

	member->crowd->n_calls++;
	member->crowd->n_wrong += member->n_calls++ != 0 || member->op->result != member->wanted;
	return 0;
}

static void add_member(struct crowd *crowd, struct member *member, int wanted)
{
	*member = (struct member){ .crowd = crowd, .op = iou_op_new(crowd->iou), .wanted = wanted };
	ck_assert_ptr_nonnull(member->op);
}

static void queue_member(struct member *member)
{
	iou_op_queue(member->crowd->iou, member->op, see_member, member);
}

/* NOPs, failing reads, chains that fail in the middle, jobs: in one queue. */
static void queue_mixed(struct crowd *crowd, struct member *members, int n)
{
	for (int i = 0; i < n; i++) {
		bool is_last = i % 5 == 4 || i == n - 1;

		add_member(crowd, &members[i], 0);
		if (i % 5 == 2) {
			members[i].wanted = -EBADF;
			io_uring_prep_read(members[i].op->sqe, -1, NULL, 1, 0);
		} else {
			io_uring_prep_nop(members[i].op->sqe);
		}
		/* Chains of 5 make the ring grow; of every other hundred, so that both are met. */
		if (i / 100 % 2 && !is_last)
			members[i].op->sqe->flags = IOSQE_IO_HARDLINK;
		queue_member(&members[i]);
	}
}

PROMISE(03, hundred_thousand_ops_on_the_smallest_ring)
{
	int n = fewer(100000, 5000);
	struct member *members = calloc((size_t)n, sizeof(*members));
	struct crowd crowd = { .iou = open_smallest() };

	for (int i = 0; i < n; i++) {
		add_member(&crowd, &members[i], i % 3 ? 0 : -EBADF);
		if (i % 3)
			io_uring_prep_nop(members[i].op->sqe);
		else
			io_uring_prep_read(members[i].op->sqe, -1, NULL, 1, 0);
		queue_member(&members[i]);
	}
	run_and_free(crowd.iou);
	ck_assert_int_eq(crowd.n_calls, n);
	ck_assert_int_eq(crowd.n_wrong, 0);
	free(members);
}
END_TEST

PROMISE(04, chains_make_the_smallest_ring_grow_and_lose_nothing)
{
	int n = fewer(100000, 5000);
	struct member *members = calloc((size_t)n, sizeof(*members));
	struct crowd crowd = { .iou = open_smallest() };

	queue_mixed(&crowd, members, n);
	run_and_free(crowd.iou);
	ck_assert_int_eq(crowd.n_calls, n);
	ck_assert_int_eq(crowd.n_wrong, 0);
	free(members);
}
END_TEST

/* Ops that queue themselves again, beside jobs and posts, and a resize to and fro. */
static int again(void *data)
{
	struct member *member = data;
	struct crowd *crowd = member->crowd;

	crowd->n_calls++;
	crowd->n_wrong += member->op->result != 0;
	if (crowd->n_left-- <= 0)
		return 0;
	if (crowd->n_left % 1000 == 0)
		crowd->n_wrong += iou_resize(crowd->iou, crowd->turn++ % 2 ? 1 : 64) != 0;
	iou_op_queue(crowd->iou, member->op, again, member);
	return 0;
}

static int count_member(void *data)
{
	struct crowd *crowd = data;

	crowd->n_calls++;
	return 0;
}

PROMISE(10, resize_from_and_to_one_entry_under_load)
{
	static struct member members[50];
	int n = fewer(100000, 5000);
	struct crowd crowd = { .iou = open_smallest(), .n_left = n };
	int zero = 0;

	for (int i = 0; i < 50; i++) {
		add_member(&crowd, &members[i], 0);
		io_uring_prep_nop(members[i].op->sqe);
		iou_op_queue(crowd.iou, members[i].op, again, &members[i]);
		ck_assert_int_eq(iou_async(crowd.iou, return_int, &zero, count_member, &crowd), 0);
		ck_assert_int_eq(iou_post(crowd.iou, count_member, &crowd), 0);
	}
	run_and_free(crowd.iou);
	ck_assert_int_eq(crowd.n_calls, n + 150);
	ck_assert_int_eq(crowd.n_wrong, 0);
	ck_assert_int_gt(crowd.turn, 1);
}
END_TEST

/* Multishots: more completions at once than the CQ has room for. */

enum { N_POLLS = 64 };

struct shooter {
	struct seen seen;
	int n_shots; /* completions that promised more */
	int n_ended;
	bool is_to_end;
};

/* Where the CQ overflows the kernel may end a multishot early; the program then queues it again. */
static int shoot(void *data)
{
	struct shooter *shooter = data;

	see(&shooter->seen);
	shooter->n_shots += shooter->seen.result >= 0;
	if (shooter->seen.flags & IORING_CQE_F_MORE)
		return 0;
	if (shooter->is_to_end || shooter->seen.result < 0)
		shooter->n_ended++;
	else
		iou_op_queue(shooter->seen.iou, shooter->seen.op, shoot, shooter);
	return 0;
}

PROMISE(11, multishots_give_more_than_the_smallest_cq_holds)
{
	static struct shooter shooters[N_POLLS];
	iou_t *iou = open_smallest();
	int fds[2], n_rounds = fewer(300, 20);
	char byte;

	memset(shooters, 0, sizeof(shooters));
	open_pipe(fds);
	for (int i = 0; i < N_POLLS; i++) {
		io_uring_prep_poll_multishot(take(iou, &shooters[i].seen), fds[0], POLLIN);
		iou_op_queue(iou, shooters[i].seen.op, shoot, &shooters[i]);
	}
	ck_assert_int_eq(turn(iou), 0);
	for (int round = 1; round <= n_rounds; round++) {
		bool have_all = false;

		put_bytes(fds[1], "x", 1);
		while (!have_all) {
			ck_assert_int_ge(iou_run_once(iou, NULL), 0);
			have_all = true;
			for (int i = 0; i < N_POLLS; i++)
				have_all = have_all && shooters[i].n_shots >= round;
		}
		ck_assert_int_eq(read(fds[0], &byte, 1), 1);
		if (round % 10 == 0)
			ck_assert_int_eq(iou_resize(iou, round % 20 ? 16 : 1), 0);
	}
	for (int i = 0; i < N_POLLS; i++)
		shooters[i].is_to_end = true;
	ck_assert_int_eq(iou_cancel_all(iou), N_POLLS);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < N_POLLS; i++)
		ck_assert_int_eq(shooters[i].n_ended, 1);
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

/* Polls that fire again and again while nobody looks: their completions wait, in the CQ and beyond. */
PROMISE(11, completions_that_overflow_while_nobody_looks_all_come)
{
	iou_t *iou = open_smallest();
	struct shooter shooters[4];
	int fds[4][2], n_rounds = 50;
	char byte;

	for (int i = 0; i < 4; i++) {
		open_pipe(fds[i]);
		shooters[i] = (struct shooter){ .n_shots = 0 };
		io_uring_prep_poll_multishot(take(iou, &shooters[i].seen), fds[i][0], POLLIN);
		iou_op_queue(iou, shooters[i].seen.op, shoot, &shooters[i]);
	}
	ck_assert_int_eq(turn(iou), 0);
	for (int round = 0; round < n_rounds; round++) {
		for (int i = 0; i < 4; i++)
			put_bytes(fds[i][1], "x", 1);
		ck_assert_int_eq(iou_flush(iou), 0);
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq(read(fds[i][0], &byte, 1), 1);
	}
	while (turn(iou) > 0)
		;
	for (int i = 0; i < 4; i++) {
		ck_assert_int_ge(shooters[i].n_shots, 1);
		shooters[i].is_to_end = true;
	}
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(shooters[i].n_ended, 1);
		close_pipe(fds[i]);
	}
}
END_TEST

/* Cancelled and freed with far more in flight than fit. */
PROMISE(09, smallest_ring_is_freed_with_thousands_in_flight)
{
	int n = fewer(5000, 300), fds[2];
	struct member *members = calloc((size_t)n, sizeof(*members));
	struct crowd crowd = { .iou = open_smallest() };
	char byte;

	open_pipe(fds);
	for (int i = 0; i < n; i++) {
		add_member(&crowd, &members[i], -ECANCELED);
		io_uring_prep_read(members[i].op->sqe, fds[0], &byte, 1, (__u64)-1);
		queue_member(&members[i]);
	}
	ck_assert_int_eq(iou_flush(crowd.iou), 0);
	ck_assert_uint_eq(stats_of(crowd.iou).ops_submitted, (uint64_t)n);
	ck_assert_ptr_null(iou_free(crowd.iou));
	ck_assert_int_eq(crowd.n_calls, n);
	ck_assert_int_eq(crowd.n_wrong, 0);
	close_pipe(fds);
	free(members);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-small");

	ADD_CASE(s, "load", test_g03_hundred_thousand_ops_on_the_smallest_ring,
		 test_g04_chains_make_the_smallest_ring_grow_and_lose_nothing,
		 test_g10_resize_from_and_to_one_entry_under_load,
		 test_g09_smallest_ring_is_freed_with_thousands_in_flight);
	ADD_CASE(s, "multishot", test_g11_multishots_give_more_than_the_smallest_cq_holds,
		 test_g11_completions_that_overflow_while_nobody_looks_all_come);
	return s;
}
