/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G15: signals at 10 kHz during everything, and a process that is stopped. G13: threads with the smallest stacks. */
#include "promises.h"

#include "children.h"

#include <limits.h>
#include <time.h>

#define MS 1000000L

/* SIGPROF, without SA_RESTART, to the thread that runs; more seldom where handlers take long. */

static volatile sig_atomic_t n_signals;

static void count_signal(int signal_number)
{
	(void)signal_number;
	n_signals++;
}

static timer_t start_signals(void)
{
	const struct sigaction action = { .sa_handler = count_signal };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	struct itimerspec often = { .it_interval.tv_nsec = 100000L * support_slowness() };
	timer_t timer;

	/* glibc gives the member no name before 2.38. */
	event._sigev_un._tid = gettid();
	often.it_value = often.it_interval;
	n_signals = 0;
	ck_assert_int_eq(sigaction(SIGPROF, &action, NULL), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ck_assert_int_eq(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

static void stop_signals(timer_t timer)
{
	timer_delete(timer);
	ck_assert_int_gt(n_signals, 0);
}

/* The load: each kind does its rounds, and counts what is wrong. */
struct load {
	iou_t *iou;
	int n_rounds;
	int n_done; /* rounds of all kinds */
	int n_wrong;
	iou_op_t *nop, *read, *write, *timeout, *job;
	int n_nops, n_reads, n_timeouts, n_jobs, n_posts, n_resizes, n_given_up;
	struct __kernel_timespec soon;
	int fds[2];
	char in, out;
	int five;
	pthread_t poster;
};

static int next_nop(void *data)
{
	struct load *load = data;

	load->n_wrong += load->nop->result != 0;
	if (++load->n_nops < 20 * load->n_rounds)
		iou_op_queue(load->iou, load->nop, next_nop, load);
	return 0;
}

static int wrote(void *data)
{
	struct load *load = data;

	load->n_wrong += load->write->result != 1;
	return 0;
}

static void queue_write(struct load *load)
{
	load->write = iou_op_new(load->iou);
	/* Nothing new starts at the end. */
	if (!load->write)
		return;
	load->out = (char)load->n_reads;
	io_uring_prep_write(load->write->sqe, load->fds[1], &load->out, 1, (__u64)-1);
	iou_op_queue(load->iou, load->write, wrote, load);
}

/* Every other read is io-wq's. */
static int next_read(void *data)
{
	struct load *load = data;

	/*
	 * Linux gives up what waits for its first thread when signals have interrupted the making of that time and again
	 * (create_worker_cont() in io_uring/io-wq.c).
	 */
	if (load->read->result == -ECANCELED && load->read->sqe->flags & IOSQE_ASYNC && load->n_given_up++ < 1000) {
		iou_op_queue(load->iou, load->read, next_read, load);
		return 0;
	}
	load->n_wrong += load->read->result != 1 || load->in != (char)load->n_reads;
	if (++load->n_reads == load->n_rounds)
		return 0;
	load->read->sqe->flags ^= IOSQE_ASYNC;
	iou_op_queue(load->iou, load->read, next_read, load);
	queue_write(load);
	return 0;
}

static int next_timeout(void *data)
{
	struct load *load = data;

	load->n_wrong += load->timeout->result != -ETIME;
	if (++load->n_timeouts % 50 == 0)
		load->n_wrong += iou_resize(load->iou, load->n_resizes++ % 2 ? 4 : 32) != 0;
	if (load->n_timeouts < load->n_rounds)
		iou_op_queue(load->iou, load->timeout, next_timeout, load);
	return 0;
}

/* Takes so long that in the end the loop waits for jobs alone: only a wait that submits nothing can be interrupted. */
static int answer_late(void *data)
{
	nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
	return *(const int *)data;
}

static int next_job(void *data)
{
	struct load *load = data;

	load->n_wrong += load->job->result != 5;
	if (++load->n_jobs < load->n_rounds / 2)
		load->n_wrong += iou_op_async(load->iou, load->job, answer_late, &load->five, next_job, load) != 0;
	return 0;
}

static int count_post(void *data)
{
	struct load *load = data;

	load->n_posts++;
	return 0;
}

static void *post_all(void *data)
{
	struct load *load = data;

	for (int i = 0; i < load->n_rounds; i++)
		iou_post(load->iou, count_post, load);
	iou_release(load->iou);
	return NULL;
}

static void start_load(struct load *load, int n_rounds)
{
	*load = (struct load){ .iou = open_iou(8), .n_rounds = n_rounds, .soon = { .tv_nsec = 100000 }, .five = 5 };
	open_pipe(load->fds);
	load->nop = iou_op_new(load->iou);
	io_uring_prep_nop(load->nop->sqe);
	iou_op_queue(load->iou, load->nop, next_nop, load);
	load->read = iou_op_new(load->iou);
	io_uring_prep_read(load->read->sqe, load->fds[0], &load->in, 1, (__u64)-1);
	iou_op_queue(load->iou, load->read, next_read, load);
	queue_write(load);
	load->timeout = iou_op_new(load->iou);
	io_uring_prep_timeout(load->timeout->sqe, &load->soon, 0, 0);
	iou_op_queue(load->iou, load->timeout, next_timeout, load);
	load->job = iou_op_new(load->iou);
	ck_assert_int_eq(iou_op_async(load->iou, load->job, answer_late, &load->five, next_job, load), 0);
	ck_assert_int_eq(iou_hold(load->iou), 0);
	load->poster = start_thread(post_all, load);
}

static void end_load(struct load *load)
{
	pthread_join(load->poster, NULL);
	ck_assert_int_eq(load->n_nops, 20 * load->n_rounds);
	ck_assert_int_eq(load->n_reads, load->n_rounds);
	ck_assert_int_eq(load->n_timeouts, load->n_rounds);
	ck_assert_int_eq(load->n_jobs, load->n_rounds / 2);
	ck_assert_int_eq(load->n_posts, load->n_rounds);
	ck_assert_int_eq(load->n_wrong, 0);
	close_pipe(load->fds);
}

/* One run does it all: no signal ends it. */
PROMISE(15, signals_at_10_khz_neither_end_a_run_nor_spoil_a_result)
{
	timer_t timer = start_signals();
	struct load load;

	start_load(&load, fewer(2000, 200));
	ck_assert_int_eq(iou_run(load.iou), 0);
	ck_assert_int_eq(iou_pending(load.iou), 0);
	stop_signals(timer);
	end_load(&load);
	ck_assert_ptr_null(iou_free(load.iou));
}
END_TEST

/* In the middle of everything. Each op is told of its end, by a drain or by the free. */
PROMISE(15, signals_at_10_khz_do_not_disturb_draining_and_freeing)
{
	timer_t timer = start_signals();

	for (int i = 0; i < fewer(100, 10); i++) {
		struct load load;

		start_load(&load, 50);
		for (int j = 0; j < 5 + i % 10; j++)
			ck_assert_int_ge(iou_run_once(load.iou, NULL), 0);
		if (i % 2)
			ck_assert_int_eq(iou_drain(load.iou, NULL), 0);
		pthread_join(load.poster, NULL);
		ck_assert_ptr_null(iou_free(load.iou));
		ck_assert_int_eq(load.n_posts, 50);
		close_pipe(load.fds);
	}
	stop_signals(timer);
}
END_TEST

/* Stopped and continued. */

/* What there is to wait for until the parent has stopped the child often enough. */
struct pipes {
	int read[2], job[2];
};

static int take_answer(void *data)
{
	char answer = 0;

	return read(*(const int *)data, &answer, 1) == 1 ? answer : -errno;
}

/* Parked all the while, with something of each kind to wait for. */
static void run_while_stopped(struct findings *findings, const void *data)
{
	static struct __kernel_timespec late = { .tv_nsec = 100 * MS };
	static struct seen timeout, reading, job;
	static struct pipes pipes;
	char answer = 0;
	iou_t *iou = iou_new(4);

	pipes = *(const struct pipes *)data;
	reading = (struct seen){ .iou = iou, .op = iou_op_new(iou) };
	io_uring_prep_read(reading.op->sqe, pipes.read[0], &answer, 1, (__u64)-1);
	queue(&reading);
	timeout = (struct seen){ .iou = iou, .op = iou_op_new(iou) };
	io_uring_prep_timeout(timeout.op->sqe, &late, 0, 0);
	queue(&timeout);
	job = (struct seen){ .iou = iou, .op = iou_op_new(iou) };
	FIND_EQ(findings, iou_op_async(iou, job.op, take_answer, &pipes.job[0], see, &job), 0);
	FIND_EQ(findings, iou_run(iou), 0);
	FIND_EQ(findings, timeout.n_calls, 1);
	FIND_EQ(findings, timeout.result, -ETIME);
	FIND_EQ(findings, reading.n_calls, 1);
	FIND_EQ(findings, reading.result, 1);
	FIND_EQ(findings, job.n_calls, 1);
	FIND_EQ(findings, job.result, 5);
	FIND(findings, iou_free(iou) == NULL);
}

PROMISE(15, run_goes_on_when_a_stopped_process_does)
{
	struct pipes pipes;
	struct child child;
	int status;

	open_pipe(pipes.read);
	open_pipe(pipes.job);
	child = start_child(run_while_stopped, &pipes);
	for (int i = 0; i < 10; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
		kill(child.pid, SIGSTOP);
		ck_assert_int_eq(waitpid(child.pid, &status, WUNTRACED), child.pid);
		ck_assert(WIFSTOPPED(status));
		nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
		kill(child.pid, SIGCONT);
	}
	put_bytes(pipes.read[1], "\5", 1);
	put_bytes(pipes.job[1], "\5", 1);
	end_of_child(child);
	close_pipe(pipes.read);
	close_pipe(pipes.job);
}
END_TEST

/* The smallest stacks: of the loop thread, and of workers. Sanitizers and valgrind need more of their own. */

static size_t smallest_stack(void)
{
	size_t smallest = (size_t)PTHREAD_STACK_MIN;

	return support_slowness() == 1 ? smallest : 16 * smallest;
}

struct narrow {
	int n_wrong;
	int n_seen;
	int five;
	struct __kernel_timespec soon;
};

static int count_narrow(void *data)
{
	((struct narrow *)data)->n_seen++;
	return 0;
}

static void queue_narrow(iou_t *iou, struct narrow *narrow, int n)
{
	for (int i = 0; i < n; i++) {
		iou_op_t *op = iou_op_new(iou);

		if (i % 2)
			io_uring_prep_nop(op->sqe);
		else
			io_uring_prep_timeout(op->sqe, &narrow->soon, 0, 0);
		op->sqe->flags = i % 10 < 9 ? IOSQE_IO_HARDLINK : 0;
		iou_op_queue(iou, op, count_narrow, narrow);
		narrow->n_wrong += iou_async(iou, return_int, &narrow->five, count_narrow, narrow) != 0;
	}
}

/* The number of workers, which is looked up in files, is asked for here. */
static void *use_everything(void *data)
{
	struct narrow *narrow = data;
	iou_config_t config = { .size = sizeof(config), .entries = 2, .stack_size = smallest_stack() };
	iou_t *iou = iou_new_with(&config);

	narrow->n_wrong += iou_fd(iou) < 0;
	queue_narrow(iou, narrow, 100);
	narrow->n_wrong += iou_run(iou) != 0;
	narrow->n_wrong += iou_resize(iou, 64) != 0;
	queue_narrow(iou, narrow, 100);
	narrow->n_wrong += iou_post(iou, count_narrow, narrow) != 0;
	narrow->n_wrong += iou_drain(iou, NULL) != 0;
	queue_narrow(iou, narrow, 100);
	narrow->n_wrong += iou_free(iou) != NULL;
	return NULL;
}

PROMISE(13, smallest_stacks_are_enough)
{
	struct narrow narrow = { .five = 5, .soon = { .tv_nsec = 1000 } };
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	ck_assert_int_eq(pthread_attr_setstacksize(&attr, smallest_stack()), 0);
	ck_assert_int_eq(pthread_create(&thread, &attr, use_everything, &narrow), 0);
	pthread_attr_destroy(&attr);
	pthread_join(thread, NULL);
	ck_assert_int_eq(narrow.n_wrong, 0);
	ck_assert_int_eq(narrow.n_seen, 601);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-signals");
	TCase *tcase = ADD_CASE(s, "signals", test_g15_signals_at_10_khz_neither_end_a_run_nor_spoil_a_result,
				test_g15_signals_at_10_khz_do_not_disturb_draining_and_freeing,
				test_g15_run_goes_on_when_a_stopped_process_does);

	tcase_set_timeout(tcase, CHILD_LIMIT_S);
	ADD_CASE(s, "stacks", test_g13_smallest_stacks_are_enough);
	return s;
}
