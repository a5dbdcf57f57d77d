/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G16: what both engines do alike and the random programs of differential/ come by rarely or never. Runs on either, so
 * that the kernel is the judge.
 */
#include "promises.h"

#include "children.h"

#include <linux/futex.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* By number: newer than the oldest liburing. */
#define OP_FUTEX_WAIT 51
#define FUTEX2_U32_PRIVATE 0x82U
#define NOP_INJECT_RESULT 1U

/* Requests that name others. */

static void name(iou_t *iou, struct seen *seen, unsigned how, __u64 target)
{
	static struct __kernel_timespec later = { .tv_sec = 7200 };
	struct io_uring_sqe *sqe = take(iou, seen);

	switch (how) {
	case 0:
		io_uring_prep_cancel64(sqe, target, 0);
		break;
	case 1:
		io_uring_prep_poll_remove(sqe, target);
		break;
	case 2:
		io_uring_prep_poll_update(sqe, target, 0, POLLIN | POLLOUT, IORING_POLL_UPDATE_EVENTS);
		break;
	case 3:
		io_uring_prep_timeout_remove(sqe, target, 0);
		break;
	default:
		io_uring_prep_timeout_update(sqe, &later, target, 0);
	}
	queue(seen);
}

enum { N_WAYS = 5 };

/* All is submitted at once: what the first member has given way to is about to begin, and not there yet. */
PROMISE(16, who_is_linked_is_not_found_before_it_has_begun)
{
	struct __kernel_timespec hour = { .tv_sec = 3600 };
	struct seen nop, waiting, ways[N_WAYS];
	iou_t *iou = open_iou(32);
	int fds[2];
	char byte;

	open_pipe(fds);
	queue_nop(iou, &nop, IOSQE_IO_LINK);
	if (_i == 0)
		queue_read(iou, &waiting, fds[0], &byte, 1, 0);
	else if (_i == 1)
		io_uring_prep_poll_add(take(iou, &waiting), fds[0], POLLIN);
	else
		io_uring_prep_timeout(take(iou, &waiting), &hour, 0, 0);
	if (_i > 0)
		queue(&waiting);
	for (unsigned i = 0; i < N_WAYS; i++)
		name(iou, &ways[i], i, waiting.op->sqe->user_data);
	while (n_seen < 1 + N_WAYS)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	for (int i = 0; i < N_WAYS; i++)
		expect(&ways[i], -ENOENT);
	ck_assert_int_eq(waiting.n_calls, 0);
	ck_assert_int_eq(iou_op_cancel(iou, waiting.op), 0);
	run_and_free(iou);
	expect(&waiting, -ECANCELED);
	close_pipe(fds);
}
END_TEST

/* What ends while something else ends it. */

PROMISE(16, timeout_that_counts_takes_its_own_limit_along)
{
	struct __kernel_timespec hour = { .tv_sec = 3600 }, day = { .tv_sec = 86400 };
	struct seen counting, limit, nop;
	iou_t *iou = open_iou(8);

	io_uring_prep_timeout(take(iou, &counting), &hour, 1, 0);
	counting.op->sqe->flags = IOSQE_IO_LINK;
	queue(&counting);
	io_uring_prep_link_timeout(take(iou, &limit), &day, 0);
	queue(&limit);
	queue_nop(iou, &nop, 0);
	run_and_free(iou);
	expect(&counting, 0);
	expect(&limit, -ECANCELED);
	expect(&nop, 0);
}
END_TEST

/* A result, and no signal that came in between. */
PROMISE(16, result_that_looks_like_an_interruption_is_one_all_the_same)
{
	struct seen nop;
	iou_t *iou = open_iou(8);

	prepare((take(iou, &nop), nop.op), IORING_OP_NOP, -1, NULL, (unsigned)-EINTR, 0);
	nop.op->sqe->rw_flags = NOP_INJECT_RESULT;
	queue(&nop);
	run_and_free(iou);
	expect(&nop, -EINTR);
}
END_TEST

/* Readiness. */

static void run_till(struct seen *seen, int n_calls)
{
	while (seen->n_calls < n_calls)
		ck_assert_int_ge(iou_run_once(seen->iou, NULL), 0);
}

