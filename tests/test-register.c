/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registered files and buffers, the same on both engines. */
#include "promises.h"

#include "children.h"
#include "opcodes.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

static iou_t *iou;
static int n_descriptors;
static int fds[2];

static void set_up(void)
{
	n_descriptors = support_descriptors();
	open_pipe(fds);
	iou = open_iou(8);
}

/* Nothing is left open. */
static void tear_down(void)
{
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
}

static iou_info_t info_of(iou_t *of)
{
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_info(of, &info), 0);
	return info;
}

/* What an op that sqe prepares comes to. */
static int result_of(const struct io_uring_sqe *sqe)
{
	struct seen op;
	__u64 identity;

	take(iou, &op);
	identity = op.op->sqe->user_data;
	*op.op->sqe = *sqe;
	op.op->sqe->user_data = identity;
	queue(&op);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(op.n_calls, 1);
	return op.result;
}

static int read_slot(int slot, void *to, unsigned n)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_read(&sqe, slot, to, n, (__u64)-1);
	sqe.flags = IOSQE_FIXED_FILE;
	return result_of(&sqe);
}

static int write_slot(int slot, const void *from, unsigned n)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_write(&sqe, slot, from, n, (__u64)-1);
	sqe.flags = IOSQE_FIXED_FILE;
	return result_of(&sqe);
}

/* Whether what is written to one slot can be read from another. */
static void expect_pipe(int from, int to)
{
	char bytes[4] = "";

	ck_assert_int_eq(write_slot(to, "abc", 3), 3);
	ck_assert_int_eq(read_slot(from, bytes, 3), 3);
	ck_assert_str_eq(bytes, "abc");
}

/* Files. */

START_TEST(test_a_registered_file_has_a_slot_for_a_descriptor)
{
	const int slots[4] = { -1, fds[1], -1, fds[0] };

	ck_assert_int_eq(iou_register_files(iou, slots, 4), 0);
	expect_pipe(3, 1);
	ck_assert_int_eq(read_slot(0, NULL, 0), -EBADF);
	ck_assert_int_eq(read_slot(4, NULL, 0), -EBADF);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(read_slot(3, NULL, 0), -EBADF);
}
END_TEST

START_TEST(test_a_registered_file_does_not_need_the_descriptor)
{
	int own[2];

	open_pipe(own);
	ck_assert_int_eq(iou_register_files(iou, own, 2), 0);
	close_pipe(own);
	expect_pipe(0, 1);
}
END_TEST

START_TEST(test_files_are_registered_all_or_none_with_the_kernel_s_errnos)
{
	const int bad[3] = { fds[0], fds[1], 9999 }, path = open("/", O_PATH | O_CLOEXEC);
	const int ends[2] = { fds[0], -2 };
	int before;

	ck_assert_int_eq(iou_unregister_files(iou), -ENXIO);
	ck_assert_int_eq(iou_register_files(iou, fds, 0), -EINVAL);
	before = support_descriptors();
	ck_assert_int_eq(iou_register_files(iou, bad, 3), -EBADF);
	ck_assert_int_eq(iou_register_files(iou, ends, 2), -EBADF);
	ck_assert_int_eq(iou_register_files(iou, &path, 1), -EBADF);
	ck_assert_int_eq(iou_register_files(iou, NULL, (1U << 20) + 1), -EMFILE);
	ck_assert_int_eq(iou_register_files(iou, NULL, 0), -EINVAL);
	ck_assert_int_eq(support_descriptors(), before);
	ck_assert_int_eq(iou_unregister_files(iou), -ENXIO);
	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	ck_assert_int_eq(iou_register_files(iou, fds, 2), -EBUSY);
	expect_pipe(0, 1);
	close(path);
}
END_TEST

START_TEST(test_more_files_than_descriptors_may_be_open_are_emfile)
{
	struct rlimit old, new;
	int r;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	new = old;
	new.rlim_cur = 100;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &new), 0);
	r = iou_register_files(iou, NULL, 101);
	setrlimit(RLIMIT_NOFILE, &old);
	/* There the limit is valgrind's own, and the kernel does not know of it. */
	if (!RUNNING_ON_VALGRIND) {
		ck_assert_int_eq(r, -EMFILE);
		ck_assert_int_eq(iou_register_files(iou, NULL, 100), 0);
	}
}
END_TEST

START_TEST(test_files_are_replaced_emptied_and_skipped)
{
	const int at_1[2] = { fds[0], fds[1] }, change[3] = { IORING_REGISTER_FILES_SKIP, -1, fds[1] };

	ck_assert_int_eq(iou_register_files_update(iou, 0, fds, 1), -ENXIO);
	ck_assert_int_eq(iou_register_files(iou, NULL, 4), 0);
	ck_assert_int_eq(iou_register_files_update(iou, 1, at_1, 2), 2);
	expect_pipe(1, 2);
	ck_assert_int_eq(iou_register_files_update(iou, 1, change, 3), 3);
	expect_pipe(1, 3);
	ck_assert_int_eq(write_slot(2, "x", 1), -EBADF);
}
END_TEST

