/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G5: a parked loop costs nothing and is woken at once. G15: signals. */
#include "promises.h"

#include <sys/time.h>

#define MS 1000000L

static void sleep_for(long ns)
{
	struct timespec left = { .tv_nsec = ns };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* A job of so long, and how long after its end the loop knew. */
struct nap {
	iou_t *iou;
	long ns;
	int64_t ended_us;
	int64_t late_us;
	iou_op_t *to_cancel;
};

static int take_nap(void *data)
{
	struct nap *nap = data;

	sleep_for(nap->ns);
	nap->ended_us = support_now_us();
	return 0;
}

static int note_end(void *data)
{
	struct nap *nap = data;

	nap->late_us = support_now_us() - nap->ended_us;
	if (nap->to_cancel)
		iou_op_cancel(nap->iou, nap->to_cancel);
	return 0;
}

static int64_t cpu_us_of_nap(iou_t *iou, long ns)
{
	struct nap nap = { .iou = iou, .ns = ns };
	int64_t began_us = support_cpu_us();

	ck_assert_int_eq(iou_async(iou, take_nap, &nap, note_end, &nap), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	return support_cpu_us() - began_us;
}

/* The best of three, here and below: others use this machine, too. */
PROMISE(05, job_of_600_ms_costs_under_5_ms_of_cpu)
{
	int64_t enough_us = 5000 * support_slowness(), cpu_us = enough_us;
	iou_t *iou = open_iou(8);

	/* What is done once, by valgrind above all, comes before. */
	cpu_us_of_nap(iou, MS);
	for (int i = 0; i < 3 && cpu_us >= enough_us; i++) {
		uint64_t n_enters = stats_of(iou).n_enters;

		cpu_us = cpu_us_of_nap(iou, 600 * MS);
		ck_assert_uint_le(stats_of(iou).n_enters - n_enters, 10);
	}
	ck_assert_int_lt(cpu_us, enough_us);
	run_and_free(iou);
}
END_TEST

PROMISE(05, job_of_200_ms_is_delivered_within_5_ms_beside_a_timeout)
{
	struct __kernel_timespec late = { .tv_sec = 20 };
	int64_t best_us = INT64_MAX;

	for (int i = 0; i < 3 && best_us >= 5000; i++) {
		iou_t *iou = open_iou(8);
		struct nap nap = { .iou = iou, .ns = 200 * MS };
		struct seen timeout;

		queue_timeout(iou, &timeout, &late);
		nap.to_cancel = timeout.op;
		ck_assert_int_eq(iou_async(iou, take_nap, &nap, note_end, &nap), 0);
		run_and_free(iou);
		expect(&timeout, -ECANCELED);
		best_us = nap.late_us < best_us ? nap.late_us : best_us;
	}
	ck_assert_int_lt(best_us, 5000 * support_slowness());
}
END_TEST

/* Other threads, which act when the loop is about to sleep, or asleep, or neither. With a read pending that never ends. */
struct waker {
	iou_t *iou;
	sem_t go;
	int (*act)(iou_t *iou);
	int n;
	int n_failed;
};

static void *wake_again_and_again(void *data)
{
	struct waker *waker = data;

	for (int i = 0; i < waker->n; i++) {
		wait_for_sem(&waker->go);
		if (i % 4 == 3)
			sleep_for(i * 10);
		waker->n_failed += waker->act(waker->iou) < 0;
	}
	return NULL;
}

/* Posts are answered by a quit, so that each round ends with its delivery. */
static int quit(void *data)
{
	return iou_quit(data);
}

static int post_quit(iou_t *iou)
{
	return iou_post(iou, quit, iou);
}

static void wake_rounds(int (*act)(iou_t *iou))
{
	iou_t *iou = open_iou(8);
	struct waker waker = { .iou = iou, .act = act, .n = fewer(10000, 300) };
	struct seen blocked;
	int fds[2];
	char byte;

	open_pipe(fds);
	sem_init(&waker.go, 0, 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);

	pthread_t thread = start_thread(wake_again_and_again, &waker);

	for (int i = 0; i < waker.n; i++) {
		sem_post(&waker.go);
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(iou_pending(iou), 1);
	}
	pthread_join(thread, NULL);
	ck_assert_int_eq(waker.n_failed, 0);
	ck_assert_int_eq(blocked.n_calls, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&blocked, 1);
	sem_destroy(&waker.go);
	close_pipe(fds);
}

PROMISE(05, no_quit_is_ever_lost)
{
	wake_rounds(iou_quit);
}
END_TEST

PROMISE(05, no_post_is_ever_lost)
{
	wake_rounds(post_quit);
}
END_TEST

/* Nothing but the hold keeps the run going. */
PROMISE(05, no_last_release_is_ever_lost)
{
	iou_t *iou = open_iou(8);
	struct waker waker = { .iou = iou, .act = iou_release, .n = fewer(10000, 300) };

	sem_init(&waker.go, 0, 0);

	pthread_t thread = start_thread(wake_again_and_again, &waker);

	for (int i = 0; i < waker.n; i++) {
		ck_assert_int_eq(iou_hold(iou), 0);
		sem_post(&waker.go);
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(iou_pending(iou), 0);
	}
	pthread_join(thread, NULL);
	ck_assert_int_eq(waker.n_failed, 0);
	run_and_free(iou);
	sem_destroy(&waker.go);
}
END_TEST

struct jobs {
	iou_t *iou;
	int n_left;
	int zero;
};

static int next_job(void *data)
{
	struct jobs *jobs = data;

	return jobs->n_left-- ? iou_async(jobs->iou, return_int, &jobs->zero, next_job, jobs) : 0;
}

PROMISE(05, no_finished_job_is_ever_lost)
{
	iou_t *iou = open_iou(8);
	struct jobs jobs = { .iou = iou, .n_left = fewer(20000, 500) };

	ck_assert_int_eq(next_job(&jobs), 0);
	run_and_free(iou);
	ck_assert_int_eq(jobs.n_left, -1);
}
END_TEST

/* A loop that is awake is not sent wake-ups. */
struct poster {
	iou_t *iou;
	sem_t done;
	struct seen post;
	pthread_t thread;
};

static void *post_many(void *data)
{
	struct poster *poster = data;

	for (int i = 0; i < 1000; i++)
		iou_post(poster->iou, see, &poster->post);
	sem_post(&poster->done);
	return NULL;
}

static int wait_for_posts(void *data)
{
	struct poster *poster = data;

	poster->thread = start_thread(post_many, poster);
	return wait_for_sem(&poster->done);
}

PROMISE(05, awake_loop_is_sent_no_wakeups)
{
	iou_t *iou = open_iou(8);
	struct poster poster = { .iou = iou };

	sem_init(&poster.done, 0, 0);
	/* It has slept before, so that it could be told. */
	ck_assert_int_eq(iou_hold(iou), 0);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = MS }), 0);
	ck_assert_int_eq(iou_release(iou), 0);
	ck_assert_int_eq(iou_post(iou, wait_for_posts, &poster), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(poster.thread, NULL);
	ck_assert_int_eq(poster.post.n_calls, 1000);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_uint_eq(stats_of(iou).n_wakeups, 0);
	run_and_free(iou);
	sem_destroy(&poster.done);
}
END_TEST

