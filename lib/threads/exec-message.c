/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending and receiving: MSG_DONTWAIT first, then readiness, then again. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "completions.h"
#include "exec.h"
#include "opcodes.h"
#include "peek.h"

#define MAX_MULTISHOT 32
#define MAX_IOVECS 1024
#define SEND_FLAGS IORING_RECVSEND_POLL_FIRST
#define RECV_FLAGS (IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)
#define ZC_FLAGS (IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE)

/* The kernel reads a message's header before the request begins; see iou__check_vector(). */
static int check_header(const struct request *request)
{
	struct msghdr header = { 0 };
	bool has_header = request->sqe.opcode != IORING_OP_SEND && request->sqe.opcode != IORING_OP_RECV &&
			  request->sqe.opcode != IORING_OP_SEND_ZC;

	return request->is_read_first && has_header ? iou__peek(request->sqe.addr, &header, sizeof(header)) : 0;
}

/* Behind the length of an address. */
static bool has_padding(const struct io_uring_sqe *sqe)
{
	return (sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_SEND_ZC) && sqe->__pad3[0];
}

int iou__check_send(struct request *request)
{
	return request->sqe.ioprio & ~SEND_FLAGS || has_padding(&request->sqe) ? -EINVAL : check_header(request);
}

int iou__check_send_zc(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return sqe->ioprio & ~ZC_FLAGS || has_padding(sqe) || sqe->addr3 || sqe->__pad2[0] ? -EINVAL
											   : check_header(request);
}

int iou__check_recv(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (sqe->ioprio & ~RECV_FLAGS)
		return -EINVAL;
	if (!(sqe->ioprio & IORING_RECV_MULTISHOT))
		return check_header(request);
	if (!(sqe->flags & IOSQE_BUFFER_SELECT) || sqe->msg_flags & MSG_WAITALL)
		return -EINVAL;
	return sqe->opcode == IORING_OP_RECV && sqe->len ? -EINVAL : check_header(request);
}

static int flags_of(const struct request *request)
{
	return (int)request->sqe.msg_flags | MSG_DONTWAIT;
}

static bool has_to_wait_first(const struct request *request, uint32_t events)
{
	return request->sqe.ioprio & IORING_RECVSEND_POLL_FIRST && !request->has_waited &&
	       !iou__is_ready(request->sqe.fd, events);
}

/* What a socket still has to give or take with MSG_WAITALL, where that means something. */
static bool is_stream(int fd)
{
	int type = 0;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
	       (type == SOCK_STREAM || type == SOCK_SEQPACKET);
}

static bool wants_all(const struct request *request)
{
	return request->sqe.msg_flags & MSG_WAITALL && is_stream(request->sqe.fd);
}

/* What is in the queue of errors is no input, and input not what it waits for. */
static uint32_t awaited(const struct request *request, uint32_t events)
{
	return request->sqe.msg_flags & MSG_ERRQUEUE ? EPOLLERR : events;
}

/*
 * The end of an attempt that transferred n of the bytes that were wanted, or failed. With MSG_WAITALL what is missing is
 * waited for; what has been transferred outweighs a failure, but for one that has the attempt repeated.
 */
static enum outcome finish(struct request *request, ssize_t n, size_t wanted, uint32_t events)
{
	if (n < 0 && errno == EAGAIN && !(request->sqe.msg_flags & MSG_DONTWAIT))
		return iou__watch(request, request->sqe.fd, awaited(request, events));
	if (request->buffer.is_taken && request->sqe.msg_flags & MSG_WAITALL)
		request->least = (uint32_t)wanted;
	if (n > 0 && request->done + (size_t)n < wanted && wants_all(request)) {
		request->done += (uint32_t)n;
		return iou__watch(request, request->sqe.fd, events);
	}
	if (n < 0 && (!request->done || errno == EINTR))
		return iou__done(request, -1);
	return iou__done_as(request, (int)(request->done + (n > 0 ? (uint32_t)n : 0)));
}

/* Messages: how much a vector holds, and what of it is left. */

struct message {
	struct msghdr header;
	struct iovec *iov; /* a copy, allocated, where part of it has been transferred already */
	size_t wanted;
};

static int copy_vector(const struct msghdr *header, struct message *message)
{
	size_t size = header->msg_iovlen * sizeof(struct iovec);

	if (header->msg_iovlen > MAX_IOVECS)
		return -EMSGSIZE;
	message->iov = calloc(1, size ? size : 1);
	if (!message->iov)
		return -ENOMEM;
	return size ? iou__peek((__u64)(uintptr_t)header->msg_iov, message->iov, size) : 0;
}

