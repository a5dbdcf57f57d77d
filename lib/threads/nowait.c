/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nowait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* What the kernel tells of an open file, as a string; empty: nothing. */
static void describe(int fd, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int from;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
	from = open(path, O_RDONLY | O_CLOEXEC);
	n = from < 0 ? 0 : read(from, text, size - 1);
	text[n > 0 ? n : 0] = 0;
	if (from >= 0)
		close(from);
}

bool iou__nowait_overflows(int fd, uint64_t value)
{
	const char name[] = "eventfd-count:", *at;
	char text[512];

	if (value <= 1 || value == UINT64_MAX || type_of(fd))
		return false;
	describe(fd, text, sizeof(text));
	at = strstr(text, name);
	return at && value > UINT64_MAX - 1 - strtoull(at + sizeof(name) - 1, NULL, 16);
}