/* Two words from another thread, one for each time that the loop has nothing to do. */
static void *post_late(void *data)
{
	struct poster *poster = data;

	for (int i = 0; i < 2; i++) {
		sleep_for(100 * MS);
		iou_post(poster->iou, see, &poster->post);
	}
	iou_release(poster->iou);
	return NULL;
}

static uint64_t n_wakeups_with(uint32_t spin_ns)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_SPIN, .spin_ns = spin_ns });
	struct poster poster = { .iou = iou };
	uint64_t n;

	ck_assert_int_eq(iou_hold(iou), 0);
	poster.thread = start_thread(post_late, &poster);
	for (int i = 1; i <= 2; i++)
		ck_assert_int_ge(iou_run_once(iou, NULL), 1);
	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(poster.thread, NULL);
	ck_assert_int_eq(poster.post.n_calls, 2);
	n = stats_of(iou).n_wakeups;
	run_and_free(iou);
	return n;
}

/* The poster may be late, or the loop may be, but not three times. */
static bool is_woken_with(uint32_t spin_ns, bool is_wanted)
{
	bool is_woken = !is_wanted;

	for (int i = 0; i < 3 && is_woken != is_wanted; i++)
		is_woken = n_wakeups_with(spin_ns) > 0;
	return is_woken;
}

