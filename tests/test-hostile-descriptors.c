/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G12: the library's descriptors are closed under it. That is the program's error; still nothing is lost, everything
 * comes to an end, and the instance can be freed. In children, since descriptors have to be gone for good.
 */
#include "promises.h"

#include "children.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MS 1000000L

/* What is closed: all descriptors of a kind, or all from 3 on, as daemons do. */
static const char *const kinds[] = { "anon_inode:[eventfd]", "anon_inode:[io_uring]", "anon_inode:[eventpoll]", NULL };

/* When. Parked: by another thread, while the loop waits. */
enum moment { FIRST_OF_ALL, IN_A_CALLBACK, BETWEEN_RUNS, WHILE_PARKED, N_MOMENTS };

struct closing {
	const char *kind;
	enum moment moment;
	unsigned flags;
	bool has_fd; /* iou_fd() was called before */
};

static bool is_kind(int fd, const char *kind)
{
	char path[32], target[64];
	ssize_t n;

	if (!kind)
		return true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	return strcmp(target, kind) == 0;
}

/* Not by close(): ThreadSanitizer would tell that others still use what is closed, which is what this is for. */
static int close_all_of(const char *kind)
{
	int n = 0;

	for (int fd = 3; fd < 1024; fd++)
		n += is_kind(fd, kind) && syscall(SYS_close, fd) == 0;
	return n;
}

/* A program that uses everything, and ends by itself. */
enum { N_TIMEOUTS = 8, N_JOBS = 4, N_ALL = N_TIMEOUTS + N_JOBS };

struct program {
	struct findings *findings;
	const struct closing *closing;
	iou_t *iou;
	int n_queued, n_ended; /* ops and jobs */
	int n_posted, n_delivered;
	int n_closed;
	pthread_t thread;
};

struct counted {
	struct program *program;
	iou_op_t *op;
};

static int count_end(void *data)
{
	struct counted *counted = data;

	counted->program->n_ended++;
	FIND(counted->program->findings, counted->program->n_ended <= counted->program->n_queued);
	return 0;
}

static int count_delivery(void *data)
{
	struct program *program = data;

	program->n_delivered++;
	return 0;
}

static int close_them(void *data)
{
	struct program *program = data;

	program->n_closed = close_all_of(program->closing->kind);
	return 0;
}

static int sleep_a_little(void *data)
{
	nanosleep(data, NULL);
	return 0;
}

/* Comes when the loop sleeps; its post is what ends the run. */
static void *act_from_elsewhere(void *data)
{
	struct program *program = data;

	nanosleep(&(struct timespec){ .tv_nsec = 100 * MS }, NULL);
	if (program->closing->moment == WHILE_PARKED)
		close_them(program);
	program->n_posted += iou_post(program->iou, count_delivery, program) == 0;
	iou_release(program->iou);
	return NULL;
}

static void queue_counted(struct program *program, struct counted *counted, struct __kernel_timespec *time)
{
	*counted = (struct counted){ program, iou_op_new(program->iou) };
	io_uring_prep_timeout(counted->op->sqe, time, 0, 0);
	iou_op_queue(program->iou, counted->op, count_end, counted);
	program->n_queued++;
}

static void queue_jobs(struct program *program, struct counted *counted)
{
	static struct timespec naps[N_JOBS] = { { 0, 20 * MS }, { 0, 0 }, { 0, 200 * MS }, { 0, 50 * MS } };

	for (int i = 0; i < N_JOBS; i++) {
		counted[i] = (struct counted){ program, iou_op_new(program->iou) };
		program->n_queued += iou_op_async(program->iou, counted[i].op, sleep_a_little, &naps[i], count_end,
						  &counted[i]) == 0;
	}
}