START_TEST(test_a_bad_update_changes_nothing)
{
	const int change[2] = { fds[1], 9999 };

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	ck_assert_int_eq(iou_register_files_update(iou, 0, change, 2), -EBADF);
	ck_assert_int_eq(iou_register_files_update(iou, 1, fds, 2), -EINVAL);
	ck_assert_int_eq(iou_register_files_update(iou, 0xffffffff, fds, 2), -EOVERFLOW);
	ck_assert_int_eq(iou_register_files_update(iou, 0, fds, 0), -EINVAL);
	ck_assert_int_eq(iou_register_files_update(iou, 0, NULL, 1), -EINVAL);
	expect_pipe(0, 1);
}
END_TEST

START_TEST(test_requests_update_files)
{
	int slots[3] = { fds[1], -1, fds[0] }, any[2] = { fds[0], fds[1] };
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_files_update(&sqe, slots, 3, 1);
	ck_assert_int_eq(result_of(&sqe), -ENXIO);
	ck_assert_int_eq(iou_register_files(iou, NULL, 4), 0);
	ck_assert_int_eq(result_of(&sqe), 3);
	expect_pipe(3, 1);
	io_uring_prep_files_update(&sqe, any, 2, (int)IORING_FILE_INDEX_ALLOC);
	ck_assert_int_eq(result_of(&sqe), 2);
	expect_pipe(any[0], any[1]);
	ck_assert_int_eq(any[0] + any[1], 0 + 2);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(result_of(&sqe), -ENXIO);
}
END_TEST

/* What a bad descriptor leaves behind is the kernel's: the slot is empty, those before are filled. */
START_TEST(test_a_request_s_update_ends_at_what_is_bad)
{
	int slots[3] = { fds[0], 9999, fds[1] };
	struct io_uring_sqe sqe = { 0 };

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(iou_register_files(iou, (int[]){ fds[1], fds[1], fds[1] }, 3), 0);
	io_uring_prep_files_update(&sqe, slots, 3, 0);
	ck_assert_int_eq(result_of(&sqe), 1);
	expect_pipe(0, 2);
	ck_assert_int_eq(write_slot(1, "x", 1), -EBADF);
	io_uring_prep_files_update(&sqe, slots + 1, 1, 0);
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	ck_assert_int_eq(read_slot(0, NULL, 0), -EBADF);
	io_uring_prep_files_update(&sqe, slots, 2, 2);
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	io_uring_prep_files_update(&sqe, (int *)8, 1, 0);
	ck_assert_int_eq(result_of(&sqe), -EFAULT);
}
END_TEST

/* That another program would have. */
static int n_inherited(void)
{
	int n = 0;

	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) == 0;
	return n;
}

static void prepare_open(struct io_uring_sqe *sqe, unsigned slot)
{
	memset(sqe, 0, sizeof(*sqe));
	io_uring_prep_openat_direct(sqe, AT_FDCWD, "/dev/zero", O_RDONLY, 0, slot);
}

static int close_slot(unsigned slot)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_close_direct(&sqe, slot);
	return result_of(&sqe);
}

START_TEST(test_files_are_opened_into_slots_and_closed_there)
{
	struct io_uring_sqe sqe;
	char bytes[3];
	int before, inherited = n_inherited();

	prepare_open(&sqe, 1);
	ck_assert_int_eq(result_of(&sqe), -ENXIO);
	ck_assert_int_eq(close_slot(1), -ENXIO);
	ck_assert_int_eq(iou_register_files(iou, NULL, 3), 0);
	before = support_descriptors();
	ck_assert_int_eq(close_slot(1), -EBADF);
	ck_assert_int_eq(close_slot(3), -EINVAL);
	ck_assert_int_eq(result_of(&sqe), 0);
	ck_assert_int_eq(read_slot(1, bytes, 3), 3);
	/* Again, in place of that one. */
	ck_assert_int_eq(result_of(&sqe), 0);
	ck_assert_int_eq(read_slot(1, bytes, 3), 3);
	prepare_open(&sqe, 3);
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
	ck_assert_int_eq(n_inherited(), inherited);
	ck_assert_int_eq(close_slot(1), 0);
	ck_assert_int_eq(read_slot(1, bytes, 3), -EBADF);
	ck_assert_int_eq(support_descriptors(), before);
}
END_TEST

/* The program's own may be for others; what the engine has of them is not, nor are both ends of a pipe in slots. */
START_TEST(test_g13_what_is_registered_is_no_other_program_s)
{
	struct io_uring_sqe sqe = { 0 };
	int slots[2], number = fds[1], inherited = n_inherited();

	ck_assert_int_eq(iou_register_files(iou, NULL, 5), 0);
	ck_assert_int_eq(iou_register_files_update(iou, 0, fds, 1), 1);
	ck_assert_int_eq(n_inherited(), inherited);
	io_uring_prep_files_update(&sqe, &number, 1, (int)IORING_FILE_INDEX_ALLOC);
	ck_assert_int_eq(result_of(&sqe), 1);
	ck_assert_int_eq(n_inherited(), inherited);
	sqe = (struct io_uring_sqe){ .opcode = OP_PIPE, .addr = (__u64)(uintptr_t)slots };
	sqe.file_index = IORING_FILE_INDEX_ALLOC;
	if (iou_supports(iou, OP_PIPE) == 1)
		ck_assert_int_eq(result_of(&sqe), 0);
	ck_assert_int_eq(n_inherited(), inherited);
}
END_TEST

