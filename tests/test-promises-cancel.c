/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G8: cancellation, the library's and the program's own; completions that belong to no op. */
#include "promises.h"

PROMISE(08, op_not_submitted_always_ends_with_ecanceled_and_never_runs)
{
	iou_t *iou = open_iou(4);
	struct seen write_op, kept;
	int fds[2];
	char byte;

	open_pipe(fds);
	io_uring_prep_write(take(iou, &write_op), fds[1], "x", 1, (__u64)-1);
	queue(&write_op);
	queue_nop(iou, &kept, 0);
	ck_assert_int_eq(iou_op_cancel(iou, write_op.op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, write_op.op), -EALREADY);
	run_and_free(iou);
	expect(&write_op, -ECANCELED);
	expect(&kept, 0);
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), -1);
	close_pipe(fds);
}
END_TEST

PROMISE(08, followers_of_a_staged_op_are_cancelled_as_in_the_kernel)
{
	iou_t *iou = open_iou(8);
	struct seen links[4], hard[3], single;

	for (int i = 0; i < 4; i++)
		queue_nop(iou, &links[i], i < 3 ? IOSQE_IO_LINK : 0);
	for (int i = 0; i < 3; i++)
		queue_nop(iou, &hard[i], i < 2 ? IOSQE_IO_HARDLINK : 0);
	queue_nop(iou, &single, 0);
	ck_assert_int_eq(iou_op_cancel(iou, links[1].op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, hard[1].op), 0);
	run_and_free(iou);
	expect(&links[0], 0);
	for (int i = 1; i < 4; i++)
		expect(&links[i], -ECANCELED);
	expect(&hard[0], 0);
	expect(&hard[1], -ECANCELED);
	expect(&hard[2], 0);
	expect(&single, 0);
}
END_TEST

PROMISE(08, op_in_flight_ends_with_ecanceled_or_its_real_result)
{
	iou_t *iou = open_iou(4);
	struct seen blocked, done;
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, blocked.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&blocked, -ECANCELED);
	/* This one is over before the attempt. */
	queue_nop(iou, &done, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, done.op), 0);
	run_and_free(iou);
	expect(&done, 0);
	close_pipe(fds);
}
END_TEST

static int cancel_itself(void *data)
{
	struct seen *seen = data;

	see(seen);
	seen->result = iou_op_cancel(seen->iou, seen->op);
	return 0;
}

PROMISE(08, op_that_is_new_or_in_its_final_callback_cannot_be_cancelled)
{
	iou_t *iou = open_iou(4);
	struct seen nop;

	io_uring_prep_nop(take(iou, &nop));
	ck_assert_int_eq(iou_op_cancel(iou, nop.op), -EINVAL);
	iou_op_queue(iou, nop.op, cancel_itself, &nop);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(nop.n_calls, 1);
	ck_assert_int_eq(nop.result, -ENOENT);
	ck_assert_int_eq(iou_op_cancel(iou, nop.op), -ENOENT);
	run_and_free(iou);
}
END_TEST

/* Jobs. */

struct work {
	sem_t has_begun;
	sem_t may_end;
	int n_done;
};

static int work(void *data)
{
	struct work *work = data;

	sem_post(&work->has_begun);
	wait_for_sem(&work->may_end);
	return ++work->n_done;
}

static void open_work(struct work *work)
{
	*work = (struct work){ .n_done = 0 };
	sem_init(&work->has_begun, 0, 0);
	sem_init(&work->may_end, 0, 0);
}

static void close_work(struct work *work)
{
	sem_destroy(&work->has_begun);
	sem_destroy(&work->may_end);
}

PROMISE(08, waiting_job_is_cancelled_and_a_running_one_is_not)
{
	iou_t *iou = open_with((iou_config_t){ .workers = 1 });
	struct seen running, waiting, other;
	struct work works;

	open_work(&works);
	queue_job(iou, &running, work, &works);
	wait_for_sem(&works.has_begun);
	queue_job(iou, &waiting, work, &works);
	queue_job(iou, &other, work, &works);
	ck_assert_uint_eq(stats_of(iou).ops_working, 1);
	ck_assert_uint_eq(stats_of(iou).ops_waiting, 2);
	ck_assert_int_eq(iou_op_cancel(iou, running.op), -EALREADY);
	ck_assert_int_eq(iou_op_cancel(iou, waiting.op), 0);
	ck_assert_int_eq(iou_op_cancel(iou, waiting.op), -EALREADY);
	sem_post(&works.may_end);
	sem_post(&works.may_end);
	run_and_free(iou);
	expect(&running, 1);
	expect(&waiting, -ECANCELED);
	expect(&other, 2);
	ck_assert_int_eq(works.n_done, 2);
	close_work(&works);
}
END_TEST

