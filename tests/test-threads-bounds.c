/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G16: the threads engine keeps to the bounds of memory, time and counts that the kernel keeps to. */
#include "promises.h"

#include <linux/openat2.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#define GROUP 6
#define N_BUFFERS 4
#define SIZE 64

static iou_t *open_engine(int engine)
{
	return open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });
}

static void turn_until_called(const struct seen *seen)
{
	while (!seen->n_calls)
		ck_assert_int_ge(iou_run_once(seen->iou, NULL), 0);
}

/* What a multishot receive puts ahead of the payload. */

static struct msghdr headers[] = {
	{ .msg_controllen = (size_t)1 << (sizeof(size_t) * 8 - 2) },
	{ .msg_controllen = (size_t)-16 },
	{ .msg_controllen = INT32_MAX - 15 },
	{ .msg_namelen = 0x80000000U },
	{ .msg_namelen = INT32_MAX },
	{ .msg_namelen = 40, .msg_controllen = (size_t)-56 },
};

/* It goes into one buffer, and not into the next. */
static void expect_no_overflow(int engine, struct msghdr *header)
{
	struct seen receive;
	iou_buffers_t *buffers;
	int fds[2], on = 1;
	iou_t *iou = open_engine(engine);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	ck_assert_int_eq(iou_buffers_new(iou, GROUP, N_BUFFERS, SIZE, &buffers), 0);
	memset(iou_buffers_at(buffers, 0), 0x55, (size_t)N_BUFFERS * SIZE);
	io_uring_prep_recvmsg_multishot(take(iou, &receive), fds[0], header, 0);
	receive.op->sqe->flags |= IOSQE_BUFFER_SELECT;
	receive.op->sqe->buf_group = GROUP;
	queue(&receive);
	put_bytes(fds[1], "hello", 5);
	turn_until_called(&receive);
	expect(&receive, -EOVERFLOW);
	for (unsigned i = 0; i < N_BUFFERS * SIZE; i++)
		ck_assert_int_eq(((const char *)iou_buffers_at(buffers, 0))[i], 0x55);
	ck_assert_ptr_null(iou_free(iou));
	iou_buffers_free(buffers);
	close_pipe(fds);
}

PROMISE(16, header_of_a_multishot_receive_does_not_overflow)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++)
		expect_no_overflow(engine, &headers[_i]);
}
END_TEST

/* More than a request transfers. */

#define PART (1UL << 30)
#define MOST 0x7ffff000

static void *discard(void *fd)
{
	static char bytes[1 << 20];

	while (recv(*(int *)fd, bytes, sizeof(bytes), MSG_TRUNC) > 0)
		;
	return NULL;
}

static void send_more_than_most(int engine)
{
	void *memory = mmap(NULL, PART, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec iov[] = { { memory, PART }, { memory, PART }, { memory, PART } };
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = 3 };
	struct seen sent;
	pthread_t thread;
	int fds[2];
	iou_t *iou = open_engine(engine);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	support_connect_tcp(fds, 0);
	thread = start_thread(discard, &fds[1]);
	io_uring_prep_sendmsg(take(iou, &sent), fds[0], &header, MSG_WAITALL);
	queue(&sent);
	run_and_free(iou);
	expect(&sent, MOST);
	close(fds[0]);
	pthread_join(thread, NULL);
	close(fds[1]);
	munmap(memory, PART);
}

PROMISE(16, message_of_3_gib_is_sent_as_far_as_a_request_goes)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++)
		send_more_than_most(engine);
}
END_TEST

/* Registered memory is for reading into, too. */

static int register_memory(int engine, void *memory, size_t length)
{
	struct iovec iovec = { memory, length };
	iou_t *iou = open_engine(engine);
	int r = iou_register_buffers(iou, &iovec, 1);

	ck_assert_ptr_null(iou_free(iou));
	return r;
}

PROMISE(16, memory_that_cannot_be_written_to_is_not_registered)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ck_assert_ptr_ne(memory, MAP_FAILED);
		ck_assert_int_eq(register_memory(engine, memory, 3 * page), 0);
		ck_assert_int_eq(mprotect(memory + 2 * page, page, PROT_READ), 0);
		ck_assert_int_eq(register_memory(engine, memory, 2 * page), 0);
		ck_assert_int_eq(register_memory(engine, memory, 2 * page + 1), -EFAULT);
		ck_assert_int_eq(register_memory(engine, memory + 2 * page, page), -EFAULT);
		ck_assert_int_eq(mprotect(memory, page, PROT_READ), 0);
		ck_assert_int_eq(register_memory(engine, memory + page - 1, 2), -EFAULT);
		ck_assert_int_eq(register_memory(engine, memory + page, page), 0);
		munmap(memory, 3 * page);
	}
}
END_TEST

