/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G16: on the threads engine chains break, and cancellations hit, where they do in the kernel. */
#include "promises.h"

#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define GROUP 5

/* Nobody provides fewer bytes than these hold. */
static char buffers[2][16];

static void provide(iou_t *iou, struct seen *seen)
{
	io_uring_prep_provide_buffers(take(iou, seen), buffers, sizeof(buffers[0]), 2, GROUP, 0);
	queue(seen);
}

static void select_buffer(struct seen *seen, unsigned flags)
{
	seen->op->sqe->flags = (__u8)(IOSQE_BUFFER_SELECT | flags);
	seen->op->sqe->buf_group = GROUP;
}

/* A buffer takes n bytes of what it has room for: whether what is linked behind goes on. */
static int behind_read_of(int engine, bool is_vectored, size_t n)
{
	struct iovec iov = { NULL, sizeof(buffers[0]) };
	struct seen provided, read, next;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });

	open_pipe(fds);
	put_bytes(fds[1], "0123456789abcdef", n);
	provide(iou, &provided);
	if (is_vectored)
		io_uring_prep_readv(take(iou, &read), fds[0], &iov, 1, (__u64)-1);
	else
		io_uring_prep_read(take(iou, &read), fds[0], NULL, sizeof(buffers[0]), (__u64)-1);
	select_buffer(&read, IOSQE_IO_LINK);
	queue(&read);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&read, (int)n);
	close_pipe(fds);
	return next.result;
}

/* Likewise of a receive that is to wait for all, and gets what there is as the other end closes. */
static int behind_receive_of(int engine, size_t n)
{
	struct seen provided, receive, next;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	put_bytes(fds[1], "0123456789abcdef", n);
	ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
	provide(iou, &provided);
	io_uring_prep_recv(take(iou, &receive), fds[0], NULL, sizeof(buffers[0]), MSG_WAITALL);
	select_buffer(&receive, IOSQE_IO_LINK);
	queue(&receive);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&receive, (int)n);
	close_pipe(fds);
	return next.result;
}

PROMISE(16, read_that_does_not_fill_its_buffer_breaks_the_chain)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		for (int is_vectored = 0; is_vectored < 2; is_vectored++) {
			ck_assert_int_eq(behind_read_of(engine, is_vectored, 16), 0);
			ck_assert_int_eq(behind_read_of(engine, is_vectored, 10), -ECANCELED);
		}
		ck_assert_int_eq(behind_receive_of(engine, 16), 0);
		ck_assert_int_eq(behind_receive_of(engine, 10), -ECANCELED);
	}
}
END_TEST

static void receive(iou_t *iou, struct seen *seen, int fd, int flags)
{
	io_uring_prep_recv(take(iou, seen), fd, NULL, 0, flags);
	select_buffer(seen, 0);
	queue(seen);
}

static void turn_until_called(const struct seen *seen)
{
	while (!seen->n_calls)
		ck_assert_int_ge(iou_run_once(seen->iou, NULL), 0);
}

/* Who has filled a buffer in part keeps it, and says so when it is cancelled. */
PROMISE(16, buffer_that_is_filled_in_part_is_nobody_elses)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		struct seen provided, all, some;
		int fds[2], others[2], n_left;
		iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, others), 0);
		provide(iou, &provided);
		receive(iou, &all, fds[0], MSG_WAITALL);
		put_bytes(fds[1], "0123", 4);
		do
			ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 }), 0);
		while (ioctl(fds[0], FIONREAD, &n_left) == 0 && n_left);
		put_bytes(others[1], "abcdefgh", 8);
		receive(iou, &some, others[0], 0);
		turn_until_called(&some);
		ck_assert_int_eq(iou_op_cancel(iou, all.op), 0);
		run_and_free(iou);
		expect(&some, 8);
		ck_assert_uint_eq(some.flags & ~IORING_CQE_F_SOCK_NONEMPTY, IORING_CQE_F_BUFFER | 1U << 16);
		expect(&all, 4);
		ck_assert_uint_eq(all.flags, IORING_CQE_F_BUFFER);
		ck_assert_int_eq(memcmp(buffers[0], "0123", 4), 0);
		ck_assert_int_eq(memcmp(buffers[1], "abcdefgh", 8), 0);
		close_pipe(fds);
		close_pipe(others);
	}
}
END_TEST

