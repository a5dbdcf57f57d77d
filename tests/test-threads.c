/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G16: where io_uring is blocked the same program runs on the threads engine, which says why. What the engine shares with
 * the kernel is compared in differential/; here is what is its own: the choice, workers, bad pointers, and the opcodes that
 * the differential test leaves out.
 */
#include "promises.h"

#include "children.h"
#include "opcodes.h"

#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MS 1000000L
#define BAD ((void *)8)

static const unsigned both_engines[] = { IOU_ENGINE_THREADS, IOU_ENGINE_AUTO };

static iou_t *open_threads(unsigned entries)
{
	return open_with((iou_config_t){ .entries = entries, .engine = IOU_ENGINE_THREADS });
}

static iou_info_t info_of(iou_t *iou)
{
	iou_info_t info = { .size = sizeof(info) };

	iou_info(iou, &info);
	return info;
}

/* The choice. */

static int forbid_rings(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

struct refusal {
	int error;
	const char *word; /* in the reason; NULL: there is no instance */
};

static void be_refused(struct findings *findings, const void *data)
{
	const struct refusal *refusal = data;
	iou_config_t config = { .size = sizeof(config), .engine = IOU_ENGINE_URING };
	iou_info_t info;
	iou_t *iou;

	FIND_EQ(findings, forbid_rings(refusal->error), 0);
	FIND(findings, !iou_new_with(&config));
	FIND_EQ(findings, errno, refusal->error);
	iou = iou_new(8);
	FIND(findings, !iou == !refusal->word);
	if (!iou)
		return;
	info = info_of(iou);
	FIND_EQ(findings, info.engine, IOU_ENGINE_THREADS);
	FIND_EQ(findings, info.engine_error, refusal->error);
	FIND(findings, strstr(info.reason, refusal->word) != NULL);
	iou_free(iou);
}

static const struct refusal refusals[] = {
	{ EPERM, "seccomp" },
	{ EACCES, "seccomp" },
	{ ENOSYS, "seccomp" },
	{ EOPNOTSUPP, "seccomp" },
	{ ENOMEM, "no memory for a ring" },
	{ EINVAL, "seccomp" },
	{ EMFILE, NULL },
};

enum { N_REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

START_TEST(test_g16_ring_that_is_refused_is_replaced_and_the_reason_told)
{
	unsetenv("LIBIOU_ENGINE");
	in_child(be_refused, &refusals[_i]);
}
END_TEST

PROMISE(16, ring_is_a_dummy_on_which_calls_fail_cleanly)
{
	iou_t *iou = open_threads(8);
	struct io_uring *ring = iou_ring(iou);
	int fd = 0;

	ck_assert_ptr_nonnull(ring);
	ck_assert_int_lt(io_uring_register_eventfd(ring, fd), 0);
	ck_assert_ptr_null(io_uring_get_sqe(ring));
	ck_assert_int_lt(io_uring_register_files(ring, &fd, 1), 0);
	ck_assert_uint_eq(info_of(iou).ring_flags, 0);
	ck_assert_uint_eq(info_of(iou).sq_entries, 8);
	ck_assert_uint_eq(info_of(iou).cq_entries, 16);
	ck_assert_int_eq(iou_resize(iou, 100), 0);
	ck_assert_uint_eq(info_of(iou).sq_entries, 128);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* Workers. */

PROMISE(16, who_waits_for_somebody_else_holds_no_worker)
{
	enum { N = 100 };
	static struct seen reads[N], receipts[N];
	static char bytes[2 * N];
	int n_threads = support_threads(), fds[2], sockets[2];
	iou_t *iou = open_threads(8);

	open_pipe(fds);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	for (int i = 0; i < N; i++) {
		queue_read(iou, &reads[i], fds[0], &bytes[i], 1, i % 2 ? IOSQE_ASYNC : 0);
		io_uring_prep_recv(take(iou, &receipts[i]), sockets[0], &bytes[N + i], 1, 0);
		queue(&receipts[i]);
	}
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(support_threads(), n_threads);
	put_bytes(fds[1], bytes, N);
	put_bytes(sockets[1], bytes, N);
	run_and_free(iou);
	for (int i = 0; i < N; i++) {
		expect(&reads[i], 1);
		expect(&receipts[i], 1);
	}
	close_pipe(fds);
	close_pipe(sockets);
}
END_TEST

static void count_more(struct seen *seen, int n)
{
	for (int i = 0; i < 1000 && seen->n_calls < n; i++)
		ck_assert_int_ge(iou_run_once(seen->iou, &(struct timespec){ .tv_nsec = 10 * MS }), 0);
	ck_assert_int_eq(seen->n_calls, n);
}

static struct io_uring_sqe *prepare_futex(iou_t *iou, struct seen *seen, unsigned opcode, uint32_t *word)
{
	struct io_uring_sqe *sqe = take(iou, seen);

	sqe->opcode = (__u8)opcode;
	sqe->fd = 2 | FUTEX_PRIVATE_FLAG; /* 32 bits */
	sqe->addr = (__u64)(uintptr_t)word;
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	return sqe;
}

static int do_nothing(void *data)
{
	(void)data;
	return 0;
}

static int count_job(void *data)
{
	++*(int *)data;
	return 0;
}

/* As many futexes as there are workers for files, and more: neither files nor jobs wait for them. */
PROMISE(16, slow_ops_starve_neither_files_nor_jobs)
{
	enum { N = 40 };
	static struct seen waits[N], sync, wake;
	uint32_t word = 0;
	int n_jobs = 0, fd = memfd_create("file", MFD_CLOEXEC);
	iou_t *iou = open_threads(64);

	for (int i = 0; i < N; i++) {
		prepare_futex(iou, &waits[i], OP_FUTEX_WAIT, &word);
		queue(&waits[i]);
	}
	io_uring_prep_fsync(take(iou, &sync), fd, 0);
	queue(&sync);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(iou_async(iou, do_nothing, NULL, count_job, &n_jobs), 0);
	while (!sync.n_calls || n_jobs < N)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&sync, 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(waits[i].n_calls, 0);
	/* One at least has begun to wait by now; the others are cancelled. */
	prepare_futex(iou, &wake, OP_FUTEX_WAKE, &word)->off = 1;
	queue(&wake);
	while (!wake.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	ck_assert_int_ge(wake.result, 0);
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(waits[i].n_calls, 1);
		ck_assert(waits[i].result == -ECANCELED || waits[i].result == 0);
	}
	close(fd);
}
END_TEST

PROMISE(16, futex_waits_and_is_woken_or_cancelled)
{
	uint32_t words[2] = { 0, 0 };
	struct futex_waitv waiters[2] = { { .uaddr = (__u64)(uintptr_t)&words[0], .flags = 2 | FUTEX_PRIVATE_FLAG },
					  { .uaddr = (__u64)(uintptr_t)&words[1], .flags = 2 | FUTEX_PRIVATE_FLAG } };
	struct seen wait, waitv, wrong;
	iou_t *iou = open_threads(8);

	prepare_futex(iou, &wait, OP_FUTEX_WAIT, &words[0]);
	queue(&wait);
	prepare_futex(iou, &wrong, OP_FUTEX_WAIT, &words[0])->off = 1;
	queue(&wrong);
	take(iou, &waitv);
	prepare(waitv.op, OP_FUTEX_WAITV, 0, waiters, 2, 0);
	queue(&waitv);
	while (!wrong.n_calls)
		ck_assert_int_ge(iou_run_once(iou, NULL), 0);
	expect(&wrong, -EAGAIN);
	/* Until somebody sleeps there is nobody to wake. */
	while (!waitv.n_calls) {
		syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = MS }), 0);
	}
	expect(&waitv, 1);
	ck_assert_int_eq(iou_op_cancel(iou, wait.op), 0);
	run_and_free(iou);
	expect(&wait, -ECANCELED);
}
END_TEST

