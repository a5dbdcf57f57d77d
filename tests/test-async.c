/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "async.h"
#include "cpus.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_JOBS 100
#define N_STRESS 2000
/* No machine has the address space for such a stack. */
#define IMPOSSIBLE_STACK ((size_t)1 << (8 * sizeof(size_t) - 2))

static struct ops ops;
static struct mailbox mailbox;
static struct async async;
static struct queue inbox;
static bool has_stopped;
static int n_threads_before;

static void *nothing(void *data)
{
	return data;
}

static void set_up(void)
{
	pthread_t thread;

	/* A sanitizer has a thread of its own, which may come with the first one of ours. */
	pthread_create(&thread, NULL, nothing, NULL);
	pthread_join(thread, NULL);
	n_threads_before = support_steady(support_threads);
	iou__ops_init(&ops);
	ck_assert_int_eq(iou__mailbox_init(&mailbox), 0);
	iou__queue_init(&inbox);
	has_stopped = false;
}

static void init(unsigned n_max, size_t stack_size)
{
	iou__async_init(&async, &ops, &mailbox, n_max, stack_size, SPIN_DEFAULT_NS);
}

static void stop(void)
{
	iou__async_stop(&async);
	has_stopped = true;
}

static void tear_down(void)
{
	if (!has_stopped)
		stop();
	ck_assert(iou__ops_add_up(&ops));
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 0);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING), 0);
	iou__mailbox_destroy(&mailbox);
	iou__ops_destroy(&ops);
}

static struct op *new_job(int (*work)(void *), void *data)
{
	struct op *op = iou__ops_take(&ops);

	ck_assert_ptr_nonnull(op);
	op->task.kind = TASK_JOB;
	op->job.work = work;
	op->job.work_data = data;
	return op;
}

static struct op *submit(int (*work)(void *), void *data)
{
	struct op *op = new_job(work, data);

	ck_assert_int_eq(iou__async_submit(&async, op), 0);
	return op;
}

/* Sleep until there is mail. */
static void wait_for_mail(void)
{
	struct pollfd fd = { .fd = mailbox.fd, .events = POLLIN };

	if (iou__mailbox_doze(&mailbox))
		poll(&fd, 1, -1);
	iou__mailbox_rouse(&mailbox);
	iou__mailbox_lower(&mailbox);

	struct mail mail;

	while (iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail)) {
		struct task *task = mail.cb_data;

		iou__queue_push(&inbox, &task->node);
	}
}

/* The next job that a worker has finished. */
static struct op *finished(void)
{
	struct node *node;

	while (!(node = iou__queue_pop(&inbox)))
		wait_for_mail();
	return container_of(node, struct op, task.node);
}

static int finish(void)
{
	struct op *op = finished();
	int result = op->job.result;

	iou__ops_move(&ops, op, OP_FINISHED, OP_COMPLETED);
	iou__ops_give_back(&ops, op);
	return result;
}

static void finish_n(int n)
{
	for (; n; n--)
		finish();
}

static unsigned n_idle(void)
{
	return atomic_load(&async.n_asleep);
}

static void wait_until_idle(unsigned n)
{
	int64_t deadline = support_now_ms() + 10000;

	while (n_idle() != n && support_now_ms() < deadline)
		sched_yield();
	ck_assert_uint_eq(n_idle(), n);
}

/* A job that says when it runs, and ends when it is told to. */
struct gate {
	sem_t has_begun, may_end;
	atomic_int n_running, n_most;
};

static void open_gate(struct gate *gate)
{
	sem_init(&gate->has_begun, 0, 0);
	sem_init(&gate->may_end, 0, 0);
	atomic_init(&gate->n_running, 0);
	atomic_init(&gate->n_most, 0);
}

static int wait_at_gate(void *data)
{
	struct gate *gate = data;
	int n = atomic_fetch_add(&gate->n_running, 1) + 1;
	int most = atomic_load(&gate->n_most);

	while (n > most && !atomic_compare_exchange_weak(&gate->n_most, &most, n))
		;
	sem_post(&gate->has_begun);
	sem_wait(&gate->may_end);
	atomic_fetch_sub(&gate->n_running, 1);
	return 0;
}