/* Loops that accept at one listener, which blocks. */

enum { N_LOOPS = 3, N_ROUNDS = 10, PATIENCE_S = 20 };

static struct loop {
	int engine, listener;
	iou_t *iou;
	sem_t has_begun, has_answered;
	iou_op_t *accept;
} loops[N_LOOPS];

static bool is_blocking(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static atomic_bool is_shared;
static atomic_int n_inside, n_blocking;

static void sleep_ms(long n)
{
	nanosleep(&(struct timespec){ .tv_nsec = n * 1000000 }, NULL);
}

static int accept_shared(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	bool is_first = atomic_fetch_add(&n_inside, 1) == 0;
	int r = -1;

	for (int i = 0; i < 5 && (is_first ? n_inside < 2 : !is_blocking(fd)); i++)
		sleep_ms(1);
	if (is_blocking(fd)) {
		n_blocking++;
		errno = EAGAIN;
	} else {
		r = (int)syscall(SYS_accept4, fd, address, length, flags);
	}
	n_inside--;
	return r;
}

/*
 * The library's, as it is a shared one: whoever comes first stays for a while, so that others may come, and these stay until
 * that one has left, and would block.
 */
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return is_shared ? accept_shared(fd, address, length, flags)
			 : (int)syscall(SYS_accept4, fd, address, length, flags);
}

static int close_accepted(void *data)
{
	struct loop *loop = data;

	if (loop->accept->result >= 0)
		close(loop->accept->result);
	loop->accept = NULL;
	return 0;
}

/* As the next round begins. */
static int accept_again(void *data)
{
	struct loop *loop = data;

	if (loop->accept)
		return 0;
	loop->accept = iou_op_new(loop->iou);
	io_uring_prep_accept(loop->accept->sqe, loop->listener, NULL, NULL, 0);
	iou_op_queue(loop->iou, loop->accept, close_accepted, loop);
	return 0;
}

static int do_nothing(void *data)
{
	(void)data;
	return 0;
}

static int answer(void *data)
{
	return sem_post(data);
}

static void *run_loop(void *data)
{
	struct loop *loop = data;
	iou_config_t config = { .size = sizeof(config), .entries = 8, .engine = (uint32_t)loop->engine };

	loop->iou = iou_new_with(&config);
	iou_hold(loop->iou);
	iou_post(loop->iou, answer, &loop->has_begun);
	iou_run(loop->iou);
	iou_free(loop->iou);
	return NULL;
}

static void connect_and_close(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger)),
			 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
	close(fd);
}

/* Nobody connects any more: a loop that sleeps in accept(2) does not wake up. */
static void expect_answers(int (*cb)(void *))
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	for (int i = 0; i < N_LOOPS; i++) {
		ck_assert_int_eq(iou_post(loops[i].iou, cb, &loops[i]), 0);
		ck_assert_int_eq(iou_post(loops[i].iou, answer, &loops[i].has_answered), 0);
	}
	for (int i = 0; i < N_LOOPS; i++)
		ck_assert_int_eq(sem_timedwait(&loops[i].has_answered, &until), 0);
}

static void share_listener(int engine)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t threads[N_LOOPS];

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 128), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	for (int i = 0; i < N_LOOPS; i++) {
		loops[i] = (struct loop){ .engine = engine, .listener = listener };
		sem_init(&loops[i].has_begun, 0, 0);
		sem_init(&loops[i].has_answered, 0, 0);
		threads[i] = start_thread(run_loop, &loops[i]);
		wait_for_sem(&loops[i].has_begun);
	}
	for (int i = 0; i < N_ROUNDS; i++) {
		expect_answers(accept_again);
		connect_and_close(&address);
		expect_answers(do_nothing);
	}
	for (int i = 0; i < N_LOOPS; i++) {
		iou_quit(loops[i].iou);
		pthread_join(threads[i], NULL);
	}
	ck_assert_int_eq(n_blocking, 0);
	ck_assert_int_eq(fcntl(listener, F_GETFL) & O_NONBLOCK, 0);
	close(listener);
}

PROMISE(16, loops_that_share_a_blocking_listener_do_not_sleep_in_it)
{
	is_shared = true;
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++)
		share_listener(engine);
	is_shared = false;
}
END_TEST

