/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "opcodes.h"

#include "../sqe.h"
#include "exec-timeout.h"
#include "exec.h"
#include "flow.h"

/* Fields of an SQE that must be zero. */
enum {
	FD = 1 << 0,
	OFF = 1 << 1,
	ADDR = 1 << 2,
	LEN = 1 << 3,
	FLAGS = 1 << 4,
	BUF = 1 << 5,
	FILE_INDEX = 1 << 6,
	ADDR3 = 1 << 7,
};

#define KNOWN_FLAGS (0x7f) /* IOSQE_*, up to IOSQE_CQE_SKIP_SUCCESS */
#define RW (TAKES_FILE | TAKES_IOPRIO)

static const struct opcode opcodes[N_OPCODES] = {
	[IORING_OP_NOP] = { iou__exec_nop, iou__check_nop, 0, 0 },
	[IORING_OP_READV] = { iou__exec_readv, iou__check_vector, RW | SELECTS_BUFFER | KEEPS_BUFFER, 0 },
	[IORING_OP_WRITEV] = { iou__exec_writev, iou__check_vector, RW, 0 },
	[IORING_OP_FSYNC] = { iou__exec_fsync, iou__check_fsync, TAKES_FILE | IS_SLOW | KEEPS_CHAIN,
			      ADDR | BUF | FILE_INDEX },
	[IORING_OP_READ_FIXED] = { iou__exec_read_fixed, iou__check_fixed, RW, 0 },
	[IORING_OP_WRITE_FIXED] = { iou__exec_write_fixed, iou__check_fixed, RW, 0 },
	[IORING_OP_POLL_ADD] = { iou__exec_poll, iou__check_poll, TAKES_FILE, OFF | ADDR | BUF },
	[IORING_OP_POLL_REMOVE] = { iou__exec_poll_remove, iou__check_poll_remove, 0, BUF | FILE_INDEX },
	[IORING_OP_SYNC_FILE_RANGE] = { iou__exec_sync_file_range, NULL, TAKES_FILE | IS_SLOW | KEEPS_CHAIN,
					ADDR | BUF | FILE_INDEX },
	[IORING_OP_SENDMSG] = { iou__exec_sendmsg, iou__check_send, TAKES_FILE | TAKES_IOPRIO, OFF | FILE_INDEX },
	[IORING_OP_RECVMSG] = { iou__exec_recvmsg, iou__check_recv, TAKES_FILE | TAKES_IOPRIO | SELECTS_BUFFER,
				OFF | FILE_INDEX },
	[IORING_OP_TIMEOUT] = { iou__exec_timeout, iou__check_timeout, 0, BUF | FILE_INDEX | ADDR3 },
	[IORING_OP_TIMEOUT_REMOVE] = { iou__exec_timeout_remove, iou__check_timeout_remove, 0,
				       LEN | BUF | FILE_INDEX | ADDR3 },
	[IORING_OP_ACCEPT] = { iou__exec_accept, iou__check_accept, TAKES_FILE | TAKES_IOPRIO | MAKES_FILE, LEN | BUF },
	[IORING_OP_ASYNC_CANCEL] = { iou__exec_cancel, iou__check_cancel, 0, OFF | FILE_INDEX },
	[IORING_OP_LINK_TIMEOUT] = { iou__exec_link_timeout, iou__check_link_timeout, 0, BUF | FILE_INDEX | ADDR3 },
	[IORING_OP_CONNECT] = { iou__exec_connect, iou__check_connect, TAKES_FILE, LEN | FLAGS | BUF | FILE_INDEX },
	[IORING_OP_FALLOCATE] = { iou__exec_fallocate, NULL, TAKES_FILE | IS_SLOW | KEEPS_CHAIN,
				  FLAGS | BUF | FILE_INDEX },
	[IORING_OP_OPENAT] = { iou__exec_openat, iou__check_openat, REFUSES_FIXED | MAKES_FILE, BUF },
	[IORING_OP_CLOSE] = { iou__exec_close, iou__check_close, REFUSES_FIXED, OFF | ADDR | LEN | FLAGS | BUF },
	[IORING_OP_FILES_UPDATE] = { iou__exec_files_update, iou__check_files_update, 0, FLAGS | FILE_INDEX },
	[IORING_OP_STATX] = { iou__exec_statx, iou__check_statx, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
			      BUF | FILE_INDEX },
	[IORING_OP_READ] = { iou__exec_read, iou__check_transfer, RW | SELECTS_BUFFER | KEEPS_BUFFER, 0 },
	[IORING_OP_WRITE] = { iou__exec_write, iou__check_transfer, RW, 0 },
	[IORING_OP_FADVISE] = { iou__exec_fadvise, NULL, TAKES_FILE | IS_SLOW, BUF | FILE_INDEX },
	[IORING_OP_MADVISE] = { iou__exec_madvise, NULL, IS_SLOW | KEEPS_CHAIN, BUF | FILE_INDEX },
	[IORING_OP_SEND] = { iou__exec_send, iou__check_send, TAKES_FILE | TAKES_IOPRIO | SELECTS_BUFFER, 0 },
	[IORING_OP_RECV] = { iou__exec_recv, iou__check_recv, TAKES_FILE | TAKES_IOPRIO | SELECTS_BUFFER, OFF },
	[IORING_OP_OPENAT2] = { iou__exec_openat2, iou__check_openat2, MAKES_FILE, 0 },
	[IORING_OP_EPOLL_CTL] = { iou__exec_epoll_ctl, iou__check_epoll_ctl, 0, BUF | FILE_INDEX },
	[IORING_OP_SPLICE] = { iou__exec_splice, iou__check_splice, TAKES_FILE, 0 },
	[IORING_OP_PROVIDE_BUFFERS] = { iou__exec_provide_buffers, iou__check_provide_buffers, 0, FLAGS | FILE_INDEX },
	[IORING_OP_REMOVE_BUFFERS] = { iou__exec_remove_buffers, iou__check_remove_buffers, 0,
				       OFF | ADDR | LEN | FLAGS | FILE_INDEX },
	[IORING_OP_TEE] = { iou__exec_tee, iou__check_splice, TAKES_FILE, OFF | ADDR },
	[IORING_OP_SHUTDOWN] = { iou__exec_shutdown, NULL, TAKES_FILE | KEEPS_CHAIN,
				 OFF | ADDR | FLAGS | BUF | FILE_INDEX },
	[IORING_OP_RENAMEAT] = { iou__exec_renameat, iou__check_paths, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
				 BUF | FILE_INDEX },
	[IORING_OP_UNLINKAT] = { iou__exec_unlinkat, iou__check_unlinkat, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
				 OFF | LEN | BUF | FILE_INDEX },
	[IORING_OP_MKDIRAT] = { iou__exec_mkdirat, iou__check_path, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
				OFF | FLAGS | BUF | FILE_INDEX },
	[IORING_OP_SYMLINKAT] = { iou__exec_symlinkat, iou__check_paths, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
				  LEN | FLAGS | BUF | FILE_INDEX },
	[IORING_OP_LINKAT] = { iou__exec_linkat, iou__check_linkat, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN,
			       BUF | FILE_INDEX },
	[IORING_OP_MSG_RING] = { iou__exec_msg_ring, iou__check_msg_ring, TAKES_FILE, BUF },
	[IORING_OP_FSETXATTR] = { iou__exec_fsetxattr, iou__check_fsetxattr, TAKES_FILE | IS_SLOW | KEEPS_CHAIN, 0 },
	[IORING_OP_SETXATTR] = { iou__exec_setxattr, iou__check_setxattr, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN, 0 },
	[IORING_OP_FGETXATTR] = { iou__exec_fgetxattr, iou__check_fgetxattr, TAKES_FILE | IS_SLOW | KEEPS_CHAIN, 0 },
	[IORING_OP_GETXATTR] = { iou__exec_getxattr, iou__check_getxattr, REFUSES_FIXED | IS_SLOW | KEEPS_CHAIN, 0 },
	[IORING_OP_SOCKET] = { iou__exec_socket, iou__check_socket, MAKES_FILE, ADDR | FLAGS | BUF },
	[IORING_OP_URING_CMD] = { iou__exec_unsupported, NULL, TAKES_FILE, 0 },
	[IORING_OP_SEND_ZC] = { iou__exec_send_zc, iou__check_send_zc, TAKES_FILE | TAKES_IOPRIO, 0 },
	[IORING_OP_SENDMSG_ZC] = { iou__exec_sendmsg_zc, iou__check_send_zc, TAKES_FILE | TAKES_IOPRIO, 0 },
	[OP_READ_MULTISHOT] = { iou__exec_read_multishot, iou__check_read_multishot, TAKES_FILE | SELECTS_BUFFER, 0 },
	[OP_WAITID] = { iou__exec_waitid, NULL, IS_COUNTED, ADDR | BUF | ADDR3 | FLAGS },
	[OP_FUTEX_WAIT] = { iou__exec_futex_wait, iou__check_futex, WAITS_FOR_FUTEX | GOES_ON | IS_COUNTED,
			    LEN | FLAGS | BUF | FILE_INDEX },
	[OP_FUTEX_WAKE] = { iou__exec_futex_wake, iou__check_futex, 0, LEN | FLAGS | BUF | FILE_INDEX },
	[OP_FUTEX_WAITV] = { iou__exec_futex_waitv, iou__check_futex_waitv, WAITS_FOR_FUTEX | GOES_ON | IS_COUNTED,
			     FD | OFF | FLAGS | BUF | FILE_INDEX | ADDR3 },
	[OP_FIXED_FD_INSTALL] = { iou__exec_fixed_fd_install, iou__check_fixed_fd_install, TAKES_FILE,
				  OFF | ADDR | LEN | BUF | FILE_INDEX | ADDR3 },
	[OP_FTRUNCATE] = { iou__exec_ftruncate, NULL, TAKES_FILE | IS_SLOW | KEEPS_CHAIN,
			   ADDR | LEN | FLAGS | BUF | FILE_INDEX | ADDR3 },
	[OP_BIND] = { iou__exec_bind, iou__check_connect, TAKES_FILE, LEN | FLAGS | BUF | FILE_INDEX },
	[OP_LISTEN] = { iou__exec_listen, NULL, TAKES_FILE, OFF | ADDR | FLAGS | BUF | FILE_INDEX },
	[OP_RECV_ZC] = { iou__exec_unsupported, NULL, TAKES_FILE | TAKES_IOPRIO, 0 },
	[OP_EPOLL_WAIT] = { iou__exec_epoll_wait, NULL, TAKES_FILE, OFF | FLAGS | BUF | FILE_INDEX },
	[OP_READV_FIXED] = { iou__exec_readv_fixed, iou__check_fixed_vector, RW, 0 },
	[OP_WRITEV_FIXED] = { iou__exec_writev_fixed, iou__check_fixed_vector, RW, 0 },
	[OP_PIPE] = { iou__exec_pipe, iou__check_pipe, 0, FD | OFF | ADDR3 },
};

