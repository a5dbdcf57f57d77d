/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets: making and connecting them. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "completions.h"
#include "exec.h"
#include "opcodes.h"
#include "peek.h"
#include "requests.h"

/* Newer than the oldest liburing. */
#define ACCEPT_DONTWAIT (1U << 1)
#define ACCEPT_POLL_FIRST (1U << 2)
#define MAX_MULTISHOT 32

#define SOCKET_FLAGS ((unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK))

/* A slot is a registered file's, which cannot be close-on-exec. */
static int check_flags(const struct request *request, unsigned flags)
{
	if (flags & ~SOCKET_FLAGS)
		return -EINVAL;
	return request->sqe.file_index && flags & SOCK_CLOEXEC ? -EINVAL : 0;
}

/* As descriptors of the engine's own have to be. */
static int cloexec_of(const struct io_uring_sqe *sqe)
{
	return sqe->file_index ? SOCK_CLOEXEC : 0;
}

int iou__check_socket_fd(int fd)
{
	int type = 0;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ? -errno : 0;
}

int iou__check_socket(struct request *request)
{
	return check_flags(request, (unsigned)request->sqe.off & ~0xfU);
}

enum outcome iou__exec_socket(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, socket(sqe->fd, (int)sqe->off | cloexec_of(sqe), (int)sqe->len));
}

enum outcome iou__exec_bind(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, bind(sqe->fd, iou__pointer(sqe->addr), (socklen_t)sqe->addr2));
}

enum outcome iou__exec_listen(struct request *request)
{
	return iou__done(request, listen(request->sqe.fd, (int)request->sqe.len));
}

enum outcome iou__exec_shutdown(struct request *request)
{
	return iou__done(request, shutdown(request->sqe.fd, (int)request->sqe.len));
}

/* Locks. */

#define N_TRIES 16               /* whoever has the lock lets go of it in some microseconds, when it has a CPU */
#define PATIENCE_NS 100000000ULL /* the length of a pause: who has it for that long is none of us */

static int lock(const struct request *request, short type, off_t place)
{
	struct flock flock = { .l_type = type, .l_whence = SEEK_SET, .l_start = place, .l_len = 1 };

	return fcntl(request->threads->watches.epoll_fd, F_OFD_SETLK, &flock) < 0 ? -errno : 0;
}

/* Where there are no such locks, or somebody has it all the time, it has to do without. */
static int take_turn(const struct request *request, ino_t inode, struct nonblock *nonblock)
{
	off_t place = (off_t)(inode & INT32_MAX);
	int r = -EAGAIN;

	for (int i = 0; i < N_TRIES && r == -EAGAIN; i++) {
		if (i > 0)
			sched_yield();
		r = lock(request, F_WRLCK, place);
	}
	if (r == -EAGAIN && request->span < PATIENCE_NS)
		return r;
	if (r == 0)
		nonblock->place = place;
	return 0;
}

static void end_turn(const struct request *request, const struct nonblock *nonblock)
{
	if (nonblock->place >= 0)
		lock(request, F_UNLCK, nonblock->place);
}

int iou__exec_set_nonblock(const struct request *request, int fd, struct nonblock *nonblock)
{
	struct stat stat;
	int r;

	nonblock->place = -1;
	r = fstat(fd, &stat) < 0 ? 0 : take_turn(request, stat.st_ino, nonblock);
	if (r < 0)
		return r;
	nonblock->fd = fd;
	nonblock->flags = fcntl(fd, F_GETFL);
	if (nonblock->flags >= 0 &&
	    (nonblock->flags & O_NONBLOCK || fcntl(fd, F_SETFL, nonblock->flags | O_NONBLOCK) == 0))
		return 0;
	r = -errno;
	end_turn(request, nonblock);
	return r;
}

void iou__exec_restore(const struct request *request, const struct nonblock *nonblock)
{
	int saved = errno;

	if (!(nonblock->flags & O_NONBLOCK))
		fcntl(nonblock->fd, F_SETFL, nonblock->flags);
	end_turn(request, nonblock);
	errno = saved;
}

enum outcome iou__exec_pause_or_fail(struct request *request, int error)
{
	return error == -EAGAIN ? OUT_PAUSE : iou__done_as(request, error);
}

/* The kernel reads the address before the request begins; see iou__check_vector(). */
int iou__check_connect(struct request *request)
{
	struct sockaddr_storage address = { 0 };
	int length = (int)request->sqe.addr2; /* as far as the kernel looks */

	if (length < 0 || (size_t)length > sizeof(address))
		return -EINVAL;
	return length ? iou__peek(request->sqe.addr, &address, (size_t)length) : 0;
}

