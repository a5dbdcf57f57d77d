/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sqe.h"

#include <limits.h>
#include <unistd.h>

/* Linux 6.15; newer than the oldest liburing that we build with, and enumerators where it has them. */
#define OP_READV_FIXED 60
#define OP_WRITEV_FIXED 61
#define SEND_VECTORIZED (1U << 5) /* Linux 6.17 */

/* They are still there: an SQE's memory must stay valid until the final callback. */
static unsigned long long sum_of_iovecs(const struct iovec *iov, size_t n)
{
	unsigned long long sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

static unsigned long long sum_of_message(const struct msghdr *message)
{
	return sum_of_iovecs(message->msg_iov, message->msg_iovlen);
}

static const void *memory_of(const struct io_uring_sqe *sqe)
{
	return (const void *)(uintptr_t)sqe->addr;
}

static unsigned long long sum_of_send(const struct io_uring_sqe *sqe)
{
	return sqe->ioprio & SEND_VECTORIZED ? sum_of_iovecs(memory_of(sqe), sqe->len) : sqe->len;
}

/* How much must have been transferred for success, as far as the kernel insists on it; 0: anything will do. */
static unsigned long long least_transfer(const struct io_uring_sqe *sqe)
{
	/* With a provided buffer the length is the buffer's, which only the kernel knows. */
	if (sqe->flags & IOSQE_BUFFER_SELECT)
		return 0;
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
		return sqe->len;
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case OP_READV_FIXED:
	case OP_WRITEV_FIXED:
		return sum_of_iovecs(memory_of(sqe), sqe->len);
	case IORING_OP_SEND:
	case IORING_OP_SEND_ZC:
		return sqe->msg_flags & MSG_WAITALL ? sum_of_send(sqe) : 0;
	case IORING_OP_RECV:
		return sqe->msg_flags & MSG_WAITALL ? sqe->len : 0;
	case IORING_OP_SENDMSG:
	case IORING_OP_SENDMSG_ZC:
	case IORING_OP_RECVMSG:
		return sqe->msg_flags & MSG_WAITALL ? sum_of_message(memory_of(sqe)) : 0;
	default:
		return 0;
	}
}

/* A timeout that ran its time fails with -ETIME, but for those that say this is a success. */
static bool timeout_is_success(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_TIMEOUT && (sqe->timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS);
}

/* What the kernel cuts requests down to, MAX_RW_COUNT in include/linux/fs.h. */
static unsigned long long most_transfer(void)
{
	return (unsigned long long)INT_MAX & ~((unsigned long long)sysconf(_SC_PAGESIZE) - 1);
}

bool iou__sqe_succeeded(const struct io_uring_sqe *sqe, int result)
{
	if (result == -ETIME && timeout_is_success(sqe))
		return true;
	if (result < 0)
		return false;

	return (unsigned)result >= least_transfer(sqe) || (unsigned)result >= most_transfer();
}