static void wait_n(sem_t *sem, int n)
{
	for (; n; n--)
		sem_wait(sem);
}

static void post_n(sem_t *sem, int n)
{
	for (; n; n--)
		sem_post(sem);
}

static int do_nothing(void *data)
{
	(void)data;
	return 0;
}

static int the_answer(void *data)
{
	return *(int *)data;
}

START_TEST(test_job_runs_and_its_result_comes_back)
{
	int answer = -42;

	init(1, 0);
	submit(the_answer, &answer);
	ck_assert_int_eq(finish(), -42);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FREE), 0);
}
END_TEST

static int tell_thread(void *data)
{
	*(pthread_t *)data = pthread_self();
	return 0;
}

START_TEST(test_job_runs_on_another_thread)
{
	pthread_t worker = pthread_self();

	init(1, 0);
	submit(tell_thread, &worker);
	finish();
	ck_assert(!pthread_equal(worker, pthread_self()));
}
END_TEST

static int order[N_JOBS], n_ordered;

static int note_order(void *data)
{
	order[n_ordered++] = *(int *)data;
	return *(int *)data;
}

START_TEST(test_one_worker_takes_jobs_in_order)
{
	struct gate gate;
	int numbers[N_JOBS];

	init(1, 0);
	open_gate(&gate);
	submit(wait_at_gate, &gate);
	for (int i = 0; i < N_JOBS; i++) {
		numbers[i] = i;
		submit(note_order, &numbers[i]);
	}
	post_n(&gate.may_end, 1);
	finish();
	for (int i = 0; i < N_JOBS; i++)
		ck_assert_int_eq(finish(), i);
	for (int i = 0; i < N_JOBS; i++)
		ck_assert_int_eq(order[i], i);
}
END_TEST

START_TEST(test_counters_follow_a_job)
{
	struct gate gate;

	init(1, 0);
	open_gate(&gate);
	submit(wait_at_gate, &gate);
	submit(do_nothing, NULL);
	wait_n(&gate.has_begun, 1);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING), 1);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 1);
	post_n(&gate.may_end, 1);
	finish_n(2);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING) + iou__ops_n(&ops, OP_WAITING), 0);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FINISHED), 0);
}
END_TEST

static int spin(void *data)
{
	for (volatile int i = 0; i < *(int *)data; i++)
		;
	return 1;
}

START_TEST(test_every_job_runs_once_on_many_workers)
{
	int n = support_slowness() > 1 ? N_STRESS / 10 : N_STRESS;
	int loops[7] = { 0, 10, 100, 1000, 3, 30, 300 }, sum = 0;

	init(4, 0);
	for (int i = 0; i < n; i++) {
		submit(spin, &loops[i % 7]);
		if (i % 3 == 2)
			sum += finish();
	}
	for (int i = 0; i < n - n / 3; i++)
		sum += finish();
	ck_assert_int_eq(sum, n);
	ck_assert_ptr_null(iou__queue_first(&inbox));
	ck_assert(!iou__mailbox_has_mail(&mailbox));
}
END_TEST

/* A worker that does not spin falls asleep after each job, and each time at another moment a job comes. */
START_TEST(test_no_job_is_missed_by_a_worker_that_falls_asleep)
{
	int n = support_slowness() > 1 ? N_STRESS / 10 : 10 * N_STRESS;

	iou__async_init(&async, &ops, &mailbox, 1, 0, 0);
	for (int i = 0; i < n; i++) {
		submit(do_nothing, NULL);
		for (int j = 0; !iou__mailbox_has_mail(&mailbox); j++)
			if (j > 10000)
				sched_yield();
		finish();
		for (volatile int j = 0; j < i % 64; j++)
			;
	}
}
END_TEST

/* Threads. */

