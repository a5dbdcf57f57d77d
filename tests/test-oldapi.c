/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs as they were written for the library's older API: iou.h alone, and of it ten functions. They compile and
 * run unchanged. All that came later is out of reach here.
 */
#include <iou.h>

#pragma GCC poison iou_new_with iou_drain iou_op_reset iou_op_free iou_op_cancel iou_cancel_id iou_cancel_all
#pragma GCC poison iou_run_once iou_pending iou_fd iou_op_async iou_post iou_hold iou_release iou_info iou_stats
#pragma GCC poison iou_version iou_config_t iou_info_t iou_stats_t

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support.h"

static iou_t *new_iou(unsigned entries)
{
	iou_t *iou = iou_new(entries);

	ck_assert_ptr_nonnull(iou);
	return iou;
}

static iou_op_t *new_op(iou_t *iou)
{
	iou_op_t *op = iou_op_new(iou);

	ck_assert_ptr_nonnull(op);
	ck_assert_ptr_nonnull(op->sqe);
	return op;
}

/* A file of n bytes in which each two tell their place; it has no name any more. */
static int make_file(size_t n)
{
	char name[] = "/tmp/test-oldapi-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	uint16_t *words = malloc(n + 2);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(name), 0);
	ck_assert_ptr_nonnull(words);
	for (size_t i = 0; i < n / 2; i++)
		words[i] = (uint16_t)i;
	ck_assert_int_eq(write(fd, words, n), n);
	free(words);
	return fd;
}

static bool is_file_at(const void *bytes, size_t n, size_t offset)
{
	const uint16_t *words = bytes;

	VALGRIND_MAKE_MEM_DEFINED(bytes, n);
	for (size_t i = 0; i < n / 2; i++) {
		if (words[i] != (uint16_t)(offset / 2 + i))
			return false;
	}
	return true;
}

/* The smallest program: an op whose callback writes its result down. */
struct one {
	iou_op_t *op;
	int result;
	int n_calls;
};

static int on_one(void *data)
{
	struct one *one = data;

	one->result = one->op->result;
	one->n_calls++;
	return 0;
}

static void queue_nop(iou_t *iou, struct one *one)
{
	*one = (struct one){ .op = new_op(iou) };
	io_uring_prep_nop(one->op->sqe);
	iou_op_queue(iou, one->op, on_one, one);
}

static void ck_one(const struct one *one, int result)
{
	ck_assert_int_eq(one->n_calls, 1);
	ck_assert_int_eq(one->result, result);
}

START_TEST(test_one_read)
{
	iou_t *iou = new_iou(4);
	struct one one = { .op = new_op(iou) };
	int fd = make_file(4096);
	uint16_t words[100];

	io_uring_prep_read(one.op->sqe, fd, words, sizeof(words), 200);
	iou_op_queue(iou, one.op, on_one, &one);
	ck_assert_int_eq(one.n_calls, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_one(&one, sizeof(words));
	ck_assert(is_file_at(words, sizeof(words), 200));
	ck_assert_ptr_null(iou_free(iou));
	close(fd);
}
END_TEST

START_TEST(test_nothing_to_do)
{
	iou_t *iou = new_iou(1);

	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_ptr_null(iou_free(NULL));
	ck_assert_ptr_null(iou_new(0));
}
END_TEST

START_TEST(test_many_more_ops_than_entries)
{
	enum { N = 1000 };
	iou_t *iou = new_iou(2);
	struct one *ones = calloc(N, sizeof(*ones));

	ck_assert_ptr_nonnull(ones);
	for (int i = 0; i < N; i++)
		queue_nop(iou, &ones[i]);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < N; i++)
		ck_one(&ones[i], 0);
	ck_assert_ptr_null(iou_free(iou));
	free(ones);
}
END_TEST

/* The callback looks at its result only after it has taken and queued other ops. */
struct late {
	iou_t *iou;
	iou_op_t *op;
	struct one others[600];
	int result;
};

