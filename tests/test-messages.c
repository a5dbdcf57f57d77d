/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ring messages (IORING_OP_MSG_RING) from instance to instance, the same on both engines. */
#include "promises.h"

#include "children.h"

#include <sys/resource.h>
#include <sys/socket.h>

#define FLAGS_PASS (1U << 1) /* IORING_MSG_RING_FLAGS_PASS */
#define ALL_FLAGS 3U

/* More than what a socket has room for, and many times more than a CQ of the smallest size. */
enum { N_MANY = 2000, N_KEPT = 16 };

struct message {
	__u64 user_data;
	int res;
	unsigned flags;
};

/* What foreign_cqe has been given: the first few, and whether their user_data counts from 0. */
struct inbox {
	int n;
	int n_out_of_order;
	struct message kept[N_KEPT];
};

static int receive(const struct io_uring_cqe *cqe, void *data)
{
	struct inbox *inbox = data;

	if (inbox->n < N_KEPT)
		inbox->kept[inbox->n] = (struct message){ cqe->user_data, cqe->res, cqe->flags };
	inbox->n_out_of_order += cqe->user_data != (__u64)inbox->n;
	inbox->n++;
	return 0;
}

static iou_t *from, *to;
static struct inbox inbox;
static int n_descriptors;

static iou_t *open_target(unsigned entries)
{
	inbox = (struct inbox){ 0 };
	return open_with((iou_config_t){ .entries = entries, .foreign_cqe = receive, .foreign_cqe_data = &inbox });
}

static void set_up(void)
{
	n_descriptors = support_descriptors();
	from = open_iou(8);
	to = open_target(8);
	ck_assert_int_eq(iou_flush(to), 0);
}

/* Nothing is left open. */
static void tear_down(void)
{
	ck_assert_ptr_null(iou_free(from));
	ck_assert_ptr_null(iou_free(to));
	ck_assert_int_eq(support_descriptors(), n_descriptors);
}

static bool is_on_threads(iou_t *iou)
{
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_info(iou, &info), 0);
	return info.engine == IOU_ENGINE_THREADS;
}

static int fd_of(iou_t *iou)
{
	return iou_ring(iou)->ring_fd;
}

static void queue_message(struct seen *sender, int fd, int res, __u64 user_data)
{
	io_uring_prep_msg_ring(take(from, sender), fd, (unsigned)res, user_data, 0);
	queue(sender);
}

/* What an op with this SQE comes to. */
static int result_of(const struct io_uring_sqe *sqe)
{
	struct seen sender;
	struct io_uring_sqe *own = take(from, &sender);
	__u64 identity = own->user_data;

	*own = *sqe;
	own->user_data = identity;
	queue(&sender);
	ck_assert_int_eq(iou_run(from), 0);
	ck_assert_int_eq(sender.n_calls, 1);
	return sender.result;
}

static int send_to(int fd, int res, __u64 user_data)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_msg_ring(&sqe, fd, (unsigned)res, user_data, 0);
	return result_of(&sqe);
}

/* Turns until so many have come. */
static void receive_all(int n)
{
	const struct timespec long_enough = { .tv_sec = 5 };

	ck_assert_int_eq(iou_hold(to), 0);
	while (inbox.n < n)
		ck_assert_int_gt(iou_run_once(to, &long_enough), 0);
	ck_assert_int_eq(iou_release(to), 0);
	ck_assert_int_eq(turn(to), 0);
	ck_assert_int_eq(inbox.n, n);
	ck_assert_int_eq(iou_pending(to), 0);
}

static void expect_message(const struct message *message, __u64 user_data, int res, unsigned flags)
{
	ck_assert_uint_eq(message->user_data, user_data);
	ck_assert_int_eq(message->res, res);
	ck_assert_uint_eq(message->flags, flags);
}

/* What is sent, and what comes. */