/* Waits that end with the instance. */

#define LONGER 8 /* than the struct that headers have */

PROMISE(16, fifo_opened_with_a_longer_struct_does_not_wait_for_its_other_end)
{
	struct {
		struct open_how how;
		char zero[LONGER];
	} longer = { .how.flags = O_RDONLY | O_CLOEXEC };
	char directory[] = "/tmp/libiou-test-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/fifo", directory);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		struct seen opened;
		iou_t *iou = open_engine(engine);

		io_uring_prep_openat2(take(iou, &opened), AT_FDCWD, path, &longer.how);
		opened.op->sqe->len = sizeof(longer);
		queue(&opened);
		turn_until_called(&opened);
		ck_assert_int_ge(opened.result, 0);
		ck_assert_int_eq(fcntl(opened.result, F_GETFL) & O_NONBLOCK, 0);
		close(opened.result);
		longer.zero[LONGER - 1] = 1;
		io_uring_prep_openat2(take(iou, &opened), AT_FDCWD, path, &longer.how);
		opened.op->sqe->len = sizeof(longer);
		queue(&opened);
		run_and_free(iou);
		expect(&opened, -E2BIG);
		longer.zero[LONGER - 1] = 0;
	}
	unlink(path);
	rmdir(directory);
}
END_TEST

/* The kernel's own workers are interrupted. */
static bool is_cancelled(const struct seen *seen)
{
	return seen->n_calls == 1 && (seen->result == -ECANCELED || seen->result == -EINTR);
}

/* The event is for one of them; the other waits, and does not keep the instance. */
PROMISE(09, read_of_an_inotify_descriptor_that_another_empties_ends)
{
	char directory[] = "/tmp/libiou-test-XXXXXX", inner[64], events[2][4096];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(inner, sizeof(inner), "%s/inner", directory);
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		struct seen reads[2];
		int fd = inotify_init1(IN_CLOEXEC);
		iou_t *iou = open_engine(engine);

		ck_assert_int_ge(inotify_add_watch(fd, directory, IN_CREATE), 0);
		for (int i = 0; i < 2; i++)
			queue_read(iou, &reads[i], fd, events[i], sizeof(events[i]), 0);
		ck_assert_int_eq(turn(iou), 0);
		ck_assert_int_eq(mkdir(inner, 0700), 0);
		while (!reads[0].n_calls && !reads[1].n_calls)
			ck_assert_int_ge(iou_run_once(iou, NULL), 0);
		ck_assert_ptr_null(iou_free(iou));
		ck_assert(is_cancelled(&reads[0]) != is_cancelled(&reads[1]));
		ck_assert(reads[0].result > 0 || reads[1].result > 0);
		rmdir(inner);
		close(fd);
	}
	rmdir(directory);
}
END_TEST

/* It takes a 1, and so is ready. */
PROMISE(09, write_to_an_eventfd_that_has_no_room_for_it_waits_without_a_worker)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		uint64_t most = UINT64_MAX - 1, five = 5;
		struct seen writes[3];
		int fd = eventfd(0, EFD_CLOEXEC);
		struct iovec iov = { &five, sizeof(five) };
		iou_t *iou = open_engine(engine);

		most--;
		put_bytes(fd, &most, sizeof(most));
		io_uring_prep_write(take(iou, &writes[0]), fd, &five, sizeof(five), (__u64)-1);
		queue(&writes[0]);
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 50000000 }), 0);
		ck_assert_int_eq(read(fd, &most, sizeof(most)), sizeof(most));
		turn_until_called(&writes[0]);
		expect(&writes[0], sizeof(five));
		most = UINT64_MAX - 10;
		put_bytes(fd, &most, sizeof(most));
		io_uring_prep_write(take(iou, &writes[1]), fd, &five, sizeof(five), (__u64)-1);
		queue(&writes[1]);
		io_uring_prep_writev(take(iou, &writes[2]), fd, &iov, 1, (__u64)-1);
		queue(&writes[2]);
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 50000000 }), 0);
		ck_assert_ptr_null(iou_free(iou));
		ck_assert(is_cancelled(&writes[1]) && is_cancelled(&writes[2]));
		close(fd);
	}
}
END_TEST