/* A multishot poll has been told what is there, and epoll tells once. Then somebody begins to wait for it. */
static void told_of_ten_bytes(iou_t *iou, struct seen *poll, const int *fds)
{
	io_uring_prep_poll_multishot(take(iou, poll), fds[0], POLLIN);
	queue(poll);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	put_bytes(fds[1], "0123456789", 10);
	turn_until_called(poll);
}

PROMISE(16, who_waits_first_need_not_be_told)
{
	struct seen poll, late;
	char bytes[16];
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	told_of_ten_bytes(iou, &poll, fds);
	io_uring_prep_recv(take(iou, &late), fds[0], bytes, sizeof(bytes), 0);
	late.op->sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	queue(&late);
	turn_until_called(&late);
	expect(&late, 10);
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
}
END_TEST

/* It takes one buffer's bytes, and then there is no buffer for the rest. */
PROMISE(16, multishot_receive_that_runs_out_of_buffers_need_not_be_told)
{
	struct seen poll, provided, receive;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	told_of_ten_bytes(iou, &poll, fds);
	io_uring_prep_provide_buffers(take(iou, &provided), buffers, 4, 1, GROUP, 0);
	queue(&provided);
	io_uring_prep_recv_multishot(take(iou, &receive), fds[0], NULL, 0, 0);
	select_buffer(&receive, 0);
	queue(&receive);
	while (receive.n_calls < 2)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_int_eq(receive.result, -ENOBUFS);
	ck_assert_uint_eq(receive.flags, 0);
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
}
END_TEST

/* There is nothing else to read, and will not be. */
PROMISE(16, urgent_data_ends_the_wait_before_a_first_receive)
{
	struct seen receive;
	char byte = 0;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	support_connect_tcp(fds, 0);
	io_uring_prep_recv(take(iou, &receive), fds[0], &byte, 1, MSG_OOB);
	receive.op->sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	queue(&receive);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 1000000 }), 0);
	ck_assert_int_eq(send(fds[1], "u", 1, MSG_OOB), 1);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_sec = 20 }), 1);
	expect(&receive, 1);
	ck_assert_int_eq(byte, 'u');
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
}
END_TEST

static void expect_idle(iou_t *iou)
{
	const int64_t enough_us = 20000 * support_slowness();

	ck_assert_int_lt(cost_of_waiting(iou, 200000000, support_thread_cpu_us, enough_us), enough_us);
}

/* Input does not end the wait for errors, which would look for them again and again. */
PROMISE(05, wait_for_errors_uses_no_cpu_while_there_is_input)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct msghdr message = { 0 };
	int from = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	struct seen errors;
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	ck_assert_int_eq(bind(to, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(to, (struct sockaddr *)&address, &length), 0);
	io_uring_prep_recvmsg(take(iou, &errors), to, &message, MSG_ERRQUEUE);
	queue(&errors);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	ck_assert_int_eq(sendto(from, "x", 1, 0, (struct sockaddr *)&address, length), 1);
	expect_idle(iou);
	ck_assert_ptr_null(iou_free(iou));
	expect(&errors, -ECANCELED);
	close(from);
	close(to);
}
END_TEST