/* What became of a connection that was under way, unless it is so still: to be woken is no proof. */
static enum outcome connected(struct request *request)
{
	struct pollfd pollfd = { .fd = request->sqe.fd, .events = POLLOUT };
	int error = 0;
	socklen_t length = sizeof(error);

	if (poll(&pollfd, 1, 0) == 0)
		return iou__watch(request, request->sqe.fd, EPOLLOUT);
	if (getsockopt(request->sqe.fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return iou__done(request, -1);
	/* The socket says so once more, and then that it is connected. */
	if (!error)
		(void)connect(request->sqe.fd, iou__pointer(request->sqe.addr), (socklen_t)request->sqe.addr2);
	return iou__done_as(request, -error);
}

/* A Unix socket whose listener has no room says EAGAIN, and nothing tells when it has. */
enum outcome iou__exec_connect(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct nonblock nonblock;
	int r;

	if (request->has_waited)
		return connected(request);
	r = iou__exec_set_nonblock(request, sqe->fd, &nonblock);
	if (r < 0)
		return iou__exec_pause_or_fail(request, r);
	r = connect(sqe->fd, iou__pointer(sqe->addr), (socklen_t)sqe->addr2);
	iou__exec_restore(request, &nonblock);
	if (r < 0 && errno == EINPROGRESS)
		return iou__watch(request, sqe->fd, EPOLLOUT);
	if (r < 0 && errno == EAGAIN)
		return OUT_PAUSE;
	return iou__done(request, r);
}

/* Accepting. */

int iou__check_accept(struct request *request)
{
	unsigned flags = request->sqe.ioprio;

	if (flags & ~(IORING_ACCEPT_MULTISHOT | ACCEPT_DONTWAIT | ACCEPT_POLL_FIRST))
		return -EINVAL;
	if (flags & IORING_ACCEPT_MULTISHOT && request->sqe.file_index &&
	    request->sqe.file_index != IORING_FILE_INDEX_ALLOC)
		return -EINVAL;
	return check_flags(request, request->sqe.accept_flags);
}

static int accept_one(const struct io_uring_sqe *sqe)
{
	return accept4(sqe->fd, iou__pointer(sqe->addr), iou__pointer(sqe->addr2),
		       (int)sqe->accept_flags | cloexec_of(sqe));
}

/* Again and again with IOSQE_ASYNC: that has no thread, but waits from the beginning. */
static bool is_async_multishot(const struct io_uring_sqe *sqe)
{
	return sqe->flags & IOSQE_ASYNC && sqe->ioprio & IORING_ACCEPT_MULTISHOT;
}

static bool has_to_wait_first(const struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (request->has_waited || !(sqe->ioprio & ACCEPT_POLL_FIRST || is_async_multishot(sqe)))
		return false;
	return iou__is_disk(sqe->fd) || !iou__is_ready(sqe->fd, EPOLLIN);
}

static enum outcome wait_first(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (iou__is_disk(sqe->fd))
		return iou__done_as(request, is_async_multishot(sqe) ? -EBADFD : -EAGAIN);
	return iou__watch(request, sqe->fd, EPOLLIN);
}

/* A Unix socket that was shut down says so to who blocks alone, and is always ready. */
static bool is_shut(const struct request *request)
{
	return request->revents & EPOLLHUP;
}

static enum outcome accept_all(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	for (int i = 0; i < MAX_MULTISHOT && iou__completions_have_room(request->threads); i++) {
		int fd = accept_one(sqe);

		if (fd < 0 && errno == EAGAIN && is_shut(request))
			return iou__done_as(request, -EINVAL);
		if (fd < 0 && errno == EAGAIN)
			return sqe->ioprio & ACCEPT_DONTWAIT ? iou__done(request, fd)
							     : iou__watch_on(request, sqe->fd, EPOLLIN);
		if (fd < 0 && (errno == EINTR || (errno == ECONNABORTED && sqe->ioprio & IORING_ACCEPT_MULTISHOT)))
			continue;
		if (fd < 0 || !(sqe->ioprio & IORING_ACCEPT_MULTISHOT))
			return iou__done(request, fd);
		if (sqe->file_index)
			fd = iou__files_install(&request->threads->files, sqe->file_index, fd);
		if (fd < 0)
			return iou__done_as(request, fd);
		iou__completions_post_more(request, fd, 0);
	}
	return OUT_AGAIN;
}

enum outcome iou__exec_accept(struct request *request)
{
	struct nonblock nonblock;
	enum outcome outcome;
	int r;

	if (has_to_wait_first(request))
		return wait_first(request);
	r = iou__exec_set_nonblock(request, request->sqe.fd, &nonblock);
	if (r < 0)
		return iou__exec_pause_or_fail(request, r);
	outcome = accept_all(request);
	iou__exec_restore(request, &nonblock);
	return outcome;
}