/* The wake-up is armed, unless nothing has run before. */
static void run_a_little(struct program *program)
{
	FIND_EQ(program->findings, iou_hold(program->iou), 0);
	FIND_EQ(program->findings, iou_run_once(program->iou, &(struct timespec){ .tv_nsec = MS }), 0);
	FIND_EQ(program->findings, iou_release(program->iou), 0);
}

static void close_at_once(struct program *program)
{
	if (program->closing->moment != FIRST_OF_ALL)
		run_a_little(program);
	if (program->closing->moment == FIRST_OF_ALL || program->closing->moment == BETWEEN_RUNS)
		close_them(program);
	if (program->closing->moment == IN_A_CALLBACK)
		program->n_posted += iou_post(program->iou, close_them, program) == 0;
	program->n_delivered += program->closing->moment == IN_A_CALLBACK;
}

/* To its end, or to an error that stays. */
static void run_to_the_end(struct program *program)
{
	int r = iou_run(program->iou);

	FIND(program->findings, r <= 0);
	if (r == 0) {
		FIND_EQ(program->findings, program->n_ended, program->n_queued);
		FIND_EQ(program->findings, iou_pending(program->iou), 0);
		FIND_EQ(program->findings, iou_drain(program->iou, NULL), 0);
	} else {
		FIND_EQ(program->findings, iou_run(program->iou), r);
		FIND_EQ(program->findings, iou_drain(program->iou, NULL), r);
	}
}

static void lose_descriptors(struct findings *findings, const void *data)
{
	static struct __kernel_timespec times[N_TIMEOUTS];
	const struct closing *closing = data;
	struct program program = { .findings = findings, .closing = closing };
	struct counted counted[N_ALL];
	iou_config_t config = { .size = sizeof(config), .entries = 4, .workers = 2, .flags = closing->flags };
	int64_t began_ms = support_now_ms();

	program.iou = iou_new_with(&config);
	if (closing->has_fd)
		FIND(findings, iou_fd(program.iou) >= 0);
	close_at_once(&program);
	queue_jobs(&program, counted);
	for (int i = 0; i < N_TIMEOUTS; i++) {
		times[i].tv_nsec = i * 5 * MS;
		queue_counted(&program, &counted[N_JOBS + i], &times[i]);
	}
	FIND_EQ(findings, iou_hold(program.iou), 0);
	FIND_EQ(findings, pthread_create(&program.thread, NULL, act_from_elsewhere, &program), 0);
	run_to_the_end(&program);
	pthread_join(program.thread, NULL);
	FIND(findings, program.n_closed > 0 || (closing->kind == kinds[2] && !closing->has_fd));
	FIND(findings, iou_free(program.iou) == NULL);
	FIND_EQ(findings, program.n_ended, N_ALL);
	FIND_EQ(findings, program.n_delivered, program.n_posted);
	FIND_EQ(findings, program.n_posted, 1 + (closing->moment == IN_A_CALLBACK));
	FIND(findings, support_now_ms() - began_ms < 30000 * support_slowness());
	find_no_leak(findings);
}

/* Each of them sleeps most of the time, so all run at once. */
static void close_at_every_moment(const char *kind)
{
	static const unsigned flags[] = { 0, IOU_ANY_THREAD, IOU_SQPOLL };
	struct closing closings[N_MOMENTS][3];
	struct child children[N_MOMENTS][3];

	for (int i = 0; i < N_MOMENTS; i++)
		for (int j = 0; j < 3; j++) {
			closings[i][j] = (struct closing){ kind, (enum moment)i, flags[j], (i + j) % 2 == 0 };
			children[i][j] = start_child(lose_descriptors, &closings[i][j]);
		}
	for (int i = 0; i < N_MOMENTS; i++)
		for (int j = 0; j < 3; j++)
			end_of_child(children[i][j]);
}

PROMISE(12, nothing_is_lost_with_the_eventfd)
{
	close_at_every_moment(kinds[0]);
}
END_TEST

