/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending; without a copy it is one here, and the memory is free again at once. */
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "exec-message.h"
#include "opcodes.h"
#include "peek.h"

#define SEND_FLAGS (IORING_RECVSEND_POLL_FIRST | RECVSEND_BUNDLE | SEND_VECTORIZED)
#define ZC_FLAGS \
	(IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE | SEND_VECTORIZED)

/* Behind the length of an address. */
static bool has_padding(const struct io_uring_sqe *sqe)
{
	return (sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_SEND_ZC) && sqe->__pad3[0];
}

int iou__check_send(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (sqe->ioprio & ~SEND_FLAGS || has_padding(sqe) || sqe->len > INT_MAX)
		return -EINVAL;
	return sqe->ioprio & RECVSEND_BUNDLE && iou__message_has_header(request) ? -EINVAL
										 : iou__message_check(request);
}

int iou__check_send_zc(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (sqe->addr3 || sqe->__pad2[0])
		return -EINVAL;
	request->has_notice = true;
	if (iou__message_has_header(request) && (sqe->addr2 || sqe->file_index))
		return -EINVAL;
	if (sqe->ioprio & ~ZC_FLAGS) {
		request->sqe.ioprio = 0; /* it is not looked at any further */
		return -EINVAL;
	}
	return has_padding(sqe) ? -EINVAL : iou__message_check(request);
}

static ssize_t send_message(struct request *request, struct msghdr *header)
{
	return sendmsg(request->sqe.fd, header, iou__message_flags(request) | MSG_NOSIGNAL);
}

/* 1: an Internet socket; 0: another one; or -errno. */
static int is_internet(int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
		return -errno;
	return domain == AF_INET || domain == AF_INET6;
}

/* Datagrams of the Internet's take an address of no length for one, as sendto(2) does, and sendmsg(2) for none. */
static bool has_bad_address(const struct io_uring_sqe *sqe)
{
	return sqe->addr2 && !sqe->addr_len && is_internet(sqe->fd) > 0 && iou__message_type(sqe->fd) == SOCK_DGRAM;
}

/* A message without a header: the SQE is it. */
static enum outcome send_vector(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct message message = { .header = { .msg_name = iou__pointer(sqe->addr2),
					       .msg_namelen = sqe->addr_len,
					       .msg_iov = iou__pointer(sqe->addr),
					       .msg_iovlen = sqe->len } };
	int r = iou__message_copy_vector(request, &message);
	ssize_t n;
	int error;

	if (r == 0 && has_bad_address(sqe))
		r = -EINVAL;
	n = r < 0 ? iou__message_fail(-r) : send_message(request, &message.header);
	error = errno;
	free(message.iov);
	errno = error;
	return iou__message_finish(request, n, message.wanted, EPOLLOUT);
}

enum outcome iou__exec_send(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const void *from = iou__exec_memory(request);
	size_t length = iou__exec_length(request);

	if (iou__waits_first(request))
		return iou__message_wait_first(request, EPOLLOUT);
	if (sqe->ioprio & SEND_VECTORIZED && !request->buffer.is_taken)
		return send_vector(request);

	ssize_t n = sendto(sqe->fd, from, length - request->done, iou__message_flags(request) | MSG_NOSIGNAL,
			   iou__pointer(sqe->addr2), sqe->addr_len);

	return iou__message_end(request, iou__message_finish(request, n, length, EPOLLOUT));
}

enum outcome iou__exec_sendmsg(struct request *request)
{
	return iou__message_pass(request, send_message, EPOLLOUT);
}

static int check_fixed(struct request *request)
{
	struct msghdr header = { 0 };
	int r;

	if (request->sqe.opcode == IORING_OP_SEND_ZC)
		return iou__exec_check_fixed(request);
	r = iou__peek(request->sqe.addr, &header, sizeof(header));
	return r < 0 ? r : iou__exec_check_fixed_vector(request, (__u64)(uintptr_t)header.msg_iov, header.msg_iovlen);
}

/* A registered buffer: with a header once there is a file, else once there is a socket, and its turn. */
static bool looks_for_buffer(const struct request *request, int error)
{
	if (!(request->sqe.ioprio & IORING_RECVSEND_FIXED_BUF))
		return false;
	return iou__message_has_header(request) ? error != -EBADF : error == 0 && !iou__waits_first(request);
}

/* The kernel has it for the Internet's sockets alone. */
static enum outcome send_zc(struct request *request, attempt_t *attempt)
{
	int r = is_internet(request->sqe.fd), fixed;

	r = r > 0 ? 0 : r == 0 ? -EOPNOTSUPP : r;
	fixed = looks_for_buffer(request, r) ? check_fixed(request) : 0;
	if (fixed < 0)
		return iou__done_as(request, fixed);
	return r < 0 ? iou__done_as(request, r) : attempt(request);
}

enum outcome iou__exec_send_zc(struct request *request)
{
	return send_zc(request, iou__exec_send);
}

enum outcome iou__exec_sendmsg_zc(struct request *request)
{
	return send_zc(request, iou__exec_sendmsg);
}
