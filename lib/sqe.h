/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library knows about the contents of an SQE. Pure functions. */
#ifndef IOU_LIB_SQE_H
#define IOU_LIB_SQE_H

#include <stdbool.h>

#include <liburing.h>

#define SQE_LINKS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

/* Flags that the library carries out itself, so that they do not reach the engine. */
#define SQE_OURS (IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS)

/* No flag of the kernel's yet: a program that sets it is told -EINVAL. So in the library's copy the bit is free. */
#define SQE_SPARE_FLAG (1U << 7)

/* Newer than the oldest liburing that we build with. */
#ifndef IORING_ASYNC_CANCEL_USERDATA
#define IORING_ASYNC_CANCEL_USERDATA (1U << 4)
#endif
#ifndef IORING_ASYNC_CANCEL_OP
#define IORING_ASYNC_CANCEL_OP (1U << 5)
#endif
#ifndef IORING_TIMEOUT_MULTISHOT
#define IORING_TIMEOUT_MULTISHOT (1U << 6)
#endif

/* No kernel will ever have this opcode: it is the last that the byte can hold. */
#define SQE_NO_OPCODE 255

/* Timeouts, and what may name one: see timeouts.h. */
static inline bool iou__sqe_is_of_timeouts(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_TIMEOUT || sqe->opcode == IORING_OP_TIMEOUT_REMOVE ||
	       sqe->opcode == IORING_OP_ASYNC_CANCEL;
}

/* Neither that, nor to be changed when it is copied; of the others some are told the same. */
static inline bool iou__sqe_is_ordinary(const struct io_uring_sqe *sqe)
{
	return (unsigned)sqe->opcode - IORING_OP_POLL_REMOVE > IORING_OP_ASYNC_CANCEL - IORING_OP_POLL_REMOVE;
}

/*
 * Copy a program's SQE as the engine is to see it. One that would change another request's identity becomes one that
 * the engine refuses with -EINVAL, so that a chain around it ends as it should.
 */
static inline void iou__sqe_copy(struct io_uring_sqe *to, const struct io_uring_sqe *from)
{
	*to = *from;
	if (from->opcode == IORING_OP_POLL_REMOVE && (from->len & IORING_POLL_UPDATE_USER_DATA))
		to->opcode = SQE_NO_OPCODE;
}

/*
 * Whether this result counts as success for IOSQE_CQE_SKIP_SUCCESS. Not so for the kernel, and so not here, are short
 * transfers: they also break a chain.
 */
bool iou__sqe_succeeded(const struct io_uring_sqe *sqe, int result);

#endif
