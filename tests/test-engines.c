/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G16: what both engines do alike and the random programs of differential/ come by rarely or never. Runs on either, so
 * that the kernel is the judge.
 */
#include "promises.h"

/* Requests that name others. */

static void name(iou_t *iou, struct seen *seen, unsigned how, __u64 target)
{
	static struct __kernel_timespec later = { .tv_sec = 7200 };
	struct io_uring_sqe *sqe = take(iou, seen);

	switch (how) {
	case 0:
		io_uring_prep_cancel64(sqe, target, 0);
		break;
	case 1:
		io_uring_prep_poll_remove(sqe, target);
		break;
	case 2:
		io_uring_prep_poll_update(sqe, target, 0, POLLIN | POLLOUT, IORING_POLL_UPDATE_EVENTS);
		break;
	case 3:
		io_uring_prep_timeout_remove(sqe, target, 0);
		break;
	default:
		io_uring_prep_timeout_update(sqe, &later, target, 0);
	}
	queue(seen);
}

enum { N_WAYS = 5 };

/* All is submitted at once: what the first member has given way to is about to begin, and not there yet. */
PROMISE(16, who_is_linked_is_not_found_before_it_has_begun)
{
	struct __kernel_timespec hour = { .tv_sec = 3600 };
	struct seen nop, waiting, ways[N_WAYS];
	iou_t *iou = open_iou(32);
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_nop(iou, &nop, IOSQE_IO_LINK);
	if (_i == 0)
		queue_read(iou, &waiting, fds[0], &byte, 1, 0);
	else if (_i == 1)
		io_uring_prep_poll_add(take(iou, &waiting), fds[0], POLLIN);
	else
		io_uring_prep_timeout(take(iou, &waiting), &hour, 0, 0);
	if (_i > 0)
		queue(&waiting);
	for (unsigned i = 0; i < N_WAYS; i++)
		name(iou, &ways[i], i, waiting.op->sqe->user_data);
	while (n_seen < 1 + N_WAYS)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	for (int i = 0; i < N_WAYS; i++)
		expect(&ways[i], -ENOENT);
	ck_assert_int_eq(waiting.n_calls, 0);
	ck_assert_int_eq(iou_op_cancel(iou, waiting.op), 0);
	run_and_free(iou);
	expect(&waiting, -ECANCELED);
	close_pipe(fds);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("engines");
	TCase *named = tcase_create("named");

	tcase_add_loop_test(named, test_g16_who_is_linked_is_not_found_before_it_has_begun, 0, 3);
	suite_add_tcase(s, named);
	return s;
}
