/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nowait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static mode_t type_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) < 0 ? 0 : stat.st_mode & S_IFMT;
}

static struct msghdr message_of(const struct iovec *iov, int n)
{
	return (struct msghdr){ .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
}

/* Some sandboxes lack or forbid these calls. */
static ssize_t or_cannot(ssize_t n)
{
	if (n < 0 && (errno == ENOSYS || errno == EPERM))
		errno = EOPNOTSUPP;
	return n;
}

static ssize_t cannot(void)
{
	errno = EOPNOTSUPP;
	return -1;
}

/* Out of one that is for reading alone this copies; into others it would put the memory itself. */
static ssize_t read_pipe(int fd, const struct iovec *iov, int n)
{
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
		return cannot();
	return or_cannot(vmsplice(fd, iov, (size_t)n, SPLICE_F_NONBLOCK));
}

/* Through a pipe of our own, from which the pages are handed on. What does not fit is forgotten: it was a copy. */
static ssize_t write_pipe(int fd, const struct iovec *iov, int n)
{
	int fds[2], error;
	ssize_t done;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return cannot();
	done = writev(fds[1], iov, n);
	if (done > 0)
		done = or_cannot(splice(fds[0], NULL, fd, NULL, (size_t)done, SPLICE_F_NONBLOCK));
	error = errno;
	close(fds[0]);
	close(fds[1]);
	errno = error;
	return done;
}

ssize_t iou__nowait_read(int fd, const struct iovec *iov, int n)
{
	struct msghdr message = message_of(iov, n);

	switch (type_of(fd)) {
	case S_IFSOCK:
		return recvmsg(fd, &message, MSG_DONTWAIT);
	case S_IFIFO:
		return read_pipe(fd, iov, n);
	default:
		return cannot();
	}
}

ssize_t iou__nowait_write(int fd, const struct iovec *iov, int n)
{
	const struct msghdr message = message_of(iov, n);

	switch (type_of(fd)) {
	case S_IFSOCK:
		return sendmsg(fd, &message, MSG_DONTWAIT);
	case S_IFIFO:
		return write_pipe(fd, iov, n);
	default:
		return cannot();
	}
}
