/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done to files by their descriptors, but reading and writing. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "exec.h"
#include "opcodes.h"
#include "peek.h"
#include "requests.h"

/* A range cannot be given to user space's fsync(2): all of the file is more, not less. */
int iou__check_fsync(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return sqe->fsync_flags & ~IORING_FSYNC_DATASYNC || (__s64)sqe->off < 0 ? -EINVAL : 0;
}

enum outcome iou__exec_fsync(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, sqe->fsync_flags & IORING_FSYNC_DATASYNC ? fdatasync(sqe->fd) : fsync(sqe->fd));
}

enum outcome iou__exec_sync_file_range(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, sync_file_range(sqe->fd, (off_t)sqe->off, sqe->len, sqe->sync_range_flags));
}

enum outcome iou__exec_fallocate(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, fallocate(sqe->fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr));
}

enum outcome iou__exec_ftruncate(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if ((off_t)sqe->off < 0 && !iou__is_file(sqe->fd))
		return iou__done_as(request, -EBADF);
	return iou__done(request, ftruncate(sqe->fd, (off_t)sqe->off));
}

enum outcome iou__exec_fadvise(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	__u64 length = sqe->addr ? sqe->addr : sqe->len;

	return iou__done_as(request, -posix_fadvise(sqe->fd, (off_t)sqe->off, (off_t)length, (int)sqe->fadvise_advice));
}

enum outcome iou__exec_madvise(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	size_t length = sqe->off ? sqe->off : sqe->len;

	return iou__done(request, madvise(iou__pointer(sqe->addr), length, (int)sqe->fadvise_advice));
}

enum outcome iou__exec_fsetxattr(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, fsetxattr(sqe->fd, iou__pointer(sqe->addr), iou__pointer(sqe->addr2), sqe->len,
					    (int)sqe->xattr_flags));
}

enum outcome iou__exec_fgetxattr(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, fgetxattr(sqe->fd, iou__pointer(sqe->addr), iou__pointer(sqe->addr2), sqe->len));
}

/* Descriptors are closed by the loop: it is what the kernel does but for some network file systems. */
int iou__check_close(struct request *request)
{
	return request->sqe.file_index && request->sqe.fd ? -EINVAL : 0;
}

enum outcome iou__exec_close(struct request *request)
{
	if (request->sqe.file_index)
		return iou__done_as(request, iou__files_close(&request->threads->files, request->sqe.file_index - 1));
	/* It is closed, whatever else is said; another attempt might close somebody else's. */
	if (close(request->sqe.fd) < 0 && errno != EINTR)
		return iou__done(request, -1);
	return iou__done_as(request, 0);
}

int iou__check_epoll_ctl(struct request *request)
{
	struct epoll_event event = { 0 };

	return request->sqe.len == EPOLL_CTL_DEL ? 0 : iou__peek(request->sqe.addr, &event, sizeof(event));
}

enum outcome iou__exec_epoll_ctl(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, epoll_ctl(sqe->fd, (int)sqe->len, (int)sqe->off, iou__pointer(sqe->addr)));
}

/* A registered file gets a descriptor of the program's. */
#define NO_CLOEXEC (1U << 0) /* newer than the oldest liburing */

int iou__check_fixed_fd_install(struct request *request)
{
	if (!(request->sqe.flags & IOSQE_FIXED_FILE))
		return -EBADF;
	return request->sqe.rw_flags & ~NO_CLOEXEC ? -EINVAL : 0;
}

enum outcome iou__exec_fixed_fd_install(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, fcntl(sqe->fd, sqe->rw_flags & NO_CLOEXEC ? F_DUPFD : F_DUPFD_CLOEXEC, 0));
}

/* By number: newer than the oldest liburing. */
int iou__check_pipe(struct request *request)
{
	unsigned flags = (unsigned)request->sqe.rw_flags;

	if (flags & ~(unsigned)(O_CLOEXEC | O_NONBLOCK | O_DIRECT | O_EXCL))
		return -EINVAL;
	return 0;
}

/* Both ends become registered files; the second in the slot behind the first, or in any. */
static int install_pipe(struct request *request, int fds[2])
{
	struct files *files = &request->threads->files;
	unsigned index = request->sqe.file_index;
	bool is_any = index == IORING_FILE_INDEX_ALLOC;
	int slots[2], r;

	slots[0] = iou__files_install(files, index, fds[0]);
	if (slots[0] < 0) {
		close(fds[1]);
		return slots[0];
	}
	slots[1] = iou__files_install(files, is_any ? index : index + 1, fds[1]);
	r = slots[1] < 0 ? slots[1] : iou__poke(request->sqe.addr, slots, sizeof(slots));
	if (r < 0)
		iou__files_close(files, is_any ? (unsigned)slots[0] : index - 1);
	if (r < 0 && slots[1] >= 0)
		iou__files_close(files, is_any ? (unsigned)slots[1] : index);
	return r;
}

static int make_direct_pipe(struct request *request)
{
	int fds[2];

	if (pipe2(fds, (int)request->sqe.rw_flags | O_CLOEXEC) < 0)
		return -errno;
	return install_pipe(request, fds);
}

enum outcome iou__exec_pipe(struct request *request)
{
	if (request->sqe.file_index && (unsigned)request->sqe.rw_flags & O_CLOEXEC)
		return iou__done_as(request, -EINVAL);
	if (request->sqe.file_index)
		return iou__done_as(request, make_direct_pipe(request));
	return iou__done(request, pipe2(iou__pointer(request->sqe.addr), (int)request->sqe.rw_flags));
}