static unsigned fields_set(const struct io_uring_sqe *sqe)
{
	return (sqe->fd ? FD : 0) | (sqe->off ? OFF : 0) | (sqe->addr ? ADDR : 0) | (sqe->len ? LEN : 0) |
	       (sqe->rw_flags ? FLAGS : 0) | (sqe->buf_index ? BUF : 0) | (sqe->file_index ? FILE_INDEX : 0) |
	       (sqe->addr3 ? ADDR3 : 0);
}

/* What the kernel checks for all of them, in its order. No personality is registered without a ring. */
static int check(const struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const struct opcode *opcode = request->opcode;

	if (sqe->flags & ~KNOWN_FLAGS)
		return -EINVAL;
	if (sqe->flags & IOSQE_BUFFER_SELECT && !(opcode->flags & SELECTS_BUFFER))
		return -EOPNOTSUPP;
	if ((sqe->ioprio && !(opcode->flags & TAKES_IOPRIO)) || sqe->personality)
		return -EINVAL;
	/* The buffer group is in the same place as the buffer's index. */
	if (opcode->zero && fields_set(sqe) & opcode->zero)
		return -EINVAL;
	return sqe->flags & IOSQE_FIXED_FILE && opcode->flags & REFUSES_FIXED ? -EBADF : 0;
}