/* On a machine with one CPU nobody spins. */
PROMISE(05, loop_spins_for_as_long_as_told)
{
	ck_assert(is_woken_with(0, true));
	ck_assert(is_woken_with(1000, true));
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		ck_assert(!is_woken_with(1000000000, false));
}
END_TEST

static int see_and_release(void *data)
{
	struct seen *seen = data;

	see(seen);
	return iou_release(seen->iou);
}

static int64_t us_of_timeout_while_spinning(void)
{
	struct __kernel_timespec soon = { .tv_nsec = 10 * MS };
	iou_t *iou = open_with((iou_config_t){ .flags = IOU_SPIN, .spin_ns = 1000000000 });
	int64_t began_us = support_now_us();
	struct seen timeout;

	ck_assert_int_eq(iou_hold(iou), 0);
	io_uring_prep_timeout(take(iou, &timeout), &soon, 0, 0);
	iou_op_queue(iou, timeout.op, see_and_release, &timeout);
	ck_assert_int_eq(iou_run(iou), 0);
	began_us = support_now_us() - began_us;
	expect(&timeout, -ETIME);
	run_and_free(iou);
	return began_us;
}

/* It comes before the spinning is over. */
PROMISE(05, spinning_loop_is_not_late_for_a_timeout)
{
	int64_t us = INT64_MAX;

	for (int i = 0; i < 3 && us >= 1000000; i++)
		us = us_of_timeout_while_spinning();
	ck_assert_int_lt(us, 1000000);
}
END_TEST

PROMISE(05, run_once_waits_no_longer_than_told)
{
	const int64_t enough_us = 1000000 * support_slowness(), enough_cpu_us = 5000 * support_slowness();
	iou_t *iou = open_iou(8);
	int64_t us;

	ck_assert_int_eq(iou_hold(iou), 0);
	us = cost_of_waiting(iou, 100 * MS, support_now_us, enough_us);
	ck_assert_int_ge(us, 100000);
	ck_assert_int_lt(us, enough_us);
	ck_assert_int_lt(cost_of_waiting(iou, 100 * MS, support_cpu_us, enough_cpu_us), enough_cpu_us);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_release(iou), 0);
	run_and_free(iou);
}
END_TEST

/* Signals. */

static volatile sig_atomic_t n_alarms;

static void count_alarm(int signal_number)
{
	(void)signal_number;
	n_alarms++;
}

/* Every millisecond, and without SA_RESTART. */
static void start_alarms(void)
{
	const struct sigaction action = { .sa_handler = count_alarm };
	const struct itimerval every_ms = { { .tv_usec = 1000 }, { .tv_usec = 1000 } };

	n_alarms = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every_ms, NULL);
}

/* One may be on its way still, and for Check an alarm means to kill the process group: ignore them from now on. */
static void stop_alarms(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	sigaction(SIGALRM, &ignore, NULL);
}

static int rearm_timeout(void *data)
{
	struct seen *seen = data;

	see(seen);
	if (seen->result == -ETIME && seen->n_calls < 20)
		iou_op_queue(seen->iou, seen->op, rearm_timeout, seen);
	return 0;
}