/* Splicing. */

#define SPLICE_FLAGS ((unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))

int iou__check_splice(struct request *request)
{
	return request->sqe.splice_flags & ~(SPLICE_FLAGS | SPLICE_F_FD_IN_FIXED) ? -EINVAL : 0;
}

static bool is_pipe(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) == 0 && S_ISFIFO(stat.st_mode);
}

/* An end that is no descriptor is as good as ready. SPLICE_F_NONBLOCK is about pipes. */
static bool has_to_wait(const struct io_uring_sqe *sqe, int fd, uint32_t events)
{
	return !iou__is_ready(fd, events) && !(sqe->splice_flags & SPLICE_F_NONBLOCK && is_pipe(fd));
}

static bool have_access(const struct io_uring_sqe *sqe)
{
	return iou__is_open_for(sqe->splice_fd_in, O_RDONLY) && iou__is_open_for(sqe->fd, O_WRONLY);
}

/* No pipe, the wrong access, a position where there are none: such errors need not be waited for. */
static bool has_bad_ends(const struct io_uring_sqe *sqe)
{
	bool is_tee = sqe->opcode == IORING_OP_TEE;

	if (!have_access(sqe))
		return true;
	if (is_tee)
		return !is_pipe(sqe->splice_fd_in) || !is_pipe(sqe->fd);
	if (!is_pipe(sqe->splice_fd_in) && !is_pipe(sqe->fd))
		return true;
	return (sqe->splice_off_in != (__u64)-1 && !iou__is_disk(sqe->splice_fd_in)) ||
	       (sqe->off != (__u64)-1 && !iou__is_disk(sqe->fd));
}

/* Both ends have to be ready, as far as they can be waited for. */
static enum outcome wait_for_ends(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (has_bad_ends(sqe))
		return OUT_DONE;
	if (has_to_wait(sqe, sqe->splice_fd_in, EPOLLIN))
		return iou__watch(request, sqe->splice_fd_in, EPOLLIN);
	if (has_to_wait(sqe, sqe->fd, EPOLLOUT))
		return iou__watch(request, sqe->fd, EPOLLOUT);
	return OUT_DONE;
}

static loff_t *offset_of(__u64 value, loff_t *offset)
{
	*offset = (loff_t)value;
	return value == (__u64)-1 ? NULL : offset;
}

/* Pipes do not block so. */
static ssize_t splice_once(const struct io_uring_sqe *sqe)
{
	unsigned flags = sqe->splice_flags | SPLICE_F_NONBLOCK;
	loff_t in, out;

	if (sqe->opcode == IORING_OP_TEE)
		return tee(sqe->splice_fd_in, sqe->fd, sqe->len, flags);
	return splice(sqe->splice_fd_in, offset_of(sqe->splice_off_in, &in), sqe->fd, offset_of(sqe->off, &out),
		      sqe->len, flags);
}

/* Should somebody else have been faster at an end that was ready, nothing tells when. */
static enum outcome spliced(struct request *request, ssize_t n)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	/* That comes first. */
	if (n < 0 && errno == ESPIPE && !have_access(sqe))
		return iou__done_as(request, -EBADF);
	if (n >= 0 || errno != EAGAIN || sqe->splice_flags & SPLICE_F_NONBLOCK)
		return iou__done(request, n);
	return OUT_PAUSE;
}

/* Nor does what is at one end of them: a socket that takes less than the pipe has would keep a worker for ever. */
static enum outcome splice_without_blocking(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int other = is_pipe(sqe->fd) ? sqe->splice_fd_in : sqe->fd, r;
	struct nonblock nonblock;
	ssize_t n;

	if (is_pipe(other))
		return spliced(request, splice_once(sqe));
	r = iou__exec_set_nonblock(request, other, &nonblock);
	if (r < 0)
		return iou__exec_pause_or_fail(request, r);
	n = splice_once(sqe);
	iou__exec_restore(request, &nonblock);
	return spliced(request, n);
}

/* The other end may be a registered file, too. */
static bool find_file_in(struct request *request)
{
	request->file_in = iou__files_get(&request->threads->files, (unsigned)request->sqe.splice_fd_in);
	if (!request->file_in)
		return false;
	request->sqe.splice_fd_in = request->file_in->fd;
	request->sqe.splice_flags &= ~SPLICE_F_FD_IN_FIXED;
	return true;
}

/* Only disks are for a worker. */
enum outcome iou__exec_splice(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (sqe->splice_flags & SPLICE_F_FD_IN_FIXED && !find_file_in(request))
		return iou__done_as(request, -EBADF);
	if (!sqe->len)
		return iou__done_as(request, iou__is_file(sqe->splice_fd_in) && iou__is_file(sqe->fd) ? 0 : -EBADF);
	if (!request->is_on_worker) {
		enum outcome outcome = wait_for_ends(request);

		if (outcome != OUT_DONE)
			return outcome;
		if (iou__is_disk(sqe->splice_fd_in) || iou__is_disk(sqe->fd))
			return iou__to_worker(request, true);
	}
	return request->is_on_worker ? spliced(request, splice_once(sqe)) : splice_without_blocking(request);
}

enum outcome iou__exec_tee(struct request *request)
{
	return iou__exec_splice(request);
}