START_TEST(test_a_message_is_a_foreign_completion)
{
	struct io_uring_sqe sqe = { 0 };

	ck_assert_int_eq(send_to(fd_of(to), 42, 4711), 0);
	ck_assert_int_eq(send_to(fd_of(to), -1, ~0ULL), 0);
	io_uring_prep_msg_ring(&sqe, fd_of(to), 7, 0, 0);
	sqe.msg_ring_flags = FLAGS_PASS;
	sqe.file_index = 0xdeadbeef;
	ck_assert_int_eq(result_of(&sqe), 0);
	ck_assert_int_eq(iou_pending(to), 0);
	ck_assert_int_eq(turn(to), 3);
	ck_assert_int_eq(turn(to), 0);
	ck_assert_int_eq(inbox.n, 3);
	expect_message(&inbox.kept[0], 4711, 42, 0);
	expect_message(&inbox.kept[1], ~0ULL, -1, 0);
	expect_message(&inbox.kept[2], 0, 7, 0xdeadbeef);
	ck_assert_uint_eq(stats_of(to).n_foreign, 3);
}
END_TEST

static int n_own;

static int count_own(const struct io_uring_cqe *cqe, void *data)
{
	(void)data;
	n_own += cqe->res == 5 && cqe->user_data == 6;
	return 0;
}

/* Also by a duplicate. What the kernel has not told of when the run ends comes with the next. */
START_TEST(test_an_instance_can_send_to_itself)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 1, .foreign_cqe = count_own });
	int fd = fcntl(fd_of(iou), F_DUPFD_CLOEXEC, 0);
	struct seen senders[N_KEPT];

	n_own = 0;
	for (int i = 0; i < N_KEPT; i++) {
		io_uring_prep_msg_ring(take(iou, &senders[i]), i % 2 ? fd_of(iou) : fd, 5, 6, 0);
		queue(&senders[i]);
	}
	ck_assert_int_eq(iou_run(iou), 0);
	for (int i = 0; i < N_KEPT; i++)
		expect(&senders[i], 0);
	while (turn(iou) > 0)
		;
	ck_assert_int_eq(n_own, N_KEPT);
	ck_assert_ptr_null(iou_free(iou));
	close(fd);
}
END_TEST

