/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "sqe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Newer than the oldest liburing that we build with. */
#define OP_READV_FIXED 60
#define OP_WRITEV_FIXED 61
#define SEND_VECTORIZED (1U << 5)
/* Largest transfer of the kernel: INT_MAX, less what is over a whole page. */
#define MOST 0x7ffff000

static struct io_uring_sqe filled(void)
{
	struct io_uring_sqe sqe;

	memset(&sqe, 0xa5, sizeof(sqe));
	sqe.opcode = IORING_OP_WRITE;
	return sqe;
}

START_TEST(test_copy_is_the_same)
{
	struct io_uring_sqe from = filled(), to;

	iou__sqe_copy(&to, &from);
	ck_assert_mem_eq(&to, &from, sizeof(to));
}
END_TEST

static const struct update {
	unsigned opcode, len;
	bool is_refused;
} updates[] = {
	{ IORING_OP_POLL_REMOVE, 0, false },
	{ IORING_OP_POLL_REMOVE, IORING_POLL_UPDATE_EVENTS, false },
	{ IORING_OP_POLL_REMOVE, IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI, false },
	{ IORING_OP_POLL_REMOVE, IORING_POLL_UPDATE_USER_DATA, true },
	{ IORING_OP_POLL_REMOVE, IORING_POLL_UPDATE_USER_DATA | IORING_POLL_UPDATE_EVENTS, true },
	{ IORING_OP_POLL_REMOVE, ~0U, true },
	{ IORING_OP_POLL_ADD, IORING_POLL_UPDATE_USER_DATA, false },
	{ IORING_OP_READ, IORING_POLL_UPDATE_USER_DATA, false },
	{ IORING_OP_TIMEOUT_REMOVE, IORING_POLL_UPDATE_USER_DATA, false },
};

START_TEST(test_update_of_an_identity_becomes_one_that_is_refused)
{
	const struct update *update = &updates[_i];
	struct io_uring_sqe from = { .opcode = (__u8)update->opcode, .len = update->len, .fd = 3, .addr = 4 };
	struct io_uring_sqe before = from, to;

	iou__sqe_copy(&to, &from);
	ck_assert_int_eq(to.opcode != from.opcode, update->is_refused);
	ck_assert_mem_eq(&from, &before, sizeof(from));
	if (update->is_refused)
		ck_assert_uint_eq(to.opcode, 255);
}
END_TEST

static struct iovec iovecs[] = { { NULL, 60 }, { NULL, 40 }, { NULL, 0 } };