static int look_late(void *data)
{
	struct late *late = data;

	for (size_t i = 0; i < sizeof(late->others) / sizeof(late->others[0]); i++) {
		queue_nop(late->iou, &late->others[i]);
		ck_assert_ptr_ne(late->others[i].op, late->op);
	}
	late->result = late->op->result;
	return 0;
}

START_TEST(test_result_is_there_after_another_op_was_taken)
{
	iou_t *iou = new_iou(4);
	struct late late = { .iou = iou, .op = new_op(iou) };
	char byte;

	io_uring_prep_read(late.op->sqe, -1, &byte, 1, 0);
	iou_op_queue(iou, late.op, look_late, &late);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(late.result, -EBADF);
	for (size_t i = 0; i < sizeof(late.others) / sizeof(late.others[0]); i++)
		ck_one(&late.others[i], 0);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* Resizing. */

struct resize {
	iou_t *iou;
	struct one others[8];
	int to_1, to_64, to_0;
};

static int resize_in_callback(void *data)
{
	struct resize *resize = data;

	resize->to_1 = iou_resize(resize->iou, 1);
	for (int i = 0; i < 8; i++)
		queue_nop(resize->iou, &resize->others[i]);
	return 0;
}

static int resize_back(void *data)
{
	struct resize *resize = data;

	resize->to_0 = iou_resize(resize->iou, 0);
	resize->to_64 = iou_resize(resize->iou, 64);
	return 0;
}

/* The ring that stands for another engine has no queues. */
static void ck_entries(iou_t *iou, unsigned n)
{
	if (support_has_ring())
		ck_assert_uint_eq(iou_ring(iou)->sq.ring_entries, n);
}

START_TEST(test_resize_to_1_entry_in_a_callback)
{
	iou_t *iou = new_iou(8);
	struct resize resize = { .iou = iou };
	iou_op_t *op = new_op(iou);

	io_uring_prep_nop(op->sqe);
	iou_op_queue(iou, op, resize_in_callback, &resize);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(resize.to_1, 0);
	ck_entries(iou, 1);
	for (int i = 0; i < 8; i++)
		ck_one(&resize.others[i], 0);
	op = new_op(iou);
	io_uring_prep_nop(op->sqe);
	iou_op_queue(iou, op, resize_back, &resize);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(resize.to_64, 0);
	ck_assert_int_eq(resize.to_0, -EINVAL);
	ck_entries(iou, 64);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* Registering. */

struct fixed {
	iou_t *iou;
	int fds[2];
	struct iovec iovec;
	struct one files, buffers;
	int register_files, register_buffers;
};

static void read_fixed_file(struct fixed *fixed, void *to, unsigned n)
{
	iou_op_t *op = fixed->files.op = new_op(fixed->iou);

	io_uring_prep_read(op->sqe, 1, to, n, 100);
	io_uring_sqe_set_flags(op->sqe, IOSQE_FIXED_FILE);
	iou_op_queue(fixed->iou, op, on_one, &fixed->files);
}

static void read_fixed_buffer(struct fixed *fixed, void *to, unsigned n)
{
	iou_op_t *op = fixed->buffers.op = new_op(fixed->iou);

	io_uring_prep_read_fixed(op->sqe, fixed->fds[1], to, n, 1000, 0);
	iou_op_queue(fixed->iou, op, on_one, &fixed->buffers);
}

static int register_and_read(void *data)
{
	struct fixed *fixed = data;
	char *buffer = fixed->iovec.iov_base;

	fixed->register_files = io_uring_register_files(iou_ring(fixed->iou), fixed->fds, 2);
	fixed->register_buffers = io_uring_register_buffers(iou_ring(fixed->iou), &fixed->iovec, 1);
	read_fixed_file(fixed, buffer, 1024);
	read_fixed_buffer(fixed, buffer + 1024, 2048);
	return 0;
}

static void ck_fixed(const struct fixed *fixed)
{
	const char *buffer = fixed->iovec.iov_base;

	ck_assert_int_eq(fixed->register_files, 0);
	ck_assert_int_eq(fixed->register_buffers, 0);
	ck_one(&fixed->files, 1024);
	ck_one(&fixed->buffers, 2048);
	ck_assert(is_file_at(buffer, 1024, 100));
	ck_assert(is_file_at(buffer + 1024, 2048, 1000));
}

/* Before the first run (0), or in a callback (1). */
START_TEST(test_registered_files_and_buffers)
{
	iou_t *iou = new_iou(4);
	struct fixed fixed = { .iou = iou, .fds = { -1, make_file(4096) } };
	iou_op_t *op;

	fixed.iovec = (struct iovec){ .iov_base = aligned_alloc(4096, 4096), .iov_len = 4096 };
	ck_assert_ptr_nonnull(fixed.iovec.iov_base);
	if (_i) {
		op = new_op(iou);
		io_uring_prep_nop(op->sqe);
		iou_op_queue(iou, op, register_and_read, &fixed);
	} else {
		register_and_read(&fixed);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	ck_fixed(&fixed);
	ck_assert_int_eq(io_uring_unregister_buffers(iou_ring(iou)), 0);
	ck_assert_int_eq(io_uring_unregister_files(iou_ring(iou)), 0);
	ck_assert_ptr_null(iou_free(iou));
	free(fixed.iovec.iov_base);
	close(fixed.fds[1]);
}
END_TEST

/* Timers: each writes down when its turn was, and the last one starts again until it has ticked often enough. */

struct timers {
	iou_t *iou;
	int order[3];
	int n_fired;
	int n_ticks;
	struct __kernel_timespec tick;
};

struct timer {
	struct timers *timers;
	struct __kernel_timespec time;
	iou_op_t *op;
	int number;
	int result;
};

static int on_timer(void *data)
{
	struct timer *timer = data;

	timer->result = timer->op->result;
	timer->timers->order[timer->timers->n_fired++] = timer->number;
	return 0;
}

static void start_timer(struct timer *timer, struct timers *timers, int number, long long ms)
{
	*timer = (struct timer){ .timers = timers, .time.tv_nsec = ms * 1000000, .number = number };
	timer->op = new_op(timers->iou);
	io_uring_prep_timeout(timer->op->sqe, &timer->time, 0, 0);
	iou_op_queue(timers->iou, timer->op, on_timer, timer);
}

START_TEST(test_timers_fire_in_the_order_of_their_times)
{
	struct timers timers = { .iou = new_iou(4) };
	struct timer timer[3];
	int64_t began = support_now_ms();

	start_timer(&timer[0], &timers, 0, 90);
	start_timer(&timer[1], &timers, 1, 30);
	start_timer(&timer[2], &timers, 2, 60);
	ck_assert_int_eq(iou_run(timers.iou), 0);
	ck_assert_int_ge(support_now_ms() - began, 89);
	ck_assert_int_eq(timers.n_fired, 3);
	ck_assert_int_eq(timers.order[0], 1);
	ck_assert_int_eq(timers.order[1], 2);
	ck_assert_int_eq(timers.order[2], 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(timer[i].result, -ETIME);
	ck_assert_ptr_null(iou_free(timers.iou));
}
END_TEST

static void tick_again(struct timers *timers);

static int on_tick(void *data)
{
	struct timers *timers = data;

	if (++timers->n_ticks < 5)
		tick_again(timers);
	return 0;
}

static void tick_again(struct timers *timers)
{
	iou_op_t *op = new_op(timers->iou);

	io_uring_prep_timeout(op->sqe, &timers->tick, 0, 0);
	iou_op_queue(timers->iou, op, on_tick, timers);
}

START_TEST(test_timer_that_starts_the_next)
{
	struct timers timers = { .iou = new_iou(1), .tick.tv_nsec = 2000000 };
	int64_t began = support_now_ms();

	tick_again(&timers);
	ck_assert_int_eq(iou_run(timers.iou), 0);
	ck_assert_int_eq(timers.n_ticks, 5);
	ck_assert_int_ge(support_now_ms() - began, 9);
	ck_assert_ptr_null(iou_free(timers.iou));
}
END_TEST

/* A pipeline: a file is read by chunks; each is summed up by a job while the next one is being read, and then written out. */

#define CHUNK 4096

struct chunk {
	struct pipeline *pipeline;
	iou_op_t *op;
	size_t offset;
	int n; /* bytes of it that are there */
	unsigned sum;
	char bytes[CHUNK];
};

struct pipeline {
	iou_t *iou;
	int from, to;
	size_t offset; /* of the next chunk */
	int n_chunks;
	_Atomic unsigned sum;
	int error;
};

static int read_chunk(struct pipeline *pipeline);

static int on_written(void *data)
{
	struct chunk *chunk = data;

	if (chunk->op->result != chunk->n)
		chunk->pipeline->error = -EIO;
	chunk->pipeline->n_chunks++;
	free(chunk);
	return 0;
}

static int sum_chunk(void *data)
{
	struct chunk *chunk = data;

	VALGRIND_MAKE_MEM_DEFINED(chunk->bytes, (size_t)chunk->n);
	for (int i = 0; i < chunk->n; i++)
		chunk->sum += (unsigned char)chunk->bytes[i];
	return 0;
}

static int on_summed(void *data)
{
	struct chunk *chunk = data;
	iou_t *iou = chunk->pipeline->iou;

	chunk->pipeline->sum += chunk->sum;
	chunk->op = new_op(iou);
	io_uring_prep_write(chunk->op->sqe, chunk->pipeline->to, chunk->bytes, (unsigned)chunk->n, chunk->offset);
	iou_op_queue(iou, chunk->op, on_written, chunk);
	return 0;
}

static int on_read(void *data)
{
	struct chunk *chunk = data;
	struct pipeline *pipeline = chunk->pipeline;

	chunk->n = chunk->op->result;
	if (chunk->n <= 0) {
		int r = chunk->n;

		free(chunk);
		return r;
	}
	pipeline->offset += (size_t)chunk->n;
	ck_assert_int_eq(iou_async(pipeline->iou, sum_chunk, chunk, on_summed, chunk), 0);
	return read_chunk(pipeline);
}

static int read_chunk(struct pipeline *pipeline)
{
	struct chunk *chunk = malloc(sizeof(*chunk));

	if (!chunk)
		return -ENOMEM;
	chunk->pipeline = pipeline;
	chunk->offset = pipeline->offset;
	chunk->sum = 0;
	chunk->op = new_op(pipeline->iou);
	io_uring_prep_read(chunk->op->sqe, pipeline->from, chunk->bytes, sizeof(chunk->bytes), chunk->offset);
	iou_op_queue(pipeline->iou, chunk->op, on_read, chunk);
	return 0;
}

static unsigned sum_of_file(size_t n)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n / 2; i++)
		sum += (i & 0xff) + (i >> 8 & 0xff);
	return sum;
}

START_TEST(test_pipeline_copies_and_sums_a_file)
{
	enum { N = 50 * CHUNK + 1000 };
	struct pipeline pipeline = { .iou = new_iou(2), .from = make_file(N), .to = make_file(0) };
	char *copy = malloc(N);

	ck_assert_ptr_nonnull(copy);
	ck_assert_int_eq(read_chunk(&pipeline), 0);
	ck_assert_int_eq(iou_run(pipeline.iou), 0);
	ck_assert_ptr_null(iou_free(pipeline.iou));
	ck_assert_int_eq(pipeline.error, 0);
	ck_assert_int_eq(pipeline.n_chunks, 51);
	ck_assert_uint_eq(pipeline.sum, sum_of_file(N));
	ck_assert_int_eq(pread(pipeline.to, copy, N, 0), N);
	ck_assert(is_file_at(copy, N, 0));
	free(copy);
	close(pipeline.from);
	close(pipeline.to);
}
END_TEST

/* An echo: what comes in goes out, until the peer has no more to say. */

struct echo {
	iou_t *iou;
	iou_op_t *op;
	int fd;
	int n_rounds;
	char bytes[64];
};

static int receive(struct echo *echo);

static int on_sent(void *data)
{
	struct echo *echo = data;

	return echo->op->result < 0 ? echo->op->result : receive(echo);
}

static int on_received(void *data)
{
	struct echo *echo = data;
	int n = echo->op->result;

	if (n <= 0)
		return n;
	echo->n_rounds++;
	echo->op = new_op(echo->iou);
	io_uring_prep_send(echo->op->sqe, echo->fd, echo->bytes, (size_t)n, MSG_NOSIGNAL);
	iou_op_queue(echo->iou, echo->op, on_sent, echo);
	return 0;
}

static int receive(struct echo *echo)
{
	echo->op = new_op(echo->iou);
	io_uring_prep_recv(echo->op->sqe, echo->fd, echo->bytes, sizeof(echo->bytes), 0);
	iou_op_queue(echo->iou, echo->op, on_received, echo);
	return 0;
}

#define N_ROUNDS 100

/* Returns how many came back as they were sent. */
static void *talk(void *data)
{
	int fd = *(int *)data;
	intptr_t n_good = 0;

	for (int i = 0; i < N_ROUNDS; i++) {
		int back = -1;

		if (write(fd, &i, sizeof(i)) != sizeof(i) || read(fd, &back, sizeof(back)) != sizeof(back))
			break;
		n_good += back == i;
	}
	shutdown(fd, SHUT_WR);
	return (void *)n_good;
}

START_TEST(test_echo)
{
	struct echo echo = { .iou = new_iou(4) };
	pthread_t thread;
	void *n_good;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	echo.fd = fds[0];
	receive(&echo);
	ck_assert_int_eq(pthread_create(&thread, NULL, talk, &fds[1]), 0);
	ck_assert_int_eq(iou_run(echo.iou), 0);
	pthread_join(thread, &n_good);
	ck_assert_int_eq((intptr_t)n_good, N_ROUNDS);
	ck_assert_int_eq(echo.n_rounds, N_ROUNDS);
	ck_assert_ptr_null(iou_free(echo.iou));
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Jobs. */

struct job {
	pthread_t worker, loop;
	int answer;
	int n_worked, n_completed;
};

static int work(void *data)
{
	struct job *job = data;

	job->worker = pthread_self();
	job->n_worked++;
	return job->answer;
}

static int complete(void *data)
{
	struct job *job = data;

	job->loop = pthread_self();
	job->n_completed++;
	return 0;
}

static void ck_job(const struct job *job)
{
	ck_assert_int_eq(job->n_worked, 1);
	ck_assert_int_eq(job->n_completed, 1);
	ck_assert(!pthread_equal(job->worker, pthread_self()));
	ck_assert(pthread_equal(job->loop, pthread_self()));
}

START_TEST(test_jobs_beside_ops)
{
	enum { N = 100 };
	iou_t *iou = new_iou(4);
	struct job jobs[N] = { 0 };
	struct one ones[N];

	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(iou_async(iou, work, &jobs[i], complete, &jobs[i]), 0);
		queue_nop(iou, &ones[i]);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < N; i++) {
		ck_job(&jobs[i]);
		ck_one(&ones[i], 0);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

START_TEST(test_work_that_fails_ends_the_run_and_the_next_goes_on)
{
	iou_t *iou = new_iou(4);
	struct job job = { .answer = -42 };
	struct one one;

	ck_assert_int_eq(iou_async(iou, work, &job, complete, &job), 0);
	ck_assert_int_eq(iou_run(iou), -42);
	ck_job(&job);
	queue_nop(iou, &one);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_one(&one, 0);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

START_TEST(test_jobs_are_run_to_their_end_by_free)
{
	iou_t *iou = new_iou(4);
	struct job job = { 0 };

	ck_assert_int_eq(iou_async(iou, work, &job, complete, &job), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_job(&job);
}
END_TEST

/* Ending a run. */

static int answer_int(void *data)
{
	return *(int *)data;
}

START_TEST(test_callback_that_fails_ends_the_run_and_the_next_goes_on)
{
	iou_t *iou = new_iou(4);
	iou_op_t *op = new_op(iou);
	struct one before, after;
	int answer = -7;

	queue_nop(iou, &before);
	io_uring_prep_nop(op->sqe);
	iou_op_queue(iou, op, answer_int, &answer);
	queue_nop(iou, &after);
	ck_assert_int_eq(iou_run(iou), -7);
	ck_one(&before, 0);
	ck_assert_int_eq(after.n_calls, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_one(&after, 0);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

static int quit(void *data)
{
	return iou_quit(data);
}

START_TEST(test_quit_in_a_callback)
{
	iou_t *iou = new_iou(4);
	iou_op_t *op = new_op(iou);
	struct one after;

	io_uring_prep_nop(op->sqe);
	iou_op_queue(iou, op, quit, iou);
	queue_nop(iou, &after);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(after.n_calls, 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_one(&after, 0);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* The thread quits when the loop runs, which sits in a read that nobody ends. */
struct quitter {
	iou_t *iou;
	sem_t is_running;
};

static int say_running(void *data)
{
	return sem_post(data);
}

static void *quit_later(void *data)
{
	struct quitter *quitter = data;

	while (sem_wait(&quitter->is_running) && errno == EINTR)
		;
	return (void *)(intptr_t)iou_quit(quitter->iou);
}

static void queue_read(iou_t *iou, struct one *one, int fd, char *to)
{
	*one = (struct one){ .op = new_op(iou) };
	io_uring_prep_read(one->op->sqe, fd, to, 1, (__u64)-1);
	iou_op_queue(iou, one->op, on_one, one);
}

START_TEST(test_quit_from_a_thread)
{
	struct quitter quitter = { .iou = new_iou(4) };
	iou_op_t *op = new_op(quitter.iou);
	struct one one;
	pthread_t thread;
	char byte = 0;
	void *r;
	int fds[2];

	sem_init(&quitter.is_running, 0, 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	queue_read(quitter.iou, &one, fds[0], &byte);
	io_uring_prep_nop(op->sqe);
	iou_op_queue(quitter.iou, op, say_running, &quitter.is_running);
	ck_assert_int_eq(pthread_create(&thread, NULL, quit_later, &quitter), 0);
	ck_assert_int_eq(iou_run(quitter.iou), 0);
	pthread_join(thread, &r);
	ck_assert_ptr_null(r);
	ck_assert_int_eq(one.n_calls, 0);
	ck_assert_int_eq(write(fds[1], "q", 1), 1);
	ck_assert_int_eq(iou_run(quitter.iou), 0);
	ck_one(&one, 1);
	ck_assert_int_eq(byte, 'q');
	ck_assert_ptr_null(iou_free(quitter.iou));
	sem_destroy(&quitter.is_running);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A program that leaves while a read is in flight. */
START_TEST(test_free_with_a_read_in_flight)
{
	iou_t *iou = new_iou(4);
	struct one one;
	char byte = 0;
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	queue_read(iou, &one, fds[0], &byte);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_one(&one, -ECANCELED);
	ck_assert_int_eq(write(fds[1], "z", 1), 1);
	ck_assert_int_eq(byte, 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("older API");
	TCase *registering = tcase_create("registering");

	ADD_CASE(suite, "ops", test_one_read, test_nothing_to_do, test_many_more_ops_than_entries,
		 test_result_is_there_after_another_op_was_taken, test_resize_to_1_entry_in_a_callback,
		 test_timers_fire_in_the_order_of_their_times, test_timer_that_starts_the_next,
		 test_pipeline_copies_and_sums_a_file, test_echo, test_free_with_a_read_in_flight);
	ADD_CASE(suite, "runs", test_jobs_beside_ops, test_work_that_fails_ends_the_run_and_the_next_goes_on,
		 test_jobs_are_run_to_their_end_by_free, test_callback_that_fails_ends_the_run_and_the_next_goes_on,
		 test_quit_in_a_callback, test_quit_from_a_thread);
	if (support_has_ring())
		tcase_add_loop_test(registering, test_registered_files_and_buffers, 0, 2);
	suite_add_tcase(suite, registering);
	return suite;
}
