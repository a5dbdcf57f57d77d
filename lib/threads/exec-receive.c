/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receiving, once or again and again, also into provided buffers. */
#include <limits.h>
#include <sys/epoll.h>

#include "completions.h"
#include "exec-message.h"
#include "opcodes.h"
#include "peek.h"

#define MAX_MULTISHOT 32
#define RECV_FLAGS (IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT | RECVSEND_BUNDLE)

int iou__check_recv(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	bool has_limit = sqe->opcode == IORING_OP_RECV && sqe->ioprio & IORING_RECV_MULTISHOT;

	if (sqe->len > INT_MAX || (sqe->file_index && !has_limit))
		return -EINVAL;
	if (sqe->ioprio & ~RECV_FLAGS || (sqe->ioprio & RECVSEND_BUNDLE && iou__message_has_header(request)))
		return -EINVAL;
	if (!(sqe->ioprio & IORING_RECV_MULTISHOT))
		return iou__message_check(request);
	if (!(sqe->flags & IOSQE_BUFFER_SELECT) || sqe->msg_flags & MSG_WAITALL)
		return -EINVAL;
	request->n_left = sqe->file_index;
	return iou__message_check(request);
}

/* Streams say how much is left to receive (SO_INQ). */
static bool tells_what_is_left(int fd)
{
	return iou__message_type(fd) == SOCK_STREAM;
}