START_TEST(test_nobody_has_to_be_told)
{
	iou_t *iou = open_iou(4);

	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(send_to(fd_of(iou), 5, 6), 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_uint_eq(stats_of(iou).n_foreign, 1);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

static bool is_readable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1;
}

START_TEST(test_foreign_loops_are_told_of_messages)
{
	int fd = iou_fd(to);

	ck_assert_int_ge(fd, 0);
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(send_to(fd_of(to), 1, 0), 0);
	ck_assert_int_eq(send_to(fd_of(to), 1, 1), 0);
	ck_assert(is_readable(fd));
	ck_assert_int_eq(turn(to), 2);
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(send_to(fd_of(to), 1, 2), 0);
	ck_assert(is_readable(fd));
	ck_assert_int_eq(turn(to), 1);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
}
END_TEST

static int stop(const struct io_uring_cqe *cqe, void *data)
{
	(void)data;
	return cqe->res;
}

START_TEST(test_g06_a_negative_result_ends_the_run_and_keeps_the_rest)
{
	iou_t *iou = open_with((iou_config_t){ .foreign_cqe = stop });

	ck_assert_int_eq(iou_flush(iou), 0);
	for (int i = 1; i < 4; i++)
		ck_assert_int_eq(send_to(fd_of(iou), -i, 0), 0);
	for (int i = 1; i < 4; i++)
		ck_assert_int_eq(turn(iou), -i);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* What is no message. */

/* The kernel has said so. */
static int wanted_for(unsigned flags, unsigned index, __u64 slot)
{
	if (flags & ~FLAGS_PASS || slot)
		return -EINVAL;
	return index && !flags ? -EINVAL : 0;
}

/* With any combination of these: before the target runs as well, but that a good one is -EBADFD then. */
static int try_combinations(int fd, int good)
{
	struct io_uring_sqe sqe = { 0 };
	int n = 0;

	io_uring_prep_msg_ring(&sqe, fd, 5, 6, 0);
	for (unsigned i = 0; i < 8 * (ALL_FLAGS + 2); i++) {
		sqe.file_index = i & 1;
		sqe.addr3 = i >> 1 & 1 ? 1 : i >> 2 & 1 ? 1ULL << 32 : 0;
		sqe.msg_ring_flags = i >> 3;

		int wanted = wanted_for(i >> 3, sqe.file_index, (unsigned)sqe.addr3);

		ck_assert_int_eq(result_of(&sqe), wanted == 0 ? good : wanted);
		n += wanted == 0;
	}
	return n;
}

START_TEST(test_combinations_are_refused_as_by_the_kernel)
{
	iou_t *later = open_iou(4);
	struct io_uring_sqe sqe = { 0 };

	receive_all(try_combinations(fd_of(to), 0));
	try_combinations(fd_of(later), -EBADFD);
	io_uring_prep_msg_ring(&sqe, fd_of(to), 5, 6, 0);
	sqe.addr = 2;
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	sqe.addr = 1ULL << 32;
	ck_assert_int_eq(result_of(&sqe), 0);
	sqe.buf_index = 1;
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	ck_assert_ptr_null(iou_free(later));
}
END_TEST

/* A file is not sent on threads; what is wrong with the request says the kernel's errno there, too. */
START_TEST(test_files_are_sent_by_the_kernel_alone)
{
	iou_t *later = open_iou(4);
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING, .fd = fd_of(to), .addr = 1, .file_index = 1 };
	int fds[2], slots[2] = { -1, -1 };

	open_pipe(fds);
	slots[0] = fds[0];
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	ck_assert_int_eq(iou_register_files(from, slots, 2), 0);
	ck_assert_int_eq(iou_register_files(to, (int[]){ -1 }, 1), 0);
	sqe.addr3 = 1;
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	sqe.len = 1;
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	sqe.len = 0;
	sqe.addr3 = 2;
	sqe.fd = fd_of(later);
	ck_assert_int_eq(result_of(&sqe), -EBADFD);
	sqe.fd = fd_of(from);
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	sqe.fd = fd_of(to);
	sqe.addr3 = 0;
	ck_assert_int_eq(result_of(&sqe), is_on_threads(from) ? -EOPNOTSUPP : 0);
	ck_assert_ptr_null(iou_free(later));
	close_pipe(fds);
}
END_TEST

/* Where they could go to. */

START_TEST(test_what_is_no_ring_is_ebadfd_and_what_is_no_file_ebadf)
{
	int fds[2], sockets[2], out_of_range = 1 << 20;
	struct io_uring_sqe sqe = { 0 };

	open_pipe(fds);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets), 0);
	ck_assert_int_eq(send_to(fds[0], 1, 2), -EBADFD);
	ck_assert_int_eq(send_to(fds[1], 1, 2), -EBADFD);
	ck_assert_int_eq(send_to(sockets[0], 1, 2), -EBADFD);
	ck_assert_int_eq(send_to(-1, 1, 2), -EBADF);
	ck_assert_int_eq(send_to(out_of_range, 1, 2), -EBADF);
	io_uring_prep_msg_ring(&sqe, 0, 1, 2, 0);
	sqe.flags = IOSQE_FIXED_FILE;
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	ck_assert_int_eq(iou_register_files(from, fds, 1), 0);
	ck_assert_int_eq(result_of(&sqe), -EBADFD);
	close_pipe(fds);
	close_pipe(sockets);
}
END_TEST

START_TEST(test_a_ring_is_no_file_to_be_registered)
{
	iou_t *later = open_iou(4);

	ck_assert_int_eq(iou_register_files(from, (int[]){ fd_of(to) }, 1), -EBADF);
	ck_assert_int_eq(iou_register_files(from, (int[]){ fd_of(later) }, 1), -EBADF);
	ck_assert_ptr_null(iou_free(later));
}
END_TEST