PROMISE(12, nothing_is_lost_with_the_ring_s_descriptor)
{
	close_at_every_moment(kinds[1]);
}
END_TEST

PROMISE(12, nothing_is_lost_with_the_epoll_descriptor)
{
	close_at_every_moment(kinds[2]);
}
END_TEST

PROMISE(12, nothing_is_lost_with_all_descriptors)
{
	close_at_every_moment(kinds[3]);
}
END_TEST

/* Freeing at once, with everything under way: reads that somebody else's descriptor keeps alive, and work. */
static int stay(void *data)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100 * MS }, NULL);
	return *(int *)data;
}

static void free_without_descriptors(struct findings *findings, const void *data)
{
	const struct closing *closing = data;
	struct program program = { .findings = findings, .closing = closing };
	struct counted reads[4], asyncs[4];
	iou_config_t config = { .size = sizeof(config), .entries = 4, .workers = 1, .flags = closing->flags };
	int zero = 0, fds[2];
	char bytes[4];
	int64_t cpu_us;

	FIND_EQ(findings, pipe(fds), 0);
	program.iou = iou_new_with(&config);
	for (int i = 0; i < 4; i++) {
		reads[i] = (struct counted){ &program, iou_op_new(program.iou) };
		io_uring_prep_read(reads[i].op->sqe, fds[0], &bytes[i], 1, (__u64)-1);
		reads[i].op->sqe->flags = i % 2 ? IOSQE_ASYNC : 0;
		iou_op_queue(program.iou, reads[i].op, count_end, &reads[i]);
		program.n_queued++;
	}
	FIND_EQ(findings, iou_run_once(program.iou, &(struct timespec){ .tv_nsec = MS }), 0);
	for (int i = 0; i < 4; i++) {
		asyncs[i].program = &program;
		program.n_queued += iou_async(program.iou, stay, &zero, count_end, &asyncs[i]) == 0;
	}
	close_them(&program);
	cpu_us = support_thread_cpu_us();
	FIND(findings, iou_free(program.iou) == NULL);
	/* It waited for the work, and did not look for it all the time. */
	cpu_us = support_thread_cpu_us() - cpu_us;
	findings->n_noted = cpu_us >= 50000 * support_slowness();
	FIND_EQ(findings, program.n_ended, program.n_queued);
	FIND_EQ(findings, program.n_queued, 8);
	find_no_leak(findings);
}

/* Returns how many took CPU time. */
static int free_with_flags_once(unsigned flags)
{
	struct closing closings[3];
	struct child children[3];
	int n = 0;

	for (int i = 0; i < 3; i++) {
		/* Of epoll there is none here. */
		closings[i] = (struct closing){ kinds[i == 2 ? 3 : i], IN_A_CALLBACK, flags, false };
		children[i] = start_child(free_without_descriptors, &closings[i]);
	}
	for (int i = 0; i < 3; i++)
		n += end_of_child(children[i]);
	return n;
}

/* The best of three: others use this machine, too. */
static void free_with_flags(unsigned flags)
{
	int n = 1;

	for (int i = 0; i < 3 && n; i++)
		n = free_with_flags_once(flags);
	ck_assert_int_eq(n, 0);
}

PROMISE(09, free_works_without_descriptors)
{
	free_with_flags(0);
	free_with_flags(IOU_ANY_THREAD);
	free_with_flags(IOU_SQPOLL);
}
END_TEST

/* A thread keeps a ring of which only the index in its own table is left, for as long as it lives. */
static void free_twenty_without_descriptors(struct findings *findings, const void *data)
{
	int n_mappings;

	(void)data;
	for (int i = 0; i < 20; i++) {
		iou_t *iou = iou_new(4);
		iou_info_t info = { .size = sizeof(info) };

		FIND_EQ(findings, iou_run(iou), 0);
		FIND_EQ(findings, iou_info(iou, &info), 0);
		FIND(findings, close_all_of("anon_inode:[io_uring]") == 1);
		/* Without a slot of its own it cannot enter the kernel any more. */
		FIND_EQ(findings, iou_hold(iou), 0);
		FIND_EQ(findings, iou_run_once(iou, &(struct timespec){ .tv_nsec = MS }), 0);
		FIND_EQ(findings, iou_release(iou), 0);
		FIND(findings, iou_free(iou) == NULL);
	}
	n_mappings = support_mappings();
	FIND(findings, n_mappings > 0);
}