START_TEST(test_a_slot_is_found_by_who_does_not_ask_for_one)
{
	struct io_uring_sqe sqe;
	char bytes[3];

	prepare_open(&sqe, IORING_FILE_INDEX_ALLOC - 1);
	ck_assert_int_eq(result_of(&sqe), -ENFILE);
	ck_assert_int_eq(iou_register_files(iou, (int[]){ fds[0], -1, fds[1], -1 }, 4), 0);
	ck_assert_int_eq(result_of(&sqe), 1);
	ck_assert_int_eq(result_of(&sqe), 3);
	ck_assert_int_eq(result_of(&sqe), -ENFILE);
	ck_assert_int_eq(close_slot(1), 0);
	ck_assert_int_eq(result_of(&sqe), 1);
	ck_assert_int_eq(read_slot(1, bytes, 3), 3);
	ck_assert_int_eq(read_slot(3, bytes, 3), 3);
	expect_pipe(0, 2);
	/* What cannot be close-on-exec is not asked to be. */
	sqe.open_flags = O_RDONLY | O_CLOEXEC;
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
}
END_TEST

START_TEST(test_sockets_are_made_in_slots_and_accepted_into_slots)
{
	struct io_uring_sqe sqe = { 0 };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
	struct sockaddr_un_like {
		sa_family_t family;
		char path[108];
	} address = { AF_UNIX, "" };
	struct seen accepted;
	socklen_t length = sizeof(address);
	char bytes[2] = "";
	int inherited = n_inherited();

	/* Bound to a name that the kernel chooses. */
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(iou_register_files(iou, NULL, 4), 0);
	/* socket(), into slot 2. */
	sqe.opcode = IORING_OP_SOCKET;
	sqe.fd = AF_UNIX;
	sqe.off = SOCK_STREAM;
	sqe.file_index = 3;
	ck_assert_int_eq(result_of(&sqe), 0);
	ck_assert_int_eq(n_inherited(), inherited);
	memset(&sqe, 0, sizeof(sqe));
	io_uring_prep_connect(&sqe, 2, (struct sockaddr *)&address, length);
	sqe.flags = IOSQE_FIXED_FILE;
	ck_assert_int_eq(result_of(&sqe), 0);
	io_uring_prep_accept_direct(take(iou, &accepted), listener, NULL, NULL, 0, 1);
	queue(&accepted);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&accepted, 0);
	ck_assert_int_eq(write_slot(2, "x", 1), 1);
	ck_assert_int_eq(read_slot(1, bytes, 1), 1);
	ck_assert_str_eq(bytes, "x");
	/* Again and again, wherever there is room: in slot 3, then in slot 0, then nowhere. */
	io_uring_prep_multishot_accept_direct(take(iou, &accepted), listener, NULL, NULL, 0);
	queue(&accepted);
	for (int i = 0; i < 3; i++) {
		client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(client, (struct sockaddr *)&address, length), 0);
		while (accepted.n_calls < i + 1)
			ck_assert_int_ge(iou_run_once(iou, NULL), 0);
		ck_assert_int_eq(accepted.result, i == 2 ? -ENFILE : i == 0 ? 3 : 0);
		close(client);
	}
	ck_assert_uint_eq(accepted.flags & IORING_CQE_F_MORE, 0);
	close(listener);
}
END_TEST

/* Where not all of it can be done or told, nothing has been: no slot is taken, and no descriptor left. */
START_TEST(test_what_cannot_be_told_of_a_slot_is_taken_back)
{
	struct io_uring_sqe sqe = { 0 };
	int *numbers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int before;

	ck_assert_ptr_ne(numbers, MAP_FAILED);
	numbers[0] = fds[0];
	ck_assert_int_eq(mprotect(numbers, 4096, PROT_READ), 0);
	ck_assert_int_eq(iou_register_files(iou, NULL, 2), 0);
	before = support_descriptors();
	io_uring_prep_files_update(&sqe, numbers, 1, (int)IORING_FILE_INDEX_ALLOC);
	ck_assert_int_eq(result_of(&sqe), -EFAULT);
	if (iou_supports(iou, OP_PIPE) == 1) {
		sqe = (struct io_uring_sqe){ .opcode = OP_PIPE, .addr = (__u64)(uintptr_t)numbers };
		sqe.file_index = IORING_FILE_INDEX_ALLOC;
		ck_assert_int_eq(result_of(&sqe), -EFAULT);
	}
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(close_slot(i), -EBADF);
	ck_assert_int_eq(support_descriptors(), before);
	munmap(numbers, 4096);
}
END_TEST