static const struct rule {
	const char *what;
	struct io_uring_sqe sqe;
	int result;
	bool is_success;
} rules[] = {
	{ "nop", { .opcode = IORING_OP_NOP }, 0, true },
	{ "nop, positive", { .opcode = IORING_OP_NOP }, 5, true },
	{ "nop, -EIO", { .opcode = IORING_OP_NOP }, -EIO, false },
	{ "nop, the most negative", { .opcode = IORING_OP_NOP }, INT_MIN, false },
	{ "nop, -ETIME", { .opcode = IORING_OP_NOP }, -ETIME, false },
	{ "openat", { .opcode = IORING_OP_OPENAT, .len = 0600 }, 3, true },
	{ "accept", { .opcode = IORING_OP_ACCEPT }, 3, true },
	{ "read, all", { .opcode = IORING_OP_READ, .len = 100 }, 100, true },
	{ "read, short", { .opcode = IORING_OP_READ, .len = 100 }, 99, false },
	{ "read, end of file", { .opcode = IORING_OP_READ, .len = 100 }, 0, false },
	{ "read, of nothing", { .opcode = IORING_OP_READ, .len = 0 }, 0, true },
	{ "read, error", { .opcode = IORING_OP_READ, .len = 100 }, -EBADF, false },
	{ "read, buffer chosen", { .opcode = IORING_OP_READ, .len = 100, .flags = IOSQE_BUFFER_SELECT }, 10, true },
	{ "write, all", { .opcode = IORING_OP_WRITE, .len = 100 }, 100, true },
	{ "write, short", { .opcode = IORING_OP_WRITE, .len = 100 }, 99, false },
	{ "read fixed, all", { .opcode = IORING_OP_READ_FIXED, .len = 100 }, 100, true },
	{ "read fixed, short", { .opcode = IORING_OP_READ_FIXED, .len = 100 }, 99, false },
	{ "write fixed, all", { .opcode = IORING_OP_WRITE_FIXED, .len = 100 }, 100, true },
	{ "write fixed, short", { .opcode = IORING_OP_WRITE_FIXED, .len = 100 }, 99, false },
	{ "readv, all", { .opcode = IORING_OP_READV, .addr = 1, .len = 3 }, 100, true },
	{ "readv, short", { .opcode = IORING_OP_READV, .addr = 1, .len = 3 }, 99, false },
	{ "readv, fewer iovecs", { .opcode = IORING_OP_READV, .addr = 1, .len = 1 }, 60, true },
	{ "readv, no iovecs", { .opcode = IORING_OP_READV, .addr = 0, .len = 0 }, 0, true },
	{ "readv, buffer chosen",
	  { .opcode = IORING_OP_READV, .addr = 1, .len = 1, .flags = IOSQE_BUFFER_SELECT },
	  10,
	  true },
	{ "writev, all", { .opcode = IORING_OP_WRITEV, .addr = 1, .len = 3 }, 100, true },
	{ "writev, short", { .opcode = IORING_OP_WRITEV, .addr = 1, .len = 3 }, 99, false },
	{ "splice, all", { .opcode = IORING_OP_SPLICE, .len = 100 }, 100, true },
	{ "splice, short", { .opcode = IORING_OP_SPLICE, .len = 100 }, 99, false },
	{ "tee, all", { .opcode = IORING_OP_TEE, .len = 100 }, 100, true },
	{ "tee, short", { .opcode = IORING_OP_TEE, .len = 100 }, 99, false },
	{ "send, short", { .opcode = IORING_OP_SEND, .len = 100 }, 99, true },
	{ "send, short of what it must",
	  { .opcode = IORING_OP_SEND, .len = 100, .msg_flags = MSG_WAITALL },
	  99,
	  false },
	{ "send, all it must", { .opcode = IORING_OP_SEND, .len = 100, .msg_flags = MSG_WAITALL }, 100, true },
	{ "send, short of the vectors it must",
	  { .opcode = IORING_OP_SEND, .addr = 1, .len = 3, .ioprio = SEND_VECTORIZED, .msg_flags = MSG_WAITALL },
	  99,
	  false },
	{ "send, all the vectors it must",
	  { .opcode = IORING_OP_SEND, .addr = 1, .len = 3, .ioprio = SEND_VECTORIZED, .msg_flags = MSG_WAITALL },
	  100,
	  true },
	{ "send, short of vectors",
	  { .opcode = IORING_OP_SEND, .addr = 1, .len = 3, .ioprio = SEND_VECTORIZED },
	  3,
	  true },
	{ "send without a copy, short", { .opcode = IORING_OP_SEND_ZC, .len = 100 }, 99, true },
	{ "send without a copy, short of what it must",
	  { .opcode = IORING_OP_SEND_ZC, .len = 100, .msg_flags = MSG_WAITALL },
	  99,
	  false },
	{ "send without a copy, short of the vectors it must",
	  { .opcode = IORING_OP_SEND_ZC, .addr = 1, .len = 3, .ioprio = SEND_VECTORIZED, .msg_flags = MSG_WAITALL },
	  99,
	  false },
	{ "recv, short", { .opcode = IORING_OP_RECV, .len = 100 }, 99, true },
	{ "recv, short of what it must",
	  { .opcode = IORING_OP_RECV, .len = 100, .msg_flags = MSG_WAITALL },
	  99,
	  false },
	{ "recv, all it must", { .opcode = IORING_OP_RECV, .len = 100, .msg_flags = MSG_WAITALL }, 100, true },
	{ "timeout", { .opcode = IORING_OP_TIMEOUT, .len = 1 }, -ETIME, false },
	{ "timeout, by count", { .opcode = IORING_OP_TIMEOUT, .len = 1 }, 0, true },
	{ "timeout, a success",
	  { .opcode = IORING_OP_TIMEOUT, .len = 1, .timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS },
	  -ETIME,
	  true },
	{ "timeout, cancelled",
	  { .opcode = IORING_OP_TIMEOUT, .len = 1, .timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS },
	  -ECANCELED,
	  false },
	{ "not a timeout", { .opcode = IORING_OP_READ, .timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS }, -ETIME, false },
};

