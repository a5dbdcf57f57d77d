/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G10: resize with everything in flight. */
#include <poll.h>
#include <sys/epoll.h>

#include "resizing.h"

static const unsigned sizes[] = { 1, 64, 2, 1024, 4, 4096, 1, 16 };

enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static bool is_in_place;

static void open_resizing(struct scene *scene, iou_config_t config)
{
	is_in_place = can_resize_in_place();
	open_scene(scene, config);
}

static void expect_results(const struct scene *scene, int result)
{
	expect_finals(scene);
	for (int i = 0; i < scene->n_ops; i++)
		ck_assert_int_eq(scene->ops[i].seen.result, result);
}

static void free_and_close(struct scene *scene)
{
	ck_assert_int_eq(iou_pending(scene->iou), 0);
	ck_assert_uint_eq(n_alive(scene->iou), 0);
	ck_assert_ptr_null(iou_free(scene->iou));
	close_scene(scene);
}

static void put_4_for_each(struct scene *scene)
{
	static const char bytes[4 * N_SLOTS];

	put_bytes(scene->pipe[1], bytes, 4 * (size_t)scene->n_ops);
}

/* Smaller than what is in flight, too. */

PROMISE(10, reads_in_flight_survive_resizes_up_and_down)
{
	for (int i = 0; i < fewer(60, 6); i++) {
		struct scene scene;

		open_resizing(&scene, (iou_config_t){ .entries = 8 });
		for (int j = 0; j < N_SLOTS; j++) {
			start_read(&scene, scene.pipe[0], 4, j % 2 ? IOSQE_ASYNC : 0);
			if (j % 3 == i % 3)
				ck_assert_int_eq(i % 2 ? turn(scene.iou) : iou_flush(scene.iou), 0);
			resize_in_use(scene.iou, sizes[j % N_SIZES], is_in_place);
		}
		put_4_for_each(&scene);
		for (int j = 0; j < N_SIZES; j++)
			resize_in_use(scene.iou, sizes[j], is_in_place);
		ck_assert_int_eq(iou_run(scene.iou), 0);
		expect_results(&scene, 4);
		free_and_close(&scene);
	}
}
END_TEST

PROMISE(10, op_in_flight_over_a_resize_can_be_cancelled)
{
	for (int i = 0; i < fewer(20, 3); i++) {
		struct scene scene;

		open_resizing(&scene, (iou_config_t){ .entries = 8 });
		for (int j = 0; j < N_SLOTS; j++)
			start_read(&scene, scene.pipe[0], 4, j % 2 ? IOSQE_ASYNC : 0);
		ck_assert_int_eq(turn(scene.iou), 0);
		resize_in_use(scene.iou, sizes[i % N_SIZES], is_in_place);
		for (int j = 0; j < N_SLOTS; j++)
			ck_assert_int_eq(iou_op_cancel(scene.iou, scene.ops[j].seen.op), 0);
		resize_in_use(scene.iou, sizes[(i + 1) % N_SIZES], is_in_place);
		ck_assert_int_eq(iou_drain(scene.iou, NULL), 0);
		expect_finals(&scene);
		for (int j = 0; j < N_SLOTS; j++)
			ck_assert_int_lt(scene.ops[j].seen.result, 0);
		free_and_close(&scene);
	}
}
END_TEST

/* Inside callbacks: of ops, of the same op over and over, of posts and of jobs. */

struct resizer {
	struct seen seen;
	int n_left;
};

static int resize_and_rearm(void *data)
{
	struct resizer *resizer = data;

	resize_in_use(resizer->seen.iou, sizes[resizer->n_left % N_SIZES], is_in_place);
	see(&resizer->seen);
	if (resizer->n_left-- && resizer->seen.op)
		iou_op_queue(resizer->seen.iou, resizer->seen.op, resize_and_rearm, resizer);
	return 0;
}