START_TEST(test_no_thread_before_it_is_needed)
{
	init(4, 0);
	ck_assert_uint_eq(iou__async_max(&async), 4);
	ck_assert_int_eq(support_threads(), n_threads_before);
	ck_assert_uint_eq(async.n_workers, 0);
	submit(do_nothing, NULL);
	finish();
	ck_assert_int_eq(support_threads(), n_threads_before + 1);
	ck_assert_uint_eq(async.n_workers, 1);
}
END_TEST

START_TEST(test_idle_worker_is_used_again)
{
	init(4, 0);
	for (int i = 0; i < N_JOBS; i++) {
		submit(do_nothing, NULL);
		finish();
		wait_until_idle(1);
	}
	ck_assert_uint_eq(async.n_workers, 1);
}
END_TEST

/* One that is idle does for one job, not for two. */
START_TEST(test_each_job_has_a_worker_as_long_as_there_may_be_more)
{
	struct gate gate;

	init(4, 0);
	open_gate(&gate);
	submit(do_nothing, NULL);
	finish();
	wait_until_idle(1);
	for (int i = 0; i < 4; i++)
		submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 4);
	ck_assert_uint_eq(async.n_workers, 4);
	post_n(&gate.may_end, 4);
	finish_n(4);
}
END_TEST

START_TEST(test_there_are_no_more_workers_than_allowed)
{
	struct gate gate;

	init(2, 0);
	open_gate(&gate);
	for (int i = 0; i < N_JOBS; i++)
		submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 2);
	ck_assert_int_eq(support_threads(), n_threads_before + 2);
	post_n(&gate.may_end, N_JOBS);
	finish_n(N_JOBS);
	ck_assert_uint_eq(async.n_workers, 2);
	ck_assert_int_eq(atomic_load(&gate.n_most), 2);
	ck_assert_int_eq(support_threads(), n_threads_before + 2);
}
END_TEST

START_TEST(test_as_many_workers_as_cpus_unless_said_otherwise)
{
	init(0, 0);
	ck_assert_uint_eq(iou__async_max(&async), iou__cpus());
	ck_assert_uint_eq(async.n_max, iou__cpus());
	submit(do_nothing, NULL);
	finish();
}
END_TEST

static int tell_name(void *data)
{
	return prctl(PR_GET_NAME, data);
}

START_TEST(test_worker_has_a_name)
{
	char name[16] = "";

	init(1, 0);
	submit(tell_name, name);
	ck_assert_int_eq(finish(), 0);
	ck_assert_str_eq(name, "iou-worker");
}
END_TEST

static int tell_mask(void *data)
{
	return pthread_sigmask(SIG_SETMASK, NULL, data);
}

static bool is_blockable(int number)
{
	return number != SIGKILL && number != SIGSTOP && (number < 32 || number >= SIGRTMIN);
}

START_TEST(test_worker_blocks_all_signals_and_the_caller_as_before)
{
	sigset_t workers, some, after;

	init(1, 0);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &some, NULL);
	submit(tell_mask, &workers);
	ck_assert_int_eq(finish(), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i <= SIGRTMAX; i++) {
		ck_assert_int_eq(sigismember(&after, i) == 1, i == SIGUSR2);
		if (is_blockable(i))
			ck_assert_msg(sigismember(&workers, i) == 1, "signal %d is not blocked", i);
	}
	sigemptyset(&some);
	pthread_sigmask(SIG_SETMASK, &some, NULL);
}
END_TEST

static int tell_stack_size(void *data)
{
	pthread_attr_t attr;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, data);
	pthread_attr_destroy(&attr);
	return 0;
}

START_TEST(test_worker_has_the_stack_that_was_asked_for)
{
	const size_t wanted = 1 << 20;
	size_t size = 0;

	init(1, wanted);
	submit(tell_stack_size, &size);
	finish();
	ck_assert_uint_ge(size, wanted);
	ck_assert_uint_lt(size, wanted + wanted / 2);
}
END_TEST