START_TEST(test_a_pipe_has_slots_for_both_ends_or_for_none)
{
	struct io_uring_sqe sqe = { .opcode = OP_PIPE };
	int slots[2] = { -1, -1 }, before;

	if (iou_supports(iou, OP_PIPE) != 1)
		SKIP("this kernel makes no pipes");
	sqe.addr = (__u64)(uintptr_t)slots;
	sqe.file_index = IORING_FILE_INDEX_ALLOC;
	ck_assert_int_eq(iou_register_files(iou, NULL, 1), 0);
	before = support_descriptors();
	ck_assert_int_eq(result_of(&sqe), -ENFILE);
	ck_assert_int_eq(close_slot(0), -EBADF);
	ck_assert_int_eq(support_descriptors(), before);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(iou_register_files(iou, NULL, 2), 0);
	ck_assert_int_eq(result_of(&sqe), 0);
	expect_pipe(slots[0], slots[1]);
}
END_TEST

START_TEST(test_a_registered_file_becomes_a_descriptor)
{
	struct io_uring_sqe sqe = { .opcode = OP_FIXED_FD_INSTALL, .fd = 1 };
	int fd;

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	sqe.flags = IOSQE_FIXED_FILE;
	fd = result_of(&sqe);
	if (fd == -EINVAL)
		SKIP("before Linux 6.8");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	put_bytes(fd, "x", 1);
	close(fd);
	sqe.rw_flags = 2;
	ck_assert_int_eq(result_of(&sqe), -EINVAL);
}
END_TEST

START_TEST(test_both_ends_of_a_splice_may_be_registered)
{
	struct io_uring_sqe sqe = { 0 };
	int to[2], before;
	char bytes[4] = "";

	open_pipe(to);
	before = support_descriptors();
	ck_assert_int_eq(iou_register_files(iou, (int[]){ fds[0], to[1] }, 2), 0);
	put_bytes(fds[1], "abc", 3);
	io_uring_prep_splice(&sqe, 0, -1, 1, -1, 3, SPLICE_F_FD_IN_FIXED);
	sqe.flags = IOSQE_FIXED_FILE;
	ck_assert_int_eq(result_of(&sqe), 3);
	ck_assert_int_eq(read(to[0], bytes, 3), 3);
	ck_assert_str_eq(bytes, "abc");
	sqe.splice_fd_in = 2;
	ck_assert_int_eq(result_of(&sqe), -EBADF);
	/* And it has let go of both. */
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(support_descriptors(), before);
	close_pipe(to);
}
END_TEST

/* Lifetime. */

START_TEST(test_what_is_in_flight_keeps_its_file)
{
	struct seen waiting, behind;
	int own[2], before = support_descriptors();
	char bytes[2] = "";

	open_pipe(own);
	ck_assert_int_eq(iou_register_files(iou, own, 2), 0);
	close(own[0]);
	queue_read(iou, &waiting, 0, bytes, 1, IOSQE_FIXED_FILE | IOSQE_IO_LINK);
	queue_read(iou, &behind, 0, bytes + 1, 1, IOSQE_FIXED_FILE);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(turn(iou), 0);
	put_bytes(own[1], "xy", 2);
	ck_assert_int_eq(iou_run(iou), 0);
	/* What had not begun by then has none. */
	expect(&waiting, 1);
	expect(&behind, -EBADF);
	ck_assert_int_eq(bytes[0], 'x');
	/* The last one has closed it. */
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(write(own[1], "z", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	close(own[1]);
	ck_assert_int_eq(support_descriptors(), before);
}
END_TEST

START_TEST(test_what_is_in_flight_keeps_a_file_that_is_replaced_or_closed)
{
	struct seen first, second;
	int other[2];
	char a = 0, b = 0;

	open_pipe(other);
	ck_assert_int_eq(iou_register_files(iou, fds, 1), 0);
	queue_read(iou, &first, 0, &a, 1, IOSQE_FIXED_FILE);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_register_files_update(iou, 0, other, 1), 1);
	queue_read(iou, &second, 0, &b, 1, IOSQE_FIXED_FILE);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_register_files_update(iou, 0, (int[]){ -1 }, 1), 1);
	put_bytes(other[1], "b", 1);
	put_bytes(fds[1], "a", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&first, 1);
	expect(&second, 1);
	ck_assert_int_eq(a, 'a');
	ck_assert_int_eq(b, 'b');
	close_pipe(other);
}
END_TEST

/* Files that the process's epoll sets watch. */
static int n_watched(void)
{
	char path[64], line[256];
	int n = 0;

	for (int fd = 0; fd < 256; fd++) {
		FILE *info;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		info = fopen(path, "re");
		while (info && fgets(line, sizeof(line), info))
			n += strncmp(line, "tfd:", 4) == 0;
		if (info)
			fclose(info);
	}
	return n;
}

