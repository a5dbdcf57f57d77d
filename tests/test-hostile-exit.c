/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G9: the loop thread exits with everything in flight, and another frees; or nobody does until the process exits. */
#include "promises.h"

#include "children.h"

#include <sys/ioctl.h>

#define MS 1000000L

/* Of each kind so many; the reads by turns with io-wq's threads. */
enum { N_EACH = 6 };

struct leaving {
	iou_t *iou;
	struct seen reads[N_EACH], timeouts[N_EACH], polls[N_EACH], multishots[N_EACH], jobs[N_EACH], nops[N_EACH];
	struct seen async, post;
	char bytes[N_EACH];
	int fds[2];
	sem_t gate;
	int result;
};

static void queue_all(struct leaving *leaving)
{
	static struct __kernel_timespec late = { .tv_sec = 1000 };
	iou_t *iou = leaving->iou;

	for (int i = 0; i < N_EACH; i++) {
		queue_read(iou, &leaving->reads[i], leaving->fds[0], &leaving->bytes[i], 1, i % 2 ? IOSQE_ASYNC : 0);
		queue_timeout(iou, &leaving->timeouts[i], &late);
		io_uring_prep_poll_add(take(iou, &leaving->polls[i]), leaving->fds[0], POLLIN);
		queue(&leaving->polls[i]);
		io_uring_prep_poll_multishot(take(iou, &leaving->multishots[i]), leaving->fds[0], POLLIN);
		queue(&leaving->multishots[i]);
	}
	for (int i = 0; i < N_EACH; i++)
		queue_job(iou, &leaving->jobs[i], wait_for_sem, &leaving->gate);
	ck_assert_int_eq(iou_async(iou, wait_for_sem, &leaving->gate, see, &leaving->async), 0);
}

static void *submit_and_leave(void *data)
{
	struct leaving *leaving = data;

	leaving->result = iou_run_once(leaving->iou, &(struct timespec){ .tv_nsec = 5 * MS });
	return NULL;
}

/* Some have been flushed, and not waited for. */
static void *flush_and_leave(void *data)
{
	struct leaving *leaving = data;

	leaving->result = iou_flush(leaving->iou);
	return NULL;
}

static void open_leaving(struct leaving *leaving, unsigned flags)
{
	*leaving = (struct leaving){ .iou = open_with((iou_config_t){ .entries = 4, .workers = 1, .flags = flags }) };
	sem_init(&leaving->gate, 0, 0);
	open_pipe(leaving->fds);
	memset(leaving->bytes, 'p', N_EACH);
	queue_all(leaving);
}

static void expect_each_was_cancelled(const struct seen *seen)
{
	for (int i = 0; i < N_EACH; i++) {
		ck_assert_int_eq(seen[i].n_calls, 1);
		ck_assert_int_lt(seen[i].result, 0);
		ck_assert_uint_eq(seen[i].flags & IORING_CQE_F_MORE, 0);
	}
}

/* The kernel is done with the buffers: who reads now gets all of it. */
static bool reads_nobody(struct leaving *leaving)
{
	char bytes[N_EACH];
	int n = -1;

	put_bytes(leaving->fds[1], "kkkkkk", N_EACH);
	ck_assert_int_eq(ioctl(leaving->fds[0], FIONREAD, &n), 0);
	for (int i = 0; i < N_EACH && n == N_EACH; i++)
		ck_assert_int_eq(leaving->bytes[i], 'p');
	return n == N_EACH && read(leaving->fds[0], bytes, N_EACH) == N_EACH;
}

/* After iou_free(). */
static bool close_leaving(struct leaving *leaving)
{
	bool nobody_reads = reads_nobody(leaving);

	expect_each_was_cancelled(leaving->reads);
	expect_each_was_cancelled(leaving->timeouts);
	expect_each_was_cancelled(leaving->polls);
	expect_each_was_cancelled(leaving->multishots);
	close_pipe(leaving->fds);
	sem_destroy(&leaving->gate);
	return nobody_reads;
}

/* Returns whether the kernel was done by then. */
static bool leave_and_free(void *(*leave)(void *), unsigned flags)
{
	int n_descriptors = support_descriptors();
	struct leaving leaving;
	bool nobody_reads;

	open_leaving(&leaving, flags);
	pthread_join(start_thread(leave, &leaving), NULL);
	ck_assert_int_eq(leaving.result, 0);
	for (int i = 0; i < N_EACH; i++)
		queue_nop(leaving.iou, &leaving.nops[i], 0);
	ck_assert_int_eq(iou_post(leaving.iou, see, &leaving.post), 0);
	for (int i = 0; i <= N_EACH; i++)
		sem_post(&leaving.gate);
	ck_assert_ptr_null(iou_free(leaving.iou));
	expect_each_was_cancelled(leaving.nops);
	for (int i = 0; i < N_EACH; i++)
		ck_assert_int_eq(leaving.jobs[i].n_calls, 1);
	ck_assert_int_eq(leaving.async.n_calls, 1);
	ck_assert_int_eq(leaving.post.n_calls, 1);
	nobody_reads = close_leaving(&leaving);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	return nobody_reads;
}

