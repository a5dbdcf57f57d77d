/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done to files by their paths. Nearly all of it is for a worker: a path may lead to a disk, or a network. */
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "exec.h"
#include "opcodes.h"
#include "peek.h"

/* Newer than some C libraries' headers; Linux 5.12. */
#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* Paths are looked at before a chain begins, at least whether they are there. */
static int check_path(__u64 address, bool may_be_empty)
{
	char first = 0;
	int r = iou__peek(address, &first, 1);

	return r == 0 && !first && !may_be_empty ? -ENOENT : r;
}

int iou__check_path(struct request *request)
{
	return check_path(request->sqe.addr, false);
}

int iou__check_paths(struct request *request)
{
	int r = check_path(request->sqe.addr, false);

	return r < 0 ? r : check_path(request->sqe.addr2, false);
}

int iou__check_statx(struct request *request)
{
	return check_path(request->sqe.addr, request->sqe.statx_flags & AT_EMPTY_PATH);
}

int iou__check_linkat(struct request *request)
{
	int r = check_path(request->sqe.addr, request->sqe.hardlink_flags & AT_EMPTY_PATH);

	return r < 0 ? r : check_path(request->sqe.addr2, false);
}

/* A registered file does not outlive execve(), so asking for that is refused. */
static int check_slot(const struct request *request, __u64 flags)
{
	return request->sqe.file_index && flags & O_CLOEXEC ? -EINVAL : 0;
}

int iou__check_openat(struct request *request)
{
	int r = check_path(request->sqe.addr, false);

	return r < 0 ? r : check_slot(request, request->sqe.open_flags);
}

/* Whether the kernel knows a struct that is longer than we do: it looks at that before it looks for a path. 0 or -errno. */
static int check_size(const struct io_uring_sqe *sqe)
{
	if (sqe->len <= sizeof(struct open_how))
		return 0;
	return syscall(SYS_openat2, -1, NULL, iou__pointer(sqe->off), (size_t)sqe->len) < 0 && errno == E2BIG ? -E2BIG
													      : 0;
}

int iou__check_openat2(struct request *request)
{
	struct open_how how = { 0 };
	int r = request->sqe.len < sizeof(how) ? -EINVAL : iou__peek(request->sqe.off, &how, sizeof(how));

	if (r == 0)
		r = check_size(&request->sqe);
	if (r == 0 && request->sqe.buf_index)
		r = -EINVAL;
	if (r == 0 && request->sqe.flags & IOSQE_FIXED_FILE)
		r = -EBADF;
	if (r == 0)
		r = check_path(request->sqe.addr, false);
	return r < 0 ? r : check_slot(request, how.flags);
}

static int open_how(const struct request *request, struct open_how *how, size_t size)
{
	return (int)syscall(SYS_openat2, request->sqe.fd, iou__pointer(request->sqe.addr), how, size);
}

static void clear_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* What takes a file to be made or cut is never done from the cache alone. */
static bool can_be_cached(const struct open_how *how)
{
	return !(how->flags & (O_TRUNC | O_CREAT | (O_TMPFILE & ~O_DIRECTORY)));
}

/*
 * Opened without blocking, and blocking from then on unless the program says otherwise, as the kernel does. So a FIFO does
 * not wait for its other end, neither here nor on a worker: that might be for ever. What somebody has a lease of
 * (fcntl(2)) is tried again until that is broken: nothing tells.
 */
static enum outcome open_it(struct request *request, struct open_how *how, size_t size)
{
	bool is_nonblock = how->flags & O_NONBLOCK, is_path = how->flags & O_PATH;
	int fd;

	if (!request->is_on_worker && (!can_be_cached(how) || request->sqe.flags & IOSQE_ASYNC))
		return iou__to_worker(request, true);
	if (!is_path)
		how->flags |= O_NONBLOCK;
	if (request->sqe.file_index)
		how->flags |= O_CLOEXEC;
	if (!request->is_on_worker)
		how->resolve |= RESOLVE_CACHED;
	fd = open_how(request, how, size);
	if (fd < 0 && !request->is_on_worker && (errno == EAGAIN || errno == EINVAL || errno == E2BIG))
		return iou__to_worker(request, true);
	if (fd < 0 && errno == EAGAIN && !is_nonblock && !(how->resolve & RESOLVE_CACHED))
		return OUT_PAUSE;
	if (fd >= 0 && !is_nonblock && !is_path)
		clear_nonblock(fd);
	return iou__done(request, fd);
}

/* openat(2) ignores what openat2(2) refuses. */
static struct open_how how_of(const struct io_uring_sqe *sqe)
{
	/* O_SYNC has O_DSYNC in it, O_TMPFILE O_DIRECTORY. */
	const unsigned known = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC |
			       O_ASYNC | O_DIRECT | O_LARGEFILE | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH |
			       O_TMPFILE;
	struct open_how how = { .flags = sqe->open_flags & known };