#define N_FUTEX_ROUNDS 200

static iou_t *open_futexes(int engine)
{
	return open_with((iou_config_t){ .entries = 8, .engine = both_engines[engine] });
}

static bool has_futexes(iou_t *iou)
{
	return iou_supports(iou, OP_FUTEX_WAIT) == 1;
}

static void queue_wake(iou_t *iou, struct seen *wake, uint32_t *word, int n)
{
	prepare_futex(iou, wake, OP_FUTEX_WAKE, word)->off = (__u64)n;
	queue(wake);
}

/* Be it that its worker sleeps already, is about to, or has not been started: the first to wait is the first to be woken. */
START_TEST(test_g16_futex_wake_finds_the_wait_that_was_submitted_before)
{
	uint32_t word = 0, other = 0;
	struct futex_waitv waiters[2] = { { .uaddr = (__u64)(uintptr_t)&other, .flags = 2 | FUTEX_PRIVATE_FLAG },
					  { .uaddr = (__u64)(uintptr_t)&word, .flags = 2 | FUTEX_PRIVATE_FLAG } };
	struct seen first, waitv, wake;
	iou_t *iou = open_futexes(_i);

	for (int i = 0; has_futexes(iou) && i < fewer(N_FUTEX_ROUNDS, 20); i++) {
		prepare_futex(iou, &first, OP_FUTEX_WAIT, &word);
		queue(&first);
		if (i % 3)
			ck_assert_int_ge(turn(iou), 0);
		if (i % 3 == 2)
			usleep((unsigned)(10 * i));
		queue_wake(iou, &wake, &word, i % 2 ? 1 : 100);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&wake, 1);
		expect(&first, 0);
		take(iou, &waitv);
		prepare(waitv.op, OP_FUTEX_WAITV, 0, waiters, 2, 0);
		queue(&waitv);
		prepare_futex(iou, &first, OP_FUTEX_WAIT, &other);
		queue(&first);
		if (i % 3)
			ck_assert_int_ge(turn(iou), 0);
		queue_wake(iou, &wake, &word, 2);
		count_more(&wake, 1);
		count_more(&waitv, 1);
		expect(&wake, 1);
		expect(&waitv, 1);
		ck_assert_int_eq(first.n_calls, 0);
		queue_wake(iou, &wake, &other, 2);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&wake, 1);
		expect(&first, 0);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