START_TEST(test_a_target_takes_none_before_its_first_run)
{
	iou_t *later = open_iou(4);
	struct seen nop;

	ck_assert_int_eq(send_to(fd_of(later), 1, 2), -EBADFD);
	ck_assert_int_eq(iou_flush(later), 0);
	ck_assert_int_eq(send_to(fd_of(later), 1, 2), 0);
	ck_assert_ptr_null(iou_free(later));
	later = open_iou(4);
	queue_nop(later, &nop, 0);
	ck_assert_int_eq(iou_run(later), 0);
	ck_assert_int_eq(send_to(fd_of(later), 1, 2), 0);
	ck_assert_ptr_null(iou_free(later));
}
END_TEST

/* A descriptor of the program's own keeps the kernel's ring, to which nobody listens; the socket has no other end. */
START_TEST(test_a_target_that_was_freed_takes_none)
{
	iou_t *freed = open_iou(4);
	int fd, copy;

	ck_assert_int_eq(iou_flush(freed), 0);
	fd = fd_of(freed);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(send_to(copy, 1, 2), 0);
	ck_assert_ptr_null(iou_free(freed));
	ck_assert_int_eq(send_to(fd, 1, 2), -EBADF);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(send_to(copy, 1, 2), is_on_threads(from) ? -EBADFD : 0);
	close(copy);
}
END_TEST

/* Each has what the other is not. */
START_TEST(test_engines_do_not_understand_each_other)
{
	iou_t *rings[2], *threads[2];

	for (int i = 0; i < 2; i++) {
		rings[i] = open_with((iou_config_t){ .engine = IOU_ENGINE_URING });
		threads[i] = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });
		ck_assert_int_eq(iou_flush(rings[i]), 0);
		ck_assert_int_eq(iou_flush(threads[i]), 0);
	}

	iou_t *usual = from;

	from = rings[0];
	ck_assert_int_eq(send_to(fd_of(threads[0]), 1, 2), -EBADFD);
	ck_assert_int_eq(send_to(fd_of(rings[1]), 1, 2), 0);
	from = threads[0];
	ck_assert_int_eq(send_to(fd_of(rings[0]), 1, 2), -EBADFD);
	ck_assert_int_eq(send_to(fd_of(threads[1]), 1, 2), 0);
	from = usual;
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_null(iou_free(rings[i]));
		ck_assert_ptr_null(iou_free(threads[i]));
	}
}
END_TEST

/* What the program does meanwhile. */

START_TEST(test_g10_messages_survive_a_resize_of_the_target)
{
	int n = 0;

	for (unsigned entries = 1; entries <= 256; entries *= 4) {
		ck_assert_int_eq(send_to(fd_of(to), 1, (__u64)n++), 0);
		ck_assert_int_eq(iou_resize(to, entries), 0);
		ck_assert_int_eq(send_to(fd_of(to), 1, (__u64)n++), 0);
	}
	receive_all(n);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
}
END_TEST

