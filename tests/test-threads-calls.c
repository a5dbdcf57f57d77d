/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the threads engine adds to the system call that does the work: nothing, where it can be done at once; and where a
 * multishot request goes on waiting no more than the wait. A seccomp filter forbids all that it might look round with;
 * as filters cannot be taken away each trial is a process.
 */
#include "children.h"
#include "promises.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define LENGTH 64
#define N_TIMES 10

/* Not every machine has all of them. */
static const unsigned forbidden[] = {
#ifdef SYS_poll
	SYS_poll,
#endif
#ifdef SYS_fstat
	SYS_fstat,
#endif
#ifdef SYS_newfstatat
	SYS_newfstatat,
#endif
	SYS_ppoll,
	SYS_epoll_ctl,
	SYS_statx,
	SYS_fcntl,
	SYS_getsockopt,
	SYS_getpid,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
};

enum { N_FORBIDDEN = sizeof(forbidden) / sizeof(forbidden[0]) };

static struct findings *found;

/* The parent is told which one. */
static void be_caught(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	FIND_EQ(found, info->si_syscall, -1);
	_exit(1);
}

static void forbid_looking_round(struct findings *findings)
{
	const struct sigaction action = { .sa_sigaction = be_caught, .sa_flags = SA_SIGINFO };
	struct sock_filter filter[N_FORBIDDEN + 3] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	const struct sock_fprog program = { N_FORBIDDEN + 3, filter };

	for (int i = 0; i < N_FORBIDDEN; i++)
		filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, forbidden[i],
							     (__u8)(N_FORBIDDEN - i), 0);
	filter[N_FORBIDDEN + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter[N_FORBIDDEN + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	found = findings;
	FIND_EQ(findings, sigaction(SIGSYS, &action, NULL), 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	FIND_EQ(findings, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* What an ordinary end would look round with is forbidden, too. */
static void end_caught(struct findings *findings)
{
	findings->is_done = true;
	_exit(0);
}

struct world {
	iou_t *iou;
	iou_buffers_t *buffers;
	int file, stream[2], datagrams;
	struct sockaddr_in address; /* of the datagrams */
	struct iovec iov[2];
	char bytes[LENGTH];
	/* Of the last callback. */
	iou_op_t *op;
	int result;
	unsigned flags;
};

static void open_datagrams(struct world *world)
{
	socklen_t size = sizeof(world->address);

	world->datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	world->address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(world->datagrams, (struct sockaddr *)&world->address, size), 0);
	ck_assert_int_eq(getsockname(world->datagrams, (struct sockaddr *)&world->address, &size), 0);
}

static int open_file(void)
{
	char path[] = "/var/tmp/libiou-calls-XXXXXX", bytes[LENGTH] = { 0 };
	int fd = mkostemp(path, O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	put_bytes(fd, bytes, LENGTH);
	return fd;
}

/* Elsewhere files are for workers. */
static bool files_know_nowait(void)
{
	char byte;
	const struct iovec iov = { &byte, 1 };
	int fd = open_file();
	ssize_t n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);

	close(fd);
	return n == 1;
}

static void open_world(struct world *world)
{
	*world = (struct world){ .iou = open_with((iou_config_t){ .entries = 8, .engine = IOU_ENGINE_THREADS }) };
	world->file = open_file();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, world->stream), 0);
	open_datagrams(world);
	world->iov[0] = (struct iovec){ world->bytes, LENGTH / 2 };
	world->iov[1] = (struct iovec){ world->bytes + LENGTH / 2, LENGTH / 2 };
	ck_assert_int_eq(iou_buffers_new(world->iou, 0, 4, LENGTH, &world->buffers), 0);
}

/* One after the other; what one sends the next receives. */

static void read_file(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world->file, world->bytes, LENGTH, 0);
}

static void read_file_into_vector(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_readv(sqe, world->file, world->iov, 2, 0);
}

static void send_bytes(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_send(sqe, world->stream[0], world->bytes, LENGTH, 0);
}

static void receive_bytes(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, world->stream[1], world->bytes, LENGTH, 0);
}

static void write_vector(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_writev(sqe, world->stream[0], world->iov, 2, 0);
}

static void read_bytes(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, world->stream[1], world->bytes, LENGTH, 0);
}

static void send_to_address(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_send(sqe, world->datagrams, world->bytes, LENGTH, 0);
	sqe->addr2 = (__u64)(uintptr_t)&world->address;
	sqe->addr_len = sizeof(world->address);
}

static void receive_datagram(struct world *world, struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, world->datagrams, world->bytes, LENGTH, 0);
}

static void (*const requests[])(struct world *world, struct io_uring_sqe *sqe) = {
	read_file,  read_file_into_vector, send_bytes,       receive_bytes, write_vector,
	read_bytes, send_to_address,       receive_datagram,
};

static int note(void *data)
{
	struct world *world = data;

	world->result = world->op->result;
	world->flags = world->op->flags;
	return 0;
}

static void do_each(struct findings *findings, struct world *world)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		world->op = iou_op_new(world->iou);
		requests[i](world, world->op->sqe);
		iou_op_queue(world->iou, world->op, note, world);
		FIND_EQ(findings, iou_run_once(world->iou, NULL), 1);
		FIND_EQ(findings, world->result, LENGTH);
	}
}

static void look_at_nothing(struct findings *findings, const void *data)
{
	struct world world;

	(void)data;
	open_world(&world);
	do_each(findings, &world);
	forbid_looking_round(findings);
	do_each(findings, &world);
	end_caught(findings);
}

PROMISE(16, what_can_be_done_at_once_takes_one_system_call)
{
	if (!files_know_nowait())
		SKIP("this file system does not know RWF_NOWAIT");
	in_child(look_at_nothing, NULL);
}
END_TEST

/* Each message comes while the loop waits, as far as epoll can tell. */
static void exchange(struct findings *findings, struct world *world)
{
	for (int i = 0; i < N_TIMES; i++) {
		FIND_EQ(findings, turn(world->iou), 0);
		FIND_EQ(findings, write(world->stream[0], world->bytes, LENGTH), LENGTH);
		FIND_EQ(findings, iou_run_once(world->iou, NULL), 1);
		FIND_EQ(findings, world->result, LENGTH);
		FIND(findings, world->flags & IORING_CQE_F_MORE);
		iou_buffers_recycle(world->buffers, world->flags >> IORING_CQE_BUFFER_SHIFT);
	}
}

static void receive_on(struct findings *findings, const void *data)
{
	struct world world;

	(void)data;
	open_world(&world);
	world.op = iou_op_new(world.iou);
	io_uring_prep_recv_multishot(world.op->sqe, world.stream[1], NULL, 0, 0);
	world.op->sqe->flags = IOSQE_BUFFER_SELECT;
	iou_op_queue(world.iou, world.op, note, &world);
	exchange(findings, &world);
	forbid_looking_round(findings);
	exchange(findings, &world);
	end_caught(findings);
}

PROMISE(16, multishot_receive_that_goes_on_asks_epoll_nothing)
{
	in_child(receive_on, NULL);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("threads-calls");

	ADD_CASE(s, "calls", test_g16_what_can_be_done_at_once_takes_one_system_call,
		 test_g16_multishot_receive_that_goes_on_asks_epoll_nothing);
	return s;
}