/* Not all of a message was received; who wants all of it takes that for a failure. */
static void note_truncation(struct request *request, const struct msghdr *header)
{
	if (request->sqe.msg_flags & MSG_WAITALL && header->msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		request->least = UINT32_MAX;
}

/* What a receiver is told beside the bytes goes into the program's header: 0 or -errno. */
static int write_back(const struct request *request, const struct msghdr *header)
{
	__u64 to = request->sqe.addr;
	int r = iou__poke(to + offsetof(struct msghdr, msg_namelen), &header->msg_namelen, sizeof(header->msg_namelen));

	if (r == 0)
		r = iou__poke(to + offsetof(struct msghdr, msg_controllen), &header->msg_controllen,
			      sizeof(header->msg_controllen));
	if (r == 0)
		r = iou__poke(to + offsetof(struct msghdr, msg_flags), &header->msg_flags, sizeof(header->msg_flags));
	return r;
}

static ssize_t receive_message(struct request *request, struct msghdr *header)
{
	bool is_copy = (uintptr_t)header != request->sqe.addr;
	ssize_t n = recvmsg(request->sqe.fd, header, iou__message_flags(request));
	int r = n >= 0 && is_copy ? write_back(request, header) : 0;

	if (n >= 0 && is_copy)
		note_truncation(request, header);
	return r < 0 ? iou__message_fail(-r) : n;
}

/* As recv(2), but that it tells of a message that was longer. */
static ssize_t receive_bytes(struct request *request, void *to, size_t length)
{
	struct iovec iov = { to, length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (!(request->sqe.msg_flags & MSG_WAITALL))
		return recv(request->sqe.fd, to, length, iou__message_flags(request));
	n = recvmsg(request->sqe.fd, &header, iou__message_flags(request));
	if (n >= 0)
		note_truncation(request, &header);
	return n;
}

static enum outcome receive(struct request *request)
{
	void *to = iou__exec_memory(request);
	size_t length = iou__exec_length(request);
	ssize_t n;

	if (request->n_left && length > request->n_left)
		length = request->n_left;
	n = receive_bytes(request, to, length - request->done);
	if (n > 0 && request->n_left) {
		request->n_left -= (uint32_t)n;
		request->is_over = request->n_left == 0;
	}
	return iou__message_finish(request, n, length, EPOLLIN);
}

/* How much of the provided buffer: the vector that the first takes the place of has a length. 0 or -errno. */
static int select_length(const struct request *request, const struct msghdr *header, size_t *length)
{
	struct iovec iov = { 0 };
	int r = 0;

	if (header->msg_iovlen)
		r = iou__peek((__u64)(uintptr_t)header->msg_iov, &iov, sizeof(iov));
	*length = (__u32)iov.iov_len; /* as far as the kernel looks */
	if (request->is_again || !*length || *length > request->buffer.len)
		*length = request->buffer.len;
	return r;
}

static enum outcome receive_message_selected(struct request *request)
{
	struct msghdr header = { 0 };
	int r = iou__peek(request->sqe.addr, &header, sizeof(header));
	bool is_all = request->sqe.msg_flags & MSG_WAITALL && !header.msg_controllen;
	struct iovec iov;
	size_t length = 0;
	ssize_t n;

	if (r == 0)
		r = select_length(request, &header, &length);
	iov = (struct iovec){ iou__pointer(request->buffer.addr + request->done), length - request->done };
	header.msg_iov = &iov;
	header.msg_iovlen = 1;
	n = r < 0 ? iou__message_fail(-r) : receive_message(request, &header);
	return iou__message_finish(request, n, is_all ? length : 0, EPOLLIN);
}

/* It is too small: that is told once there is something for it, as far as the socket tells whether there is. */
static enum outcome refuse_buffer(struct request *request)
{
	int fd = request->sqe.fd, r = iou__check_socket_fd(fd);

	if (r < 0)
		return iou__done_as(request, r);
	if (!request->is_again || !tells_what_is_left(fd) || iou__is_ready(fd, EPOLLIN))
		return iou__done_as(request, -EFAULT);
	return iou__message_finish(request, iou__message_fail(EAGAIN), 0, EPOLLIN);
}

/* A multishot one has all that a message brings in its buffer: a header, the name, the control data, the payload. */
static enum outcome receive_message_multishot(struct request *request)
{
	struct msghdr wanted = { 0 }, header = { 0 };
	struct io_uring_recvmsg_out out = { 0 };
	char *memory = iou__pointer(request->buffer.addr);
	size_t before, length = 0;
	ssize_t n;
	int r;

	r = iou__peek(request->sqe.addr, &wanted, sizeof(wanted));
	if (r == 0)
		r = select_length(request, &wanted, &length);
	if (r == 0)
		r = iou__message_overhead(&wanted); /* again: it may be another header by now */
	if (r < 0)
		return iou__done_as(request, r);
	before = (size_t)r;
	if (before > length)
		return refuse_buffer(request);

	struct iovec iov = { memory + before, length - before };

	header.msg_iov = &iov;
	header.msg_iovlen = 1;
	header.msg_name = wanted.msg_namelen ? memory + sizeof(out) : NULL;
	header.msg_namelen = wanted.msg_namelen;
	header.msg_control = wanted.msg_controllen ? memory + sizeof(out) + wanted.msg_namelen : NULL;
	header.msg_controllen = wanted.msg_controllen;
	n = recvmsg(request->sqe.fd, &header, iou__message_flags(request));
	if (n < 0)
		return iou__message_finish(request, n, 0, EPOLLIN);
	out.namelen = header.msg_namelen;
	out.controllen = (__u32)header.msg_controllen;
	out.payloadlen = (__u32)n;
	out.flags = (__u32)header.msg_flags;
	if (iou__poke(request->buffer.addr, &out, sizeof(out)) < 0)
		return iou__done_as(request, -EFAULT);
	request->is_over = n == 0;
	return iou__done_as(request, (int)(before + (size_t)n));
}

/*
 * Until there is nothing more, or the other end has closed; not too many in one turn. That buffers have run out ends it
 * when there is something for the next, or nothing tells whether there is.
 */
static enum outcome again_and_again(struct request *request, attempt_t *attempt)
{
	for (int i = 0; i < MAX_MULTISHOT && iou__completions_have_room(request->threads); i++) {
		enum outcome outcome = attempt(request);

		if (outcome != OUT_DONE || request->res <= 0)
			return outcome;
		if (request->is_over)
			return iou__message_end(request, outcome);
		iou__completions_post_more(request, request->res, iou__groups_use(request));
		request->is_again = true;

		int r = iou__groups_take(&request->threads->groups, request);

		if (r < 0)
			return tells_what_is_left(request->sqe.fd) ? iou__watch_or_again(request, EPOLLIN)
								   : iou__done_as(request, r);
	}
	return OUT_AGAIN;
}

enum outcome iou__exec_recv(struct request *request)
{
	if (iou__waits_first(request))
		return iou__message_wait_first(request, EPOLLIN);
	if (request->sqe.ioprio & IORING_RECV_MULTISHOT)
		return again_and_again(request, receive);
	return iou__message_end(request, receive(request));
}

enum outcome iou__exec_recvmsg(struct request *request)
{
	if (iou__waits_first(request))
		return iou__message_wait_first(request, EPOLLIN);
	if (request->sqe.ioprio & IORING_RECV_MULTISHOT)
		return again_and_again(request, receive_message_multishot);
	if (request->buffer.is_taken)
		return iou__message_end(request, receive_message_selected(request));
	return iou__message_pass(request, receive_message, EPOLLIN);
}