START_TEST(test_success_is_what_the_rules_say)
{
	const struct rule *rule = &rules[_i];
	struct io_uring_sqe sqe = rule->sqe;

	if (sqe.addr)
		sqe.addr = (__u64)(uintptr_t)iovecs;
	ck_assert_msg(iou__sqe_succeeded(&sqe, rule->result) == rule->is_success, "%s", rule->what);
}
END_TEST

/*
 * The kernel as the oracle: an op that it counts as failed cancels what is linked behind it. What the ops work with is
 * a file of ten bytes, memory of 4 GiB that is hardly touched, a socket with three bytes to read and then its end, an
 * empty pipe.
 */
#define FILE_SIZE 10
#define MEMORY_SIZE (1ULL << 32)

static struct {
	struct io_uring ring;
	char *memory;
	int file, null, sockets[2], internet[2], pipe[2];
	struct iovec iovec, iovecs[2];
	struct msghdr msg;
	struct __kernel_timespec moment;
	bool has_ring;
} world;

static void set_up(void)
{
	world.has_ring = io_uring_queue_init(8, &world.ring, 0) == 0;
	world.memory =
		mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(world.memory, MAP_FAILED);
	world.file = memfd_create("ten bytes", MFD_CLOEXEC);
	ck_assert_int_eq(write(world.file, "0123456789", FILE_SIZE), FILE_SIZE);
	world.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, world.sockets), 0);
	ck_assert_int_eq(write(world.sockets[1], "abc", 3), 3);
	ck_assert_int_eq(shutdown(world.sockets[1], SHUT_WR), 0);
	support_connect_tcp(world.internet, 0);
	ck_assert_int_eq(pipe2(world.pipe, O_CLOEXEC), 0);
	world.moment = (struct __kernel_timespec){ .tv_nsec = 1 };
}

static void tear_down(void)
{
	const int fds[] = { world.file,        world.null,        world.sockets[0], world.sockets[1],
			    world.internet[0], world.internet[1], world.pipe[0],    world.pipe[1] };

	for (size_t i = 0; i < N(fds); i++)
		close(fds[i]);
	munmap(world.memory, MEMORY_SIZE);
	if (world.has_ring)
		io_uring_queue_exit(&world.ring);
}

static const struct iovec *iovec_of(size_t length)
{
	world.iovec = (struct iovec){ world.memory, length };
	return &world.iovec;
}

static struct msghdr *msg_of(size_t length)
{
	iovec_of(length);
	world.msg = (struct msghdr){ .msg_iov = &world.iovec, .msg_iovlen = 1 };
	return &world.msg;
}

static void read_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world.file, world.memory, FILE_SIZE, 0);
}

static void read_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world.file, world.memory, FILE_SIZE + 1, 0);
}

static void read_nothing(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world.file, world.memory, 0, 0);
}

static void readv_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_readv(sqe, world.file, iovec_of(FILE_SIZE), 1, 0);
}

static void readv_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_readv(sqe, world.file, iovec_of(FILE_SIZE + 1), 1, 0);
}

static void write_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, world.null, world.memory, 100, 0);
}

static void splice_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_splice(sqe, world.file, 0, world.pipe[1], -1, FILE_SIZE, 0);
}

static void splice_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_splice(sqe, world.file, 0, world.pipe[1], -1, FILE_SIZE + 1, 0);
}

static void recv_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, world.sockets[0], world.memory, 100, 0);
}

static void recv_short_of_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, world.sockets[0], world.memory, 100, MSG_WAITALL);
}

static void recv_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, world.sockets[0], world.memory, 3, MSG_WAITALL);
}