START_TEST(test_g16_futex_wake_looks_at_masks_and_wakes_so_many)
{
	uint32_t word = 0;
	struct seen waits[3], wake;
	iou_t *iou = open_futexes(_i);

	for (int i = 0; has_futexes(iou) && i < 2; i++) {
		for (int j = 0; j < 3; j++) {
			prepare_futex(iou, &waits[j], OP_FUTEX_WAIT, &word)->addr3 = j ? 1 : 2;
			queue(&waits[j]);
		}
		if (i)
			ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = 5 * MS }), 0);
		prepare_futex(iou, &wake, OP_FUTEX_WAKE, &word)->off = 1;
		wake.op->sqe->addr3 = 5;
		queue(&wake);
		count_more(&wake, 1);
		expect(&wake, 1);
		count_more(&waits[1], 1);
		ck_assert_int_eq(waits[0].n_calls + waits[2].n_calls, 0);
		queue_wake(iou, &wake, &word, 10);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&wake, 2);
		for (int j = 0; j < 3; j++)
			expect(&waits[j], 0);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* It has been counted as woken, whether or not its worker has had the time to say so. */
START_TEST(test_g16_futex_that_was_woken_is_not_cancelled)
{
	uint32_t word = 0;
	struct seen wait, cancel;
	iou_t *iou = open_futexes(_i);

	for (int i = 0; has_futexes(iou) && i < fewer(N_FUTEX_ROUNDS, 20); i++) {
		prepare_futex(iou, &wait, OP_FUTEX_WAIT, &word);
		queue(&wait);
		ck_assert_int_ge(turn(iou), 0);
		while (syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 0)
			sched_yield();
		usleep(i % 2 ? (unsigned)i : 0);
		io_uring_prep_cancel64(take(iou, &cancel), wait.op->sqe->user_data, 0);
		queue(&cancel);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&wait, 0);
		expect(&cancel, -ENOENT);
		prepare_futex(iou, &wait, OP_FUTEX_WAIT, &word);
		queue(&wait);
		io_uring_prep_cancel64(take(iou, &cancel), wait.op->sqe->user_data, 0);
		queue(&cancel);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&wait, -ECANCELED);
		expect(&cancel, 1);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* Children. */

PROMISE(16, child_that_ends_ends_the_wait_for_it)
{
	iou_t *iou = open_threads(8);
	struct seen wait, never;
	siginfo_t info = { 0 };
	pid_t child = fork();

	if (child == 0) {
		nanosleep(&(struct timespec){ .tv_nsec = 20 * MS }, NULL);
		_exit(7);
	}
	take(iou, &wait);
	prepare(wait.op, OP_WAITID, child, NULL, P_PID, (__u64)(uintptr_t)&info);
	wait.op->sqe->file_index = WEXITED;
	queue(&wait);
	take(iou, &never);
	prepare(never.op, OP_WAITID, child, NULL, P_PID, 0);
	never.op->sqe->file_index = WEXITED;
	queue(&never);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(wait.n_calls + never.n_calls, 2);
	ck_assert(wait.result == 0 || never.result == 0);
	ck_assert(wait.result == -ECHILD || never.result == -ECHILD);
	if (wait.result == 0)
		ck_assert_int_eq(info.si_status, 7);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

static int open_child(pid_t child, unsigned flags)
{
	int fd = (int)syscall(SYS_pidfd_open, child, flags);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void queue_wait(iou_t *iou, struct seen *wait, int pidfd, unsigned options, siginfo_t *info)
{
	take(iou, wait);
	prepare(wait->op, OP_WAITID, pidfd, NULL, P_PIDFD, (__u64)(uintptr_t)info);
	wait->op->sqe->file_index = options;
	queue(wait);
}

START_TEST(test_g16_child_by_descriptor_is_waited_for_unless_that_does_not_block)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = both_engines[_i] });
	struct seen stop, end, at_once;
	siginfo_t infos[3] = { { .si_pid = 0 } };
	pid_t child = fork();
	int fd, nonblocking;

	if (child == 0)
		for (;;)
			pause();
	fd = open_child(child, 0);
	nonblocking = open_child(child, O_NONBLOCK);
	if (iou_supports(iou, OP_WAITID) == 1) {
		queue_wait(iou, &at_once, nonblocking, WEXITED, &infos[0]);
		queue_wait(iou, &stop, fd, WSTOPPED, &infos[1]);
		queue_wait(iou, &end, fd, WEXITED, &infos[2]);
		count_more(&at_once, 1);
		expect(&at_once, 0);
		ck_assert_int_eq(infos[0].si_pid, 0);
		kill(child, SIGSTOP);
		count_more(&stop, 1);
		expect(&stop, 0);
		ck_assert_int_eq(infos[1].si_pid, child);
		ck_assert_int_eq(infos[1].si_status, SIGSTOP);
		ck_assert_int_eq(end.n_calls, 0);
		kill(child, SIGKILL);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&end, 0);
		ck_assert_int_eq(infos[2].si_status, SIGKILL);
	} else {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	ck_assert_ptr_null(iou_free(iou));
	close(fd);
	close(nonblocking);
}
END_TEST