static void skip(struct message *message, size_t n_done)
{
	for (size_t i = 0; i < message->header.msg_iovlen; i++) {
		size_t part = n_done < message->iov[i].iov_len ? n_done : message->iov[i].iov_len;

		message->wanted += message->iov[i].iov_len;
		message->iov[i].iov_base = iou__pointer((uintptr_t)message->iov[i].iov_base + part);
		message->iov[i].iov_len -= part;
		n_done -= part;
	}
	message->header.msg_iov = message->iov;
}

/* For MSG_WAITALL alone: else the program's own header does. 0 or -errno. */
static int open_message(const struct request *request, struct message *message)
{
	int r = iou__peek(request->sqe.addr, &message->header, sizeof(message->header));

	message->iov = NULL;
	message->wanted = 0;
	if (r == 0)
		r = copy_vector(&message->header, message);
	if (r == 0)
		skip(message, request->done);
	return r;
}

static ssize_t fail_with(int error)
{
	errno = error;
	return -1;
}

typedef ssize_t message_t(int fd, struct msghdr *header, int flags);

static ssize_t send_message(int fd, struct msghdr *header, int flags)
{
	return sendmsg(fd, header, flags | MSG_NOSIGNAL);
}

static ssize_t receive_message(int fd, struct msghdr *header, int flags)
{
	return recvmsg(fd, header, flags);
}

/* What a receiver is told beside the bytes goes into the program's header. */
static int write_back(const struct request *request, const struct message *message)
{
	const struct msghdr *header = &message->header;
	__u64 to = request->sqe.addr;
	int r = iou__poke(to + offsetof(struct msghdr, msg_namelen), &header->msg_namelen, sizeof(header->msg_namelen));

	if (r == 0)
		r = iou__poke(to + offsetof(struct msghdr, msg_controllen), &header->msg_controllen,
			      sizeof(header->msg_controllen));
	if (r == 0)
		r = iou__poke(to + offsetof(struct msghdr, msg_flags), &header->msg_flags, sizeof(header->msg_flags));
	return r;
}

static enum outcome pass_all(struct request *request, message_t *function, uint32_t events)
{
	struct message message;
	int r = open_message(request, &message);
	ssize_t n = r < 0 ? fail_with(-r) : function(request->sqe.fd, &message.header, flags_of(request));
	int error = errno;

	if (n >= 0 && events == EPOLLIN)
		write_back(request, &message);
	free(message.iov);
	errno = error;
	return finish(request, n, message.wanted, events);
}

static enum outcome pass(struct request *request, message_t *function, uint32_t events)
{
	if (has_to_wait_first(request, events))
		return iou__watch(request, request->sqe.fd, events);
	if (request->sqe.msg_flags & MSG_WAITALL)
		return pass_all(request, function, events);
	return finish(request, function(request->sqe.fd, iou__pointer(request->sqe.addr), flags_of(request)), 0,
		      events);
}

/* Sending. */

/* A buffer that nothing came into, or out of, is not used up. */
static enum outcome with_buffer(struct request *request, enum outcome outcome)
{
	if (outcome == OUT_DONE && request->res > 0)
		request->cqe_flags = iou__groups_use(request);
	return outcome;
}

enum outcome iou__exec_send(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const void *from = iou__exec_memory(request);
	size_t length = iou__exec_length(request);

	if (has_to_wait_first(request, EPOLLOUT))
		return iou__watch(request, sqe->fd, EPOLLOUT);

	ssize_t n = sendto(sqe->fd, from, length - request->done, flags_of(request) | MSG_NOSIGNAL,
			   iou__pointer(sqe->addr2), sqe->addr_len);

	return with_buffer(request, finish(request, n, length, EPOLLOUT));
}

enum outcome iou__exec_sendmsg(struct request *request)
{
	return pass(request, send_message, EPOLLOUT);
}

