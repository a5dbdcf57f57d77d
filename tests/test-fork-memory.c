/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G14: another thread forks in the middle of anything. The library's objects are linked with free() and what takes memory
 * wrapped: before and after each such call of a play of what makes the library move its memory, a thread forks, and the
 * child frees the instance. A child ends badly where it frees what had been freed, or by a signal or a sanitizer where it
 * reads that.
 */
#include "promises.h"

#include <sys/wait.h>

static struct {
	iou_t *iou;
	iou_buffers_t *buffers;
	sem_t is_to_fork, has_forked;
	pthread_t thread, loop;
	bool is_armed, is_child;
	unsigned n_calls, n_forks, n_bad;
} forker;

/* What the loop thread has freed lately: not all allocators see that it is freed again by another. */
static const void *gone[256];
static unsigned n_gone;

static void take_off_gone(const void *memory)
{
	for (int i = 0; i < 256; i++)
		if (gone[i] == memory)
			gone[i] = NULL;
}

static void end_if_gone(const void *memory)
{
	for (int i = 0; memory && i < 256; i++)
		if (gone[i] == memory)
			_exit(1);
}

static void *fork_and_free(void *data)
{
	int status;

	while (wait_for_sem(&forker.is_to_fork) == 0 && forker.iou) {
		pid_t child = fork();

		if (child == 0) {
			forker.is_child = true;
			alarm(20U * (unsigned)support_slowness());
			iou_free(forker.iou);
			iou_buffers_free(forker.buffers);
			_exit(0);
		}
		forker.n_forks++;
		forker.n_bad += waitpid(child, &status, 0) != child || status != 0;
		sem_post(&forker.has_forked);
	}
	return data;
}

/* The others' memory, and that of the one that forks, is of no interest. */
static bool is_of_interest(void)
{
	return forker.is_armed && pthread_equal(pthread_self(), forker.loop);
}

static void have_it_forked(void)
{
	if (!is_of_interest() || forker.n_calls++ % (unsigned)support_slowness())
		return;
	forker.is_armed = false;
	sem_post(&forker.is_to_fork);
	wait_for_sem(&forker.has_forked);
	forker.is_armed = true;
}

#define WRAP_MEMORY(name, parameters, arguments)        \
	void *__real_##name parameters;                 \
	void *__wrap_##name parameters;                 \
	void *__wrap_##name parameters                  \
	{                                               \
		have_it_forked();                       \
		void *memory = __real_##name arguments; \
		if (is_of_interest())                   \
			take_off_gone(memory);          \
		have_it_forked();                       \
		return memory;                          \
	}