bool iou__opcode_is_supported(unsigned opcode)
{
	return opcode < N_OPCODES && opcodes[opcode].attempt && opcodes[opcode].attempt != iou__exec_unsupported;
}

int iou__opcode_check(struct request *request)
{
	int r;

	if (request->sqe.opcode >= N_OPCODES || !opcodes[request->sqe.opcode].attempt)
		return -EINVAL;
	request->opcode = &opcodes[request->sqe.opcode];
	r = check(request);
	return r == 0 && request->opcode->check ? request->opcode->check(request) : r;
}

/* Signals interrupt the loop thread's system calls, and are no reason to fail. A NOP has been told what to come to. */
static enum outcome attempt(struct request *request)
{
	enum outcome outcome;

	do
		outcome = request->opcode->attempt(request);
	while (outcome == OUT_DONE && request->res == -EINTR && request->sqe.opcode != IORING_OP_NOP);
	return outcome;
}

static bool is_for_sockets(const struct request *request)
{
	__u8 opcode = request->sqe.opcode;

	return opcode == IORING_OP_SEND || opcode == IORING_OP_RECV || opcode == IORING_OP_SENDMSG ||
	       opcode == IORING_OP_RECVMSG || opcode == IORING_OP_SEND_ZC || opcode == IORING_OP_SENDMSG_ZC;
}

