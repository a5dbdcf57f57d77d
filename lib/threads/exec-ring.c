/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is about other requests, or about the ring itself. */
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "completions.h"
#include "exec.h"
#include "flow.h"
#include "opcodes.h"

/* Newer than the oldest liburing. */
#define NOP_INJECT_RESULT (1U << 0)
#define NOP_FILE (1U << 1)
#define NOP_FIXED_FILE (1U << 2)
#define NOP_FIXED_BUFFER (1U << 3)
#define NOP_TW (1U << 4)
#define NOP_FLAGS (NOP_INJECT_RESULT | NOP_FILE | NOP_FIXED_FILE | NOP_FIXED_BUFFER | NOP_TW)
#define MSG_RING_FLAGS_PASS (1U << 1)
#define MSG_RING_FLAGS (IORING_MSG_RING_CQE_SKIP | MSG_RING_FLAGS_PASS)
#define CANCEL_USERDATA (1U << 4)
#define CANCEL_OP (1U << 5)
#define CANCEL_FLAGS                                                                                                 \
	(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD_FIXED | \
	 CANCEL_USERDATA | CANCEL_OP)

int iou__check_nop(struct request *request)
{
	return request->sqe.rw_flags & ~NOP_FLAGS ? -EINVAL : 0;
}

/* It completes at once, so that there is no need to keep the file. */
static bool names_file(const struct request *request, bool is_fixed)
{
	const struct files *files = &request->threads->files;
	unsigned slot = (unsigned)request->sqe.fd;

	return is_fixed ? slot < files->n && files->slots[slot] : iou__is_file(request->sqe.fd);
}

enum outcome iou__exec_nop(struct request *request)
{
	unsigned flags = request->sqe.rw_flags;

	if (flags & NOP_FILE && !names_file(request, flags & NOP_FIXED_FILE || request->sqe.flags & IOSQE_FIXED_FILE))
		return iou__done_as(request, -EBADF);
	if (flags & NOP_FIXED_BUFFER && !iou__fixed_names(&request->threads->fixed, request->sqe.buf_index))
		return iou__done_as(request, -EFAULT);
	return iou__done_as(request, flags & NOP_INJECT_RESULT ? (int)request->sqe.len : 0);
}

/* -EINVAL is for opcodes that no kernel knows. */
enum outcome iou__exec_unsupported(struct request *request)
{
	return iou__done_as(request, -EOPNOTSUPP);
}

int iou__check_provide_buffers(struct request *request)
{
	return iou__groups_check_provide(&request->sqe);
}

int iou__check_remove_buffers(struct request *request)
{
	return iou__groups_check_remove(&request->sqe);
}

enum outcome iou__exec_provide_buffers(struct request *request)
{
	return iou__done_as(request, iou__groups_provide(&request->threads->groups, &request->sqe));
}

enum outcome iou__exec_remove_buffers(struct request *request)
{
	return iou__done_as(request, iou__groups_remove(&request->threads->groups, &request->sqe));
}

int iou__check_files_update(struct request *request)
{
	return request->sqe.len && !(request->sqe.flags & IOSQE_FIXED_FILE) ? 0 : -EINVAL;
}

enum outcome iou__exec_files_update(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct files *files = &request->threads->files;

	if ((unsigned)sqe->off == IORING_FILE_INDEX_ALLOC)
		return iou__done_as(request, iou__files_update_free(files, sqe->addr, sqe->len));
	return iou__done_as(request, iou__files_update(files, (unsigned)sqe->off, sqe->addr, sqe->len));
}

int iou__check_msg_ring(struct request *request)
{
	return (unsigned)request->sqe.msg_ring_flags & ~MSG_RING_FLAGS ? -EINVAL : 0;
}

