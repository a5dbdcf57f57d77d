/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G4: order, chains, IOSQE_IO_DRAIN; the order of jobs and posts. */
#include "promises.h"

/* Each writes its number to a pipe. */
PROMISE(04, ops_reach_the_kernel_in_queueing_order)
{
	enum { N = 5000 };
	static struct seen writes[N];
	static int numbers[N], arrived[N];
	iou_t *iou = open_iou(4);
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N; i++) {
		numbers[i] = i;
		io_uring_prep_write(take(iou, &writes[i]), fds[1], &numbers[i], sizeof(int), (__u64)-1);
		queue(&writes[i]);
		if (i % 100 == 50)
			ck_assert_int_eq(iou_flush(iou), 0);
	}
	run_and_free(iou);
	ck_assert_int_eq(read(fds[0], arrived, sizeof(arrived)), sizeof(arrived));
	ck_assert_mem_eq(arrived, numbers, sizeof(arrived));
	close_pipe(fds);
}
END_TEST

/*
 * 500 chains of 4 between single ops. By turns the i-th member fails, or the head waits for a byte that comes last of
 * all. Of a chain that was split over two submissions the rest would run although the head failed, or before it.
 */
enum { N_CHAINS = 500, N_LINKS = 4, WAITS = N_LINKS, N_KINDS = N_LINKS + 1 };

struct chain {
	struct seen links[N_LINKS];
	struct seen singles[3];
	char byte;
	unsigned link;
};

static void queue_link(iou_t *iou, struct chain *chain, int kind, int i, int gate)
{
	unsigned flags = i < N_LINKS - 1 ? chain->link : 0;

	if (kind == i)
		queue_read(iou, &chain->links[i], -1, &chain->byte, 1, flags);
	else if (kind == WAITS && i == 0)
		queue_read(iou, &chain->links[i], gate, &chain->byte, 1, flags);
	else
		queue_nop(iou, &chain->links[i], flags);
}

static int result_of_link(const struct chain *chain, int kind, int i)
{
	if (kind == WAITS)
		return i == 0;
	if (kind == i)
		return -EBADF;
	return i < kind || chain->link == IOSQE_IO_HARDLINK ? 0 : -ECANCELED;
}

static void check_chain(const struct chain *chain, int kind)
{
	for (int i = 0; i < N_LINKS; i++) {
		expect(&chain->links[i], result_of_link(chain, kind, i));
		if (i)
			ck_assert_int_gt(chain->links[i].place, chain->links[i - 1].place);
	}
}

PROMISE(04, no_chain_of_500_is_broken_on_4_entries)
{
	static struct chain chains[N_CHAINS];
	char bytes[N_CHAINS / N_KINDS];
	iou_t *iou = open_iou(4);
	struct seen opener;
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < N_CHAINS; i++) {
		struct chain *chain = &chains[i];

		chain->link = i / N_KINDS % 2 ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;
		for (int j = 0; j < N_LINKS; j++)
			queue_link(iou, chain, i % N_KINDS, j, fds[0]);
		for (int j = 0; j < i / 10 % 4; j++)
			queue_nop(iou, &chain->singles[j], 0);
	}
	memset(bytes, 'x', sizeof(bytes));
	io_uring_prep_write(take(iou, &opener), fds[1], bytes, sizeof(bytes), (__u64)-1);
	queue(&opener);
	run_and_free(iou);
	for (int i = 0; i < N_CHAINS; i++) {
		check_chain(&chains[i], i % N_KINDS);
		for (int j = 0; j < i / 10 % 4; j++)
			expect(&chains[i].singles[j], 0);
	}
	close_pipe(fds);
}
END_TEST

PROMISE(04, chain_that_is_open_at_a_flush_ends_there)
{
	iou_t *iou = open_iou(4);
	struct seen head, next;
	char byte;

	queue_read(iou, &head, -1, &byte, 1, IOSQE_IO_LINK);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&head, -EBADF);
	expect(&next, 0);
}
END_TEST

PROMISE(04, chain_longer_than_the_ring_makes_it_grow)
{
	enum { N = 17 };
	iou_t *iou = open_iou(4);
	iou_info_t info = { .size = sizeof(info) };
	struct seen links[N];
	char byte;

	for (int i = 0; i < N; i++)
		if (i == N - 3)
			queue_read(iou, &links[i], -1, &byte, 1, IOSQE_IO_LINK);
		else
			queue_nop(iou, &links[i], i < N - 1 ? IOSQE_IO_LINK : 0);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < N; i++)
		expect(&links[i], i < N - 3 ? 0 : i == N - 3 ? -EBADF : -ECANCELED);
	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_ge(info.sq_entries, N);
	run_and_free(iou);
}
END_TEST

PROMISE(04, chain_longer_than_the_ring_is_e2big_where_it_cannot_grow)
{
	enum { N = 5 };
	iou_t *iou = open_iou(4);
	struct seen blocked, links[N], after;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	for (int i = 0; i < N; i++)
		queue_nop(iou, &links[i], i < N - 1 ? IOSQE_IO_LINK : 0);
	queue_nop(iou, &after, 0);
	while (n_seen < N + 1)
		ck_assert_int_ge(iou_run_once(iou, NULL), 1);
	/* A later version may be able to grow with ops in flight. */
	for (int i = 0; i < N; i++) {
		ck_assert_msg(links[i].result == -E2BIG || links[i].result == 0, "result %d", links[i].result);
		expect(&links[i], links[0].result);
	}
	expect(&after, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&blocked, 1);
	close_pipe(fds);
}
END_TEST