PROMISE(08, cancel_all_counts_attempts_and_leaves_async_jobs_and_posts_alone)
{
	iou_t *iou = open_with((iou_config_t){ .workers = 1 });
	struct seen running, waiting, staged, blocked, async = { 0 }, post = { 0 };
	struct work works;
	int fds[2];
	char byte;

	open_pipe(fds);
	open_work(&works);
	queue_job(iou, &running, work, &works);
	wait_for_sem(&works.has_begun);
	queue_job(iou, &waiting, work, &works);
	ck_assert_int_eq(iou_async(iou, work, &works, see, &async), 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	queue_nop(iou, &staged, 0);
	ck_assert_int_eq(iou_cancel_all(iou), 3);
	sem_post(&works.may_end);
	sem_post(&works.may_end);
	run_and_free(iou);
	expect(&running, 1);
	expect(&waiting, -ECANCELED);
	expect(&staged, -ECANCELED);
	expect(&blocked, -ECANCELED);
	ck_assert_int_eq(async.n_calls, 1);
	ck_assert_int_eq(post.n_calls, 1);
	ck_assert_int_eq(works.n_done, 2);
	close_work(&works);
	close_pipe(fds);
}
END_TEST

/* So many that they are cancelled one by one, by several calls of the kernel. */
#define N_MANY 100

static void queue_poll(iou_t *iou, struct seen *seen, int fd)
{
	io_uring_prep_poll_add(take(iou, seen), fd, POLLIN);
	queue(seen);
}

struct again {
	struct seen seen;
	int fds[2];
};

/* Its second life begins in its callback. */
static int poll_again(void *data)
{
	struct again *again = data;
	char byte;

	ck_assert_int_eq(read(again->fds[0], &byte, 1), 1);
	if (again->seen.n_calls == 0)
		iou_op_queue(again->seen.iou, again->seen.op, poll_again, again);
	return see(&again->seen);
}

PROMISE(08, cancel_all_of_many_is_an_attempt_at_each_and_at_no_later_op)
{
	struct __kernel_timespec never = { .tv_sec = 1000000 };
	struct seen polls[N_MANY], timeouts[N_MANY], done, reused, fresh;
	iou_t *iou = open_iou(64);
	struct again again;
	int fds[2];

	open_pipe(fds);
	open_pipe(again.fds);
	/* Those that are first in the pool are looked at last. */
	io_uring_prep_poll_add(take(iou, &again.seen), again.fds[0], POLLIN);
	iou_op_queue(iou, again.seen.op, poll_again, &again);
	queue_nop(iou, &done, 0);
	for (int i = 0; i < N_MANY; i++) {
		queue_poll(iou, &polls[i], fds[0]);
		queue_timeout(iou, &timeouts[i], &never);
	}
	ck_assert_int_eq(turn(iou), 1);
	put_bytes(again.fds[1], "x", 1);
	ck_assert_int_eq(iou_cancel_all(iou), 2 * N_MANY + 1);
	/* One in the place of the op that is done, one in a new place. */
	queue_poll(iou, &reused, fds[0]);
	queue_poll(iou, &fresh, fds[0]);
	while (n_seen < 2 * N_MANY + 2)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	for (int i = 0; i < N_MANY; i++) {
		expect(&polls[i], -ECANCELED);
		expect(&timeouts[i], -ECANCELED);
	}
	ck_assert_int_eq(iou_pending(iou), 3);
	put_bytes(fds[1], "x", 1);
	put_bytes(again.fds[1], "x", 1);
	run_and_free(iou);
	ck_assert_int_eq(again.seen.n_calls, 2);
	ck_assert_int_eq(again.seen.result, POLLIN);
	expect(&reused, POLLIN);
	expect(&fresh, POLLIN);
	close_pipe(fds);
	close_pipe(again.fds);
}
END_TEST

static void cancel_many_polls(iou_t *iou, struct seen *polls, int fd)
{
	for (int i = 0; i < N_MANY; i++)
		queue_poll(iou, &polls[i], fd);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_cancel_all(iou), N_MANY);
}

