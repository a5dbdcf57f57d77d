/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_DIFFERENTIAL_WORLD_H
#define IOU_TESTS_DIFFERENTIAL_WORLD_H

/*
 * The differential test: random programs of SQEs are run on both engines, each in a world of its own that looks the same,
 * and what comes of each op and what is left of the world are compared. The kernel is the oracle. A program is a seed and
 * what is left out of it; the same random numbers make the same SQEs in each world, but for ports and directories.
 *
 * What may differ, and is neither compared nor, where it would show in what follows, made:
 *   - the order of completions of ops that are neither linked nor drained, and what such ops do to each other;
 *   - races of a cancellation against a completion: ops that a thread is at (IOSQE_ASYNC, splice) are cancelled by
 *     iou_cancel_all() at the end, and not by a request that tells what it found;
 *   - IORING_CQE_F_SOCK_NONEMPTY; the numbers of new descriptors; times; names that the kernel gives to sockets;
 *   - what the threads engine cannot have: see IOU_ENGINE_THREADS in iou.h;
 *   - how many IORING_ASYNC_CANCEL_ANY, or by the opcode of polls, finds: the library has a poll of its own;
 *   - a linked timeout that comes as its request ends: -ENOENT or -EALREADY, and -ECANCELED;
 *   - whether a zero-copy send that failed had copied some of it;
 *   - transfers of nothing from what is no regular file; flags of those, of transfers from or to what is no regular file,
 *     or to places where none can be, which system calls see in another order; the position of a file after a transfer
 *     that broke off at a bad address;
 *   - bundles, a provided buffer at address 0, transfers from epoll sets, datagram sockets that were shut down, urgent
 *     data, multishot reads from a pipe that was spliced: the kernel has ways of its own there;
 *   - multishot polls for several events: epoll tells of all that are there, the kernel of those that came, and
 *     of hang-ups, which nobody asks for, the first time;
 *   - a struct open_how of more than a page, which openat2(2) refuses;
 *   - what programs must not do: times of timeouts that cannot be read, see iou.h.
 *
 * The files: world.c is what a program finds, and takes down what comes of its ops; registered.c, what of it is
 * registered; state.c, what is left of it; make-*.c make SQEs; program.c makes steps of them; main.c compares, and leaves
 * out what a difference does not need.
 */

#include <iou.h>
#include <stdbool.h>
#include <stdint.h>

enum { N_STEPS = 12, OPS_PER_STEP = 8, N_OPS = N_STEPS * OPS_PER_STEP };
enum { SLOT_SIZE = 4096, DATA_SIZE = 512, MAX_CALLS = 16, GROUP = 3, BUFFER_SIZE = 64, N_BUFFERS = 16 };
enum { MAX_KNOCKING = 8 };
/* Things have descriptors from here on; what ops make comes below. */
enum { FIRST_FD = 200, STDIN_WRITER = 500 };

enum thing {
	A_FILE,
	AN_APPENDED_FILE,
	A_READ_ONLY_FILE,
	A_PATH, /* O_PATH */
	A_DIRECTORY,
	A_PIPE, /* the end to read from; its other end is the next */
	A_PIPE_TO,
	A_NONBLOCK_PIPE, /* O_NONBLOCK */
	A_NONBLOCK_PIPE_TO,
	A_STREAM, /* a pair of Unix sockets */
	A_STREAM_TO,
	A_DATAGRAM, /* likewise */
	A_DATAGRAM_TO,
	A_SEQUENCE, /* SOCK_SEQPACKET */
	A_SEQUENCE_TO,
	A_NONBLOCK_STREAM,
	A_NONBLOCK_STREAM_TO,
	A_TCP, /* connected */
	A_TCP_TO,
	A_UDP,
	A_UDP_TO,
	A_LISTENER,      /* TCP */
	A_UNIX_LISTENER, /* stream */
	A_SOCKET,        /* TCP, not connected */
	A_UNIX_SOCKET,   /* likewise */
	AN_EVENTFD,
	AN_EPOLL,
	A_CLOSED_ONE,   /* no descriptor */
	A_NEGATIVE_ONE, /* likewise */
	N_THINGS,
};

struct call {
	int result;
	unsigned flags;
};

struct outcome {
	struct io_uring_sqe sqe; /* as it was queued; for the report */
	bool is_queued;
	__u64 user_data; /* the op's identity */
	int n_calls;
	struct call calls[MAX_CALLS];
	uint64_t data; /* a hash of the op's memory afterwards */
};

/* What an op points to. */
struct slot {
	unsigned char data[DATA_SIZE]; /* compared */
	unsigned char other[512];      /* a struct statx or address, of which some is compared */
	unsigned char address[128];    /* not compared: ports, directories */
	char paths[2][64];
	struct iovec iov[2];
	struct msghdr message;
	struct __kernel_timespec time;
	struct open_how how;
	uint32_t word;
	int fds[2];
	socklen_t length;
};

/* What is left out of a program, and how patient the test is with it. */
struct cut {
	uint32_t steps;       /* bits: left out */
	uint8_t ops[N_STEPS]; /* likewise, of each step */
	unsigned patience_ms; /* nothing has happened for so long: nothing will */
};

/* What is left of the world. */
struct trace {
	char name[40];
	uint64_t value;
};

enum { MAX_TRACES = 200 };

struct world {
	iou_t *iou;
	struct cut cut;
	uint64_t seed, random;
	char directory[64];
	int directory_fd;
	int fds[N_THINGS];
	unsigned char tcp_address[16], unix_address[128]; /* the listeners' */
	struct slot *slots;                               /* one per op, each on a page of its own */
	unsigned char *buffers;                           /* provided ones */
	unsigned char *read_only;                         /* a page */
	iou_op_t *ops[N_OPS];
	struct watch {
		struct world *world;
		int i;
		bool has_ended;
	} watches[N_OPS];
	struct outcome outcomes[N_OPS];
	struct trace traces[MAX_TRACES];
	int n_traces;
	int step, n_in_step;
	int knocking[MAX_KNOCKING]; /* sockets that somebody has connected to the listeners */
	int n_knocking;
};

void world_open(struct world *world, uint32_t engine, uint64_t seed, const struct cut *cut);
void world_close(struct world *world);

/* A number below n. */
uint32_t world_random(struct world *world, uint32_t n);

/* Random numbers, and ops, of this step. */
void world_begin_step(struct world *world, int step);

/* An op whose outcome is recorded; its SQE is zero. NULL: there are enough. */
iou_op_t *world_op(struct world *world, struct slot **slot);

/* The last one that was made; it may be left out. */
void world_queue(struct world *world, iou_op_t *op);

/* Turns until nothing is pending, or nothing has happened for some time: whether there is something pending. */
bool world_run(struct world *world);

/* Turns as long as there is something to do at once. */
void world_settle(struct world *world);

/* What is in it is taken out, so that who reads waits. */
void world_empty(struct world *world, enum thing thing);
bool world_has_data(struct world *world, enum thing thing);

/* The memory of the op of this number. */
struct slot *world_slot(const struct world *world, int i);

/*
 * registered.c: every other program has its things registered as files, and the ops' memory as buffers, by the same
 * numbers, and uses them now and then instead. 0 or -errno.
 */
int registered_open(struct world *world);
void registered_close(struct world *world);
void registered_use(struct world *world, struct io_uring_sqe *sqe, int i);

/* state.c: what is left, and what of an op's memory is compared. */
void state_trace(struct world *world);
uint64_t state_hash(const struct slot *slot, const struct io_uring_sqe *sqe);
void state_remove_files(int directory_fd);

/* One program. */
void program_run(struct world *world);

#endif
