/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What makes SQEs, each of some kind and at random. */
#ifndef IOU_TESTS_DIFFERENTIAL_MAKE_H
#define IOU_TESTS_DIFFERENTIAL_MAKE_H

#include "../opcodes.h"
#include "world.h"

#define TIMEOUT_MULTISHOT (1U << 6)
#define CANCEL_USERDATA (1U << 4)
#define CANCEL_OP (1U << 5)
#define FUTEX_FLAGS (2 | 128) /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */

typedef void make_t(struct world *world, struct io_uring_sqe *sqe, struct slot *slot);

/* What ends by itself. */
make_t make_file_read, make_file_write, make_fixed, make_file_change, make_xattr, make_splice;
make_t make_path, make_open, make_close;
make_t make_socket, make_send, make_zero_copy, make_receive, make_accept;
make_t make_nop, make_buffers, make_selected, make_timeout, make_limit, make_poll, make_epoll, make_stray_update;
make_t make_futex, make_other;

/* What waits for this thing. */
void make_wait(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, enum thing thing);

/* A request that looks for the op i that waits for the thing. */
void make_cancel(struct world *world, struct io_uring_sqe *sqe, struct slot *slot, int i, enum thing thing);

/* A field is not as it was: mostly something that the kernel refuses. */
void make_spoilt(struct world *world, struct io_uring_sqe *sqe);

/* By AddressSanitizer or ThreadSanitizer. */
static inline bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#else
	return false;
#endif
#else
	return false;
#endif
}

/* Reading and writing at an offset. */
bool is_transfer(const struct io_uring_sqe *sqe);

/* For the makers. */
enum thing any_thing(struct world *world);
int any_fd(struct world *world);
void fill_data(struct world *world, struct slot *slot);
unsigned any_iovecs(struct world *world, struct slot *slot);
/* Of what is written: not all that memory has, which waits until somebody reads it. */
unsigned any_small_iovecs(struct world *world, struct slot *slot);
/* An address where nothing is, or not all of it is, or that cannot be written to. */
__u64 bad_address(struct world *world);

#define below(world, n) world_random(world, n)
#define pick(world, array) ((array)[world_random(world, sizeof(array) / sizeof((array)[0]))])

#endif