/* The program has it as well, so that closing it is not enough. */
START_TEST(test_nobody_watches_a_file_that_is_not_registered_any_more)
{
	struct seen op;
	int pipes[5][2], before = 0;
	char byte;

	/* The first time the loop has its own watched, too. */
	for (int i = 0; i < 5; i++) {
		open_pipe(pipes[i]);
		ck_assert_int_eq(iou_register_files(iou, pipes[i], 2), 0);
		queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
		ck_assert_int_eq(turn(iou), 0);
		put_bytes(pipes[i][1], "a", 1);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&op, 1);
		ck_assert_int_eq(iou_unregister_files(iou), 0);
		before = i ? before : n_watched();
		ck_assert_int_eq(n_watched(), before);
	}
	for (int i = 0; i < 5; i++)
		close_pipe(pipes[i]);
	ck_assert(before > 0 || info_of(iou).engine != IOU_ENGINE_THREADS);
}
END_TEST

PROMISE(14, child_that_frees_leaves_requests_on_registered_files_alone)
{
	struct seen op;
	int status;
	pid_t child;
	char byte;

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
	ck_assert_int_eq(turn(iou), 0);
	child = fork();
	if (child == 0)
		_exit(iou_free(iou) != NULL);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	put_bytes(fds[1], "a", 1);
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_sec = 20 }), 1);
	expect(&op, 1);
}
END_TEST

START_TEST(test_free_ends_what_uses_registered_files)
{
	struct seen op;
	char byte;

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&op, -ECANCELED);
	iou = open_iou(8);
}
END_TEST

static void *turn_and_leave(void *data)
{
	turn(data);
	return NULL;
}

/* Nobody can cancel it then, and yet nothing is left open. */
START_TEST(test_free_closes_files_in_use_when_the_owner_has_gone)
{
	struct seen op;
	char byte;

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
	pthread_join(start_thread(turn_and_leave, iou), NULL);
	ck_assert_int_eq(op.n_calls, 0);
	ck_assert_ptr_null(iou_free(iou));
	expect(&op, -ECANCELED);
	ck_assert_int_eq(support_settle(support_descriptors, n_descriptors + 2), n_descriptors + 2);
	iou = open_iou(8);
}
END_TEST

