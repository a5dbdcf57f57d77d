/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G13: what an instance does to its process. G14: fork. */
#include "forks.h"

#include <dirent.h>
#include <stdio.h>

/* Threads. */

PROMISE(13, no_thread_before_there_is_a_job)
{
	int n_threads = support_threads();
	iou_t *iou = open_with((iou_config_t){ .workers = 3 });
	iou_info_t info = { .size = sizeof(info) };
	struct seen nop, jobs[3];
	sem_t gate;
	int fd = iou_fd(iou), n_workers_zero = n_threads;

	sem_init(&gate, 0, 0);
	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(iou_post(iou, post_sem, &gate), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	wait_for_sem(&gate);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(support_threads(), n_threads);
	for (int i = 0; i < 3; i++) {
		queue_job(iou, &jobs[i], wait_for_sem, &gate);
		/* A sanitizer may start a thread of its own with the first. */
		n_workers_zero = i ? n_workers_zero : support_threads() - 1;
		ck_assert_int_eq(support_threads(), n_workers_zero + i + 1);
	}
	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_eq(info.workers, 3);
	ck_assert_uint_eq(info.workers_started, 3);
	for (int i = 0; i < 3; i++)
		sem_post(&gate);
	run_and_free(iou);
	ck_assert_int_le(n_workers_zero, n_threads + support_sanitized());
	ck_assert_int_eq(support_settle(support_threads, n_workers_zero), n_workers_zero);
	sem_destroy(&gate);
}
END_TEST

struct worker {
	char name[16];
	int n_blocked;
};

static int look_around(void *data)
{
	struct worker *worker = data;
	sigset_t blocked;

	pthread_getname_np(pthread_self(), worker->name, sizeof(worker->name));
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	for (int i = 1; i <= SIGRTMAX; i++)
		/* These cannot be, and the ones in between are the C library's own. */
		if (i != SIGKILL && i != SIGSTOP && (i < 32 || i >= SIGRTMIN))
			worker->n_blocked += !sigismember(&blocked, i);
	return 0;
}

PROMISE(13, workers_are_named_and_block_all_signals)
{
	iou_t *iou = open_iou(4);
	struct worker worker = { .name = "" };
	struct seen job;
	sigset_t before, after;

	pthread_sigmask(SIG_BLOCK, NULL, &before);
	queue_job(iou, &job, look_around, &worker);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	run_and_free(iou);
	ck_assert_str_eq(worker.name, "iou-worker");
	ck_assert_int_eq(worker.n_blocked, 0);
	for (int i = 1; i < 32; i++)
		ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
}
END_TEST

/* Descriptors: those that the instance opened, of which none may stay open across execve(). */
static bool had(const int *fds, int n, int fd)
{
	for (int i = 0; i < n; i++)
		if (fds[i] == fd)
			return true;
	return false;
}

static int list_descriptors(int fds[256])
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;

	while ((entry = readdir(dir)) && n < 256)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
			fds[n++] = atoi(entry->d_name);
	closedir(dir);
	return n;
}

PROMISE(13, all_descriptors_are_close_on_exec)
{
	int before[256], after[256], n_before = list_descriptors(before), n_own = 0;
	iou_t *iou = open_iou(4);
	int fd = iou_fd(iou);
	int n_after = list_descriptors(after);

	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < n_after; i++) {
		if (had(before, n_before, after[i]))
			continue;
		n_own++;
		ck_assert_msg(fcntl(after[i], F_GETFD) & FD_CLOEXEC, "descriptor %d", after[i]);
	}
	ck_assert_int_ge(n_own, 3);
	ck_assert_int_eq(iou_resize(iou, 8), 0);
	ck_assert_int_ne(fcntl(iou_ring(iou)->ring_fd, F_GETFD) & FD_CLOEXEC, 0);
	run_and_free(iou);
	ck_assert_int_eq(list_descriptors(after), n_before);
}
END_TEST

/* Instances. */