static void send_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_send(sqe, world.sockets[0], world.memory, 100, MSG_WAITALL);
}

/* More than the socket takes, and it does not wait. */
static void send_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_send(sqe, world.sockets[0], world.memory, 1 << 24, MSG_DONTWAIT);
}

/* In two halves. */
static void send_vectors(struct io_uring_sqe *sqe, size_t length, int flags)
{
	for (int i = 0; i < 2; i++)
		world.iovecs[i] = (struct iovec){ world.memory, length / 2 };
	io_uring_prep_send(sqe, world.sockets[0], world.iovecs, 2, flags);
	sqe->ioprio = SEND_VECTORIZED;
}

static void send_vectors_all(struct io_uring_sqe *sqe)
{
	send_vectors(sqe, 100, MSG_WAITALL);
}

static void send_vectors_short(struct io_uring_sqe *sqe)
{
	send_vectors(sqe, 1 << 24, MSG_DONTWAIT);
}

static void send_vectors_short_of_all(struct io_uring_sqe *sqe)
{
	send_vectors(sqe, 1 << 24, MSG_DONTWAIT | MSG_WAITALL);
}

static void send_zc_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_send_zc(sqe, world.internet[0], world.memory, 100, MSG_WAITALL, 0);
}

static void send_zc_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_send_zc(sqe, world.internet[0], world.memory, 1 << 24, MSG_DONTWAIT, 0);
}

static void send_zc_short_of_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_send_zc(sqe, world.internet[0], world.memory, 1 << 24, MSG_DONTWAIT | MSG_WAITALL, 0);
}

static void sendmsg_zc_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_sendmsg_zc(sqe, world.internet[0], msg_of(100), MSG_WAITALL);
}

static void sendmsg_zc_short_of_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_sendmsg_zc(sqe, world.internet[0], msg_of(1 << 24), MSG_DONTWAIT | MSG_WAITALL);
}

static void recvmsg_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_recvmsg(sqe, world.sockets[0], msg_of(100), 0);
}

static void recvmsg_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_recvmsg(sqe, world.sockets[0], msg_of(3), MSG_WAITALL);
}

static void timeout(struct io_uring_sqe *sqe)
{
	io_uring_prep_timeout(sqe, &world.moment, 0, 0);
}

static void timeout_success(struct io_uring_sqe *sqe)
{
	io_uring_prep_timeout(sqe, &world.moment, 0, IORING_TIMEOUT_ETIME_SUCCESS);
}

static void poll_update_missing(struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_remove(sqe, 12345);
}

static void fsync_null(struct io_uring_sqe *sqe)
{
	io_uring_prep_fsync(sqe, world.file, 0);
}

static void close_none(struct io_uring_sqe *sqe)
{
	io_uring_prep_close(sqe, 10000);
}

typedef void prep_t(struct io_uring_sqe *sqe);

/* The result of an op, and whether what is linked behind it was allowed to go. */
static bool ask_kernel(prep_t *prep, struct io_uring_sqe *copy, int *result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&world.ring);
	int results[2] = { 0 };

	prep(sqe);
	sqe->user_data = 0;
	*copy = *sqe;
	sqe->flags |= IOSQE_IO_LINK;
	sqe = io_uring_get_sqe(&world.ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = 1;
	ck_assert_int_eq(io_uring_submit(&world.ring), 2);
	for (int n = 0; n < 2;) {
		struct io_uring_cqe *cqe;

		ck_assert_int_eq(io_uring_wait_cqe(&world.ring, &cqe), 0);
		if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
			results[cqe->user_data] = cqe->res;
			n++;
		}
		io_uring_cqe_seen(&world.ring, cqe);
	}
	*result = results[0];
	return results[1] == 0;
}

static void check_agrees(prep_t *prep)
{
	struct io_uring_sqe sqe;
	int result;
	bool is_success = ask_kernel(prep, &sqe, &result);

	ck_assert_msg(iou__sqe_succeeded(&sqe, result) == is_success, "the kernel takes %d as a %s", result,
		      is_success ? "success" : "failure");
}