START_TEST(test_what_uses_a_registered_file_is_cancelled_by_it)
{
	struct io_uring_sqe sqe = { 0 };
	struct seen op, other;
	char byte;

	ck_assert_int_eq(iou_register_files(iou, fds, 1), 0);
	queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
	queue_timeout(iou, &other, &(struct __kernel_timespec){ .tv_sec = 3600 });
	ck_assert_int_eq(turn(iou), 0);
	sqe.opcode = IORING_OP_ASYNC_CANCEL;
	sqe.fd = 1;
	sqe.cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED;
	struct seen cancel;

	take(iou, &cancel);
	sqe.user_data = cancel.op->sqe->user_data;
	*cancel.op->sqe = sqe;
	queue(&cancel);
	while (!cancel.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&cancel, -EBADF);
	ck_assert_int_eq(op.n_calls, 0);
	take(iou, &cancel);
	sqe.user_data = cancel.op->sqe->user_data;
	sqe.fd = 0;
	*cancel.op->sqe = sqe;
	queue(&cancel);
	while (!cancel.n_calls || !op.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&cancel, 0);
	expect(&op, -ECANCELED);
	ck_assert_int_eq(other.n_calls, 0);
	/* And by any other descriptor of the same file. */
	queue_read(iou, &op, 0, &byte, 1, IOSQE_FIXED_FILE);
	take(iou, &cancel);
	io_uring_prep_cancel_fd(cancel.op->sqe, fds[0], 0);
	queue(&cancel);
	while (!cancel.n_calls || !op.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&cancel, 0);
	expect(&op, -ECANCELED);
	ck_assert_int_eq(iou_op_cancel(iou, other.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
}
END_TEST

/* Buffers. */

static char memory[2][4096] __attribute__((aligned(4096)));
static const struct iovec both[3] = { { memory[0], 4096 }, { NULL, 0 }, { memory[1], 4096 } };

static int fixed(bool is_write, unsigned index, void *at, unsigned n)
{
	struct io_uring_sqe sqe = { 0 };

	if (is_write)
		io_uring_prep_write_fixed(&sqe, fds[1], at, n, (__u64)-1, (int)index);
	else
		io_uring_prep_read_fixed(&sqe, fds[0], at, n, (__u64)-1, (int)index);
	return result_of(&sqe);
}

START_TEST(test_registered_buffers_are_read_into_and_written_from)
{
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	memcpy(memory[0] + 100, "abc", 4);
	memset(memory[1], 0, 4096);
	ck_assert_int_eq(fixed(true, 0, memory[0] + 100, 3), 3);
	ck_assert_int_eq(fixed(false, 2, memory[1] + 4093, 3), 3);
	ck_assert_int_eq(memcmp(memory[1] + 4093, "abc", 3), 0);
	ck_assert_int_eq(fixed(true, 2, memory[1] + 4094, 2), 2);
	ck_assert_int_eq(fixed(false, 0, memory[0], 2), 2);
	ck_assert_int_eq(memcmp(memory[0], "bc", 2), 0);
}
END_TEST

START_TEST(test_memory_outside_the_registered_buffer_is_efault)
{
	char elsewhere[8];

	ck_assert_int_eq(fixed(false, 0, memory[0], 1), -EFAULT);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	put_bytes(fds[1], "xyz", 3);
	ck_assert_int_eq(fixed(false, 1, memory[0], 1), -EFAULT);
	ck_assert_int_eq(fixed(false, 3, memory[0], 1), -EFAULT);
	ck_assert_int_eq(fixed(false, 0, memory[1], 1), -EFAULT);
	ck_assert_int_eq(fixed(false, 0, memory[0] + 4095, 2), -EFAULT);
	ck_assert_int_eq(fixed(false, 2, (char *)both[2].iov_base - 1, 1), -EFAULT);
	ck_assert_int_eq(fixed(false, 0, elsewhere, 1), -EFAULT);
	ck_assert_int_eq(fixed(true, 1, NULL, 0), -EFAULT);
	ck_assert_int_eq(fixed(false, 0, memory[0], 1), 1);
	ck_assert_int_eq(iou_unregister_buffers(iou), 0);
	ck_assert_int_eq(fixed(false, 0, memory[0], 1), -EFAULT);
	/* No file comes before no buffer. */
	close_pipe(fds);
	ck_assert_int_eq(fixed(false, 0, memory[0], 1), -EBADF);
	open_pipe(fds);
}
END_TEST

START_TEST(test_buffers_are_registered_all_or_none_with_the_kernel_s_errnos)
{
	struct iovec bad[2] = { both[0], { memory[0], 0 } };

	ck_assert_int_eq(iou_unregister_buffers(iou), -ENXIO);
	ck_assert_int_eq(iou_register_buffers(iou, NULL, 1), -EINVAL);
	ck_assert_int_eq(iou_register_buffers(iou, both, 0), -EINVAL);
	ck_assert_int_eq(iou_register_buffers(iou, both, (1U << 14) + 1), -EINVAL);
	ck_assert_int_eq(iou_register_buffers(iou, bad, 2), -EFAULT);
	bad[1] = (struct iovec){ NULL, 8 };
	ck_assert_int_eq(iou_register_buffers(iou, bad, 2), -EFAULT);
	bad[1] = (struct iovec){ (void *)8, 8 };
	ck_assert_int_eq(iou_register_buffers(iou, bad, 2), -EFAULT);
	bad[1] = (struct iovec){ memory[0], (1UL << 30) + 1 };
	ck_assert_int_eq(iou_register_buffers(iou, bad, 2), -EFAULT);
	ck_assert_int_eq(iou_unregister_buffers(iou), -ENXIO);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), -EBUSY);
	put_bytes(fds[1], "x", 1);
	ck_assert_int_eq(fixed(false, 0, memory[0], 1), 1);
	ck_assert_int_eq(iou_unregister_buffers(iou), 0);
	ck_assert_int_eq(iou_unregister_buffers(iou), -ENXIO);
}
END_TEST

START_TEST(test_what_is_in_flight_keeps_its_buffer)
{
	struct seen op;

	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	io_uring_prep_read_fixed(take(iou, &op), fds[0], memory[0], 1, (__u64)-1, 0);
	queue(&op);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(iou_unregister_buffers(iou), 0);
	put_bytes(fds[1], "q", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&op, 1);
	ck_assert_int_eq(memory[0][0], 'q');
}
END_TEST

/* Resizing. */

static void expect_all(void)
{
	expect_pipe(3, 1);
	ck_assert_int_eq(read_slot(2, NULL, 0), -EBADF);
	memcpy(memory[0], "abc", 4);
	ck_assert_int_eq(fixed(true, 0, memory[0], 3), 3);
	ck_assert_int_eq(fixed(false, 2, memory[1], 3), 3);
	ck_assert_int_eq(memcmp(memory[1], "abc", 3), 0);
	ck_assert_int_eq(fixed(false, 1, memory[1], 3), -EFAULT);
}

/* Back and forth; with a slot that was filled by a request, so that nobody but the engine has the file. */
static void keep_all_while_resizing(void)
{
	struct io_uring_sqe sqe;
	char bytes[3];
	int before;

	ck_assert_int_eq(iou_register_files(iou, (int[]){ -1, fds[1], -1, fds[0] }, 4), 0);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	before = support_descriptors();
	/* As yet it has not run. */
	ck_assert_int_eq(iou_resize(iou, 32), 0);
	ck_assert_int_eq(support_descriptors(), before);
	expect_all();
	prepare_open(&sqe, 0);
	ck_assert_int_eq(result_of(&sqe), 0);
	before = support_descriptors();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(iou_resize(iou, i % 2 ? 64 : 4), 0);
		ck_assert_uint_eq(info_of(iou).sq_entries, i % 2 ? 64 : 4);
		ck_assert_int_eq(support_descriptors(), before);
		expect_all();
		ck_assert_int_eq(read_slot(0, bytes, 3), 3);
	}
	/* What was taken along can be changed and taken back. */
	ck_assert_int_eq(iou_register_files(iou, fds, 2), -EBUSY);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), -EBUSY);
	ck_assert_int_eq(close_slot(0), 0);
	ck_assert_int_eq(iou_unregister_files(iou), 0);
	ck_assert_int_eq(iou_unregister_buffers(iou), 0);
	ck_assert_int_eq(iou_resize(iou, 32), 0);
	ck_assert_int_eq(iou_unregister_files(iou), -ENXIO);
	ck_assert_int_eq(iou_unregister_buffers(iou), -ENXIO);
}