/* One that was never connected has hung up, for ever. */
PROMISE(05, wait_for_errors_of_what_has_hung_up_uses_no_cpu)
{
	struct msghdr message = { 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct seen errors;
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	io_uring_prep_recvmsg(take(iou, &errors), fd, &message, MSG_ERRQUEUE);
	queue(&errors);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	expect_idle(iou);
	ck_assert_ptr_null(iou_free(iou));
	expect(&errors, -ECANCELED);
	close(fd);
}
END_TEST

/* It is ready for ever, and nothing comes: who receives again and again waits on, as with the kernel. */
PROMISE(05, multishot_receive_from_a_datagram_socket_that_was_shut_down_uses_no_cpu)
{
	struct seen provided, receive;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(shutdown(fds[0], SHUT_RD), 0);
	io_uring_prep_provide_buffers(take(iou, &provided), buffers, 4, 1, GROUP, 0);
	queue(&provided);
	io_uring_prep_recv_multishot(take(iou, &receive), fds[0], NULL, 0, 0);
	select_buffer(&receive, 0);
	queue(&receive);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect_idle(iou);
	ck_assert_ptr_null(iou_free(iou));
	expect(&receive, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* A pipe that has been spliced knows no RWF_NOWAIT any more. */
static void open_spliced_pipe(int *fds)
{
	int others[2];
	char c = 0;

	open_pipe(fds);
	open_pipe(others);
	put_bytes(others[1], "x", 1);
	ck_assert_int_eq(splice(others[0], NULL, fds[1], NULL, 1, 0), 1);
	ck_assert_int_eq(splice(fds[0], NULL, others[1], NULL, 1, 0), 1);
	close_pipe(others);
	ck_assert_int_eq(preadv2(fds[0], &(struct iovec){ &c, 1 }, 1, -1, RWF_NOWAIT), -1);
	ck_assert_int_eq(errno, EOPNOTSUPP);
	ck_assert_int_eq(pwritev2(fds[1], &(struct iovec){ &c, 1 }, 1, -1, RWF_NOWAIT), -1);
	ck_assert_int_eq(errno, EOPNOTSUPP);
}

/* Two wait for what is enough for one: the other one waits on, and nobody is stuck with it. */
PROMISE(16, reads_of_a_spliced_pipe_wait_without_a_worker)
{
	struct seen first, second;
	char bytes[2];
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	open_spliced_pipe(fds);
	io_uring_prep_read(take(iou, &first), fds[0], &bytes[0], 1, (__u64)-1);
	queue(&first);
	io_uring_prep_read(take(iou, &second), fds[0], &bytes[1], 1, (__u64)-1);
	queue(&second);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	put_bytes(fds[1], "x", 1);
	ck_assert_int_eq(iou_run_once(iou, NULL), 1);
	expect(first.n_calls ? &first : &second, 1);
	ck_assert_ptr_null(iou_free(iou));
	expect(first.result == 1 ? &second : &first, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* Likewise for writes: there is room for one page. */
PROMISE(16, writes_to_a_spliced_pipe_wait_without_a_worker)
{
	static char bytes[65536];
	struct seen writes[2];
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	open_spliced_pipe(fds);
	ck_assert_int_eq(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
	for (int i = 0; i < 2; i++) {
		io_uring_prep_write(take(iou, &writes[i]), fds[1], "0123", 4, (__u64)-1);
		queue(&writes[i]);
	}
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	ck_assert_int_eq(read(fds[0], bytes, 4096), 4096);
	while (!writes[0].n_calls && !writes[1].n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&writes[0], 4);
	ck_assert_int_eq(read(fds[0], bytes, sizeof(bytes) - 4096), sizeof(bytes) - 4096);
	ck_assert_int_eq(read(fds[0], bytes, 8), 4);
	ck_assert_int_eq(memcmp(bytes, "0123", 4), 0);
	close_pipe(fds);
}
END_TEST

/* The timeout that counts goes, and with it its own limit, which was to be looked at next. */
PROMISE(16, timeout_that_counts_may_be_limited)
{
	struct __kernel_timespec hour = { .tv_sec = 3600 }, day = { .tv_sec = 86400 };
	struct seen counting, limit, later, nop;
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS });

	io_uring_prep_timeout(take(iou, &counting), &hour, 1, 0);
	counting.op->sqe->flags |= IOSQE_IO_LINK;
	queue(&counting);
	io_uring_prep_link_timeout(take(iou, &limit), &hour, 0);
	queue(&limit);
	io_uring_prep_timeout(take(iou, &later), &day, 2, 0);
	queue(&later);
	queue_nop(iou, &nop, 0);
	run_and_free(iou);
	expect(&counting, 0);
	expect(&limit, -ECANCELED);
	expect(&later, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("threads-links");

	ADD_CASE(s, "buffers", test_g16_read_that_does_not_fill_its_buffer_breaks_the_chain,
		 test_g16_buffer_that_is_filled_in_part_is_nobody_elses);
	ADD_CASE(s, "told", test_g16_who_waits_first_need_not_be_told,
		 test_g16_multishot_receive_that_runs_out_of_buffers_need_not_be_told,
		 test_g05_multishot_receive_from_a_datagram_socket_that_was_shut_down_uses_no_cpu,
		 test_g05_wait_for_errors_uses_no_cpu_while_there_is_input,
		 test_g05_wait_for_errors_of_what_has_hung_up_uses_no_cpu,
		 test_g16_urgent_data_ends_the_wait_before_a_first_receive);
	ADD_CASE(s, "spliced", test_g16_reads_of_a_spliced_pipe_wait_without_a_worker,
		 test_g16_writes_to_a_spliced_pipe_wait_without_a_worker);
	ADD_CASE(s, "limits", test_g16_timeout_that_counts_may_be_limited);
	return s;
}
