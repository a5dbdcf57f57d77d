/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffers that the library provides, the same on both engines. */
#include "promises.h"

#include "children.h"

#include <limits.h>
#include <sys/socket.h>

enum { GROUP = 5, N = 4, SIZE = 100 };

static iou_t *iou;
static iou_buffers_t *buffers;
static int sockets[2];
static int n_descriptors;
static unsigned ids_out; /* a bit for each that came with a completion */

static void make(void)
{
	buffers = NULL;
	ids_out = 0;
	ck_assert_int_eq(iou_buffers_new(iou, GROUP, N, SIZE, &buffers), 0);
	ck_assert_ptr_nonnull(buffers);
}

static void set_up(void)
{
	n_descriptors = support_descriptors();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	iou = open_iou(8);
	make();
}

static void tear_down(void)
{
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	close_pipe(sockets);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
}

/* A message is its number, as often as there is room for. */
static void send_message(char number)
{
	char bytes[SIZE];

	put_bytes(sockets[1], memset(bytes, number, SIZE), SIZE);
}

static bool is_message(const void *bytes, char number)
{
	char wanted[SIZE];

	return bytes && memcmp(bytes, memset(wanted, number, SIZE), SIZE) == 0;
}

struct receiver {
	iou_op_t *op;
	int n_calls, n_messages, n_wrong, result;
	bool is_recycling, is_done;
};

/* Messages are numbered from 'a' on, and go round. */
static int receive(void *data)
{
	struct receiver *receiver = data;
	unsigned flags = receiver->op->flags, id = flags >> IORING_CQE_BUFFER_SHIFT;

	receiver->n_calls++;
	receiver->result = receiver->op->result;
	receiver->is_done = !(flags & IORING_CQE_F_MORE);
	if (!(flags & IORING_CQE_F_BUFFER))
		return 0;
	receiver->n_wrong += !is_message(iou_buffers_at(buffers, id), (char)('a' + receiver->n_messages++ % 26));
	receiver->n_wrong += ids_out >> id & 1;
	if (receiver->is_recycling)
		receiver->n_wrong += iou_buffers_recycle(buffers, id) != 0;
	else
		ids_out |= 1U << id;
	return 0;
}

static void queue_receiver(struct receiver *receiver, bool is_multishot)
{
	bool is_recycling = receiver->is_recycling;

	*receiver = (struct receiver){ .op = iou_op_new(iou), .is_recycling = is_recycling };
	ck_assert_ptr_nonnull(receiver->op);
	if (is_multishot)
		io_uring_prep_recv_multishot(receiver->op->sqe, sockets[0], NULL, 0, 0);
	else
		io_uring_prep_recv(receiver->op->sqe, sockets[0], NULL, SIZE, 0);
	receiver->op->sqe->flags |= IOSQE_BUFFER_SELECT;
	receiver->op->sqe->buf_group = GROUP;
	iou_op_queue(iou, receiver->op, receive, receiver);
}

