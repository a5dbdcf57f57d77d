/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program of the time of the header it is compiled with. It runs with the library of today, and prints nothing if all is as
 * it was: the sizes of its structs are taken, what is behind them is left alone, and each function does what it is for.
 */
#include <iou.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GUARD 0x5a

static int n_wrong;

#define CHECK(condition) \
	((condition) ? (void)0 : (void)(n_wrong++, printf("line %d: not so: %s\n", __LINE__, #condition)))

/* A struct of today's library may be longer. */
#define GUARDED(type)                     \
	struct {                          \
		type it;                  \
		unsigned char guard[256]; \
	}

static int is_whole(const unsigned char *guard)
{
	for (int i = 0; i < 256; i++)
		if (guard[i] != GUARD)
			return 0;
	return 1;
}

static int count(void *data)
{
	return ++*(int *)data;
}

static int answer(void *data)
{
	(void)data;
	return 42;
}

static int n_foreign;

static int on_foreign(const struct io_uring_cqe *cqe, void *data)
{
	CHECK(cqe->user_data == 7 && data == &n_foreign);
	n_foreign++;
	return 0;
}

/* What is behind the config is not read: it is anything but zero. */
static iou_t *configured(void)
{
	GUARDED(iou_config_t) config;
	iou_t *iou;

	memset(&config, GUARD, sizeof(config));
	memset(&config.it, 0, sizeof(config.it));
	config.it.size = sizeof(config.it) - 1;
	CHECK(!iou_new_with(&config.it) && errno == EINVAL);
	config.it.size = sizeof(config.it);
	config.it.entries = 9;
	config.it.workers = 2;
	config.it.foreign_cqe = on_foreign;
	config.it.foreign_cqe_data = &n_foreign;
	iou = iou_new_with(&config.it);
	CHECK(iou && is_whole(config.guard));
	/* One that is longer than the library knows, and has nothing in it. */
	memset(&config.guard, 0, sizeof(config.guard));
	config.it.size = sizeof(config);
	CHECK(!iou_free(iou_new_with(&config.it)));
	return iou;
}

static void check_info(iou_t *iou)
{
	GUARDED(iou_info_t) info;

	memset(&info, GUARD, sizeof(info));
	info.it.size = sizeof(info.it) - 1;
	CHECK(iou_info(iou, &info.it) == -EINVAL);
	info.it.size = sizeof(info.it);
	CHECK(iou_info(iou, &info.it) == 0);
	CHECK(info.it.size == sizeof(info.it) && is_whole(info.guard));
	CHECK(info.it.sq_entries == 16 && info.it.workers == 2 && info.it.reason);
	info.it.size = sizeof(info);
	CHECK(iou_info(iou, &info.it) == 0);
	CHECK(info.it.size >= sizeof(info.it) && info.it.size < sizeof(info));
	CHECK(info.guard[sizeof(info.guard) - 1] == GUARD);
}

static void check_stats(iou_t *iou, unsigned n_callbacks)
{
	GUARDED(iou_stats_t) stats;

	memset(&stats, GUARD, sizeof(stats));
	stats.it.size = sizeof(stats.it) - 1;
	CHECK(iou_stats(iou, &stats.it) == -EINVAL);
	stats.it.size = sizeof(stats.it);
	CHECK(iou_stats(iou, &stats.it) == 0);
	CHECK(stats.it.size == sizeof(stats.it) && is_whole(stats.guard));
	CHECK(stats.it.n_callbacks == n_callbacks && stats.it.n_foreign == (unsigned)n_foreign);
	stats.it.size = sizeof(stats);
	CHECK(iou_stats(iou, &stats.it) == 0);
	CHECK(stats.it.size >= sizeof(stats.it) && stats.it.size < sizeof(stats));
	CHECK(stats.guard[sizeof(stats.guard) - 1] == GUARD);
}

static void check_ops(iou_t *iou)
{
	const struct timespec now = { 0 }, minute = { .tv_sec = 60 };
	int n = 0, fds[2];
	iou_op_t *op = iou_op_new(iou);
	char byte;

	CHECK(op->sqe->opcode == 0 && op->result == 0 && op->flags == 0);
	io_uring_prep_nop(op->sqe);
	iou_op_queue(iou, op, count, &n);
	CHECK(iou_pending(iou) == 1 && iou_flush(iou) == 0 && iou_run(iou) == 0 && n == 1);
	op = iou_op_new(iou);
	iou_op_reset(iou, op);
	iou_op_free(iou, op);
	CHECK(pipe(fds) == 0);
	for (int i = 0; i < 3; i++) {
		op = iou_op_new(iou);
		io_uring_prep_read(op->sqe, fds[0], &byte, 1, 0);
		iou_op_queue(iou, op, count, &n);
		if (i == 0)
			CHECK(iou_op_cancel(iou, op) == 0);
		else if (i == 1)
			CHECK(iou_cancel_id(iou, op->sqe->user_data) == 0);
		else
			CHECK(iou_cancel_all(iou) >= 1);
		CHECK(iou_run(iou) == 0 && n == 2 + i);
	}
	CHECK(iou_run_once(iou, &now) == 0);
	CHECK(iou_drain(iou, &minute) == 0);
	CHECK(iou_resize(iou, 32) == 0);
	CHECK(iou_fd(iou) >= 0);
	close(fds[0]);
	close(fds[1]);
}

static void check_registered(iou_t *iou)
{
	int n = 0, fds[2], slots[3] = { -1, -1, -1 };
	char memory[64], *first = NULL;
	struct iovec iovec = { memory, sizeof(memory) };
	iou_buffers_t *buffers = NULL;
	iou_op_t *op = iou_op_new(iou);

	CHECK(pipe(fds) == 0 && write(fds[1], "word", 4) == 4);
	slots[2] = fds[0];
	CHECK(iou_supports(iou, IORING_OP_NOP) == 1 && iou_supports(iou, 255) == 0);
	CHECK(iou_register_files(iou, slots, 2) == 0);
	CHECK(iou_register_files_update(iou, 1, slots + 2, 1) == 1);
	CHECK(iou_register_buffers(iou, &iovec, 1) == 0 && iou_unregister_buffers(iou) == 0);
	CHECK(iou_buffers_new(iou, 7, 2, 4096, &buffers) == 0);
	CHECK(iou_buffers_at(buffers, 1) && !iou_buffers_at(buffers, 2) && errno == EINVAL);
	io_uring_prep_read(op->sqe, 1, NULL, 4096, 0);
	io_uring_sqe_set_flags(op->sqe, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT);
	op->sqe->buf_group = 7;
	iou_op_queue(iou, op, count, &n);
	CHECK(iou_run(iou) == 0 && n == 1 && op->result == 4 && op->flags & IORING_CQE_F_BUFFER);
	first = iou_buffers_at(buffers, op->flags >> IORING_CQE_BUFFER_SHIFT);
	CHECK(first && memcmp(first, "word", 4) == 0);
	CHECK(iou_buffers_recycle(buffers, op->flags >> IORING_CQE_BUFFER_SHIFT) == 0);
	CHECK(iou_buffers_free(buffers) == 0 && iou_unregister_files(iou) == 0);
	close(fds[0]);
	close(fds[1]);
}

static void check_foreign(iou_t *iou)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(iou_ring(iou));

	CHECK(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = 7;
	CHECK(io_uring_submit(iou_ring(iou)) == 1);
	CHECK(iou_hold(iou) == 0);
	while (n_foreign == 0 && iou_run_once(iou, NULL) >= 0)
		;
	CHECK(iou_release(iou) == 0);
}

static void *post(void *data)
{
	static int n;

	iou_post(data, count, &n);
	iou_quit(data);
	iou_release(data);
	return NULL;
}

static void check_threads(iou_t *iou)
{
	int n = 0;
	iou_op_t *op = iou_op_new(iou);
	pthread_t thread;

	CHECK(iou_async(iou, count, &n, count, &n) == 0);
	CHECK(iou_run(iou) == 0 && n == 2);
	CHECK(iou_op_async(iou, op, answer, NULL, count, &n) == 0);
	CHECK(iou_run(iou) == 0 && n == 3);
	CHECK(iou_hold(iou) == 0);
	if (pthread_create(&thread, NULL, post, iou)) {
		n_wrong++;
		return;
	}
	CHECK(iou_run(iou) == 0);
	pthread_join(thread, NULL);
	CHECK(iou_run(iou) == 0);
}

int main(void)
{
	iou_t *iou = configured();

	if (!iou)
		return 1;
	check_info(iou);
	check_ops(iou);
	check_registered(iou);
	check_foreign(iou);
	check_threads(iou);
	check_stats(iou, 4 + 1 + 1 + 2 + 1);
	CHECK(!iou_free(iou) && !iou_free(iou_new(1)));
	CHECK(iou_version()[0] == '0' + IOU_VERSION_MAJOR);
	return n_wrong > 0;
}