START_TEST(test_stack_sizes_that_threads_cannot_have_are_known)
{
	init(1, 0);
	ck_assert(iou__async_stack_size_is_valid(0));
	ck_assert(iou__async_stack_size_is_valid((size_t)PTHREAD_STACK_MIN));
	ck_assert(!iou__async_stack_size_is_valid((size_t)PTHREAD_STACK_MIN - 1));
	ck_assert(!iou__async_stack_size_is_valid(1));
}
END_TEST

/* Withdrawal. */

static int fail_if_run(void *data)
{
	*(bool *)data = true;
	return 0;
}

START_TEST(test_job_that_no_worker_has_begun_can_be_withdrawn)
{
	struct gate gate;
	struct op *waiting[3];
	bool has_run = false;

	init(1, 0);
	open_gate(&gate);
	submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 1);
	for (int i = 0; i < 3; i++)
		waiting[i] = i == 1 ? submit(fail_if_run, &has_run) : submit(do_nothing, NULL);
	ck_assert(iou__async_withdraw(&async, waiting[1]));
	ck_assert_int_eq(iou__op_state(waiting[1]), OP_COMPLETED);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 2);
	ck_assert(!iou__async_withdraw(&async, waiting[1]));
	post_n(&gate.may_end, 1);
	finish();
	ck_assert_ptr_eq(finished(), waiting[0]);
	ck_assert_ptr_eq(finished(), waiting[2]);
	ck_assert(!has_run);
}
END_TEST

START_TEST(test_job_that_runs_or_has_run_cannot_be_withdrawn)
{
	struct gate gate;
	struct op *op;

	init(1, 0);
	open_gate(&gate);
	op = submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 1);
	ck_assert(!iou__async_withdraw(&async, op));
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WORKING), 1);
	post_n(&gate.may_end, 1);
	wait_for_mail();
	ck_assert(!iou__async_withdraw(&async, op));
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FINISHED), 1);
	finish();
}
END_TEST

static int count(void *data)
{
	atomic_fetch_add((atomic_int *)data, 1);
	return 0;
}

/* Each either runs or is withdrawn. */
START_TEST(test_withdrawal_and_worker_never_both_have_a_job)
{
	int n = support_slowness() > 1 ? N_STRESS / 10 : N_STRESS, n_withdrawn = 0;
	atomic_int n_run;

	init(2, 0);
	atomic_init(&n_run, 0);
	for (int i = 0; i < n; i++) {
		struct op *first = submit(count, &n_run), *second = submit(count, &n_run);
		bool is_withdrawn = iou__async_withdraw(&async, i % 2 ? first : second);

		if (is_withdrawn)
			iou__ops_give_back(&ops, i % 2 ? first : second);
		finish_n(is_withdrawn ? 1 : 2);
		n_withdrawn += is_withdrawn;
	}
	ck_assert_int_eq(atomic_load(&n_run) + n_withdrawn, 2 * n);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_FREE), 0);
}
END_TEST

/* The end. */

START_TEST(test_stop_joins_all_workers)
{
	struct gate gate;

	init(4, 0);
	open_gate(&gate);
	for (int i = 0; i < 4; i++)
		submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 4);
	ck_assert_int_eq(support_threads(), n_threads_before + 4);
	post_n(&gate.may_end, 4);
	finish_n(4);
	stop();
	ck_assert_int_eq(support_settle(support_threads, n_threads_before), n_threads_before);
}
END_TEST

static atomic_int n_exited;

/* What the thread does after the last of its jobs takes a while. */
static void exit_slowly(void *data)
{
	(void)data;
	for (int i = 0; i < 1000; i++)
		sched_yield();
	atomic_fetch_add(&n_exited, 1);
}

static int register_exit(void *data)
{
	return -pthread_setspecific(*(pthread_key_t *)data, data);
}