/* What a descriptor was waited for with tells nothing of the next file that gets its number. */
PROMISE(16, next_file_of_the_same_number_is_waited_for_anew)
{
	struct seen poll_op, read_op;
	int first[2], second[2];
	char byte = 0;
	iou_t *iou = open_iou(8);

	open_pipe(first);
	io_uring_prep_poll_multishot(take(iou, &poll_op), first[0], POLLIN);
	queue(&poll_op);
	queue_read(iou, &read_op, first[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, poll_op.op), 0);
	run_till(&poll_op, 1);
	put_bytes(first[1], "a", 1);
	run_till(&read_op, 1);
	close(first[1]);
	open_pipe(second);
	ck_assert_int_eq(dup2(second[0], first[0]), first[0]);
	queue_read(iou, &read_op, first[0], &byte, 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	put_bytes(second[1], "b", 1);
	run_and_free(iou);
	expect(&read_op, 1);
	ck_assert_int_eq(byte, 'b');
	close(first[0]);
	close_pipe(second);
}
END_TEST

/* Nor does the number itself say how much there is. */
PROMISE(16, wild_descriptor_is_ebadf_and_costs_no_memory)
{
	struct rusage before, after;
	struct seen poll_op;
	iou_t *iou = open_iou(8);

	getrusage(RUSAGE_SELF, &before);
	io_uring_prep_poll_multishot(take(iou, &poll_op), 1 << 24, POLLIN);
	queue(&poll_op);
	run_and_free(iou);
	expect(&poll_op, -EBADF);
	getrusage(RUSAGE_SELF, &after);
	ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 64 * 1024);
}
END_TEST