WRAP_MEMORY(calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(aligned_alloc, (size_t alignment, size_t size), (alignment, size))

void __real_free(void *memory);
void __wrap_free(void *memory);

void __wrap_free(void *memory)
{
	if (forker.is_child)
		end_if_gone(memory);
	have_it_forked();
	__real_free(memory);
	if (is_of_interest())
		gone[n_gone++ % 256] = memory;
	have_it_forked();
}

/* A play of it: each queue, table and heap grows, shrinks and goes. */

static struct __kernel_timespec far = { .tv_sec = 1000 };
static struct seen ops[700], posts[300];
static char memory[4096];

static void arm_timers(int n, unsigned flags)
{
	for (int i = 0; i < n; i++) {
		io_uring_prep_timeout(take(forker.iou, &ops[i]), &far, 0, flags);
		queue(&ops[i]);
	}
	ck_assert_int_eq(iou_flush(forker.iou), 0);
}

static void end_timers(int n)
{
	ck_assert_int_eq(iou_cancel_all(forker.iou), n);
	ck_assert_int_eq(iou_run(forker.iou), 0);
}

/* Which is why they are handed to the engine. */
static void name_them_in_chains(int n)
{
	static struct seen nop, request;

	for (int i = 0; i < n; i++) {
		queue_nop(forker.iou, &nop, IOSQE_IO_LINK);
		io_uring_prep_timeout_update(take(forker.iou, &request), &far, ops[i].op->sqe->user_data, 0);
		queue(&request);
	}
}

static void take_many_ops(void)
{
	for (int i = 0; i < 700; i++)
		ops[i].op = iou_op_new(forker.iou);
	for (int i = 0; i < 700; i++)
		iou_op_free(forker.iou, ops[i].op);
}

static void complete_more_than_fits(void)
{
	for (int i = 0; i < 400; i++)
		queue_nop(forker.iou, &ops[i], 0);
	ck_assert_int_eq(iou_flush(forker.iou), 0);
	ck_assert_int_eq(iou_run(forker.iou), 0);
}

static void post_and_work(void)
{
	static const int zero;

	for (int i = 0; i < 300; i++) {
		posts[i] = (struct seen){ .iou = forker.iou };
		ck_assert_int_eq(iou_post(forker.iou, see, &posts[i]), 0);
	}
	for (int i = 0; i < 300; i++)
		queue_job(forker.iou, &ops[i], return_int, (void *)(uintptr_t)&zero);
	ck_assert_int_eq(iou_run(forker.iou), 0);
}

static void use_what_is_registered(void)
{
	struct iovec iovec = { memory, sizeof(memory) };
	int fds[2], i;

	open_pipe(fds);
	for (i = 0; i < 2; i++) {
		ck_assert_int_eq(iou_register_buffers(forker.iou, &iovec, 1), 0);
		ck_assert_int_eq(iou_register_files(forker.iou, fds, 2), 0);
		ck_assert_int_eq(iou_register_files_update(forker.iou, 0, &fds[1], 1), 1);
		ck_assert_int_eq(iou_buffers_new(forker.iou, 7, 4, 64, &forker.buffers), 0);
		ck_assert_int_eq(iou_unregister_files(forker.iou), 0);
		ck_assert_int_eq(iou_unregister_buffers(forker.iou), 0);

		iou_buffers_t *buffers = forker.buffers;

		forker.buffers = NULL;
		ck_assert_int_eq(iou_buffers_free(buffers), 0);
	}
	close_pipe(fds);
}

/* Its number is beyond what there is room for at first. */
static void wait_for_high_descriptor(void)
{
	int fds[2], high;
	struct seen wait;

	open_pipe(fds);
	high = fcntl(fds[0], F_DUPFD_CLOEXEC, 500);
	ck_assert_int_ge(high, 500);
	io_uring_prep_poll_add(take(forker.iou, &wait), high, POLLIN);
	queue(&wait);
	ck_assert_int_ge(turn(forker.iou), 0);
	ck_assert_int_eq(iou_cancel_all(forker.iou), 1);
	ck_assert_int_eq(iou_run(forker.iou), 0);
	close(high);
	close_pipe(fds);
}

static void play(void)
{
	static struct seen provided;

	arm_timers(80, 0);
	end_timers(80);
	take_many_ops();
	complete_more_than_fits();
	post_and_work();
	use_what_is_registered();
	wait_for_high_descriptor();
	arm_timers(6, 1U << 6 /* IORING_TIMEOUT_MULTISHOT */);
	name_them_in_chains(6);
	while (stats_of(forker.iou).ops_queued)
		ck_assert_int_ge(turn(forker.iou), 0);
	for (int i = 0; i < 4; i++) {
		io_uring_prep_provide_buffers(take(forker.iou, &provided), memory, 64, 64, 1, 0);
		queue(&provided);
		ck_assert_int_ge(turn(forker.iou), 0);
		expect(&provided, 0);
	}
	iou_cancel_all(forker.iou);
	ck_assert_int_eq(iou_run(forker.iou), 0);
}

PROMISE(14, child_that_another_thread_forks_at_any_moment_frees_what_it_has)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .workers = 1, .engine = (uint32_t)_i });

	forker.iou = iou;
	forker.loop = pthread_self();
	sem_init(&forker.is_to_fork, 0, 0);
	sem_init(&forker.has_forked, 0, 0);
	forker.thread = start_thread(fork_and_free, NULL);
	forker.is_armed = true;
	play();
	forker.is_armed = false;
	ck_assert_uint_gt(forker.n_forks, 20);
	ck_assert_msg(forker.n_bad == 0, "%u of %u children did not end well", forker.n_bad, forker.n_forks);
	forker.iou = NULL;
	sem_post(&forker.is_to_fork);
	pthread_join(forker.thread, NULL);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("fork-memory");
	TCase *tcase = tcase_create("memory");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, PROMISE_TEST(14, child_that_another_thread_forks_at_any_moment_frees_what_it_has),
			    IOU_ENGINE_URING, IOU_ENGINE_THREADS + 1);
	suite_add_tcase(s, tcase);
	return s;
}