PROMISE(10, resize_keeps_what_the_library_registered)
{
	keep_all_while_resizing();
}
END_TEST

PROMISE(10, a_ring_that_is_built_anew_has_what_the_library_registered)
{
	ck_assert_ptr_null(iou_free(iou));
	iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_ANY_THREAD });
	keep_all_while_resizing();
}
END_TEST

PROMISE(10, a_polled_ring_has_what_the_library_registered_as_well)
{
	ck_assert_ptr_null(iou_free(iou));
	iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_SQPOLL });
	keep_all_while_resizing();
}
END_TEST

PROMISE(10, resize_in_flight_keeps_what_the_library_registered)
{
	struct seen by_slot, into_buffer;
	int other[2];
	char byte = 0;
	int r;

	open_pipe(other);
	ck_assert_int_eq(iou_register_files(iou, (int[]){ -1, other[0] }, 2), 0);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	queue_read(iou, &by_slot, 1, &byte, 1, IOSQE_FIXED_FILE);
	io_uring_prep_read_fixed(take(iou, &into_buffer), fds[0], memory[0], 1, (__u64)-1, 0);
	queue(&into_buffer);
	ck_assert_int_eq(turn(iou), 0);
	for (unsigned i = 0; i < 4; i++) {
		r = iou_resize(iou, i % 2 ? 64 : 4);
		/* A kernel that cannot has refused. */
		ck_assert(r == 0 || (r == -EBUSY && info_of(iou).engine == IOU_ENGINE_URING));
	}
	put_bytes(other[1], "x", 1);
	put_bytes(fds[1], "y", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&by_slot, 1);
	expect(&into_buffer, 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(memory[0][0], 'y');
	put_bytes(other[1], "z", 1);
	ck_assert_int_eq(read_slot(1, &byte, 1), 1);
	ck_assert_int_eq(byte, 'z');
	close_pipe(other);
}
END_TEST

/* A file needs a descriptor on the way; without one, everything is as it was. */
PROMISE(12, a_ring_that_cannot_be_built_anew_keeps_what_is_registered)
{
	struct rlimit old, new;
	int lowest, r;
	bool has_failed = false;

	ck_assert_ptr_null(iou_free(iou));
	iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_ANY_THREAD });
	ck_assert_int_eq(iou_register_files(iou, (int[]){ -1, fds[1], -1, fds[0] }, 4), 0);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	expect_all();
	for (int n = 0; n < 8; n++) {
		int before = support_descriptors();

		lowest = fcntl(0, F_DUPFD_CLOEXEC, 0);
		close(lowest);
		ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
		new = old;
		new.rlim_cur = (rlim_t)(lowest + n);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &new), 0);
		r = iou_resize(iou, 32);
		setrlimit(RLIMIT_NOFILE, &old);
		ck_assert_int_eq(support_descriptors(), before);
		expect_all();
		if (r == 0)
			break;
		ck_assert_int_eq(r, -EMFILE);
		has_failed = true;
	}
	ck_assert_int_eq(r, 0);
	ck_assert(has_failed || info_of(iou).engine == IOU_ENGINE_THREADS);
}
END_TEST

/* Who may. */

struct elsewhere {
	int files, update, no_files, buffers, no_buffers;
};

static void call_all(struct elsewhere *r)
{
	r->files = iou_register_files(iou, fds, 2);
	r->update = iou_register_files_update(iou, 0, fds, 2);
	r->no_files = iou_unregister_files(iou);
	r->buffers = iou_register_buffers(iou, both, 3);
	r->no_buffers = iou_unregister_buffers(iou);
}

static void expect_everywhere(const struct elsewhere *r, int result)
{
	ck_assert_int_eq(r->files, result);
	ck_assert_int_eq(r->update, result);
	ck_assert_int_eq(r->no_files, result);
	ck_assert_int_eq(r->buffers, result);
	ck_assert_int_eq(r->no_buffers, result);
}

static void *call_elsewhere(void *data)
{
	call_all(data);
	return NULL;
}

START_TEST(test_registering_is_for_the_loop_thread)
{
	struct elsewhere r;

	ck_assert_int_eq(iou_flush(iou), 0);
	pthread_join(start_thread(call_elsewhere, &r), NULL);
	expect_everywhere(&r, -EPERM);
	ck_assert_int_eq(iou_unregister_files(iou), -ENXIO);
}
END_TEST

