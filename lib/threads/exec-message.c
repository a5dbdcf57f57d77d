/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-message.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "opcodes.h"
#include "peek.h"
#include "requests.h"

bool iou__message_has_header(const struct request *request)
{
	__u8 opcode = request->sqe.opcode;

	return opcode == IORING_OP_SENDMSG || opcode == IORING_OP_RECVMSG || opcode == IORING_OP_SENDMSG_ZC;
}

/* An address to send to. */
static int check_name(__u64 address, size_t length)
{
	struct sockaddr_storage name = { 0 };

	return address && length ? iou__peek(address, &name, length < sizeof(name) ? length : sizeof(name)) : 0;
}

/* The vector in whose place a provided buffer comes has none or one. */
static int check_selection(const struct msghdr *header)
{
	if (header->msg_iovlen > 1)
		return -EINVAL;
	return header->msg_iovlen ? iou__check_selection((__u64)(uintptr_t)header->msg_iov) : 0;
}

int iou__message_overhead(const struct msghdr *header)
{
	int sum = (int)sizeof(struct io_uring_recvmsg_out);

	if ((int)header->msg_namelen < 0 || __builtin_add_overflow(sum, (int)header->msg_namelen, &sum) ||
	    __builtin_add_overflow(sum, header->msg_controllen, &sum))
		return -EOVERFLOW;
	return sum;
}

/* A provided buffer takes the place of the vector; again and again it has to have room for what goes ahead, too. */
static int check_selected(const struct request *request, const struct msghdr *header)
{
	int r = check_selection(header);
	bool is_multishot = request->sqe.opcode == IORING_OP_RECVMSG && request->sqe.ioprio & IORING_RECV_MULTISHOT;

	if (r == 0 && is_multishot)
		r = iou__message_overhead(header);
	return r < 0 ? r : 0;
}

/* The kernel reads a message's header before the request begins; see iou__check_vector(). */
static int check_header(const struct request *request)
{
	struct msghdr header = { 0 };
	bool selects = request->sqe.flags & IOSQE_BUFFER_SELECT;
	int r = iou__peek(request->sqe.addr, &header, sizeof(header));

	if (r == 0 && (int)header.msg_namelen < 0 && header.msg_name)
		r = -EINVAL;
	if (r == 0 && request->sqe.opcode != IORING_OP_RECVMSG)
		r = check_name((__u64)(uintptr_t)header.msg_name, header.msg_namelen);
	if (r < 0)
		return r;
	if (header.msg_iovlen > IOV_MAX)
		return -EMSGSIZE;
	if (selects)
		return check_selected(request, &header);
	if (request->sqe.ioprio & IORING_RECVSEND_FIXED_BUF && request->sqe.opcode == IORING_OP_SENDMSG_ZC)
		return iou__check_fixed_iovecs((__u64)(uintptr_t)header.msg_iov, header.msg_iovlen);
	return iou__check_iovecs((__u64)(uintptr_t)header.msg_iov, header.msg_iovlen, -EMSGSIZE);
}

/* A plain send that is tried at once hears of a bad address from sendto(2). */
static bool is_told_by_sending(const struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return sqe->opcode == IORING_OP_SEND && !request->is_read_first && !sqe->ioprio &&
	       !(sqe->flags & (IOSQE_BUFFER_SELECT | IOSQE_ASYNC));
}

/* What is selected has to be known at once. */
int iou__message_check(const struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	bool selects = sqe->flags & IOSQE_BUFFER_SELECT;

	if (iou__message_has_header(request))
		return request->is_read_first || selects ||
				       sqe->ioprio & (IORING_RECVSEND_FIXED_BUF | IORING_RECVSEND_POLL_FIRST)
			       ? check_header(request)
			       : 0;
	if (sqe->opcode == IORING_OP_RECV)
		return iou__check_range(sqe);
	if (sqe->addr2 && sqe->addr_len > sizeof(struct sockaddr_storage))
		return -EINVAL;
	if (sqe->ioprio & SEND_VECTORIZED && !selects && check_name(sqe->addr2, sqe->addr_len) == 0)
		return iou__check_iovecs(sqe->addr, sqe->len, -EINVAL);
	if (!is_told_by_sending(request) && check_name(sqe->addr2, sqe->addr_len) < 0)
		return -EFAULT;
	return sqe->ioprio & IORING_RECVSEND_FIXED_BUF ? 0 : iou__check_range(sqe);
}