/* Multishot, and provided buffers. */

PROMISE(16, multishot_accept_takes_all_who_come)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct seen accept, connects[3];
	iou_t *iou = open_threads(8);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	io_uring_prep_multishot_accept(take(iou, &accept), listener, NULL, NULL, SOCK_CLOEXEC);
	queue(&accept);
	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		io_uring_prep_connect(take(iou, &connects[i]), fd, (struct sockaddr *)&address, length);
		queue(&connects[i]);
		count_more(&connects[i], 1);
		expect(&connects[i], 0);
		count_more(&accept, i + 1);
		ck_assert_int_ge(accept.result, 0);
		ck_assert_uint_eq(accept.flags & IORING_CQE_F_MORE, IORING_CQE_F_MORE);
		ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
		ck_assert_int_eq(fcntl(listener, F_GETFL) & O_NONBLOCK, 0);
		close(accept.result);
		close(fd);
	}
	ck_assert_int_eq(iou_op_cancel(iou, accept.op), 0);
	run_and_free(iou);
	ck_assert_int_eq(accept.result, -ECANCELED);
	close(listener);
}
END_TEST

static void *flush_and_leave(void *data)
{
	return (void *)(intptr_t)iou_flush(data);
}

static void choose_name(char *path)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	unlink(path);
}

/* The owner has gone, and the file is there. */
static void queue_and_leave(struct seen *open_op, const char *path)
{
	void *result;

	queue(open_op);
	pthread_join(start_thread(flush_and_leave, open_op->iou), &result);
	ck_assert_int_eq((intptr_t)result, 0);
	while (access(path, F_OK) < 0)
		usleep(1000);
}

