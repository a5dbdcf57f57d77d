/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_DIFFERENTIAL_WORLD_H
#define IOU_TESTS_DIFFERENTIAL_WORLD_H

/*
 * The differential test: random programs of SQEs are run on both engines, each in a world of its own that looks the same,
 * and what comes of each op is compared. The kernel is the oracle. A program is a seed; the same random numbers make the same
 * SQEs in each world, but for addresses and descriptors. Now and then one uses a registered file or buffer instead.
 *
 * What may differ, and is not compared: the order of completions of ops that are neither linked nor drained; which buffer of
 * a group was taken; IORING_CQE_F_SOCK_NONEMPTY; the numbers of new descriptors; what the kernel alone can do.
 */

#include <iou.h>
#include <stdbool.h>
#include <stdint.h>

enum { N_OPS = 64, SLOT_SIZE = 4096, DATA_SIZE = 512, MAX_CALLS = 16, GROUP = 3 };

enum thing {
	A_FILE,
	A_PIPE, /* the end to read from; its other end is the next */
	A_PIPE_TO,
	A_STREAM, /* a pair of Unix sockets */
	A_STREAM_TO,
	A_DATAGRAM, /* likewise */
	A_DATAGRAM_TO,
	A_LISTENER, /* TCP */
	AN_EVENTFD,
	A_CLOSED_ONE, /* no descriptor */
	N_THINGS,
};

struct call {
	int result;
	unsigned flags;
};

struct outcome {
	struct io_uring_sqe sqe; /* as it was queued; for the report */
	int n_calls;
	struct call calls[MAX_CALLS];
	uint64_t data; /* a hash of the op's memory afterwards */
};

/* What an op points to. */
struct slot {
	unsigned char data[DATA_SIZE];
	char paths[2][32];
	struct iovec iov[2];
	struct msghdr message;
	struct __kernel_timespec time;
	unsigned char other[256];
};

struct world {
	iou_t *iou;
	uint64_t random;
	char directory[64];
	int directory_fd;
	int fds[N_THINGS];
	struct slot *slots;     /* one per op, each on a page of its own */
	unsigned char *buffers; /* provided ones */
	iou_op_t *ops[N_OPS];
	struct watch {
		struct world *world;
		int i;
		bool makes_fd; /* its result is a descriptor */
		bool has_ended;
	} watches[N_OPS];
	struct outcome outcomes[N_OPS];
	int n_ops;
};

void world_open(struct world *world, uint32_t engine, uint64_t seed);
void world_close(struct world *world);

/* A number below n. */
uint32_t world_random(struct world *world, uint32_t n);

/* An op whose outcome is recorded; its SQE is zero. NULL: there are enough. */
iou_op_t *world_op(struct world *world, struct slot **slot);
void world_queue(struct world *world, iou_op_t *op);

/* Turns until these ops have ended, or (-1) nothing has happened for some time. */
void world_run(struct world *world, int first, int n);

/* Turns until this op has been called once more, or should have been long ago. */
void world_run_until_called(struct world *world, int i);

/* One program. */
void program_run(struct world *world);

#endif