int iou__message_flags(const struct request *request)
{
	return (int)request->sqe.msg_flags | MSG_DONTWAIT;
}

int iou__message_type(int fd)
{
	int type = 0;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ? -1 : type;
}

/* What a socket still has to give or take with MSG_WAITALL, where that means something. */
static bool wants_all(const struct request *request)
{
	int type = request->sqe.msg_flags & MSG_WAITALL ? iou__message_type(request->sqe.fd) : -1;

	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

enum outcome iou__message_wait_first(struct request *request, uint32_t events)
{
	int r = iou__check_socket_fd(request->sqe.fd);

	/* With IOSQE_ASYNC, see iou__waits_first(). */
	if (r == -ENOTSOCK && !(request->sqe.ioprio & IORING_RECVSEND_POLL_FIRST) && iou__is_disk(request->sqe.fd))
		return iou__done_as(request, -EBADFD);
	/* Whether it is a socket is seen by IORING_OP_RECV when it is ready, which files are not. */
	if (r == -ENOTSOCK && request->sqe.opcode == IORING_OP_RECV)
		r = iou__is_disk(request->sqe.fd) ? -EAGAIN : 0;
	if (r == 0 && request->sqe.msg_flags & MSG_DONTWAIT)
		r = -EAGAIN;
	if (r < 0)
		return iou__done_as(request, r);
	/* Urgent data counts as well. */
	if (events == EPOLLIN)
		events |= EPOLLPRI;
	return iou__watch_or_begin(request, events);
}

#define OF_ERRORS (EPOLLPRI | EPOLLERR)

/* The queue of errors has a readiness of its own; who waits for it while there are bytes is told to try again. */
static enum outcome wait_for_errors(struct request *request)
{
	struct pollfd pollfd = { .fd = request->sqe.fd, .events = POLLIN };

	if (poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLIN)
		return iou__done_as(request, -EAGAIN);
	return iou__watch(request, request->sqe.fd, OF_ERRORS);
}

/* A datagram socket that was shut down is ready for ever, and has nothing: only who receives again and again waits on. */
static bool is_shut(const struct request *request)
{
	return request->revents & EPOLLRDHUP && iou__message_type(request->sqe.fd) == SOCK_DGRAM;
}

#define MAX_VAIN 8

/* Who is told of each change is not told again of what is there. */
enum outcome iou__watch_or_pause(struct request *request, int fd, uint32_t events)
{
	if (request->has_given || !(request->revents & events) || !iou__is_ready(fd, events))
		request->n_vain = 0;
	else if (request->n_vain < MAX_VAIN)
		request->n_vain++;
	return request->n_vain < MAX_VAIN ? iou__watch_on(request, fd, events) : OUT_PAUSE;
}

static enum outcome wait_for_socket(struct request *request, uint32_t events)
{
	int fd = request->sqe.fd;

	if (events != EPOLLIN)
		return iou__watch_or_pause(request, fd, events);
	if (request->sqe.msg_flags & MSG_ERRQUEUE)
		return wait_for_errors(request);
	if (is_shut(request) && !(request->sqe.ioprio & IORING_RECV_MULTISHOT))
		return iou__done_as(request, 0);
	return is_shut(request) ? iou__watch(request, fd, EPOLLIN | EPOLLRDHUP | EPOLLET)
				: iou__watch_on(request, fd, EPOLLIN | EPOLLRDHUP);
}

enum outcome iou__message_finish(struct request *request, ssize_t n, size_t wanted, uint32_t events)
{
	if (n < 0 && errno == EAGAIN && !(request->sqe.msg_flags & MSG_DONTWAIT))
		return wait_for_socket(request, events);
	if (request->buffer.is_taken && request->sqe.msg_flags & MSG_WAITALL && request->least < wanted)
		request->least = (uint32_t)wanted;
	if (n > 0 && request->done + (size_t)n < wanted && wants_all(request)) {
		request->done += (uint32_t)n;
		return iou__watch(request, request->sqe.fd, events);
	}
	if (n < 0 && (!request->done || errno == EINTR))
		return iou__done(request, -1);
	return iou__done_as(request, (int)(request->done + (n > 0 ? (uint32_t)n : 0)));
}

/* A length is not negative: the kernel looks at all of them first. */
static int check_lengths(const struct message *message)
{
	for (size_t i = 0; i < message->header.msg_iovlen; i++)
		if (message->iov[i].iov_len > SSIZE_MAX)
			return -EINVAL;
	return 0;
}

/* No request transfers more than MAX_LENGTH: the kernel cuts the vector there. */
static void skip(struct message *message, size_t n_done)
{
	for (size_t i = 0; i < message->header.msg_iovlen; i++) {
		struct iovec *iov = &message->iov[i];
		size_t left = MAX_LENGTH - message->wanted;
		size_t length = iov->iov_len < left ? iov->iov_len : left;
		size_t part = n_done < length ? n_done : length;

		message->wanted += length;
		iov->iov_base = iou__pointer((uintptr_t)iov->iov_base + part);
		iov->iov_len = length - part;
		n_done -= part;
	}
	message->header.msg_iov = message->iov;
}

int iou__message_copy_vector(const struct request *request, struct message *message)
{
	const struct msghdr *header = &message->header;
	size_t size = header->msg_iovlen * sizeof(struct iovec);
	int r = 0;

	if (header->msg_iovlen > IOV_MAX)
		return -EMSGSIZE;
	message->iov = calloc(1, size ? size : 1);
	if (!message->iov)
		return -ENOMEM;
	if (size)
		r = iou__peek((__u64)(uintptr_t)header->msg_iov, message->iov, size);
	if (r == 0)
		r = check_lengths(message);
	if (r == 0)
		skip(message, request->done);
	return r;
}

ssize_t iou__message_fail(int error)
{
	errno = error;
	return -1;
}

/* For MSG_WAITALL alone: else the program's own header does. */
static enum outcome pass_all(struct request *request, pass_t *function, uint32_t events)
{
	struct message message = { .iov = NULL };
	int r = iou__peek(request->sqe.addr, &message.header, sizeof(message.header)), error;
	ssize_t n;

	if (r == 0)
		r = iou__message_copy_vector(request, &message);
	n = r < 0 ? iou__message_fail(-r) : function(request, &message.header);
	error = errno;
	free(message.iov);
	errno = error;
	return iou__message_finish(request, n, message.wanted, events);
}

enum outcome iou__message_pass(struct request *request, pass_t *function, uint32_t events)
{
	if (iou__waits_first(request))
		return iou__message_wait_first(request, events);
	if (request->sqe.msg_flags & MSG_WAITALL)
		return pass_all(request, function, events);
	return iou__message_finish(request, function(request, iou__pointer(request->sqe.addr)), 0, events);
}

/* A buffer that nothing came into is not used up; one that was to be sent is, once there is a socket. */
enum outcome iou__message_end(struct request *request, enum outcome outcome)
{
	bool is_send = request->sqe.opcode == IORING_OP_SEND && request->res != -EBADF && request->res != -ENOTSOCK;

	if (outcome == OUT_DONE && (is_send || request->res > 0))
		request->cqe_flags = iou__groups_use(request);
	return outcome;
}