PROMISE(10, resize_in_callbacks_of_ops_posts_and_jobs)
{
	struct scene scene;
	struct resizer ops[4], post, job, async;
	int zero = 0, n_times = fewer(100, 10);

	open_resizing(&scene, (iou_config_t){ .entries = 8 });
	post = job = async = (struct resizer){ .seen.iou = scene.iou };
	for (int i = 0; i < N_SLOTS; i++)
		start_read(&scene, scene.pipe[0], 4, i % 2 ? IOSQE_ASYNC : 0);
	for (int i = 0; i < 4; i++) {
		io_uring_prep_nop(take(scene.iou, &ops[i].seen));
		ops[i].n_left = n_times;
		iou_op_queue(scene.iou, ops[i].seen.op, resize_and_rearm, &ops[i]);
	}
	ck_assert_int_eq(iou_post(scene.iou, resize_and_rearm, &post), 0);
	ck_assert_int_eq(iou_async(scene.iou, return_int, &zero, resize_and_rearm, &async), 0);
	take(scene.iou, &job.seen);
	ck_assert_int_eq(iou_op_async(scene.iou, job.seen.op, return_int, &zero, resize_and_rearm, &job), 0);
	put_4_for_each(&scene);
	ck_assert_int_eq(iou_run(scene.iou), 0);
	expect_results(&scene, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(ops[i].seen.n_calls, n_times + 1);
	ck_assert_int_eq(post.seen.n_calls + job.seen.n_calls + async.seen.n_calls, 3);
	free_and_close(&scene);
}
END_TEST

/* What is registered serves ops that were in flight before, and those that come after. */

static void start_fixed_reads(struct scene *scene)
{
	for (int i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = next(scene);

		io_uring_prep_read_fixed(sqe, 0, slot(scene), 4, (__u64)-1, 1);
		send_off(scene, IOSQE_FIXED_FILE | (i % 2 ? IOSQE_ASYNC : 0));
	}
}

PROMISE(10, registered_files_and_buffers_survive)
{
	struct scene scene;
	struct iovec buffers[2];

	open_resizing(&scene, (iou_config_t){ .entries = 8 });
	for (int i = 0; i < 2; i++)
		buffers[i] = (struct iovec){ .iov_base = scene.given, .iov_len = MEMORY };
	ck_assert_int_eq(io_uring_register_files(iou_ring(scene.iou), scene.pipe, 2), 0);
	ck_assert_int_eq(io_uring_register_buffers(iou_ring(scene.iou), buffers, 2), 0);
	for (int i = 0; i < N_SIZES; i++) {
		scene.n_ops = 0;
		start_fixed_reads(&scene);
		ck_assert_int_eq(turn(scene.iou), 0);
		resize_in_use(scene.iou, sizes[i], is_in_place);
		start_fixed_reads(&scene);
		put_4_for_each(&scene);
		ck_assert_int_eq(iou_run(scene.iou), 0);
		expect_results(&scene, 4);
	}
	free_and_close(&scene);
}
END_TEST

/* Multishot. */

PROMISE(10, multishot_ops_and_their_buffer_ring_survive)
{
	struct scene scene;
	struct receiver receiver = { .n_bytes = 0 };
	int n_rounds = fewer(200, 20);

	open_resizing(&scene, (iou_config_t){ .entries = 8 });
	start_receiver(&scene, &receiver);
	io_uring_prep_poll_multishot(next(&scene), scene.pipe[0], POLLIN);
	send_off(&scene, 0);
	ck_assert_int_ge(iou_flush(scene.iou), 0);
	for (int i = 0; i < n_rounds; i++) {
		put_bytes(scene.sockets[1], "mmmmmmmm", 8);
		put_bytes(scene.pipe[1], "p", 1);
		resize_in_use(scene.iou, sizes[i % N_SIZES], is_in_place);
		while (receiver.n_bytes < 8 * (i + 1) || scene.ops[0].seen.n_calls < i + 1)
			ck_assert_int_ge(iou_run_once(scene.iou, NULL), 0);
		ck_assert_uint_ne(receiver.watched.seen.flags & IORING_CQE_F_MORE, 0);
		ck_assert_uint_ne(scene.ops[0].seen.flags & IORING_CQE_F_MORE, 0);
	}
	ck_assert_int_eq(shutdown(scene.sockets[1], SHUT_WR), 0);
	ck_assert_int_eq(iou_op_cancel(scene.iou, scene.ops[0].seen.op), 0);
	ck_assert_int_eq(iou_run(scene.iou), 0);
	expect_finals(&scene);
	ck_assert_int_eq(receiver.watched.n_finals, 1);
	ck_assert_int_eq(receiver.watched.seen.result, 0);
	ck_assert_int_eq(receiver.n_bytes, 8 * n_rounds);
	ck_assert_int_eq(receiver.n_wrong, 0);
	free_and_close(&scene);
}
END_TEST

/* Full queues. */

static void resize_overflown(iou_config_t config, unsigned entries)
{
	struct scene scene;

	open_resizing(&scene, config);
	overflow(&scene);
	ck_assert_uint_ne(*iou_ring(scene.iou)->sq.kflags & IORING_SQ_CQ_OVERFLOW, 0);
	resize_in_use(scene.iou, entries, is_in_place && !(config.flags & IOU_ANY_THREAD));
	ck_assert_int_eq(iou_pending(scene.iou), N_SLOTS);
	ck_assert_int_eq(iou_run(scene.iou), 0);
	expect_results(&scene, POLLIN);
	resize_in_use(scene.iou, entries, true);
	free_and_close(&scene);
}

PROMISE(10, completion_queue_that_has_overflown_loses_nothing)
{
	for (int i = 0; i < N_SIZES; i++) {
		resize_overflown((iou_config_t){ .entries = 1, .cq_entries = 2 }, sizes[i]);
		resize_overflown((iou_config_t){ .entries = 4, .cq_entries = 4 }, sizes[i]);
		resize_overflown((iou_config_t){ .entries = 4, .cq_entries = 4, .flags = IOU_ANY_THREAD }, sizes[i]);
	}
}
END_TEST

static void resize_full_cq(unsigned flags)
{
	for (int i = 0; i < N_SIZES; i++) {
		struct scene scene;

		open_resizing(&scene, (iou_config_t){ .entries = 8, .cq_entries = N_SLOTS, .flags = flags });
		for (int j = 0; j < N_SLOTS; j++) {
			io_uring_prep_nop(next(&scene));
			send_off(&scene, 0);
		}
		ck_assert_int_eq(iou_flush(scene.iou), 0);
		/* Nothing is in the kernel, so that any ring can be resized, and more than once before it is looked at. */
		for (int j = 0; j <= i; j++)
			ck_assert_int_eq(iou_resize(scene.iou, sizes[j]), 0);
		ck_assert_int_eq(iou_run(scene.iou), 0);
		expect_results(&scene, 0);
		for (int j = 0; j < N_SLOTS; j++)
			ck_assert_int_eq(scene.ops[j].seen.place, j + 1);
		free_and_close(&scene);
	}
}

PROMISE(10, completions_that_are_due_stay_due_and_in_order)
{
	resize_full_cq(0);
	resize_full_cq(IOU_ANY_THREAD);
}
END_TEST

/* SQEs that the program has put into the ring itself, as many as there is room for. */
static int count_foreign(const struct io_uring_cqe *cqe, void *data)
{
	*(unsigned *)data |= 1U << (cqe->user_data - 1000);
	return 0;
}

PROMISE(10, submission_queue_that_is_full_goes_along)
{
	unsigned foreign = 0;
	struct scene scene;

	open_resizing(&scene,
		      (iou_config_t){ .entries = 8, .foreign_cqe = count_foreign, .foreign_cqe_data = &foreign });
	ck_assert_int_eq(iou_flush(scene.iou), 0);
	start_read(&scene, scene.pipe[0], 4, 0);
	ck_assert_int_eq(turn(scene.iou), 0);
	for (unsigned i = 0; i < 8; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(iou_ring(scene.iou));

		ck_assert_ptr_nonnull(sqe);
		io_uring_prep_nop(sqe);
		sqe->user_data = 1000 + i;
	}
	/* They do not fit. */
	ck_assert_int_eq(iou_resize(scene.iou, 4), -EBUSY);
	ck_assert_uint_eq(info_of(scene.iou).sq_entries, 8);
	resize_in_use(scene.iou, 16, is_in_place);
	put_4_for_each(&scene);
	ck_assert_int_eq(iou_run(scene.iou), 0);
	ck_assert_int_eq(turn(scene.iou), 0);
	ck_assert_uint_eq(foreign, 0xff);
	expect_results(&scene, 4);
	free_and_close(&scene);
}
END_TEST

/*
 * The descriptor for foreign loops, which an epoll set watches all the time. The kernel's own work for this thread
 * interrupts epoll_wait() like a signal.
 */

static bool is_ready(int epoll_fd, int timeout_ms)
{
	struct epoll_event event;
	int n;

	do
		n = epoll_wait(epoll_fd, &event, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

PROMISE(10, fd_in_an_epoll_set_tells_the_truth_after_each_resize)
{
	for (int i = 0; i < fewer(100, N_SIZES); i++) {
		struct scene scene;
		int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

		open_resizing(&scene, (iou_config_t){ .entries = 4, .flags = i % 5 == 4 ? IOU_ANY_THREAD : 0 });
		ck_assert_int_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, iou_fd(scene.iou),
					   &(struct epoll_event){ .events = EPOLLIN }),
				 0);
		/* Idle, as a ring must be to be built anew. */
		ck_assert_int_eq(turn(scene.iou), 0);
		ck_assert_int_eq(iou_resize(scene.iou, sizes[(i + 2) % N_SIZES]), 0);
		for (int j = 0; j < 4; j++)
			start_read(&scene, scene.pipe[0], 4, j % 2 ? IOSQE_ASYNC : 0);
		ck_assert_int_eq(iou_flush(scene.iou), 0);
		resize_in_use(scene.iou, sizes[i % N_SIZES], is_in_place && i % 5 != 4);
		ck_assert(!is_ready(epoll_fd, 0));
		put_4_for_each(&scene);
		ck_assert(is_ready(epoll_fd, 10000));
		resize_in_use(scene.iou, sizes[(i + 1) % N_SIZES], is_in_place && i % 5 != 4);
		while (iou_pending(scene.iou)) {
			ck_assert(is_ready(epoll_fd, 10000));
			ck_assert_int_ge(turn(scene.iou), 0);
		}
		/* A thread of the kernel's may tell of a completion after it was taken: that costs a turn. */
		for (int j = 0; j < 4 && is_ready(epoll_fd, 0); j++)
			ck_assert_int_eq(turn(scene.iou), 0);
		ck_assert(!is_ready(epoll_fd, 0));
		expect_results(&scene, 4);
		free_and_close(&scene);
		close(epoll_fd);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("resize-flight");

	ADD_CASE(s, "in flight", PROMISE_TEST(10, reads_in_flight_survive_resizes_up_and_down),
		 PROMISE_TEST(10, op_in_flight_over_a_resize_can_be_cancelled),
		 PROMISE_TEST(10, resize_in_callbacks_of_ops_posts_and_jobs),
		 PROMISE_TEST(10, registered_files_and_buffers_survive),
		 PROMISE_TEST(10, multishot_ops_and_their_buffer_ring_survive));
	ADD_CASE(s, "queues", PROMISE_TEST(10, completion_queue_that_has_overflown_loses_nothing),
		 PROMISE_TEST(10, completions_that_are_due_stay_due_and_in_order),
		 PROMISE_TEST(10, submission_queue_that_is_full_goes_along),
		 PROMISE_TEST(10, fd_in_an_epoll_set_tells_the_truth_after_each_resize));
	return s;
}