/* Its error queue has something, and nobody takes it: readable it is not. */
static int open_with_an_error_queued(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int gone = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd pollfd = { .fd = fd };
	char byte;

	ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
	ck_assert_int_eq(bind(gone, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(gone, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, length), 0);
	close(gone);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	return fd;
}

PROMISE(05, waiting_for_a_socket_that_has_errors_queued_costs_no_cpu)
{
	const int64_t enough_us = 100000 * support_slowness();
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	struct seen recv_op;
	char byte;
	iou_t *iou = open_iou(8);
	int fd = open_with_an_error_queued();

	io_uring_prep_recv(take(iou, &recv_op), fd, &byte, 1, 0);
	queue(&recv_op);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_lt(cost_of_waiting(iou, 500000000, support_cpu_us, enough_us), enough_us);
	/* It takes notice of the next datagram: it is connected to itself from now on. */
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(send(fd, "y", 1, 0), 1);
	run_and_free(iou);
	expect(&recv_op, 1);
	close(fd);
}
END_TEST

/* Many wait for one descriptor, and for another that is the same file: each comes when its time has come. */
PROMISE(16, those_who_share_a_descriptor_do_not_disturb_each_other)
{
	static char bytes[1 << 20];
	struct seen reads[3], write_op, poll_op;
	int fds[2], again;
	iou_t *iou = open_iou(16);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	again = dup(fds[0]);
	while (send(fds[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	io_uring_prep_send(take(iou, &write_op), fds[0], "w", 1, 0);
	queue(&write_op);
	io_uring_prep_poll_multishot(take(iou, &poll_op), fds[0], POLLIN);
	queue(&poll_op);
	for (int i = 0; i < 3; i++)
		queue_read(iou, &reads[i], i == 1 ? again : fds[0], &bytes[i], 1, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, reads[1].op), 0);
	run_till(&reads[1], 1);
	close(again);
	put_bytes(fds[1], "r", 1);
	run_till(&poll_op, 1);
	while (reads[0].n_calls + reads[2].n_calls < 1)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	put_bytes(fds[1], "r", 1);
	while (reads[0].n_calls + reads[2].n_calls < 2)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_int_eq(write_op.n_calls, 0);
	while (recv(fds[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	run_till(&write_op, 1);
	ck_assert_int_eq(iou_op_cancel(iou, poll_op.op), 0);
	run_and_free(iou);
	expect(&write_op, 1);
	expect(&reads[0], 1);
	expect(&reads[1], -ECANCELED);
	expect(&reads[2], 1);
	close_pipe(fds);
}
END_TEST

/* A file on a disk is ready for what it has, and what it never has is not waited for. */
PROMISE(16, poll_of_a_file_is_over_at_once)
{
	static const struct {
		unsigned events;
		int result;
	} polls[] = { { POLLIN, POLLIN }, { POLLIN | POLLOUT, POLLIN | POLLOUT }, { POLLPRI, -EINVAL } };
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct seen once, often;
	iou_t *iou = open_iou(16);

	io_uring_prep_poll_add(take(iou, &once), fd, polls[_i].events);
	queue(&once);
	io_uring_prep_poll_multishot(take(iou, &often), fd, polls[_i].events);
	queue(&often);
	run_and_free(iou);
	expect(&once, polls[_i].result);
	expect(&often, polls[_i].result);
	close(fd);
}
END_TEST

/* Where pipes are not to be waited for they are not. */
PROMISE(16, splice_does_not_wait_for_pipes_if_told_so)
{
	struct seen empty, full;
	int from[2], to[2];
	static char bytes[1 << 16];
	iou_t *iou = open_iou(8);

	open_pipe(from);
	open_pipe(to);
	put_bytes(to[1], bytes, sizeof(bytes));
	io_uring_prep_splice(take(iou, &empty), from[0], -1, to[1], -1, 1, SPLICE_F_NONBLOCK);
	queue(&empty);
	ck_assert_int_eq(iou_run(iou), 0);
	put_bytes(from[1], "x", 1);
	io_uring_prep_splice(take(iou, &full), from[0], -1, to[1], -1, 1, SPLICE_F_NONBLOCK);
	queue(&full);
	run_and_free(iou);
	expect(&empty, -EAGAIN);
	expect(&full, -EAGAIN);
	close_pipe(from);
	close_pipe(to);
}
END_TEST

/* Lengths. */

#define CHUNK (4U << 20)
#define N_CHUNKS 800
#define MOST 0x7ffff000 /* MAX_RW_COUNT */

/* More than the kernel transfers at once: into the same memory again and again. */
PROMISE(16, no_transfer_is_longer_than_a_result_can_tell)
{
	static struct iovec iov[N_CHUNKS];
	int fd = memfd_create("holes", MFD_CLOEXEC);
	char *chunk = malloc(CHUNK);
	struct seen read_op;
	iou_t *iou = open_iou(8);

	ck_assert_ptr_nonnull(chunk);
	ck_assert_int_eq(ftruncate(fd, (off_t)CHUNK * N_CHUNKS), 0);
	for (int i = 0; i < N_CHUNKS; i++)
		iov[i] = (struct iovec){ chunk, CHUNK };
	io_uring_prep_readv(take(iou, &read_op), fd, iov, N_CHUNKS, 0);
	queue(&read_op);
	run_and_free(iou);
	expect(&read_op, MOST);
	free(chunk);
	close(fd);
}
END_TEST

/* Teardown. */

/* The pipe has more than the other end takes, and nobody reads there. */
PROMISE(09, splice_to_a_peer_that_never_reads_ends_with_the_instance)
{
	static char bytes[1 << 20];
	struct seen splice_op;
	int sockets[2], fds[2];
	iou_t *iou = open_iou(8);

	support_connect_tcp(sockets, 4096);
	ck_assert_int_eq(setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &(int){ 4096 }, sizeof(int)), 0);
	open_pipe(fds);
	ck_assert_int_gt(fcntl(fds[1], F_SETPIPE_SZ, sizeof(bytes)), 0);
	put_bytes(fds[1], bytes, sizeof(bytes));
	io_uring_prep_splice(take(iou, &splice_op), fds[0], -1, sockets[0], -1, sizeof(bytes), 0);
	queue(&splice_op);
	for (int i = 0; i < 20; i++)
		ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = 10000000 }), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(splice_op.n_calls, 1);
	close_pipe(fds);
	close_pipe(sockets);
}
END_TEST

static void queue_futex_wait(iou_t *iou, struct seen *seen, uint32_t *word)
{
	struct io_uring_sqe *sqe = take(iou, seen);

	sqe->opcode = OP_FUTEX_WAIT;
	sqe->fd = (int)FUTEX2_U32_PRIVATE;
	sqe->addr = (__u64)(uintptr_t)word;
	sqe->addr3 = UINT32_MAX;
	queue(seen);
}

/* The only thread there is has one that waits for ever. */
PROMISE(03, futex_is_not_waited_for_behind_another)
{
	struct seen blocked, wait;
	uint32_t words[2] = { 0 };
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .iowq_bounded = 1, .iowq_unbounded = 1 });

	queue_futex_wait(iou, &blocked, &words[0]);
	queue_futex_wait(iou, &wait, &words[1]);
	ck_assert_int_eq(turn(iou), 0);
	__atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	run_till(&wait, 1);
	ck_assert(wait.result == 0 || wait.result == -EAGAIN);
	ck_assert_int_eq(iou_op_cancel(iou, blocked.op), 0);
	run_and_free(iou);
	expect(&blocked, -ECANCELED);
}
END_TEST

/* The first class goes before all others, and is not for everybody. */
static void ask_for_priority(struct findings *findings, const void *data)
{
	static const int classes[] = { 0, 1, 2, 3, 4 }, results[] = { 1, -EPERM, 1, 1, -EINVAL };
	const int nobody = 65534, fd = *(const int *)data;
	struct seen seen[5];
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	iou_t *iou;

	if (geteuid() == 0)
		FIND_EQ(findings, setresuid(nobody, nobody, nobody), 0);
	iou = open_iou(8);
	for (int i = 0; i < 10; i++) {
		struct io_uring_sqe *sqe = take(iou, &seen[i % 5]);

		if (i < 5)
			io_uring_prep_read(sqe, fd, &byte, 1, 0);
		else
			io_uring_prep_readv(sqe, fd, &iov, 1, 0);
		sqe->ioprio = (__u16)(classes[i % 5] << 13);
		queue(&seen[i % 5]);
		FIND_EQ(findings, iou_run(iou), 0);
		FIND_EQ(findings, seen[i % 5].result, results[i % 5]);
	}
	iou_free(iou);
}

PROMISE(16, priority_is_for_who_may_have_it)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, "x", 1), 1);
	in_child(ask_for_priority, &fd);
	close(fd);
}
END_TEST