PROMISE(09, everything_ends_when_the_loop_thread_has_left)
{
	for (int i = 0; i < fewer(20, 3); i++)
		ck_assert(leave_and_free(i % 2 ? submit_and_leave : flush_and_leave, 0));
}
END_TEST

/* Here nothing tells when the kernel is done: it is given a tenth of a second, which a busy machine may need once. */
PROMISE(09, everything_ends_when_the_loop_thread_of_a_polled_ring_has_left)
{
	bool nobody_reads = false;

	for (int i = 0; i < 3 && !nobody_reads; i++)
		nobody_reads = leave_and_free(submit_and_leave, IOU_SQPOLL);
	ck_assert(nobody_reads);
}
END_TEST

/* Any thread may go on with such an instance; what the other one submitted the kernel has ended, or not yet. */
static void *run_a_nop(void *data)
{
	struct leaving *leaving = data;

	queue_nop(leaving->iou, &leaving->nops[0], 0);
	while (leaving->nops[0].n_calls == 0 && leaving->result >= 0)
		leaving->result = iou_run_once(leaving->iou, NULL);
	return NULL;
}

PROMISE(09, any_thread_goes_on_when_another_has_left)
{
	struct leaving leaving;

	open_leaving(&leaving, IOU_ANY_THREAD);
	pthread_join(start_thread(submit_and_leave, &leaving), NULL);
	ck_assert_int_eq(leaving.result, 0);
	pthread_join(start_thread(run_a_nop, &leaving), NULL);
	ck_assert_int_ge(leaving.result, 1);
	expect(&leaving.nops[0], 0);
	for (int i = 0; i <= N_EACH; i++)
		sem_post(&leaving.gate);
	ck_assert_ptr_null(iou_free(leaving.iou));
	ck_assert(close_leaving(&leaving));
}
END_TEST

/* Nobody frees it: the process exits all the same, with a worker at work, and with the loop parked in a thread. */
static void *run_for_ever(void *data)
{
	iou_run(data);
	return NULL;
}

struct last_of_all {
	bool is_parked;
	bool is_exit;
};

static void leave_all_behind(struct findings *findings, const void *data)
{
	static struct __kernel_timespec late = { .tv_sec = 1000 };
	static struct seen seen;
	static sem_t never;
	const struct last_of_all *leaving = data;
	iou_t *iou = iou_new(4);
	pthread_t thread;

	sem_init(&never, 0, 0);
	FIND_EQ(findings, iou_async(iou, wait_for_sem, &never, NULL, NULL), 0);
	seen = (struct seen){ .iou = iou, .op = iou_op_new(iou) };
	io_uring_prep_timeout(seen.op->sqe, &late, 0, 0);
	iou_op_queue(iou, seen.op, see, &seen);
	if (leaving->is_parked) {
		FIND_EQ(findings, pthread_create(&thread, NULL, run_for_ever, iou), 0);
		nanosleep(&(struct timespec){ .tv_nsec = 20 * MS }, NULL);
	} else {
		FIND_EQ(findings, iou_run_once(iou, &(struct timespec){ .tv_nsec = MS }), 0);
	}
	FIND_EQ(findings, iou_post(iou, see, &seen), 0);
	/* Else it ends by becoming another program, which is a way of its own. */
	if (leaving->is_exit) {
		findings->is_done = true;
		_exit(0);
	}
}

START_TEST(test_g13_process_exits_though_nobody_has_freed)
{
	const struct last_of_all leaving = { .is_parked = _i & 1, .is_exit = _i & 2 };

	in_child(leave_all_behind, &leaving);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-exit");
	TCase *tcase;

	ADD_CASE(s, "thread", test_g09_everything_ends_when_the_loop_thread_has_left,
		 test_g09_everything_ends_when_the_loop_thread_of_a_polled_ring_has_left,
		 test_g09_any_thread_goes_on_when_another_has_left);
	tcase = tcase_create("process");
	suite_add_tcase(s, tcase);
	/* valgrind would make what is left behind an error of those that exit. */
	tcase_add_loop_test(tcase, test_g13_process_exits_though_nobody_has_freed, 0, RUNNING_ON_VALGRIND ? 2 : 4);
	return s;
}