PROMISE(15, alarms_neither_end_a_run_nor_reach_a_callback)
{
	iou_t *iou = open_iou(8);
	struct __kernel_timespec soon = { .tv_nsec = 10 * MS };
	struct nap nap = { .iou = iou, .ns = 100 * MS };
	struct seen timeout;

	start_alarms();
	io_uring_prep_timeout(take(iou, &timeout), &soon, 0, 0);
	iou_op_queue(iou, timeout.op, rearm_timeout, &timeout);
	ck_assert_int_eq(iou_async(iou, take_nap, &nap, note_end, &nap), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(timeout.n_calls, 20);
	ck_assert_int_eq(timeout.result, -ETIME);
	ck_assert_int_gt(nap.ended_us, 0);
	ck_assert_int_gt(n_alarms, 0);
	stop_alarms();
	run_and_free(iou);
}
END_TEST

PROMISE(15, alarms_do_not_shorten_a_wait)
{
	const int64_t enough_us = 1500000 * support_slowness();
	iou_t *iou = open_iou(8);
	int64_t us;

	ck_assert_int_eq(iou_hold(iou), 0);
	start_alarms();
	us = cost_of_waiting(iou, 200 * MS, support_now_us, enough_us);
	ck_assert_int_ge(us, 200000);
	ck_assert_int_lt(us, enough_us);
	ck_assert_int_gt(n_alarms, 0);
	stop_alarms();
	ck_assert_int_eq(iou_release(iou), 0);
	run_and_free(iou);
}
END_TEST

PROMISE(15, alarms_do_not_disturb_draining_and_freeing)
{
	struct seen reads[16];
	char bytes[16];
	int fds[2];

	open_pipe(fds);
	start_alarms();
	for (int i = 0; i < fewer(200, 10); i++) {
		iou_t *iou = open_iou(8);
		struct nap nap = { .iou = iou, .ns = 2 * MS };

		ck_assert_int_eq(iou_async(iou, take_nap, &nap, note_end, &nap), 0);
		for (int j = 0; j < 16; j++)
			queue_read(iou, &reads[j], fds[0], &bytes[j], 1, j % 2 ? IOSQE_ASYNC : 0);
		/* On a busy machine the job may be over by now; a read may not. */
		ck_assert_int_ge(turn(iou), 0);
		for (int j = 0; j < 16; j++)
			ck_assert_int_eq(reads[j].n_calls, 0);
		if (i % 2)
			ck_assert_int_eq(iou_drain(iou, NULL), 0);
		ck_assert_ptr_null(iou_free(iou));
		for (int j = 0; j < 16; j++)
			ck_assert_int_eq(reads[j].n_calls, 1);
		ck_assert_int_gt(nap.ended_us, 0);
	}
	stop_alarms();
	close_pipe(fds);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-wait");
	TCase *tcase;

	/* Some try three times, some hand over thousands of times, and others may want the CPUs as well. */
	tcase = ADD_CASE(s, "waiting", test_g05_job_of_600_ms_costs_under_5_ms_of_cpu,
			 test_g05_job_of_200_ms_is_delivered_within_5_ms_beside_a_timeout,
			 test_g05_run_once_waits_no_longer_than_told, test_g05_awake_loop_is_sent_no_wakeups,
			 test_g05_loop_spins_for_as_long_as_told, test_g05_spinning_loop_is_not_late_for_a_timeout);
	tcase_set_timeout(tcase, 120);
	tcase = ADD_CASE(s, "waking", test_g05_no_quit_is_ever_lost, test_g05_no_post_is_ever_lost,
			 test_g05_no_last_release_is_ever_lost, test_g05_no_finished_job_is_ever_lost);
	tcase_set_timeout(tcase, 120);
	tcase = ADD_CASE(s, "signals", test_g15_alarms_neither_end_a_run_nor_reach_a_callback,
			 test_g15_alarms_do_not_shorten_a_wait, test_g15_alarms_do_not_disturb_draining_and_freeing);
	tcase_set_timeout(tcase, 120);
	return s;
}