/* What a worker has done is done: a file that it has opened is the program's to close. */
PROMISE(16, results_of_workers_are_told_when_the_owner_has_gone)
{
	char path[] = "/tmp/test-threads-XXXXXX";
	struct seen open_op;
	iou_t *iou = open_threads(8);

	choose_name(path);
	io_uring_prep_openat(take(iou, &open_op), AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	queue_and_leave(&open_op, path);
	ck_assert_ptr_null(iou_free(iou));
	ck_assert_int_eq(open_op.n_calls, 1);
	ck_assert_int_ge(open_op.result, 0);
	ck_assert_int_eq(close(open_op.result), 0);
	unlink(path);
}
END_TEST

/* The same for one that goes to a slot: it is nobody's descriptor. */
PROMISE(16, file_that_a_worker_has_opened_is_not_left_when_the_owner_has_gone)
{
	char path[] = "/tmp/test-threads-XXXXXX";
	struct seen open_op;
	int n_descriptors = support_descriptors();
	iou_t *iou = open_threads(8);

	choose_name(path);
	ck_assert_int_eq(iou_register_files(iou, NULL, 2), 0);
	io_uring_prep_openat_direct(take(iou, &open_op), AT_FDCWD, path, O_RDWR | O_CREAT, 0600, 1);
	queue_and_leave(&open_op, path);
	ck_assert_ptr_null(iou_free(iou));
	expect(&open_op, 0);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	unlink(path);
}
END_TEST

#define N_FILE_READS 1000
#define N_FILE_BUFFERS 8

/* Some by workers, some by the loop: who has which buffer is for one of them to know. TSan watches. */
PROMISE(16, reads_of_a_file_by_workers_and_by_the_loop_share_a_group_of_buffers)
{
	static char buffers[N_FILE_BUFFERS][16];
	struct seen provide, reads[N_FILE_BUFFERS];
	FILE *file = tmpfile();
	iou_t *iou = open_threads(8);

	put_bytes(fileno(file), "0123456789abcdef", 16);
	for (int i = 0; i < fewer(N_FILE_READS, 100); i++) {
		io_uring_prep_provide_buffers(take(iou, &provide), buffers, 16, N_FILE_BUFFERS, 5, 0);
		queue(&provide);
		for (int j = 0; j < N_FILE_BUFFERS; j++) {
			io_uring_prep_read(take(iou, &reads[j]), fileno(file), NULL, 16, 0);
			reads[j].op->sqe->flags = (__u8)(IOSQE_BUFFER_SELECT | (j % 2 ? 0 : IOSQE_ASYNC));
			reads[j].op->sqe->buf_group = 5;
			queue(&reads[j]);
		}
		ck_assert_int_eq(iou_run(iou), 0);
		for (int j = 0; j < N_FILE_BUFFERS; j++) {
			expect(&reads[j], 16);
			ck_assert_uint_eq(reads[j].flags & IORING_CQE_F_BUFFER, IORING_CQE_F_BUFFER);
			ck_assert_int_eq(
				memcmp(buffers[reads[j].flags >> IORING_CQE_BUFFER_SHIFT], "0123456789abcdef", 16), 0);
		}
	}
	ck_assert_ptr_null(iou_free(iou));
	fclose(file);
}
END_TEST

static void receive_until_buffers_run_out(unsigned opcode)
{
	static char buffers[2][16];
	struct seen provide, receive;
	int fds[2];
	iou_t *iou = open_threads(8);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	io_uring_prep_provide_buffers(take(iou, &provide), buffers, 16, 2, 5, 0);
	queue(&provide);
	if (opcode == IORING_OP_RECV)
		io_uring_prep_recv_multishot(take(iou, &receive), fds[0], NULL, 0, 0);
	else
		prepare((take(iou, &receive), receive.op), opcode, fds[0], NULL, 0, 0);
	receive.op->sqe->flags = IOSQE_BUFFER_SELECT;
	receive.op->sqe->buf_group = 5;
	queue(&receive);
	for (int i = 0; i < 2; i++) {
		put_bytes(fds[1], "hello", 5);
		count_more(&receive, i + 1);
		ck_assert_int_eq(receive.result, 5);
		ck_assert_uint_eq(receive.flags, IORING_CQE_F_MORE | IORING_CQE_F_BUFFER | (unsigned)i << 16);
		ck_assert_int_eq(memcmp(buffers[i], "hello", 5), 0);
	}
	put_bytes(fds[1], "hello", 5);
	run_and_free(iou);
	ck_assert_int_eq(receive.n_calls, 3);
	ck_assert_int_eq(receive.result, -ENOBUFS);
	ck_assert_uint_eq(receive.flags, 0);
	close_pipe(fds);
}

PROMISE(16, multishot_receives_end_when_buffers_run_out)
{
	receive_until_buffers_run_out(IORING_OP_RECV);
	receive_until_buffers_run_out(OP_READ_MULTISHOT);
}
END_TEST

/* One that has the number of another that ended while epoll was to tell of each change. */
static int reuse(int fds[2])
{
	int fd = fds[0];

	close(fds[0]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert(fds[0] == fd || fds[1] == fd);
	return fds[0] == fd ? fds[1] : fds[0];
}

static void queue_receive(iou_t *iou, struct seen *receive, int fd, unsigned flags, unsigned ioprio)
{
	struct io_uring_sqe *sqe = take(iou, receive);

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags = (__u8)(IOSQE_BUFFER_SELECT | flags);
	sqe->ioprio |= (__u16)ioprio;
	sqe->buf_group = 5;
	queue(receive);
}

/* It finds something at once, so that epoll has not been told of it by then. */
static void receive_by_number_of_another(unsigned engine, unsigned flags, unsigned ioprio)
{
	static char buffers[8][16];
	struct seen provide, first, second;
	int fds[2], fd, other;
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = engine });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	io_uring_prep_provide_buffers(take(iou, &provide), buffers, 16, 8, 5, 0);
	queue(&provide);
	queue_receive(iou, &first, fd = fds[0], 0, 0);
	ck_assert_int_ge(turn(iou), 1);
	put_bytes(fds[1], "x", 1);
	count_more(&first, 1);
	put_bytes(fds[1], "x", 1);
	count_more(&first, 2);
	close(fds[1]);
	count_more(&first, 3);
	ck_assert_int_eq(first.result, 0);
	other = reuse(fds);
	put_bytes(other, "y", 1);
	queue_receive(iou, &second, fd, flags, ioprio);
	count_more(&second, 1);
	ck_assert_int_eq(second.result, 1);
	ck_assert_int_ge(turn(iou), 0);
	put_bytes(other, "z", 1);
	count_more(&second, 2);
	ck_assert_int_eq(second.result, 1);
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
}

START_TEST(test_g16_file_with_the_number_of_another_is_watched_anew)
{
	receive_by_number_of_another(both_engines[_i], 0, IORING_RECVSEND_POLL_FIRST);
	receive_by_number_of_another(both_engines[_i], IOSQE_ASYNC, 0);
}
END_TEST

/* The one buffer there is goes to who has something to put in it. */
PROMISE(16, who_waits_holds_no_buffer)
{
	char buffer[8];
	struct seen provide, wait, read;
	int fds[2], fd = memfd_create("file", MFD_CLOEXEC);
	iou_t *iou = open_threads(8);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	put_bytes(fd, "hello", 5);
	io_uring_prep_provide_buffers(take(iou, &provide), buffer, 8, 1, 5, 0);
	queue(&provide);
	io_uring_prep_recv(take(iou, &wait), fds[0], NULL, 8, 0);
	wait.op->sqe->flags = IOSQE_BUFFER_SELECT;
	wait.op->sqe->buf_group = 5;
	queue(&wait);
	io_uring_prep_read(take(iou, &read), fd, NULL, 8, 0);
	read.op->sqe->flags = IOSQE_BUFFER_SELECT;
	read.op->sqe->buf_group = 5;
	queue(&read);
	count_more(&read, 1);
	ck_assert_int_eq(read.result, 5);
	ck_assert_int_eq(wait.n_calls, 0);
	put_bytes(fds[1], "x", 1);
	run_and_free(iou);
	expect(&wait, -ENOBUFS);
	close_pipe(fds);
	close(fd);
}
END_TEST