START_TEST(test_g08_cancelling_everything_leaves_messages_alone)
{
	struct seen cancel;

	io_uring_prep_cancel64(take(to, &cancel), 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	queue(&cancel);
	ck_assert_int_eq(iou_run(to), 0);
	expect(&cancel, 0);
	io_uring_prep_cancel_fd(take(to, &cancel), fd_of(to), IORING_ASYNC_CANCEL_ALL);
	queue(&cancel);
	ck_assert_int_eq(iou_run(to), 0);
	expect(&cancel, 0);
	ck_assert_int_eq(iou_cancel_all(to), 0);
	ck_assert_int_eq(iou_drain(to, NULL), 0);
	ck_assert_int_eq(send_to(fd_of(to), 1, 0), 0);
	receive_all(1);
}
END_TEST

/* It counts as that op's completion, or as nobody's; in any case the op has one, and all goes on. */
START_TEST(test_g01_message_with_the_name_of_an_op_leaves_the_loop_alive)
{
	struct seen poll, nop;
	int fds[2];

	open_pipe(fds);
	for (int i = 0; i < 20; i++) {
		io_uring_prep_poll_add(take(to, &poll), fds[0], POLLIN);
		queue(&poll);
		ck_assert_int_eq(iou_flush(to), 0);
		ck_assert_int_eq(send_to(fd_of(to), 42, poll.op->sqe->user_data), 0);
		turn(to);
		if (!poll.n_calls)
			ck_assert_int_eq(iou_op_cancel(to, poll.op), 0);
		queue_nop(to, &nop, 0);
		ck_assert_int_eq(iou_run(to), 0);
		expect(&nop, 0);
		ck_assert_int_eq(poll.n_calls, 1);
		ck_assert(poll.result == 42 || poll.result == -ECANCELED);
	}
	close_pipe(fds);
}
END_TEST

/* The kernel refuses. On threads it does no harm, and does not keep the loop busy. */
START_TEST(test_what_programs_write_to_a_ring_is_no_message)
{
	char bytes[100] = "abc";

	ck_assert_int_ge(iou_fd(to), 0);
	ck_assert_int_eq(send_to(fd_of(to), 1, 0), 0);
	ck_assert_int_eq(write(fd_of(to), bytes, 3), is_on_threads(to) ? 3 : -1);
	ck_assert_int_eq(write(fd_of(to), bytes, sizeof(bytes)), is_on_threads(to) ? (int)sizeof(bytes) : -1);
	ck_assert_int_eq(send_to(fd_of(to), 1, 1), 0);
	receive_all(2);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
	ck_assert_int_eq(shutdown(fd_of(to), SHUT_RDWR), is_on_threads(to) ? 0 : -1);
	turn(to);
	ck_assert(!is_readable(iou_fd(to)));
	ck_assert_int_eq(send_to(fd_of(to), 1, 2), is_on_threads(to) ? -EBADFD : 0);
}
END_TEST

/* As soon as there are any. */
START_TEST(test_without_descriptors_there_is_no_ring_until_there_are)
{
	struct rlimit limit, none;
	int fd;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	fd = fd_of(to);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(send_to(fd, 1, 0), -EBADF);
	ck_assert_int_eq(send_to(fd_of(to), 1, 0), 0);
	ck_assert_int_eq(fd_of(to), fd_of(to));
	ck_assert(fcntl(fd_of(to), F_GETFD) & FD_CLOEXEC);
	receive_all(1);
}
END_TEST

/* Many. */

static struct seen many[N_MANY];

static void queue_many(void)
{
	for (int i = 0; i < N_MANY; i++)
		queue_message(&many[i], fd_of(to), i, (__u64)i);
}

/* The kernel's ring has room for all of them. On threads who sends waits, and goes on where it was. */
START_TEST(test_g03_no_message_is_lost_in_the_smallest_queue)
{
	ck_assert_int_eq(iou_resize(to, 1), 0);
	queue_many();
	ck_assert_int_eq(iou_flush(from), 0);
	while (iou_pending(from)) {
		ck_assert_int_ge(turn(from), 0);
		ck_assert_int_ge(turn(to), 0);
	}
	receive_all(N_MANY);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
	for (int i = 0; i < N_MANY; i++)
		expect(&many[i], 0);
}
END_TEST

START_TEST(test_g08_who_waits_to_send_can_be_cancelled)
{
	int n_sent = 0;

	queue_many();
	if (is_on_threads(from)) {
		ck_assert_int_ge(turn(from), 0);
		ck_assert_int_gt(iou_cancel_all(from), 0);
	}
	ck_assert_int_eq(iou_run(from), 0);
	for (; n_sent < N_MANY && many[n_sent].result == 0; n_sent++)
		expect(&many[n_sent], 0);
	ck_assert_int_gt(n_sent, 100);
	for (int i = n_sent; i < N_MANY; i++)
		expect(&many[i], -ECANCELED);
	receive_all(n_sent);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
}
END_TEST

/* The target, or who waits to send to it. */
START_TEST(test_g09_either_side_is_freed_while_messages_wait)
{
	iou_t *freed = _i ? to : from;
	int copy = fcntl(fd_of(to), F_DUPFD_CLOEXEC, 0);

	for (int i = 0; i < N_MANY; i++)
		queue_message(&many[i], copy, i, (__u64)i);
	ck_assert_int_ge(turn(from), 0);
	ck_assert_ptr_null(iou_free(freed));
	if (_i) {
		ck_assert_int_eq(iou_run(from), 0);
		for (int i = 0; i < N_MANY; i++)
			ck_assert(many[i].result == 0 || many[i].result == -EBADFD);
		to = NULL;
	} else {
		for (int i = 0; i < N_MANY; i++)
			ck_assert(many[i].result == 0 || many[i].result == -ECANCELED);
		from = NULL;
	}
	for (int i = 0; i < N_MANY; i++)
		ck_assert_int_eq(many[i].n_calls, 1);
	close(copy);
}
END_TEST

/* Threads. */

enum { N_SENDERS = 3, LONGEST_BATCH = 40 };

struct crowd {
	iou_t *iou;
	sem_t has_run;
	int fd;
	int n_wanted; /* from each */
	int n[N_SENDERS];
	int n_wrong;
};

struct sender {
	iou_t *iou;
	struct crowd *crowd;
	int number;
	int fd;
	int n_failed;
};

static int take_from_crowd(const struct io_uring_cqe *cqe, void *data)
{
	struct crowd *crowd = data;
	unsigned number = (unsigned)(cqe->user_data >> 32);
	int n_all = 0;

	if (number >= N_SENDERS || (int)cqe->user_data != crowd->n[number]++ || cqe->res != (int)cqe->user_data)
		crowd->n_wrong++;
	for (int i = 0; i < N_SENDERS; i++)
		n_all += crowd->n[i];
	return n_all == N_SENDERS * crowd->n_wanted ? iou_release(crowd->iou) : 0;
}

static int count_failure(void *data)
{
	struct seen *seen = data;

	seen->n_calls++;
	seen->result = seen->result < 0 ? seen->result : seen->op->result;
	return 0;
}

/* In batches, between which the target may fall asleep or not. */
static void *send_many(void *data)
{
	struct sender *sender = data;
	iou_t *iou = sender->iou;
	struct seen batch[LONGEST_BATCH] = { 0 };
	unsigned random = (unsigned)sender->number;

	for (int n = 0; n < sender->crowd->n_wanted;) {
		for (int i = 0; i <= n % LONGEST_BATCH && n < sender->crowd->n_wanted; i++, n++) {
			batch[i].op = iou_op_new(iou);
			io_uring_prep_msg_ring(batch[i].op->sqe, sender->fd, (unsigned)n,
					       (__u64)sender->number << 32 | (unsigned)n, 0);
			iou_op_queue(iou, batch[i].op, count_failure, &batch[i]);
		}
		sender->n_failed += iou_run(iou) != 0;
		random = random * 1103515245 + 12345;
		if (random >> 16 & 1)
			nanosleep(&(struct timespec){ .tv_nsec = random >> 16 & 0xffff }, NULL);
	}
	for (int i = 0; i < LONGEST_BATCH; i++)
		sender->n_failed += batch[i].result != 0;
	return NULL;
}

static void *run_target(void *data)
{
	struct crowd *crowd = data;

	crowd->n_wrong += iou_flush(crowd->iou) != 0;
	crowd->fd = fd_of(crowd->iou);
	sem_post(&crowd->has_run);
	crowd->n_wrong += iou_run(crowd->iou) != 0;
	return NULL;
}

START_TEST(test_g05_messages_between_threads_come_once_and_in_order)
{
	struct crowd crowd = { .n_wanted = fewer(20000, 500) };
	struct sender senders[N_SENDERS];
	pthread_t target, threads[N_SENDERS];

	crowd.iou =
		open_with((iou_config_t){ .entries = 2, .foreign_cqe = take_from_crowd, .foreign_cqe_data = &crowd });
	ck_assert_int_eq(iou_hold(crowd.iou), 0);
	sem_init(&crowd.has_run, 0, 0);
	target = start_thread(run_target, &crowd);
	wait_for_sem(&crowd.has_run);
	for (int i = 0; i < N_SENDERS; i++) {
		senders[i] = (struct sender){ open_iou(8), &crowd, i, crowd.fd, 0 };
		threads[i] = start_thread(send_many, &senders[i]);
	}
	for (int i = 0; i < N_SENDERS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(senders[i].n_failed, 0);
	}
	pthread_join(target, NULL);
	ck_assert_int_eq(crowd.n_wrong, 0);
	for (int i = 0; i < N_SENDERS; i++)
		ck_assert_int_eq(crowd.n[i], crowd.n_wanted);
	for (int i = 0; i < N_SENDERS; i++)
		ck_assert_ptr_null(iou_free(senders[i].iou));
	ck_assert_ptr_null(iou_free(crowd.iou));
	sem_destroy(&crowd.has_run);
}
END_TEST

/* Processes. */

static void free_both(struct findings *findings, const void *n_opened)
{
	int n_left = support_descriptors() - *(const int *)n_opened;

	FIND(findings, iou_free(to) == NULL);
	FIND(findings, iou_free(from) == NULL);
	FIND_EQ(findings, support_descriptors(), n_left);
}

START_TEST(test_g14_child_that_frees_leaves_messages_alone)
{
	int n_opened;

	ck_assert_int_eq(send_to(fd_of(to), 1, 0), 0);
	n_opened = support_descriptors() - n_descriptors;
	in_child(free_both, &n_opened);
	ck_assert_int_eq(send_to(fd_of(to), 1, 1), 0);
	receive_all(2);
	ck_assert_int_eq(inbox.n_out_of_order, 0);
}
END_TEST

static void send_as_child(struct findings *findings, const void *data)
{
	iou_t *iou = iou_new(4);
	iou_op_t *op = iou_op_new(iou);
	struct seen seen = { .op = op };

	io_uring_prep_msg_ring(op->sqe, *(const int *)data, 7, 0, 0);
	iou_op_queue(iou, op, see, &seen);
	FIND_EQ(findings, iou_run(iou), 0);
	FIND_EQ(findings, seen.result, 0);
	FIND(findings, iou_free(iou) == NULL);
}

START_TEST(test_children_can_send)
{
	int fd = fd_of(to);

	in_child(send_as_child, &fd);
	receive_all(1);
	expect_message(&inbox.kept[0], 0, 7, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("messages");

	tcase_add_checked_fixture(
		ADD_CASE(s, "messages", test_a_message_is_a_foreign_completion, test_an_instance_can_send_to_itself,
			 test_nobody_has_to_be_told, test_foreign_loops_are_told_of_messages,
			 test_g06_a_negative_result_ends_the_run_and_keeps_the_rest,
			 test_combinations_are_refused_as_by_the_kernel, test_files_are_sent_by_the_kernel_alone),
		set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "targets", test_what_is_no_ring_is_ebadfd_and_what_is_no_file_ebadf,
					   test_a_ring_is_no_file_to_be_registered,
					   test_a_target_takes_none_before_its_first_run,
					   test_a_target_that_was_freed_takes_none),
				  set_up, tear_down);
	if (support_has_ring())
		tcase_add_checked_fixture(ADD_CASE(s, "engines", test_engines_do_not_understand_each_other), set_up,
					  tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "meanwhile", test_g10_messages_survive_a_resize_of_the_target,
					   test_g08_cancelling_everything_leaves_messages_alone,
					   test_g01_message_with_the_name_of_an_op_leaves_the_loop_alive,
					   test_what_programs_write_to_a_ring_is_no_message),
				  set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "many", test_g03_no_message_is_lost_in_the_smallest_queue,
					   test_g08_who_waits_to_send_can_be_cancelled,
					   test_g05_messages_between_threads_come_once_and_in_order),
				  set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "processes", test_g14_child_that_frees_leaves_messages_alone,
					   test_children_can_send),
				  set_up, tear_down);

	TCase *tcase = tcase_create("freed");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_g09_either_side_is_freed_while_messages_wait, 0, 2);
	suite_add_tcase(s, tcase);
	if (!support_has_ring())
		tcase_add_checked_fixture(ADD_CASE(s, "descriptors",
						   test_without_descriptors_there_is_no_ring_until_there_are),
					  set_up, tear_down);
	return s;
}