/* The kernel offers it on the Internet's sockets alone. */
static bool can_zero_copy(int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
		return true; /* no socket: sending tells */
	return domain == AF_INET || domain == AF_INET6;
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

/* It is a copy here, and the memory is free again at once; see notify() in flow.c. */
static enum outcome send_zc(struct request *request, attempt_t *attempt)
{
	int r;

	if (!can_zero_copy(request->sqe.fd))
		return iou__done_as(request, -EOPNOTSUPP);
	r = request->sqe.ioprio & IORING_RECVSEND_FIXED_BUF ? check_fixed(request) : 0;
	if (r < 0)
		return iou__done_as(request, r);
	return attempt(request);
}

enum outcome iou__exec_send_zc(struct request *request)
{
	return send_zc(request, iou__exec_send);
}

enum outcome iou__exec_sendmsg_zc(struct request *request)
{
	return send_zc(request, iou__exec_sendmsg);
}

/* Receiving. */

static enum outcome receive(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	void *to = iou__exec_memory(request);
	size_t length = iou__exec_length(request);

	return finish(request, recv(sqe->fd, to, length - request->done, flags_of(request)), length, EPOLLIN);
}

/* Into a provided buffer: its one vector is not looked at but for its length. */
static enum outcome receive_message_selected(struct request *request)
{
	struct msghdr header = { 0 };
	struct iovec iov = { iou__pointer(request->buffer.addr), request->buffer.len };
	int r = iou__peek(request->sqe.addr, &header, sizeof(header));
	struct message message = { .header = header };
	ssize_t n;

	if (r == 0 && header.msg_iovlen > 1)
		r = -EINVAL;
	message.header.msg_iov = &iov;
	message.header.msg_iovlen = 1;
	n = r < 0 ? fail_with(-r) : recvmsg(request->sqe.fd, &message.header, flags_of(request));
	if (n >= 0)
		write_back(request, &message);
	return finish(request, n, 0, EPOLLIN);
}

/* A multishot one has all that a message brings in its buffer: a header, the name, the control data, the payload. */
static enum outcome receive_message_multishot(struct request *request)
{
	struct msghdr wanted = { 0 }, header = { 0 };
	struct io_uring_recvmsg_out out = { 0 };
	char *memory = iou__pointer(request->buffer.addr);
	size_t before;
	ssize_t n;
	int r;

	r = iou__peek(request->sqe.addr, &wanted, sizeof(wanted));
	if (r < 0)
		return iou__done_as(request, r);
	before = sizeof(out) + wanted.msg_namelen + wanted.msg_controllen;
	if (before > request->buffer.len)
		return iou__done_as(request, -EFAULT);

	struct iovec iov = { memory + before, request->buffer.len - before };

	header.msg_iov = &iov;
	header.msg_iovlen = 1;
	header.msg_name = wanted.msg_namelen ? memory + sizeof(out) : NULL;
	header.msg_namelen = wanted.msg_namelen;
	header.msg_control = wanted.msg_controllen ? memory + sizeof(out) + wanted.msg_namelen : NULL;
	header.msg_controllen = wanted.msg_controllen;
	n = recvmsg(request->sqe.fd, &header, flags_of(request));
	if (n < 0)
		return finish(request, n, 0, EPOLLIN);
	out.namelen = header.msg_namelen;
	out.controllen = (__u32)header.msg_controllen;
	out.payloadlen = (__u32)n;
	out.flags = (__u32)header.msg_flags;
	if (iou__poke(request->buffer.addr, &out, sizeof(out)) < 0)
		return iou__done_as(request, -EFAULT);
	return iou__done_as(request, n ? (int)(before + (size_t)n) : 0);
}

/*
 * Until there is nothing more, or the other end has closed; not too many in one turn. That buffers have run out ends it
 * when there is something for the next.
 */
static enum outcome again_and_again(struct request *request, attempt_t *attempt)
{
	for (int i = 0; i < MAX_MULTISHOT && iou__completions_have_room(request->threads); i++) {
		enum outcome outcome = attempt(request);

		if (outcome != OUT_DONE || request->res <= 0)
			return outcome;
		iou__completions_post_more(request, request->res, iou__groups_use(request));
		if (iou__groups_take(&request->threads->groups, request) < 0)
			return iou__watch_or_again(request, EPOLLIN);
	}
	return OUT_AGAIN;
}

enum outcome iou__exec_recv(struct request *request)
{
	if (has_to_wait_first(request, EPOLLIN))
		return iou__watch(request, request->sqe.fd, EPOLLIN);
	if (request->sqe.ioprio & IORING_RECV_MULTISHOT)
		return again_and_again(request, receive);
	return with_buffer(request, receive(request));
}

enum outcome iou__exec_recvmsg(struct request *request)
{
	if (has_to_wait_first(request, EPOLLIN))
		return iou__watch(request, request->sqe.fd, EPOLLIN);
	if (request->sqe.ioprio & IORING_RECV_MULTISHOT)
		return again_and_again(request, receive_message_multishot);
	if (request->buffer.is_taken)
		return with_buffer(request, receive_message_selected(request));
	return pass(request, receive_message, EPOLLIN);
}