/* The first two fill the CQ, which is emptied for the third; and that has nothing to say. */
PROMISE(16, completions_that_were_moved_out_of_the_way_end_the_wait)
{
	struct seen seen[3];
	int first[2], second[2];
	char bytes[3];
	iou_t *iou = open_threads(1);

	open_pipe(first);
	open_pipe(second);
	for (int i = 0; i < 3; i++) {
		io_uring_prep_read(take(iou, &seen[i]), i ? second[0] : first[0], &bytes[i], 1, (__u64)-1);
		queue(&seen[i]);
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ 0 }), 0);
	}
	put_bytes(first[1], "x", 1);
	put_bytes(second[1], "x", 1);
	ck_assert_int_eq(iou_run_once(iou, NULL), 2);
	expect(&seen[0], 1);
	ck_assert_int_eq(seen[1].n_calls + seen[2].n_calls, 1);
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(first);
	close_pipe(second);
}
END_TEST

PROMISE(16, multishot_timeout_fires_as_often_as_asked)
{
	struct __kernel_timespec time = { .tv_nsec = MS };
	struct seen timeout;
	iou_t *iou = open_threads(8);

	io_uring_prep_timeout(take(iou, &timeout), &time, 3, 1U << 6);
	timeout.op->sqe->off |= 1ULL << 32; /* or it would be kept in front of the engine */
	queue(&timeout);
	run_and_free(iou);
	ck_assert_int_eq(timeout.n_calls, 3);
	ck_assert_int_eq(timeout.result, -ETIME);
	ck_assert_uint_eq(timeout.flags, 0);
}
END_TEST

PROMISE(16, timeout_ends_when_so_many_have_completed)
{
	struct __kernel_timespec time = { .tv_sec = 3600 };
	struct seen timeout, nops[2];
	iou_t *iou = open_threads(8);

	io_uring_prep_timeout(take(iou, &timeout), &time, 2, 0);
	queue(&timeout);
	queue_nop(iou, &nops[0], 0);
	ck_assert_int_eq(turn(iou), 1);
	ck_assert_int_eq(timeout.n_calls, 0);
	queue_nop(iou, &nops[1], 0);
	run_and_free(iou);
	expect(&timeout, 0);
}
END_TEST

/* Always ready, and nothing that epoll would watch. */
PROMISE(16, polls_of_what_cannot_be_watched_end_at_once)
{
	struct seen once, again;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	iou_t *iou = open_threads(8);

	io_uring_prep_poll_add(take(iou, &once), fd, POLLIN);
	queue(&once);
	io_uring_prep_poll_multishot(take(iou, &again), fd, POLLIN);
	queue(&again);
	run_and_free(iou);
	expect(&once, POLLIN);
	expect(&again, POLLIN);
	close(fd);
}
END_TEST

PROMISE(16, poll_tells_of_the_end_unasked)
{
	struct seen poll;
	int fds[2];
	iou_t *iou = open_threads(8);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	io_uring_prep_poll_add(take(iou, &poll), fds[0], POLLPRI);
	queue(&poll);
	ck_assert_int_eq(turn(iou), 0);
	close(fds[1]);
	run_and_free(iou);
	expect(&poll, POLLHUP | POLLRDHUP);
	close(fds[0]);
}
END_TEST

static int note_foreign(const struct io_uring_cqe *cqe, void *data)
{
	*(__u64 *)data = cqe->user_data;
	return 0;
}

PROMISE(16, datagram_of_no_bytes_is_no_message_and_ends_none)
{
	__u64 foreign = 0;
	struct seen message;
	iou_t *from = open_threads(8);
	iou_t *to = open_with((iou_config_t){ .entries = 8,
					      .engine = IOU_ENGINE_THREADS,
					      .foreign_cqe = note_foreign,
					      .foreign_cqe_data = &foreign });
	int fd = iou_ring(to)->ring_fd;

	ck_assert_int_ge(turn(to), 0);
	for (__u64 i = 1; i < 4; i++) {
		ck_assert_int_eq(send(fd, "", 0, MSG_DONTWAIT), 0);
		ck_assert_int_eq(turn(to), 0);
		io_uring_prep_msg_ring(take(from, &message), fd, 1, i, 0);
		queue(&message);
		ck_assert_int_eq(iou_run(from), 0);
		expect(&message, 0);
		ck_assert_int_eq(turn(to), 1);
		ck_assert_uint_eq(foreign, i);
	}
	ck_assert_ptr_null(iou_free(from));
	ck_assert_ptr_null(iou_free(to));
}
END_TEST