static prep_t *const preps[] = {
	read_all,
	read_short,
	read_nothing,
	readv_all,
	readv_short,
	write_all,
	splice_all,
	splice_short,
	recv_short,
	recv_all,
	recv_short_of_all,
	send_all,
	send_short,
	recvmsg_all,
	recvmsg_short,
	timeout,
	timeout_success,
	poll_update_missing,
	fsync_null,
	close_none,
	send_vectors_all,
	send_vectors_short,
	send_vectors_short_of_all,
	send_zc_all,
	send_zc_short,
	send_zc_short_of_all,
	sendmsg_zc_all,
	sendmsg_zc_short_of_all,
};

START_TEST(test_success_is_what_it_is_for_the_kernel)
{
	if (!world.has_ring)
		SKIP("no io_uring");
	check_agrees(preps[_i]);
}
END_TEST

static void recvmsg_short_of_all(struct io_uring_sqe *sqe)
{
	io_uring_prep_recvmsg(sqe, world.sockets[0], msg_of(100), MSG_WAITALL);
}

START_TEST(test_short_recvmsg_that_waits_for_all_has_failed)
{
	if (!world.has_ring)
		SKIP("no io_uring");
	check_agrees(recvmsg_short_of_all);
}
END_TEST

static void readv_fixed_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_rw(OP_READV_FIXED, sqe, world.file, iovec_of(FILE_SIZE + 1), 1, 0);
}

START_TEST(test_short_readv_into_registered_buffers_has_failed)
{
	const struct iovec registered = { world.memory, 4096 };
	struct io_uring_sqe sqe;
	int result;

	if (!world.has_ring)
		SKIP("no io_uring");
	ck_assert_int_eq(io_uring_register_buffers(&world.ring, &registered, 1), 0);
	ask_kernel(readv_fixed_short, &sqe, &result);
	if (result == -EINVAL)
		SKIP("no IORING_OP_READV_FIXED");
	ck_assert_int_eq(result, FILE_SIZE);
	check_agrees(readv_fixed_short);
}
END_TEST

/* The kernel transfers no more than MOST, and wants no more. */
static void write_int_max(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, world.null, world.memory, INT_MAX, 0);
}

static void write_2_gib(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, world.null, world.memory, 1U << 31, 0);
}

static void writev_4_gib(struct io_uring_sqe *sqe)
{
	io_uring_prep_writev(sqe, world.null, iovec_of(MEMORY_SIZE - 4096), 1, 0);
}

static void read_2_gib_short(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world.file, world.memory, 1U << 31, 0);
}

START_TEST(test_as_much_as_the_kernel_ever_transfers_is_success)
{
	static prep_t *const large[] = { write_int_max, write_2_gib, writev_4_gib };
	struct io_uring_sqe sqe;
	int result;

	if (!world.has_ring)
		SKIP("no io_uring");
	ask_kernel(large[_i], &sqe, &result);
	ck_assert_int_eq(result, MOST);
	check_agrees(large[_i]);
}
END_TEST

START_TEST(test_short_transfer_into_2_gib_has_failed)
{
	if (!world.has_ring)
		SKIP("no io_uring");
	check_agrees(read_2_gib_short);
}
END_TEST

Suite *suite(void)
{
	Suite *sqe_suite = suite_create("sqe");
	TCase *tcase;

	tcase = ADD_CASE(sqe_suite, "copy", test_copy_is_the_same);
	tcase_add_loop_test(tcase, test_update_of_an_identity_becomes_one_that_is_refused, 0, (int)N(updates));
	tcase = tcase_create("rules");
	suite_add_tcase(sqe_suite, tcase);
	tcase_add_loop_test(tcase, test_success_is_what_the_rules_say, 0, (int)N(rules));
	tcase = ADD_CASE(sqe_suite, "oracle", test_short_recvmsg_that_waits_for_all_has_failed,
			 test_short_readv_into_registered_buffers_has_failed,
			 test_short_transfer_into_2_gib_has_failed);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_success_is_what_it_is_for_the_kernel, 0, (int)N(preps));
	tcase_add_loop_test(tcase, test_as_much_as_the_kernel_ever_transfers_is_success, 0, 3);
	return sqe_suite;
}