static void *flush_and_leave(void *data)
{
	return (void *)(intptr_t)iou_flush(data);
}

/* One has the only thread, and the others wait for it, or look from time to time. */
PROMISE(09, who_waits_for_a_thread_is_let_go_of_when_the_owner_has_gone)
{
	const int make = 0, remove = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct seen waits[3], changes[20];
	int fd = memfd_create("file", MFD_CLOEXEC);
	uint32_t word = 0;
	void *result;
	iou_t *iou = open_with((iou_config_t){ .entries = 32, .iowq_bounded = 1, .iowq_unbounded = 1 });

	for (int i = 0; i < 3; i++)
		queue_futex_wait(iou, &waits[i], &word);
	for (int i = 0; i < 20; i++) {
		io_uring_prep_fallocate(take(iou, &changes[i]), fd, i % 2 ? remove : make, 0, 16 << 20);
		queue(&changes[i]);
	}
	pthread_join(start_thread(flush_and_leave, iou), &result);
	ck_assert_int_eq((intptr_t)result, 0);
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < 3; i++)
		expect(&waits[i], -ECANCELED);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(changes[i].n_calls, 1);
		ck_assert(changes[i].result == 0 || changes[i].result == -ECANCELED);
	}
	close(fd);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("engines");
	TCase *named = tcase_create("named"), *files = tcase_create("files");

	tcase_add_loop_test(named, test_g16_who_is_linked_is_not_found_before_it_has_begun, 0, 3);
	suite_add_tcase(s, named);
	ADD_CASE(s, "results", test_g16_timeout_that_counts_takes_its_own_limit_along,
		 test_g16_result_that_looks_like_an_interruption_is_one_all_the_same,
		 test_g16_no_transfer_is_longer_than_a_result_can_tell, test_g16_priority_is_for_who_may_have_it);
	tcase_add_loop_test(files, test_g16_poll_of_a_file_is_over_at_once, 0, 3);
	suite_add_tcase(s, files);
	ADD_CASE(s, "readiness", test_g16_those_who_share_a_descriptor_do_not_disturb_each_other,
		 test_g16_splice_does_not_wait_for_pipes_if_told_so,
		 test_g16_next_file_of_the_same_number_is_waited_for_anew,
		 test_g16_wild_descriptor_is_ebadf_and_costs_no_memory,
		 test_g05_waiting_for_a_socket_that_has_errors_queued_costs_no_cpu);
	ADD_CASE(s, "teardown", test_g09_splice_to_a_peer_that_never_reads_ends_with_the_instance,
		 test_g03_futex_is_not_waited_for_behind_another,
		 test_g09_who_waits_for_a_thread_is_let_go_of_when_the_owner_has_gone);
	return s;
}