/* What the kernel looks at before it asks whether the ring takes any. */
static int check_message(const struct io_uring_sqe *sqe, bool is_to_us)
{
	unsigned flags = sqe->msg_ring_flags;

	switch ((unsigned)sqe->addr) {
	case IORING_MSG_DATA:
		if ((unsigned)sqe->addr3 || flags & ~MSG_RING_FLAGS_PASS)
			return -EINVAL;
		return sqe->file_index && !(flags & MSG_RING_FLAGS_PASS) ? -EINVAL : 0;
	case IORING_MSG_SEND_FD:
		return sqe->len || is_to_us ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

/* Whether there is a slot for it only the other side would know. */
static int refuse_file(const struct request *request)
{
	const struct files *files = &request->threads->files;
	unsigned slot = (unsigned)request->sqe.addr3;

	return slot < files->n && files->slots[slot] ? -EOPNOTSUPP : -EBADF;
}

/* Who waits until it can be sent goes first. */
static int send_data(struct request *request, bool is_to_us)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const struct cqe message = {
		.user_data = sqe->off,
		.res = (__s32)sqe->len,
		.flags = sqe->msg_ring_flags & MSG_RING_FLAGS_PASS ? sqe->file_index : 0,
	};

	if (!is_to_us)
		return iou__watches_are_awaited(&request->threads->watches, sqe->fd, EPOLLOUT)
			       ? -EAGAIN
			       : iou__messages_send(sqe->fd, &message);
	iou__completions_post_message(request->threads, &message);
	return 0;
}

enum outcome iou__exec_msg_ring(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int owner = iou__messages_owner(&request->threads->messages, sqe->fd);
	int r = owner < 0 ? owner : check_message(sqe, owner);

	if (r == 0 && !owner && !iou__messages_are_taken(sqe->fd))
		r = -EBADFD;
	if (r == 0)
		r = (unsigned)sqe->addr == IORING_MSG_DATA ? send_data(request, owner) : refuse_file(request);
	return r == -EAGAIN ? iou__watch(request, sqe->fd, EPOLLOUT) : iou__done_as(request, r);
}

/* Cancellation. */

int iou__check_cancel(struct request *request)
{
	unsigned flags = request->sqe.cancel_flags;

	if (flags & ~CANCEL_FLAGS || request->sqe.flags & IOSQE_BUFFER_SELECT)
		return -EINVAL;
	return flags & IORING_ASYNC_CANCEL_ANY && flags & (IORING_ASYNC_CANCEL_FD | CANCEL_OP) ? -EINVAL : 0;
}

/* Also where one is a duplicate, as registered files are; but for sandboxes that forbid to ask. */
static bool is_same_file(int fd, int other)
{
	pid_t us = getpid();

	return fd == other || syscall(SYS_kcmp, us, us, KCMP_FILE, (unsigned long)fd, (unsigned long)other) == 0;
}

/* An index is no descriptor. One that has failed and waits for room in the CQ may have no opcode. */
static bool is_of_file(const struct request *request, int fd)
{
	bool has_index = request->sqe.flags & IOSQE_FIXED_FILE && !request->file;
	bool takes_file = request->opcode && request->opcode->flags & TAKES_FILE;

	return takes_file && !has_index && is_same_file(request->sqe.fd, fd);
}

/* Whether this one is meant. */
static bool is_meant(const struct request *request, const struct io_uring_sqe *sqe)
{
	unsigned flags = sqe->cancel_flags;
	bool is_by_data = flags & CANCEL_USERDATA || !(flags & (IORING_ASYNC_CANCEL_FD | CANCEL_OP));

	if (flags & IORING_ASYNC_CANCEL_ANY)
		return true;
	if (flags & IORING_ASYNC_CANCEL_FD && !is_of_file(request, sqe->fd))
		return false;
	if (flags & CANCEL_OP && request->sqe.opcode != sqe->len)
		return false;
	return !is_by_data || request->sqe.user_data == sqe->addr;
}

/* All that are there now: what is linked behind one that is cancelled may start, and is left alone. */
static int cancel_all(const struct request *request)
{
	struct request *other = NULL;
	int n = 0;

	while ((other = iou__requests_after(request->threads, other)))
		n += other != request && is_meant(other, &request->sqe) && iou__flow_cancel(other) != -ENOENT;
	return n;
}

/* Of timeouts, the one that was armed first, as with the kernel. */
static int cancel_one(const struct request *request)
{
	struct request *first = NULL, *other = NULL;

	while ((other = iou__requests_after(request->threads, other)))
		if (other != request && is_meant(other, &request->sqe) && iou__flow_can_cancel(other) &&
		    (!first || other->number < first->number))
			first = other;
	return first ? iou__flow_cancel(first) : -ENOENT;
}

static int cancel_by_data(const struct request *request)
{
	struct request *other = iou__requests_find(request->threads, request->sqe.addr);

	return other && other != request ? iou__flow_cancel(other) : -ENOENT;
}

/* The file by which others are to be cancelled: its descriptor takes the place of the index. */
static bool find_file(struct request *request)
{
	struct io_uring_sqe *sqe = &request->sqe;

	if (!(sqe->cancel_flags & IORING_ASYNC_CANCEL_FD_FIXED) && !(sqe->flags & IOSQE_FIXED_FILE))
		return iou__is_file(sqe->fd);
	request->file = iou__files_get(&request->threads->files, (unsigned)sqe->fd);
	if (request->file)
		sqe->fd = request->file->fd;
	return request->file;
}

enum outcome iou__exec_cancel(struct request *request)
{
	unsigned flags = request->sqe.cancel_flags;
	bool is_one_enough = !(flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY));

	if (flags & IORING_ASYNC_CANCEL_FD && !find_file(request))
		return iou__done_as(request, -EBADF);
	if (is_one_enough && !(flags & (IORING_ASYNC_CANCEL_FD | CANCEL_OP)))
		return iou__done_as(request, cancel_by_data(request));
	return iou__done_as(request, is_one_enough ? cancel_one(request) : cancel_all(request));
}

/* Removing and updating polls. */

#define UPDATE_FLAGS (IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI)

int iou__check_poll_remove(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (sqe->len & ~UPDATE_FLAGS || sqe->len == IORING_POLL_ADD_MULTI || sqe->off)
		return -EINVAL;
	return !(sqe->len & IORING_POLL_UPDATE_EVENTS) && sqe->poll32_events ? -EINVAL : 0;
}

#define EVENTS 0xffffU

/* How often it tells stays as it was. It waits anew for what it is to wait for now, and finds what is there already. */
static void update(struct request *poll, const struct io_uring_sqe *sqe)
{
	uint32_t events =
		(iou__poll_events(poll->sqe.poll32_events) & ~EVENTS) | (iou__poll_events(sqe->poll32_events) & EVENTS);

	if (poll->place == AT_WATCH)
		iou__watches_remove(&poll->threads->watches, poll);
	else
		iou__queue_remove(&poll->node);
	poll->sqe.poll32_events = iou__poll_events(events);
	poll->revents = 0;
	poll->was_watched = false;
	iou__requests_make_ready(poll);
}

enum outcome iou__exec_poll_remove(struct request *request)
{
	struct request *poll = iou__requests_find(request->threads, request->sqe.addr);

	if (!poll || poll->sqe.opcode != IORING_OP_POLL_ADD || !iou__is_waiting(poll))
		return iou__done_as(request, -ENOENT);
	if (request->sqe.len & IORING_POLL_UPDATE_EVENTS) {
		update(poll, &request->sqe);
		return iou__done_as(request, 0);
	}
	iou__flow_end(poll, -ECANCELED);
	return iou__done_as(request, 0);
}