/* The request that it is to be woken by goes in between. */
PROMISE(08, cancel_all_of_many_goes_on_while_the_loop_parks)
{
	iou_t *iou = open_iou(64);
	struct seen polls[N_MANY];
	int fds[2];

	open_pipe(fds);
	cancel_many_polls(iou, polls, fds[0]);
	run_and_free(iou);
	for (int i = 0; i < N_MANY; i++)
		expect(&polls[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

PROMISE(08, cancel_all_is_at_work_when_the_flush_returns)
{
	iou_t *iou = open_iou(4);
	struct seen polls[N_MANY];
	int fds[2];

	open_pipe(fds);
	cancel_many_polls(iou, polls, fds[0]);
	ck_assert_int_eq(iou_flush(iou), 0);
	/* What was cancelled does not see this. */
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	for (int i = 0; i < N_MANY; i++)
		expect(&polls[i], -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* By identity. */

struct life {
	struct seen seen;
	int fd;
	char byte;
	__u64 first;
};

/* The first life is over: its name must not hit the second. */
static int begin_second_life(void *data)
{
	struct life *life = data;

	see(&life->seen);
	iou_op_reset(life->seen.iou, life->seen.op);
	prepare(life->seen.op, IORING_OP_READ, life->fd, &life->byte, 1, (__u64)-1);
	queue(&life->seen);
	return iou_cancel_id(life->seen.iou, life->first) == -ENOENT ? 0 : -EPROTO;
}

PROMISE(08, cancel_by_identity_never_hits_the_next_life)
{
	iou_t *iou = open_iou(4);
	struct life life;
	struct seen late;
	int fds[2];

	open_pipe(fds);
	io_uring_prep_nop(take(iou, &life.seen));
	life.fd = fds[0];
	iou_op_queue(iou, life.seen.op, begin_second_life, &life);
	life.first = life.seen.op->sqe->user_data;
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	ck_assert_int_eq(iou_cancel_id(iou, life.first), -ENOENT);
	/* The kernel's own cancel is as blind to it. */
	io_uring_prep_cancel64(take(iou, &late), life.first, 0);
	queue(&late);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(&late, -ENOENT);
	ck_assert_int_eq(life.seen.n_calls, 1);
	ck_assert_int_eq(iou_cancel_id(iou, life.seen.op->sqe->user_data), 0);
	run_and_free(iou);
	ck_assert_int_eq(life.seen.n_calls, 2);
	ck_assert_int_eq(life.seen.result, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* Recycled, and taken by somebody else. */
PROMISE(08, cancel_by_identity_never_hits_another_op_in_the_same_place)
{
	iou_t *iou = open_iou(4);
	struct seen nop, blocked;
	int fds[2];
	__u64 id;
	char byte;

	open_pipe(fds);
	queue_nop(iou, &nop, 0);
	id = nop.op->sqe->user_data;
	ck_assert_int_eq(iou_run(iou), 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_ptr_eq(blocked.op, nop.op);
	ck_assert_int_eq(iou_cancel_id(iou, id), -ENOENT);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_cancel_id(iou, id), -ENOENT);
	ck_assert_int_eq(iou_cancel_id(iou, 0), -ENOENT);
	ck_assert_int_eq(iou_cancel_id(iou, (__u64)-1), -ENOENT);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&blocked, 1);
	close_pipe(fds);
}
END_TEST

/* The program's own. */

static void *post_from_elsewhere(void *data)
{
	struct seen *post = data;

	iou_post(post->iou, see, post);
	iou_release(post->iou);
	return NULL;
}

/* A parked loop is woken all the same. */
static void check_is_alive(iou_t *iou)
{
	struct seen post = { .iou = iou };

	ck_assert_int_eq(iou_hold(iou), 0);

	pthread_t thread = start_thread(post_from_elsewhere, &post);

	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(post.n_calls, 1);
}

/* Park, so that the wake-up is armed, and is hit as well. */
static void park_once(iou_t *iou)
{
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 }), 0);
}

PROMISE(08, cancel_of_everything_by_the_program_leaves_the_loop_alive)
{
	iou_t *iou = open_iou(8);
	struct seen blocked[4], cancel;
	int fds[2];
	char bytes[4];

	open_pipe(fds);
	for (int round = 0; round < 20; round++) {
		n_seen = 0;
		for (int i = 0; i < 4; i++)
			queue_read(iou, &blocked[i], fds[0], &bytes[i], 1, 0);
		park_once(iou);
		io_uring_prep_cancel64(take(iou, &cancel), 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
		queue(&cancel);
		while (n_seen < 5)
			ck_assert_int_ge(iou_run_once(iou, NULL), 1);
		for (int i = 0; i < 4; i++)
			expect(&blocked[i], -ECANCELED);
		ck_assert_int_ge(cancel.result, 4);
		check_is_alive(iou);
	}
	run_and_free(iou);
	close_pipe(fds);
}
END_TEST

static int send_message(iou_t *from, int ring_fd, __u64 user_data)
{
	struct seen sender;

	io_uring_prep_msg_ring(take(from, &sender), ring_fd, 42, user_data, 0);
	queue(&sender);
	ck_assert_int_eq(iou_run(from), 0);
	return sender.result;
}

/* Whatever they name: nothing, the library's own requests (there are few), an op that has ended. */
PROMISE(08, ring_messages_with_wild_user_data_leave_the_loop_alive)
{
	iou_t *iou = open_iou(8), *other = open_iou(4);
	struct seen nop;
	uint64_t n_sent = 0;

	queue_nop(iou, &nop, 0);

	const __u64 wild[] = { nop.op->sqe->user_data, 0, 1, 2, 3, (__u64)-1, (__u64)-2, 1ULL << 63, 0xdeadbeefcafe };

	ck_assert_int_eq(iou_run(iou), 0);
	park_once(iou);
	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++, n_sent++)
		ck_assert_int_eq(send_message(other, iou_ring(iou)->ring_fd, wild[i]), 0);
	check_is_alive(iou);
	ck_assert_int_ge(turn(iou), 0);
	ck_assert_uint_eq(stats_of(iou).n_foreign, n_sent);
	check_is_alive(iou);
	/* By chance one may name a request of the library's: an index below, and a generation of one above. */
	for (unsigned i = 0; i < 64; i++) {
		ck_assert_int_eq(send_message(other, iou_ring(iou)->ring_fd, (1ULL << (i / 2)) | (1 + i % 2)), 0);
		check_is_alive(iou);
	}
	run_and_free(iou);
	ck_assert_int_eq(nop.n_calls, 1);
	ck_assert_ptr_null(iou_free(other));
}
END_TEST

static int see_message(const struct io_uring_cqe *cqe, void *data)
{
	struct seen *seen = data;

	seen->result = cqe->res;
	seen->flags = (unsigned)cqe->user_data;
	return see(seen);
}

/* From one instance to another: the receiver is told, the sender's op completes. */
PROMISE(08, ring_message_between_instances_is_a_foreign_completion)
{
	struct seen message = { 0 }, sender;
	iou_t *from = open_iou(4);
	iou_t *to = open_with((iou_config_t){ .foreign_cqe = see_message, .foreign_cqe_data = &message });

	ck_assert_int_eq(iou_flush(to), 0);
	io_uring_prep_msg_ring(take(from, &sender), iou_ring(to)->ring_fd, 42, 4711, 0);
	queue(&sender);
	ck_assert_int_eq(iou_run(from), 0);
	expect(&sender, 0);
	ck_assert_int_eq(turn(to), 1);
	ck_assert_int_eq(message.n_calls, 1);
	ck_assert_int_eq(message.result, 42);
	ck_assert_uint_eq(message.flags, 4711);
	ck_assert_ptr_null(iou_free(from));
	ck_assert_ptr_null(iou_free(to));
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-cancel");

	ADD_CASE(s, "ops", test_g08_op_not_submitted_always_ends_with_ecanceled_and_never_runs,
		 test_g08_followers_of_a_staged_op_are_cancelled_as_in_the_kernel,
		 test_g08_op_in_flight_ends_with_ecanceled_or_its_real_result,
		 test_g08_op_that_is_new_or_in_its_final_callback_cannot_be_cancelled);
	ADD_CASE(s, "jobs", test_g08_waiting_job_is_cancelled_and_a_running_one_is_not,
		 test_g08_cancel_all_counts_attempts_and_leaves_async_jobs_and_posts_alone);
	ADD_CASE(s, "many", test_g08_cancel_all_of_many_is_an_attempt_at_each_and_at_no_later_op,
		 test_g08_cancel_all_of_many_goes_on_while_the_loop_parks,
		 test_g08_cancel_all_is_at_work_when_the_flush_returns);
	ADD_CASE(s, "identity", test_g08_cancel_by_identity_never_hits_the_next_life,
		 test_g08_cancel_by_identity_never_hits_another_op_in_the_same_place);
	ADD_CASE(s, "foreign", test_g08_cancel_of_everything_by_the_program_leaves_the_loop_alive);
	ADD_CASE(s, "ring", test_g08_ring_messages_with_wild_user_data_leave_the_loop_alive,
		 test_g08_ring_message_between_instances_is_a_foreign_completion);
	return s;
}