PROMISE(13, two_instances_never_interact)
{
	iou_t *one = open_iou(4), *two = open_iou(4);
	struct seen blocked[2], nop;
	int fds[2];
	char bytes[2];

	open_pipe(fds);
	queue_read(one, &blocked[0], fds[0], &bytes[0], 1, 0);
	queue_read(two, &blocked[1], fds[0], &bytes[1], 1, 0);
	ck_assert_int_eq(turn(one), 0);
	ck_assert_int_eq(turn(two), 0);
	ck_assert_int_eq(iou_cancel_all(one), 1);
	ck_assert_int_eq(iou_quit(two), 0);
	ck_assert_int_eq(iou_hold(two), 0);
	ck_assert_int_eq(iou_run(one), 0);
	expect(&blocked[0], -ECANCELED);
	ck_assert_int_eq(blocked[1].n_calls, 0);
	queue_nop(one, &nop, 0);
	ck_assert_int_eq(iou_run(two), 0);
	ck_assert_int_eq(nop.n_calls, 0);
	ck_assert_ptr_null(iou_free(one));
	expect(&nop, -ECANCELED);
	ck_assert_int_eq(iou_release(two), 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(two);
	expect(&blocked[1], 1);
	close_pipe(fds);
}
END_TEST

/* One runs in a callback of the other. */
static int run_other(void *data)
{
	return iou_run(data);
}

PROMISE(13, instance_runs_in_a_callback_of_another)
{
	iou_t *outer = open_iou(4), *inner = open_iou(4);
	struct seen nop;

	queue_nop(inner, &nop, 0);
	ck_assert_int_eq(iou_post(outer, run_other, inner), 0);
	ck_assert_int_eq(iou_run(outer), 0);
	expect(&nop, 0);
	ck_assert_ptr_null(iou_free(inner));
	run_and_free(outer);
}
END_TEST

/* Fork. */

static int increment(void *data)
{
	return ++*(int *)data;
}

/* Each kind of thing is under way: staged, in flight, a worker that is idle, a post, a hold. */
PROMISE(14, child_is_refused_everything_and_can_free)
{
	struct findings *findings = open_findings();
	int fds[2], n_done = 0, n_own = -support_descriptors();
	iou_t *iou = open_iou(4);
	struct seen blocked, staged, never_queued, job, post = { 0 };
	char byte;

	ck_assert_int_ge(iou_fd(iou), 0);
	n_own += support_descriptors();
	ck_assert_int_ge(n_own, 3);
	open_pipe(fds);
	queue_job(iou, &job, increment, &n_done);
	ck_assert_int_eq(iou_run(iou), 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	queue_nop(iou, &staged, 0);
	io_uring_prep_nop(take(iou, &never_queued));
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_eq(iou_hold(iou), 0);

	pid_t child = fork();

	if (child == 0) {
		find_all_refused(findings, iou, staged.op);
		find_freed(findings, iou, n_own);
		end_child(findings);
	}
	close_findings(findings, child);
	/* The parent never notices. */
	ck_assert_int_eq(iou_release(iou), 0);
	iou_op_free(iou, never_queued.op);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&blocked, 1);
	expect(&staged, 0);
	expect(&job, 1);
	ck_assert_int_eq(post.n_calls, 1);
	close_pipe(fds);
}
END_TEST

/* In a callback: the child's run ends with the same answer once that returns, and calls nobody else. */
struct forking {
	struct seen seen;
	struct findings *findings;
	pid_t child;
	bool is_to_free;
	int n_descriptors; /* the child's */
};

static int fork_and_see(void *data)
{
	struct forking *forking = data;

	see(&forking->seen);
	forking->child = fork();
	if (forking->child)
		return 0;
	forking->n_descriptors = support_descriptors();
	find_all_refused(forking->findings, forking->seen.iou, forking->seen.op);
	if (forking->is_to_free)
		FIND(forking->findings, iou_free(forking->seen.iou) == NULL);
	return 0;
}

static void fork_in_callback(bool is_to_free)
{
	int n_own = -support_descriptors(), r;
	iou_t *iou = open_iou(4);
	struct forking forking = { .findings = open_findings(), .is_to_free = is_to_free };
	struct seen before, after, post = { 0 };

	n_own += support_descriptors();
	queue_nop(iou, &before, 0);
	io_uring_prep_nop(take(iou, &forking.seen));
	iou_op_queue(iou, forking.seen.op, fork_and_see, &forking);
	queue_nop(iou, &after, 0);
	r = iou_run(iou);
	if (forking.child == 0) {
		FIND(forking.findings, after.n_calls == 0);
		FIND(forking.findings, r == (is_to_free ? -ECANCELED : -EOWNERDEAD));
		if (!is_to_free) {
			FIND(forking.findings, iou_run(iou) == -EOWNERDEAD);
			FIND(forking.findings, iou_free(iou) == NULL);
		}
		FIND(forking.findings, support_descriptors() == forking.n_descriptors - n_own);
		end_child(forking.findings);
	}
	close_findings(forking.findings, forking.child);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	run_and_free(iou);
	expect(&before, 0);
	expect(&after, 0);
	ck_assert_int_eq(forking.seen.n_calls, 1);
	ck_assert_int_eq(post.n_calls, 1);
}

PROMISE(14, child_of_a_callback_is_refused_and_can_free_afterwards)
{
	fork_in_callback(false);
}
END_TEST

PROMISE(14, child_of_a_callback_can_free_there)
{
	fork_in_callback(true);
}
END_TEST

/* In a callback of the end: the child's own end is quiet, and the parent's goes on. */
static void fork_at_the_end(bool is_drain)
{
	int n_own = -support_descriptors(), r = 0;
	iou_t *iou = open_iou(4);
	struct forking forking = { .findings = open_findings() };
	struct seen after, post = { 0 };

	n_own += support_descriptors();
	io_uring_prep_nop(take(iou, &forking.seen));
	iou_op_queue(iou, forking.seen.op, fork_and_see, &forking);
	queue_nop(iou, &after, 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	if (is_drain)
		r = iou_drain(iou, NULL);
	if (forking.child == 0 && forking.seen.n_calls)
		FIND(forking.findings, r == -EOWNERDEAD);
	if (!is_drain || forking.child == 0)
		FIND(forking.findings, iou_free(iou) == NULL);
	if (forking.child == 0) {
		FIND(forking.findings, after.n_calls == 0);
		FIND(forking.findings, support_descriptors() == forking.n_descriptors - n_own);
		end_child(forking.findings);
	}
	close_findings(forking.findings, forking.child);
	expect(&after, -ECANCELED);
	ck_assert_int_eq(post.n_calls, 1);
	ck_assert_int_eq(r, 0);
	if (is_drain)
		run_and_free(iou);
}

PROMISE(14, child_of_a_callback_in_free_is_quiet)
{
	fork_at_the_end(false);
}
END_TEST

PROMISE(14, child_of_a_callback_in_a_drain_is_quiet)
{
	fork_at_the_end(true);
}
END_TEST

/* A child's own instance is as good as any. */
PROMISE(14, child_can_have_an_instance_of_its_own)
{
	struct findings *findings = open_findings();
	iou_t *iou = open_iou(4);
	struct seen nop;

	ck_assert_int_eq(iou_run(iou), 0);
	queue_nop(iou, &nop, 0);

	pid_t child = fork();

	if (child == 0) {
		iou_t *own = iou_new(4);
		int n_done = 0;

		FIND(findings, iou_free(iou) == NULL);
		FIND(findings, own && iou_async(own, increment, &n_done, NULL, NULL) == 0);
		FIND(findings, own && iou_run(own) == 0 && n_done == 1);
		FIND(findings, iou_free(own) == NULL);
		end_child(findings);
	}
	close_findings(findings, child);
	run_and_free(iou);
	expect(&nop, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-process");

	ADD_CASE(s, "process", test_g13_no_thread_before_there_is_a_job,
		 test_g13_workers_are_named_and_block_all_signals, test_g13_all_descriptors_are_close_on_exec,
		 test_g13_two_instances_never_interact, test_g13_instance_runs_in_a_callback_of_another);
	ADD_CASE(s, "fork", test_g14_child_is_refused_everything_and_can_free,
		 test_g14_child_of_a_callback_is_refused_and_can_free_afterwards,
		 test_g14_child_of_a_callback_can_free_there, test_g14_child_of_a_callback_in_free_is_quiet,
		 test_g14_child_of_a_callback_in_a_drain_is_quiet, test_g14_child_can_have_an_instance_of_its_own);
	return s;
}