START_TEST(test_before_the_first_run_any_thread_may_register)
{
	struct elsewhere r;

	pthread_join(start_thread(call_elsewhere, &r), NULL);
	ck_assert_int_eq(r.files, 0);
	ck_assert_int_eq(r.update, 2);
	ck_assert_int_eq(r.no_files, 0);
	ck_assert_int_eq(r.buffers, 0);
	ck_assert_int_eq(r.no_buffers, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
}
END_TEST

START_TEST(test_null_is_einval)
{
	iou_t *kept = iou;
	struct elsewhere r;

	iou = NULL;
	call_all(&r);
	iou = kept;
	expect_everywhere(&r, -EINVAL);
}
END_TEST

static void be_child(struct findings *findings, const void *data)
{
	struct elsewhere r;

	(void)data;
	call_all(&r);
	FIND_EQ(findings, r.files, -EOWNERDEAD);
	FIND_EQ(findings, r.update, -EOWNERDEAD);
	FIND_EQ(findings, r.no_files, -EOWNERDEAD);
	FIND_EQ(findings, r.buffers, -EOWNERDEAD);
	FIND_EQ(findings, r.no_buffers, -EOWNERDEAD);
	FIND(findings, !iou_free(iou));
}

PROMISE(14, a_child_registers_nothing)
{
	ck_assert_int_eq(iou_register_files(iou, (int[]){ -1, fds[1], -1, fds[0] }, 4), 0);
	ck_assert_int_eq(iou_register_buffers(iou, both, 3), 0);
	expect_all();
	in_child(be_child, NULL);
	expect_all();
}
END_TEST

static int register_while_ending(void *data)
{
	call_all(data);
	return 0;
}

PROMISE(9, nothing_new_is_registered_while_freeing)
{
	struct elsewhere r;

	ck_assert_int_eq(iou_register_files(iou, fds, 2), 0);
	ck_assert_int_eq(iou_post(iou, register_while_ending, &r), 0);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(r.files, -ESHUTDOWN);
	ck_assert_int_eq(r.update, -ESHUTDOWN);
	ck_assert_int_eq(r.no_files, 0);
	ck_assert_int_eq(r.buffers, -ESHUTDOWN);
	ck_assert_int_eq(r.no_buffers, -ENXIO);
	iou = open_iou(8);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("register");

	tcase_add_checked_fixture(
		ADD_CASE(s, "files", test_a_registered_file_has_a_slot_for_a_descriptor,
			 test_a_registered_file_does_not_need_the_descriptor,
			 test_files_are_registered_all_or_none_with_the_kernel_s_errnos,
			 test_more_files_than_descriptors_may_be_open_are_emfile,
			 test_files_are_replaced_emptied_and_skipped, test_a_bad_update_changes_nothing,
			 test_requests_update_files, test_a_request_s_update_ends_at_what_is_bad,
			 test_files_are_opened_into_slots_and_closed_there,
			 test_g13_what_is_registered_is_no_other_program_s,
			 test_a_slot_is_found_by_who_does_not_ask_for_one,
			 test_sockets_are_made_in_slots_and_accepted_into_slots,
			 test_what_cannot_be_told_of_a_slot_is_taken_back,
			 test_a_pipe_has_slots_for_both_ends_or_for_none, test_a_registered_file_becomes_a_descriptor,
			 test_both_ends_of_a_splice_may_be_registered),
		set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "lifetime", test_what_is_in_flight_keeps_its_file,
					   test_what_is_in_flight_keeps_a_file_that_is_replaced_or_closed,
					   test_g14_child_that_frees_leaves_requests_on_registered_files_alone,
					   test_nobody_watches_a_file_that_is_not_registered_any_more,
					   test_free_ends_what_uses_registered_files,
					   test_free_closes_files_in_use_when_the_owner_has_gone,
					   test_what_uses_a_registered_file_is_cancelled_by_it),
				  set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "buffers", test_registered_buffers_are_read_into_and_written_from,
					   test_memory_outside_the_registered_buffer_is_efault,
					   test_buffers_are_registered_all_or_none_with_the_kernel_s_errnos,
					   test_what_is_in_flight_keeps_its_buffer),
				  set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "resize", test_g10_resize_keeps_what_the_library_registered,
					   test_g10_a_ring_that_is_built_anew_has_what_the_library_registered,
					   test_g10_a_polled_ring_has_what_the_library_registered_as_well,
					   test_g10_resize_in_flight_keeps_what_the_library_registered,
					   test_g12_a_ring_that_cannot_be_built_anew_keeps_what_is_registered),
				  set_up, tear_down);
	tcase_add_checked_fixture(ADD_CASE(s, "threads", test_registering_is_for_the_loop_thread,
					   test_before_the_first_run_any_thread_may_register, test_null_is_einval,
					   test_g14_a_child_registers_nothing,
					   test_g9_nothing_new_is_registered_while_freeing),
				  set_up, tear_down);
	return s;
}