	if (how.flags & O_PATH)
		how.flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
	if (how.flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		how.mode = sqe->len & 07777;
	return how;
}

/* Before Linux 5.6, and in some sandboxes, there is no openat2(2). */
static enum outcome open_plainly(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	bool is_nonblock = sqe->open_flags & O_NONBLOCK;
	int fd, cloexec = sqe->file_index ? O_CLOEXEC : 0;

	if (!request->is_on_worker)
		return iou__to_worker(request, true);
	fd = openat(sqe->fd, iou__pointer(sqe->addr), (int)sqe->open_flags | O_NONBLOCK | cloexec, (mode_t)sqe->len);
	if (fd < 0 && errno == EAGAIN && !is_nonblock)
		return OUT_PAUSE;
	if (fd >= 0 && !is_nonblock)
		clear_nonblock(fd);
	return iou__done(request, fd);
}

enum outcome iou__exec_openat(struct request *request)
{
	struct open_how how = how_of(&request->sqe);
	enum outcome outcome = open_it(request, &how, sizeof(how));

	if (outcome == OUT_DONE && (request->res == -ENOSYS || request->res == -EPERM))
		return open_plainly(request);
	return outcome;
}

#define MAX_HOW 4096 /* the kernel takes no more than a page */

/* The struct may be longer than this library knows: the rest goes to the kernel as it is. */
enum outcome iou__exec_openat2(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	union {
		struct open_how how;
		char bytes[MAX_HOW];
	} copy = { { 0 } };
	int r = sqe->len > sizeof(copy) ? -E2BIG : iou__peek(sqe->off, &copy, sqe->len);

	return r < 0 ? iou__done_as(request, r) : open_it(request, &copy.how, sqe->len);
}

#define STATX_FLAGS ((unsigned)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))

enum outcome iou__exec_statx(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	/* By a descriptor alone statx(2) does not look at the others. */
	if (sqe->statx_flags & AT_EMPTY_PATH && sqe->statx_flags & ~STATX_FLAGS)
		return iou__done_as(request, -EINVAL);
	return iou__done(request, syscall(SYS_statx, sqe->fd, iou__pointer(sqe->addr), sqe->statx_flags, sqe->len,
					  iou__pointer(sqe->addr2)));
}

enum outcome iou__exec_renameat(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, renameat2(sqe->fd, iou__pointer(sqe->addr), (int)sqe->len, iou__pointer(sqe->addr2),
					    sqe->rename_flags));
}

int iou__check_unlinkat(struct request *request)
{
	return request->sqe.unlink_flags & ~(unsigned)AT_REMOVEDIR ? -EINVAL : iou__check_path(request);
}

enum outcome iou__exec_unlinkat(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, unlinkat(sqe->fd, iou__pointer(sqe->addr), (int)sqe->unlink_flags));
}

enum outcome iou__exec_mkdirat(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, mkdirat(sqe->fd, iou__pointer(sqe->addr), (mode_t)sqe->len));
}

enum outcome iou__exec_symlinkat(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, symlinkat(iou__pointer(sqe->addr), sqe->fd, iou__pointer(sqe->addr2)));
}

enum outcome iou__exec_linkat(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, linkat(sqe->fd, iou__pointer(sqe->addr), (int)sqe->len, iou__pointer(sqe->addr2),
					 (int)sqe->hardlink_flags));
}

static int check_name(const struct request *request)
{
	int r = check_path(request->sqe.addr, false);

	return r == -ENOENT ? -ERANGE : r;
}

/* The value is read before a chain begins, as vectors are. */
static int check_value(const struct request *request)
{
	char bytes[512];
	size_t left = request->is_read_first ? request->sqe.len : 0;
	int r = left > XATTR_SIZE_MAX ? -E2BIG : 0;

	for (__u64 at = request->sqe.addr2; r == 0 && left;) {
		size_t part = left < sizeof(bytes) ? left : sizeof(bytes);

		r = iou__peek(at, bytes, part);
		at += part;
		left -= part;
	}
	return r;
}

int iou__check_fsetxattr(struct request *request)
{
	int r = check_name(request);

	if (request->sqe.xattr_flags & ~(unsigned)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	return r < 0 ? r : check_value(request);
}

int iou__check_fgetxattr(struct request *request)
{
	return request->sqe.xattr_flags ? -EINVAL : check_name(request);
}

int iou__check_setxattr(struct request *request)
{
	int r = iou__check_fsetxattr(request);

	return r < 0 ? r : check_path(request->sqe.addr3, false);
}

int iou__check_getxattr(struct request *request)
{
	int r = iou__check_fgetxattr(request);

	return r < 0 ? r : check_path(request->sqe.addr3, false);
}

enum outcome iou__exec_setxattr(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, setxattr(iou__pointer(sqe->addr3), iou__pointer(sqe->addr), iou__pointer(sqe->addr2),
					   sqe->len, (int)sqe->xattr_flags));
}

enum outcome iou__exec_getxattr(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	return iou__done(request, getxattr(iou__pointer(sqe->addr3), iou__pointer(sqe->addr), iou__pointer(sqe->addr2),
					   sqe->len));
}