/* By what it looks like only: the op is behind it in the queue, or in flight. */
PROMISE(16, message_that_bears_the_name_of_an_op_is_none_of_its_completions)
{
	static char bytes[3];
	struct seen messages[3], reads[3];
	__u64 names[3], foreign = 0;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8,
					       .engine = IOU_ENGINE_THREADS,
					       .foreign_cqe = note_foreign,
					       .foreign_cqe_data = &foreign });

	open_pipe(fds);
	for (int i = 0; i < 3; i++) {
		io_uring_prep_read(take(iou, &reads[i]), fds[0], &bytes[i], 1, 0);
		take(iou, &messages[i]);
	}
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			queue(&reads[i]);
		io_uring_prep_msg_ring(messages[i].op->sqe, iou_ring(iou)->ring_fd, 1, 0, 0);
		queue(&messages[i]);
		if (i != 1)
			queue(&reads[i]);
		names[i] = reads[i].op->sqe->user_data;
		messages[i].op->sqe->off = names[i];
		ck_assert_int_ge(turn(iou), 1);
		count_more(&messages[i], 1);
		ck_assert_int_ge(turn(iou), 0);
		expect(&messages[i], 0);
		ck_assert_uint_eq(foreign, names[i]);
		ck_assert_int_eq(reads[i].n_calls, 0);
	}
	put_bytes(fds[1], "abc", 3);
	run_and_free(iou);
	for (int i = 0; i < 3; i++)
		expect(&reads[i], 1);
	ck_assert_int_eq(memcmp(bytes, "abc", 3), 0);
	close_pipe(fds);
}
END_TEST

/* poll(2) refuses to look then. */
static void wait_without_limit(struct findings *findings, const void *data)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = *(const unsigned *)data });
	struct seen poll, receive;
	struct rlimit limit;
	char byte;
	int fds[2];

	FIND_EQ(findings, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	turn(iou);
	FIND_EQ(findings, getrlimit(RLIMIT_NOFILE, &limit), 0);
	FIND_EQ(findings, setrlimit(RLIMIT_NOFILE, &(struct rlimit){ .rlim_max = limit.rlim_max }), 0);
	io_uring_prep_poll_add(take(iou, &poll), fds[0], POLLIN);
	queue(&poll);
	io_uring_prep_recv(take(iou, &receive), fds[0], &byte, 1, 0);
	receive.op->sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	queue(&receive);
	FIND_EQ(findings, iou_run_once(iou, &(struct timespec){ .tv_nsec = MS }), 0);
	FIND_EQ(findings, write(fds[1], "x", 1), 1);
	FIND_EQ(findings, iou_run(iou), 0);
	FIND_EQ(findings, poll.result, POLLIN);
	FIND_EQ(findings, receive.result, 1);
	io_uring_prep_poll_add(take(iou, &poll), fds[0], POLLIN | POLLOUT);
	queue(&poll);
	FIND_EQ(findings, iou_run(iou), 0);
	FIND_EQ(findings, poll.result, POLLOUT);
	FIND_EQ(findings, setrlimit(RLIMIT_NOFILE, &limit), 0);
	FIND(findings, !iou_free(iou));
}

START_TEST(test_g16_readiness_is_waited_for_where_no_descriptors_may_be_opened)
{
	in_child(wait_without_limit, &both_engines[_i]);
}
END_TEST

/* As in the kernel what is wrong with one is found before the first begins. */
PROMISE(16, chain_with_a_bad_vector_does_not_begin)
{
	struct seen nop, write;
	int fds[2];
	iou_t *iou = open_threads(8);

	open_pipe(fds);
	queue_nop(iou, &nop, IOSQE_IO_HARDLINK);
	io_uring_prep_writev(take(iou, &write), fds[1], BAD, 1, 0);
	queue(&write);
	run_and_free(iou);
	expect(&nop, -ECANCELED);
	expect(&write, -EFAULT);
	close_pipe(fds);
}
END_TEST

/* What only user space reads: the others are the kernel's business. */

typedef void spoil_t(struct io_uring_sqe *sqe, int fd);

/* With a count, so that it is the engine's: those that are kept in front of it may crash, see iou.h. */
static void bad_timeout(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	io_uring_prep_timeout(sqe, BAD, 1, 0);
}

static void bad_update(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	io_uring_prep_timeout_update(sqe, BAD, 1, 0);
}

static void bad_readv(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_readv(sqe, fd, BAD, 1, 0);
}

static void bad_read(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_read(sqe, fd, BAD, 8, 0);
}

static void bad_sendmsg(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_sendmsg(sqe, fd, BAD, MSG_WAITALL);
}

static void bad_recvmsg(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_recvmsg(sqe, fd, BAD, 0);
}

static void bad_openat(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	io_uring_prep_openat(sqe, AT_FDCWD, BAD, O_RDONLY, 0);
}

static void bad_openat2(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	io_uring_prep_openat2(sqe, AT_FDCWD, "/", BAD);
	sqe->len = 24;
}