START_TEST(test_stop_waits_until_the_worker_has_exited)
{
	pthread_key_t key;

	init(1, 0);
	atomic_init(&n_exited, 0);
	ck_assert_int_eq(pthread_key_create(&key, exit_slowly), 0);
	submit(register_exit, &key);
	ck_assert_int_eq(finish(), 0);
	stop();
	ck_assert_int_eq(atomic_load(&n_exited), 1);
	pthread_key_delete(key);
}
END_TEST

START_TEST(test_stop_without_workers_is_fine)
{
	init(4, 0);
	stop();
	ck_assert_int_eq(support_threads(), n_threads_before);
}
END_TEST

/* Where the threads are not, nobody waits for them. */
START_TEST(test_forked_child_abandons_the_workers)
{
	int status;
	pid_t pid;

	init(2, 0);
	submit(do_nothing, NULL);
	finish();
	wait_until_idle(1);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		iou__async_abandon(&async);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	submit(do_nothing, NULL);
	finish();
}
END_TEST

/* No thread can be had. */

START_TEST(test_without_any_worker_submitting_fails)
{
	sigset_t before, after;
	struct op *op;

	init(2, IMPOSSIBLE_STACK);
	op = new_job(do_nothing, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	/* Valgrind refuses to map so much with another error. */
	ck_assert_int_eq(iou__async_submit(&async, op), RUNNING_ON_VALGRIND ? -EINVAL : -EAGAIN);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	ck_assert_int_eq(iou__op_state(op), OP_NEW);
	ck_assert_ptr_eq(op->job.work, do_nothing);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), 0);
	ck_assert_uint_eq(async.jobs.tail, 0);
	for (int i = 1; i <= SIGRTMAX; i++)
		ck_assert_int_eq(sigismember(&after, i), sigismember(&before, i));
	/* Later on it may work. */
	async.stack_size = 0;
	ck_assert_int_eq(iou__async_submit(&async, op), 0);
	finish();
}
END_TEST

START_TEST(test_with_a_worker_jobs_wait_for_it_if_there_cannot_be_another)
{
	struct gate gate;

	init(4, 0);
	open_gate(&gate);
	submit(wait_at_gate, &gate);
	wait_n(&gate.has_begun, 1);
	async.stack_size = IMPOSSIBLE_STACK;
	for (int i = 0; i < N_JOBS; i++)
		submit(do_nothing, NULL);
	ck_assert_uint_eq(async.n_workers, 1);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_WAITING), N_JOBS);
	post_n(&gate.may_end, 1);
	finish_n(N_JOBS + 1);
}
END_TEST

Suite *suite(void)
{
	Suite *async_suite = suite_create("async");
	TCase *tcase;

	tcase = ADD_CASE(async_suite, "jobs", test_job_runs_and_its_result_comes_back, test_job_runs_on_another_thread,
			 test_one_worker_takes_jobs_in_order, test_counters_follow_a_job,
			 test_every_job_runs_once_on_many_workers, test_no_job_is_missed_by_a_worker_that_falls_asleep);
	/* Others may want the CPUs that these spin on. */
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(async_suite, "workers", test_no_thread_before_it_is_needed, test_idle_worker_is_used_again,
			 test_each_job_has_a_worker_as_long_as_there_may_be_more,
			 test_there_are_no_more_workers_than_allowed,
			 test_as_many_workers_as_cpus_unless_said_otherwise, test_worker_has_a_name,
			 test_worker_blocks_all_signals_and_the_caller_as_before,
			 test_worker_has_the_stack_that_was_asked_for,
			 test_stack_sizes_that_threads_cannot_have_are_known, test_without_any_worker_submitting_fails,
			 test_with_a_worker_jobs_wait_for_it_if_there_cannot_be_another);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(async_suite, "withdraw", test_job_that_no_worker_has_begun_can_be_withdrawn,
			 test_job_that_runs_or_has_run_cannot_be_withdrawn,
			 test_withdrawal_and_worker_never_both_have_a_job);
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(async_suite, "end", test_stop_joins_all_workers, test_stop_waits_until_the_worker_has_exited,
			 test_stop_without_workers_is_fine, test_forked_child_abandons_the_workers);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return async_suite;
}