/* Before it leaves the stack. */
static void end_receiver(const struct receiver *receiver)
{
	ck_assert(!receiver->is_done);
	ck_assert_int_eq(iou_op_cancel(iou, receiver->op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert(receiver->is_done);
	ck_assert_int_eq(receiver->result, -ECANCELED);
}

static void run_until(const struct receiver *receiver, int n_calls)
{
	while (receiver->n_calls < n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
}

START_TEST(test_a_receive_takes_a_buffer)
{
	struct receiver receiver = { .is_recycling = true };

	for (int i = 0; i < 10 * N; i++) {
		queue_receiver(&receiver, false);
		send_message('a');
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(receiver.result, SIZE);
		ck_assert_int_eq(receiver.n_messages, 1);
		ck_assert_int_eq(receiver.n_wrong, 0);
	}
}
END_TEST

START_TEST(test_a_read_takes_a_buffer)
{
	struct seen op;
	struct io_uring_sqe *sqe = take(iou, &op);
	unsigned id;

	io_uring_prep_read(sqe, sockets[0], NULL, 0, (__u64)-1);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	queue(&op);
	send_message('q');
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&op, SIZE);
	ck_assert_uint_eq(op.flags & IORING_CQE_F_BUFFER, IORING_CQE_F_BUFFER);
	id = op.flags >> IORING_CQE_BUFFER_SHIFT;
	ck_assert_uint_lt(id, N);
	ck_assert(is_message(iou_buffers_at(buffers, id), 'q'));
}
END_TEST

START_TEST(test_no_buffer_left_is_enobufs_until_one_is_recycled)
{
	struct receiver receiver = { 0 };

	for (int i = 0; i < N; i++) {
		queue_receiver(&receiver, false);
		send_message('a');
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(receiver.result, SIZE);
	}
	send_message('a');
	queue_receiver(&receiver, false);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(receiver.result, -ENOBUFS);
	ck_assert_int_eq(receiver.n_messages, 0);
	ck_assert_int_eq(iou_buffers_recycle(buffers, 2), 0);
	ids_out &= ~(1U << 2);
	queue_receiver(&receiver, false);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(receiver.result, SIZE);
	ck_assert(is_message(iou_buffers_at(buffers, 2), 'a'));
	queue_receiver(&receiver, false);
	send_message('a');
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(receiver.result, -ENOBUFS);
}
END_TEST

START_TEST(test_all_buffers_are_apart_and_aligned)
{
	iou_buffers_t *many;

	ck_assert_int_eq(iou_buffers_new(iou, 65535, 3, 65, &many), 0);
	for (unsigned i = 0; i < 3; i++) {
		char *data = iou_buffers_at(many, i);

		ck_assert_uint_eq((uintptr_t)data % 64, 0);
		ck_assert(i == 0 || data - (char *)iou_buffers_at(many, i - 1) >= 65);
		memset(data, 'x', 65);
	}
	ck_assert_int_eq(iou_buffers_free(many), 0);
}
END_TEST

START_TEST(test_multishot_receives_go_on_as_long_as_buffers_are_recycled)
{
	struct receiver receiver = { .is_recycling = true };
	int n = fewer(1000, 100);

	queue_receiver(&receiver, true);
	for (int i = 0; i < n; i++) {
		send_message((char)('a' + i % 26));
		if (i % 3 == 2)
			run_until(&receiver, i + 1);
	}
	run_until(&receiver, n);
	ck_assert_int_eq(receiver.n_messages, n);
	ck_assert_int_eq(receiver.n_wrong, 0);
	end_receiver(&receiver);
}
END_TEST

START_TEST(test_a_multishot_receive_ends_without_buffers)
{
	struct receiver receiver = { 0 };

	queue_receiver(&receiver, true);
	for (int i = 0; i <= N; i++)
		send_message((char)('a' + i));
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(receiver.n_messages, N);
	ck_assert_int_eq(receiver.n_wrong, 0);
	ck_assert(receiver.is_done);
	ck_assert_int_eq(receiver.result, -ENOBUFS);
}
END_TEST

/* Several wait, and each gets one of its own. */
START_TEST(test_who_waits_has_taken_no_buffer)
{
	struct receiver receivers[2 * N] = { 0 };
	int n_messages = 0, n_short = 0;

	for (int i = 0; i < 2 * N; i++)
		queue_receiver(&receivers[i], false);
	ck_assert_int_eq(turn(iou), 0);
	for (int i = 0; i < 2 * N; i++)
		send_message('a');
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < 2 * N; i++) {
		n_messages += receivers[i].result == SIZE;
		n_short += receivers[i].result == -ENOBUFS;
		ck_assert_int_eq(receivers[i].n_wrong, 0);
	}
	ck_assert_int_eq(n_messages, N);
	ck_assert_int_eq(n_short, N);
}
END_TEST

START_TEST(test_bad_values_are_einval_and_leave_the_handle_alone)
{
	iou_buffers_t *other = buffers;

	ck_assert_int_eq(iou_buffers_new(NULL, 1, 1, 1, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 65536, 1, 1, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 1, 0, 1, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 1, 32769, 1, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 1, 1, 0, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 1, 1, (size_t)INT_MAX + 1, &other), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, 1, 1, 1, NULL), -EINVAL);
	ck_assert_int_eq(iou_buffers_new(iou, GROUP, 1, 1, &other), -EEXIST);
	/* There valgrind does not ask the kernel. */
	if (!RUNNING_ON_VALGRIND)
		ck_assert_int_eq(iou_buffers_new(iou, 1, 32768, INT_MAX, &other), -ENOMEM);
	ck_assert_ptr_eq(other, buffers);
	ck_assert_ptr_null(iou_buffers_at(NULL, 0));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(iou_buffers_at(buffers, N));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(iou_buffers_recycle(NULL, 0), -EINVAL);
	ck_assert_int_eq(iou_buffers_recycle(buffers, N), -EINVAL);
	ck_assert_int_eq(iou_buffers_free(NULL), 0);
}
END_TEST

START_TEST(test_a_group_may_be_freed_and_made_again)
{
	struct receiver receiver = { 0 };

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(iou_buffers_free(buffers), 0);
		queue_receiver(&receiver, false);
		send_message('a');
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(receiver.result, -ENOBUFS);
		make();
		queue_receiver(&receiver, false);
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(receiver.result, SIZE);
	}
}
END_TEST