static void bad_statx(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	io_uring_prep_statx(sqe, AT_FDCWD, "/", 0, STATX_SIZE, BAD);
}

static void bad_epoll_ctl(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_epoll_ctl(sqe, fd, fd, EPOLL_CTL_ADD, BAD);
}

static void bad_waitv(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	sqe->opcode = OP_FUTEX_WAITV;
	sqe->addr = (__u64)(uintptr_t)BAD;
	sqe->len = 2;
}

static void bad_pipe(struct io_uring_sqe *sqe, int fd)
{
	(void)fd;
	sqe->opcode = OP_PIPE;
	sqe->addr = (__u64)(uintptr_t)BAD;
}

static spoil_t *const spoils[] = {
	bad_timeout, bad_update,  bad_readv, bad_read,      bad_sendmsg, bad_recvmsg,
	bad_openat,  bad_openat2, bad_statx, bad_epoll_ctl, bad_waitv,   bad_pipe,
};

enum { N_SPOILS = sizeof(spoils) / sizeof(spoils[0]) };

START_TEST(test_g16_bad_pointer_is_efault)
{
	struct seen seen;
	int fds[2];
	iou_t *iou = open_threads(8);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	put_bytes(fds[1], "something", 9);
	spoils[_i](take(iou, &seen), fds[0]);
	queue(&seen);
	run_and_free(iou);
	expect(&seen, -EFAULT);
	close_pipe(fds);
}
END_TEST

PROMISE(16, what_user_space_cannot_do_is_eopnotsupp)
{
	static const struct {
		unsigned opcode;
		int result;
	} ops[] = { { IORING_OP_URING_CMD, -EOPNOTSUPP }, { 58, -EOPNOTSUPP }, { 200, -EINVAL } };
	struct seen seen;
	iou_t *iou = open_threads(8);

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		take(iou, &seen);
		prepare(seen.op, ops[i].opcode, 0, NULL, 0, 0);
		queue(&seen);
		ck_assert_int_eq(iou_run(iou), 0);
		expect(&seen, ops[i].result);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("threads");
	TCase *choice = ADD_CASE(s, "choice", test_g16_ring_is_a_dummy_on_which_calls_fail_cleanly);
	TCase *pointers = ADD_CASE(s, "pointers", test_g16_chain_with_a_bad_vector_does_not_begin,
				   test_g16_what_user_space_cannot_do_is_eopnotsupp,
				   test_g16_datagram_of_no_bytes_is_no_message_and_ends_none,
				   test_g16_message_that_bears_the_name_of_an_op_is_none_of_its_completions);

	tcase_add_loop_test(choice, test_g16_ring_that_is_refused_is_replaced_and_the_reason_told, 0, N_REFUSALS);
	TCase *workers = ADD_CASE(s, "workers", test_g16_who_waits_for_somebody_else_holds_no_worker,
				  test_g16_child_that_ends_ends_the_wait_for_it,
				  test_g16_results_of_workers_are_told_when_the_owner_has_gone,
				  test_g16_file_that_a_worker_has_opened_is_not_left_when_the_owner_has_gone,
				  test_g16_reads_of_a_file_by_workers_and_by_the_loop_share_a_group_of_buffers);
	tcase_add_loop_test(choice, test_g16_readiness_is_waited_for_where_no_descriptors_may_be_opened, 0, 2);
	/* Memcheck minds bad pointers, and knows neither futex_waitv(2) nor the flags of pidfd_open(2). */
	if (!RUNNING_ON_VALGRIND) {
		tcase_add_loop_test(workers, test_g16_child_by_descriptor_is_waited_for_unless_that_does_not_block, 0,
				    2);
		tcase_add_loop_test(pointers, test_g16_bad_pointer_is_efault, 0, N_SPOILS);
		TCase *futexes = ADD_CASE(s, "futexes", test_g16_slow_ops_starve_neither_files_nor_jobs,
					  test_g16_futex_waits_and_is_woken_or_cancelled);

		tcase_add_loop_test(futexes, test_g16_futex_wake_finds_the_wait_that_was_submitted_before, 0, 2);
		tcase_add_loop_test(futexes, test_g16_futex_wake_looks_at_masks_and_wakes_so_many, 0, 2);
		tcase_add_loop_test(futexes, test_g16_futex_that_was_woken_is_not_cancelled, 0, 2);
	}
	TCase *multishot =
		ADD_CASE(s, "multishot", test_g16_multishot_accept_takes_all_who_come,
			 test_g16_multishot_receives_end_when_buffers_run_out,
			 test_g16_polls_of_what_cannot_be_watched_end_at_once, test_g16_poll_tells_of_the_end_unasked,
			 test_g16_who_waits_holds_no_buffer, test_g16_multishot_timeout_fires_as_often_as_asked,
			 test_g16_timeout_ends_when_so_many_have_completed,
			 test_g16_completions_that_were_moved_out_of_the_way_end_the_wait);

	tcase_add_loop_test(multishot, test_g16_file_with_the_number_of_another_is_watched_anew, 0, 2);
	return s;
}