/* It looks like a file on a disk. */
PROMISE(09, read_of_a_file_that_waits_for_the_kernel_waits_without_a_worker)
{
	static char log[65536];
	int fd = open("/proc/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	ck_assert_int_ge(fd, 0);
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		struct seen reads[2];
		iou_t *iou = open_engine(engine);

		fcntl(fd, F_SETFL, O_NONBLOCK);
		while (read(fd, log, sizeof(log)) > 0)
			;
		fcntl(fd, F_SETFL, 0);
		for (unsigned i = 0; i < 2; i++)
			queue_read(iou, &reads[i], fd, log, sizeof(log), i ? IOSQE_ASYNC : 0);
		ck_assert_int_ge(iou_run_once(iou, &(struct timespec){ .tv_nsec = 50000000 }), 0);
		ck_assert_ptr_null(iou_free(iou));
	}
	close(fd);
}
END_TEST

/* The sender's socket is ready at all times, and nothing tells when the receiver's has room. */
PROMISE(05, send_to_a_datagram_socket_that_is_full_uses_no_cpu)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct sockaddr *to = (const struct sockaddr *)&address;
	int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct seen sent;
	int64_t before;
	char byte;
	iou_t *iou = open_engine(IOU_ENGINE_THREADS);

	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "libiou-test-%d", getpid());
	ck_assert_int_eq(bind(receiver, to, sizeof(address)), 0);
	while (sendto(sender, "x", 1, MSG_DONTWAIT, to, sizeof(address)) == 1)
		;
	io_uring_prep_send(take(iou, &sent), sender, "y", 1, 0);
	io_uring_prep_send_set_addr(sent.op->sqe, to, sizeof(address));
	queue(&sent);
	ck_assert_int_eq(turn(iou), 0);
	before = support_thread_cpu_us();
	ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 500000000 }), 0);
	ck_assert_int_lt(support_thread_cpu_us() - before, 20000);
	ck_assert_int_eq(recv(receiver, &byte, 1, 0), 1);
	run_and_free(iou);
	expect(&sent, 1);
	close(sender);
	close(receiver);
}
END_TEST

PROMISE(16, file_that_somebody_has_a_lease_of_is_opened_once_it_is_broken)
{
	char path[] = "/tmp/libiou-test-XXXXXX";
	int fd;

	signal(SIGIO, SIG_IGN);
	close(mkstemp(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		struct seen opened;
		iou_t *iou = open_engine(engine);

		ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_RDLCK), 0);
		io_uring_prep_openat(take(iou, &opened), AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
		queue(&opened);
		ck_assert_int_eq(iou_run_once(iou, &(struct timespec){ .tv_nsec = 50000000 }), 0);
		ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
		run_and_free(iou);
		ck_assert_int_ge(opened.result, 0);
		close(opened.result);
	}
	close(fd);
	unlink(path);
}
END_TEST

/* Ordinary users, and roots of some containers, have no such file. */
static bool has_kernels_log(void)
{
	int fd = open("/proc/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && close(fd) == 0;
}

Suite *suite(void)
{
	Suite *s = suite_create("threads-bounds");
	TCase *tcase = tcase_create("lengths");

	suite_add_tcase(s, tcase);
	tcase_add_loop_test(tcase, PROMISE_TEST(16, header_of_a_multishot_receive_does_not_overflow), 0,
			    (int)(sizeof(headers) / sizeof(headers[0])));
	ADD_CASE(s, "most", PROMISE_TEST(16, message_of_3_gib_is_sent_as_far_as_a_request_goes));
	ADD_CASE(s, "registered", PROMISE_TEST(16, memory_that_cannot_be_written_to_is_not_registered));
	ADD_CASE(s, "blocking", PROMISE_TEST(16, loops_that_share_a_blocking_listener_do_not_sleep_in_it));
	ADD_CASE(s, "waits", PROMISE_TEST(16, fifo_opened_with_a_longer_struct_does_not_wait_for_its_other_end),
		 PROMISE_TEST(09, read_of_an_inotify_descriptor_that_another_empties_ends),
		 PROMISE_TEST(09, write_to_an_eventfd_that_has_no_room_for_it_waits_without_a_worker));
	if (has_kernels_log())
		ADD_CASE(s, "kernel's log",
			 PROMISE_TEST(09, read_of_a_file_that_waits_for_the_kernel_waits_without_a_worker));
	ADD_CASE(s, "pauses", PROMISE_TEST(05, send_to_a_datagram_socket_that_is_full_uses_no_cpu),
		 PROMISE_TEST(16, file_that_somebody_has_a_lease_of_is_opened_once_it_is_broken));
	return s;
}