static int provide(unsigned opcode)
{
	static char memory[SIZE];
	struct seen op;
	struct io_uring_sqe *sqe = take(iou, &op);

	if (opcode == IORING_OP_PROVIDE_BUFFERS)
		io_uring_prep_provide_buffers(sqe, memory, SIZE, 1, GROUP, 0);
	else
		io_uring_prep_remove_buffers(sqe, 1, GROUP);
	queue(&op);
	ck_assert_int_eq(iou_run(iou), 0);
	return op.result;
}

START_TEST(test_requests_cannot_change_the_group)
{
	ck_assert_int_eq(provide(IORING_OP_PROVIDE_BUFFERS), -EINVAL);
	ck_assert_int_eq(provide(IORING_OP_REMOVE_BUFFERS), -EINVAL);
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	ck_assert_int_ge(provide(IORING_OP_PROVIDE_BUFFERS), 0);
	buffers = NULL;
	ck_assert_int_eq(iou_buffers_new(iou, GROUP, N, SIZE, &buffers), -EEXIST);
	ck_assert_int_eq(provide(IORING_OP_REMOVE_BUFFERS), 1);
	make();
}
END_TEST

/* Lifetime. */

START_TEST(test_a_group_is_not_freed_while_something_may_take_from_it)
{
	struct receiver receiver = { 0 };

	queue_receiver(&receiver, true);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_buffers_free(buffers), -EBUSY);
	send_message('a');
	run_until(&receiver, 1);
	ck_assert_int_eq(receiver.n_messages, 1);
	ck_assert_int_eq(iou_buffers_free(buffers), -EBUSY);
	ck_assert_int_eq(iou_op_cancel(iou, receiver.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(receiver.result, -ECANCELED);
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	make();
}
END_TEST

static int free_it(void *data)
{
	*(int *)data = iou_buffers_free(buffers);
	return 0;
}

START_TEST(test_a_group_may_be_freed_in_the_final_callback)
{
	iou_op_t *op = iou_op_new(iou);
	int r = 1;

	io_uring_prep_recv(op->sqe, sockets[0], NULL, SIZE, 0);
	op->sqe->flags |= IOSQE_BUFFER_SELECT;
	op->sqe->buf_group = GROUP;
	iou_op_queue(iou, op, free_it, &r);
	send_message('a');
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(r, 0);
	make();
}
END_TEST

START_TEST(test_what_was_received_outlives_the_instance)
{
	struct receiver receiver = { 0 };

	queue_receiver(&receiver, true);
	send_message('a');
	run_until(&receiver, 1);
	send_message('b');
	ck_assert_ptr_null(iou_free(iou));
	ck_assert(receiver.is_done);
	ck_assert_int_eq(receiver.n_wrong, 0);
	ck_assert(is_message(iou_buffers_at(buffers, 0), 'a'));
	ck_assert_int_eq(iou_buffers_recycle(buffers, 0), -ESHUTDOWN);
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	iou = open_iou(8);
	make();
}
END_TEST

static int make_one(void *data)
{
	iou_buffers_t *other = NULL;

	*(int *)data = iou_buffers_new(iou, 1, 1, 1, &other);
	return 0;
}

PROMISE(9, nothing_new_is_provided_while_freeing)
{
	int r = 0;

	ck_assert_int_eq(iou_post(iou, make_one, &r), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(r, -ESHUTDOWN);
	iou = open_iou(8);
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	make();
}
END_TEST

static void *use_elsewhere(void *data)
{
	int *results = data;
	iou_buffers_t *other = NULL;

	results[0] = iou_buffers_new(iou, 1, 1, 1, &other);
	results[1] = iou_buffers_free(buffers);
	return NULL;
}

START_TEST(test_providing_is_for_the_loop_thread)
{
	int results[2];

	ck_assert_int_eq(iou_flush(iou), 0);
	pthread_join(start_thread(use_elsewhere, results), NULL);
	ck_assert_int_eq(results[0], -EPERM);
	ck_assert_int_eq(results[1], -EPERM);
}
END_TEST

static void be_child(struct findings *findings, const void *data)
{
	iou_buffers_t *other = NULL;

	FIND_EQ(findings, iou_buffers_new(iou, 1, 1, 1, &other), -EOWNERDEAD);
	FIND(findings, !iou_buffers_at(buffers, 0));
	FIND_EQ(findings, errno, EOWNERDEAD);
	FIND_EQ(findings, iou_buffers_recycle(buffers, 0), -EOWNERDEAD);
	if (data)
		FIND(findings, !iou_free(iou));
	FIND_EQ(findings, iou_buffers_free(buffers), 0);
	if (!data)
		FIND(findings, !iou_free(iou));
	buffers = NULL;
	find_no_leak(findings);
}

PROMISE(14, a_child_has_no_part_in_provided_buffers)
{
	struct receiver receiver = { .is_recycling = true };

	queue_receiver(&receiver, true);
	ck_assert_int_eq(turn(iou), 0);
	in_child(be_child, NULL);
	in_child(be_child, &receiver);
	for (int i = 0; i < 3 * N; i++) {
		send_message((char)('a' + i));
		run_until(&receiver, i + 1);
	}
	ck_assert_int_eq(receiver.n_messages, 3 * N);
	ck_assert_int_eq(receiver.n_wrong, 0);
	end_receiver(&receiver);
}
END_TEST

/* Resizing. */

/* So many of the buffers are out, and the ring of entries is at different places, each time. */
static void keep_all_while_resizing(void)
{
	struct receiver receiver = { 0 };

	for (int i = 0; i < 20; i++) {
		int n_out = i % (N + 1);

		for (int k = 0; k < n_out; k++) {
			queue_receiver(&receiver, false);
			send_message('a');
			ck_assert_int_eq(iou_run(iou), 0);
			ck_assert_int_eq(receiver.result, SIZE);
		}
		ck_assert_int_eq(iou_resize(iou, i % 2 ? 64 : 4), 0);
		/* The others, and no more. */
		for (int k = n_out; k <= N; k++) {
			queue_receiver(&receiver, false);
			send_message('a');
			ck_assert_int_eq(iou_run(iou), 0);
			ck_assert_int_eq(receiver.result, k < N ? SIZE : -ENOBUFS);
			ck_assert_int_eq(receiver.n_wrong, 0);
		}
		/* What has been left in the socket. */
		ck_assert_int_eq(recv(sockets[0], (char[SIZE]){ 0 }, SIZE, MSG_DONTWAIT), SIZE);
		for (unsigned k = 0; k < N; k++)
			ck_assert_int_eq(iou_buffers_recycle(buffers, (k * 3 + (unsigned)i) % N), 0);
		ids_out = 0;
	}
}

PROMISE(10, resize_keeps_provided_buffers)
{
	keep_all_while_resizing();
}
END_TEST

PROMISE(10, a_ring_that_is_built_anew_has_the_provided_buffers)
{
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(iou_buffers_free(buffers), 0);
	iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_ANY_THREAD });
	make();
	keep_all_while_resizing();
}
END_TEST