PROMISE(09, slots_of_rings_whose_descriptor_is_gone_can_be_used_again)
{
	in_child(free_twenty_without_descriptors, NULL);
}
END_TEST

/* Once a wake-up was lost, which takes five seconds, the next ones are a little late. */
enum { N_PINGS = 20 };

struct pinger {
	iou_t *iou;
	sem_t was_delivered;
};

static void *post_one_by_one(void *data)
{
	struct pinger *pinger = data;

	nanosleep(&(struct timespec){ .tv_nsec = 50 * MS }, NULL);
	close_all_of(kinds[0]);
	for (int i = 0; i < N_PINGS; i++) {
		iou_post(pinger->iou, post_sem, &pinger->was_delivered);
		wait_for_sem(&pinger->was_delivered);
	}
	iou_release(pinger->iou);
	return NULL;
}

static void lose_one_wakeup(struct findings *findings, const void *data)
{
	struct pinger pinger = { .iou = iou_new(4) };
	int64_t began_ms = support_now_ms();
	pthread_t thread;

	(void)data;
	sem_init(&pinger.was_delivered, 0, 0);
	FIND_EQ(findings, iou_hold(pinger.iou), 0);
	FIND_EQ(findings, pthread_create(&thread, NULL, post_one_by_one, &pinger), 0);
	FIND_EQ(findings, iou_run(pinger.iou), 0);
	pthread_join(thread, NULL);
	FIND(findings, iou_free(pinger.iou) == NULL);
	FIND(findings, support_now_ms() - began_ms < 60000);
}

PROMISE(05, only_the_first_wakeup_is_late_by_seconds)
{
	in_child(lose_one_wakeup, NULL);
}
END_TEST

/* A loop that cannot be woken looks by itself, but not all the time. */
static void wait_deaf(struct findings *findings, const void *data)
{
	const int64_t enough_us = 30000 * support_slowness();
	iou_t *iou = iou_new(4);

	(void)data;
	close_all_of("anon_inode:[eventfd]");
	FIND_EQ(findings, iou_hold(iou), 0);
	FIND(findings, cost_of_waiting(iou, 300 * MS, support_thread_cpu_us, enough_us) < enough_us);
	FIND_EQ(findings, iou_release(iou), 0);
	FIND(findings, iou_free(iou) == NULL);
}

PROMISE(05, deaf_loop_does_not_spin)
{
	in_child(wait_deaf, NULL);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-descriptors");
	TCase *tcase;

	tcase = ADD_CASE(s, "closed", test_g12_nothing_is_lost_with_the_eventfd,
			 test_g12_nothing_is_lost_with_the_epoll_descriptor,
			 test_g12_nothing_is_lost_with_all_descriptors);
	tcase_set_timeout(tcase, CHILD_LIMIT_S);
	tcase = ADD_CASE(s, "free", test_g09_free_works_without_descriptors, test_g05_deaf_loop_does_not_spin,
			 test_g05_only_the_first_wakeup_is_late_by_seconds);
	tcase_set_timeout(tcase, CHILD_LIMIT_S);
	if (!support_has_ring())
		return s;
	tcase = ADD_CASE(s, "ring", test_g12_nothing_is_lost_with_the_ring_s_descriptor,
			 test_g09_slots_of_rings_whose_descriptor_is_gone_can_be_used_again);
	tcase_set_timeout(tcase, CHILD_LIMIT_S);
	return s;
}