/* With IOSQE_ASYNC a multishot request has no thread, but waits from the beginning. */
bool iou__waits_first(const struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	bool is_async = sqe->flags & IOSQE_ASYNC;

	if (request->has_waited)
		return false;
	if (sqe->opcode == OP_READ_MULTISHOT)
		return is_async;
	if (!is_for_sockets(request))
		return false;
	return sqe->ioprio & IORING_RECVSEND_POLL_FIRST || (is_async && sqe->ioprio & IORING_RECV_MULTISHOT);
}

static int check_file(const struct request *request)
{
	if (!iou__is_file(request->sqe.fd))
		return -EBADF;
	if (request->sqe.opcode == OP_READ_MULTISHOT && iou__is_disk(request->sqe.fd))
		return -EBADFD;
	return is_for_sockets(request) ? iou__check_socket_fd(request->sqe.fd) : 0;
}

/* That there is no file comes before that there is no buffer. */
static enum outcome attempt_with_buffer(struct request *request)
{
	int r = iou__waits_first(request) ? 0 : iou__groups_take(&request->threads->groups, request);
	int file = r < 0 ? check_file(request) : 0;

	return r < 0 ? iou__done_as(request, file < 0 ? file : r) : attempt(request);
}

/*
 * The kernel reads vectors and headers before it looks for the file. To do so each time would take longer than most
 * requests do, so it is done for chains, which fail as a whole, and here, where it makes a difference.
 */
static enum outcome attempt_without_file(struct request *request)
{
	int r;

	request->is_read_first = true;
	r = request->opcode->check ? request->opcode->check(request) : 0;
	return iou__done_as(request, r < 0 ? r : request->res);
}

/* From when it begins the request has the file, whatever becomes of the table. */
static bool has_registered_file(struct request *request)
{
	if (request->file)
		return true;
	request->file = iou__files_get(&request->threads->files, (unsigned)request->sqe.fd);
	if (request->file)
		request->sqe.fd = request->file->fd;
	return request->file;
}

/* Errors that the kernel finds only once it has read what the request points to. */
static bool comes_late(const struct request *request)
{
	__u8 opcode = request->sqe.opcode;
	bool is_vectored = opcode == IORING_OP_READV || opcode == IORING_OP_WRITEV;

	if (request->res == -EBADF || request->res == -ENOTSOCK)
		return true;
	if (is_for_sockets(request) && (request->res == -EAGAIN || request->res == -EMSGSIZE))
		return true;
	if (opcode == IORING_OP_SENDMSG_ZC)
		return request->res == -EOPNOTSUPP;
	if (opcode == OP_READV_FIXED || opcode == OP_WRITEV_FIXED)
		return true;
	return is_vectored && (request->res == -EINVAL || request->res == -ESPIPE);
}

static enum outcome try_in_loop(struct request *request)
{
	const struct opcode *opcode = request->opcode;

	if (opcode->flags & TAKES_FILE && request->sqe.flags & IOSQE_FIXED_FILE && !has_registered_file(request))
		return iou__done_as(request, -EBADF);
	if (opcode->flags & IS_SLOW)
		return iou__to_worker(request, true);
	return request->sqe.flags & IOSQE_BUFFER_SELECT ? attempt_with_buffer(request) : attempt(request);
}

enum outcome iou__opcode_try(struct request *request)
{
	enum outcome outcome = request->is_on_worker ? attempt(request) : try_in_loop(request);

	if (outcome != OUT_DONE || request->res >= 0)
		return outcome;
	return !request->is_read_first && comes_late(request) ? attempt_without_file(request) : outcome;
}