PROMISE(10, resize_before_the_first_run_keeps_provided_buffers)
{
	struct receiver receiver = { 0 };

	ck_assert_int_eq(iou_resize(iou, 32), 0);
	for (int i = 0; i <= N; i++) {
		queue_receiver(&receiver, false);
		send_message('a');
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_int_eq(receiver.result, i < N ? SIZE : -ENOBUFS);
	}
}
END_TEST

PROMISE(10, resize_in_flight_keeps_provided_buffers)
{
	struct receiver receiver = { .is_recycling = true };

	queue_receiver(&receiver, true);
	for (int i = 0; i < 50; i++) {
		int r;

		send_message((char)('a' + i % 26));
		ck_assert_int_ge(turn(iou), 0);
		r = iou_resize(iou, i % 2 ? 64 : 4);
		/* A kernel that cannot has refused. */
		ck_assert(r == 0 || r == -EBUSY);
	}
	run_until(&receiver, 50);
	ck_assert_int_eq(receiver.n_messages, 50);
	ck_assert_int_eq(receiver.n_wrong, 0);
	end_receiver(&receiver);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("buffers");

	tcase_add_checked_fixture(
		ADD_CASE(s, "buffers", test_a_receive_takes_a_buffer, test_a_read_takes_a_buffer,
			 test_no_buffer_left_is_enobufs_until_one_is_recycled, test_all_buffers_are_apart_and_aligned,
			 test_multishot_receives_go_on_as_long_as_buffers_are_recycled,
			 test_a_multishot_receive_ends_without_buffers, test_who_waits_has_taken_no_buffer,
			 test_bad_values_are_einval_and_leave_the_handle_alone,
			 test_a_group_may_be_freed_and_made_again, test_requests_cannot_change_the_group),
		set_up, tear_down);
	tcase_add_checked_fixture(
		ADD_CASE(s, "lifetime", test_a_group_is_not_freed_while_something_may_take_from_it,
			 test_a_group_may_be_freed_in_the_final_callback, test_what_was_received_outlives_the_instance,
			 test_g9_nothing_new_is_provided_while_freeing, test_providing_is_for_the_loop_thread,
			 test_g14_a_child_has_no_part_in_provided_buffers),
		set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "resize", test_g10_resize_keeps_provided_buffers,
					   test_g10_a_ring_that_is_built_anew_has_the_provided_buffers,
					   test_g10_resize_before_the_first_run_keeps_provided_buffers,
					   test_g10_resize_in_flight_keeps_provided_buffers),
				  set_up, tear_down);
	return s;
}