/* A cancel in the midst of queueing a chain, and the wake-up's first arming in the same turn. */
PROMISE(04, own_requests_stay_out_of_chains)
{
	iou_t *iou = open_iou(8);
	struct seen blocked, head, next;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_read(iou, &head, -1, &byte, 1, IOSQE_IO_LINK);
	ck_assert_int_eq(iou_op_cancel(iou, blocked.op), 0);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&blocked, -ECANCELED);
	expect(&head, -EBADF);
	expect(&next, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* Drain. */

static int see_and_write(void *data)
{
	struct seen *seen = data;

	seen->answer = write(seen->answer, "x", 1) == 1 ? 0 : -EIO;
	return see(seen);
}

PROMISE(04, drained_op_waits_for_the_read_and_a_job_does_not_wait_for_it)
{
	iou_t *iou = open_iou(8);
	struct seen blocked, drained, after, job = { 0 };
	int fds[2], zero = 0;
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	queue_nop(iou, &drained, IOSQE_IO_DRAIN);
	queue_nop(iou, &after, 0);
	job.answer = fds[1];
	/* Only the job's delivery lets the read end. */
	ck_assert_int_eq(iou_async(iou, return_int, &zero, see_and_write, &job), 0);
	run_and_free(iou);
	expect(&blocked, 1);
	expect(&drained, 0);
	expect(&after, 0);
	ck_assert_int_eq(job.place, 1);
	ck_assert_int_eq(blocked.place, 2);
	ck_assert_int_eq(drained.place, 3);
	ck_assert_int_eq(after.place, 4);
	close_pipe(fds);
}
END_TEST

/* A member that drains makes its whole chain wait, and all behind it. */
PROMISE(04, chain_with_a_draining_member_waits_whole)
{
	iou_t *iou = open_iou(8);
	struct seen blocked, head, member, after;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	queue_nop(iou, &head, IOSQE_IO_LINK);
	queue_nop(iou, &member, IOSQE_IO_DRAIN);
	queue_nop(iou, &after, 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(turn(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_queued, 3);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	ck_assert_int_eq(blocked.place, 1);
	ck_assert_int_eq(head.place, 2);
	ck_assert_int_gt(member.place, head.place);
	expect(&head, 0);
	expect(&member, 0);
	expect(&after, 0);
	close_pipe(fds);
}
END_TEST

/* Jobs and posts. */

enum { N_JOBS = 50 };

struct job {
	struct seen done, post;
	iou_t *iou;
	sem_t *finished;
	bool is_last;
};

static int post_and_finish(void *data)
{
	struct job *job = data;
	int r = iou_post(job->iou, see, &job->post);

	if (job->is_last)
		sem_post(job->finished);
	return r;
}

/* One worker does one after the other; the loop looks only when all but the last are done. */
PROMISE(04, jobs_and_posts_are_delivered_in_the_order_they_ended)
{
	static struct job jobs[N_JOBS];
	iou_t *iou = open_with((iou_config_t){ .entries = 4, .workers = 1 });
	sem_t finished;

	memset(jobs, 0, sizeof(jobs));
	sem_init(&finished, 0, 0);
	for (int i = 0; i < N_JOBS; i++) {
		jobs[i] = (struct job){ .iou = iou, .finished = &finished, .is_last = i == N_JOBS - 1 };
		ck_assert_int_eq(iou_async(iou, post_and_finish, &jobs[i], see, &jobs[i].done), 0);
	}
	wait_for_sem(&finished);
	run_and_free(iou);
	for (int i = 0; i < N_JOBS; i++) {
		ck_assert_int_eq(jobs[i].post.place, 2 * i + 1);
		ck_assert_int_eq(jobs[i].done.place, 2 * i + 2);
	}
	sem_destroy(&finished);
}
END_TEST

PROMISE(04, posts_are_delivered_in_order)
{
	static struct seen posts[1000];
	iou_t *iou = open_iou(4);

	memset(posts, 0, sizeof(posts));
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(iou_post(iou, see, &posts[i]), 0);
		if (i == 500)
			ck_assert_int_eq(iou_pending(iou), 501);
	}
	run_and_free(iou);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(posts[i].place, i + 1);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-order");

	ADD_CASE(s, "chains", test_g04_ops_reach_the_kernel_in_queueing_order,
		 test_g04_no_chain_of_500_is_broken_on_4_entries, test_g04_chain_that_is_open_at_a_flush_ends_there,
		 test_g04_chain_longer_than_the_ring_makes_it_grow,
		 test_g04_chain_longer_than_the_ring_is_e2big_where_it_cannot_grow,
		 test_g04_own_requests_stay_out_of_chains);
	ADD_CASE(s, "drain", test_g04_drained_op_waits_for_the_read_and_a_job_does_not_wait_for_it,
		 test_g04_chain_with_a_draining_member_waits_whole);
	ADD_CASE(s, "mail", test_g04_jobs_and_posts_are_delivered_in_the_order_they_ended,
		 test_g04_posts_are_delivered_in_order);
	return s;
}
