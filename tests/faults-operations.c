/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the threads engine carries out for programs; see faults.h. */
#include "faults-list.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALL_FUTEX_WAKE 454
#define CALL_FUTEX_WAIT 455

/* FUNCTION(type, name, (parameters), (arguments), its number in the list): -1 and errno, as all of these fail. */
#define FUNCTION(type, name, parameters, arguments, number)                       \
	type __real_##name parameters;                                            \
	type __wrap_##name parameters;                                            \
	type __wrap_##name parameters                                             \
	{                                                                         \
		return faults_fails(number) ? (type)-1 : __real_##name arguments; \
	}

FUNCTION(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), CONNECT)
FUNCTION(int, fallocate64, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), FALLOCATE)
FUNCTION(int, fdatasync, (int fd), (fd), FDATASYNC)
FUNCTION(ssize_t, fgetxattr, (int fd, const char *name, void *to, size_t n), (fd, name, to, n), FGETXATTR)
FUNCTION(int, fsetxattr, (int fd, const char *name, const void *from, size_t n, int flags), (fd, name, from, n, flags),
	 FSETXATTR)
FUNCTION(int, fsync, (int fd), (fd), FSYNC)
FUNCTION(int, ftruncate64, (int fd, off_t n), (fd, n), FTRUNCATE)
FUNCTION(ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), GETRANDOM)
FUNCTION(int, getsockname, (int fd, struct sockaddr *to, socklen_t *n), (fd, to, n), GETSOCKNAME)
FUNCTION(ssize_t, getxattr, (const char *path, const char *name, void *to, size_t n), (path, name, to, n), GETXATTR)
FUNCTION(int, linkat, (int dir, const char *from, int other, const char *to, int flags), (dir, from, other, to, flags),
	 LINKAT)
FUNCTION(int, listen, (int fd, int n), (fd, n), LISTEN)
FUNCTION(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), MKDIRAT)
FUNCTION(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms), POLL_NOW)
FUNCTION(ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags), RECVMSG)
FUNCTION(int, renameat2, (int dir, const char *from, int other, const char *to, unsigned flags),
	 (dir, from, other, to, flags), RENAMEAT2)
FUNCTION(ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), (fd, from, flags), SENDMSG)
FUNCTION(ssize_t, sendto, (int fd, const void *from, size_t n, int flags, const struct sockaddr *to, socklen_t n_to),
	 (fd, from, n, flags, to, n_to), SENDTO)
FUNCTION(int, setxattr, (const char *path, const char *name, const void *from, size_t n, int flags),
	 (path, name, from, n, flags), SETXATTR)
FUNCTION(int, shutdown, (int fd, int how), (fd, how), SHUTDOWN)
FUNCTION(ssize_t, splice, (int in, off_t *in_at, int out, off_t *out_at, size_t n, unsigned flags),
	 (in, in_at, out, out_at, n, flags), SPLICE)
FUNCTION(int, symlinkat, (const char *from, int dir, const char *to), (from, dir, to), SYMLINKAT)
FUNCTION(int, sync_file_range, (int fd, off_t at, off_t n, unsigned flags), (fd, at, n, flags), SYNC_FILE_RANGE)
FUNCTION(ssize_t, tee, (int in, int out, size_t n, unsigned flags), (in, out, n, flags), TEE)
FUNCTION(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), UNLINKAT)
FUNCTION(ssize_t, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n), WRITEV)

/* Those of the loop thread may fail in ways of their own. */

/* What nothing more comes from does not say that there is nothing yet: nobody would look there for ever. */
static bool is_at_end(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return __real_poll(&pollfd, 1, 0) == 1 && !(pollfd.revents & POLLIN);
}

/*
 * Where there was something just now there may be more, and that there is not is only said if it is so: epoll tells of
 * what comes after that.
 */
static int gave_fd = -1;

static bool may_have_more(int fd)
{
	return is_at_end(fd) || fd == gave_fd;
}

static long gave(int fd, long result)
{
	gave_fd = result > 0 ? fd : -1;
	return result;
}

WRAP(ssize_t, recv, int fd, void *to, size_t n, int flags)
{
	int error = faults_fails(RECV);

	if (error == EAGAIN && may_have_more(fd))
		error = 0;
	return gave(fd, error ? -1 : __real_recv(fd, to, n, flags));
}

WRAP(ssize_t, preadv64v2, int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	int error = faults_fails(flags & RWF_NOWAIT ? PREADV2 : PREADV2_WAITING);

	if (error == EAGAIN && is_at_end(fd))
		error = 0;
	if (faults_are_in_sandbox() && flags & RWF_NOWAIT)
		error = errno = EOPNOTSUPP;
	return error ? -1 : __real_preadv64v2(fd, iov, n, at, flags);
}

WRAP(ssize_t, pwritev64v2, int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	int error = faults_fails(flags & RWF_NOWAIT ? PWRITEV2 : PWRITEV2_WAITING);

	if (faults_are_in_sandbox() && flags & RWF_NOWAIT)
		error = errno = EOPNOTSUPP;
	return error ? -1 : __real_pwritev64v2(fd, iov, n, at, flags);
}

WRAP(ssize_t, vmsplice, int fd, const struct iovec *iov, size_t n, unsigned flags)
{
	int error = faults_fails(VMSPLICE);

	if (error == EAGAIN && is_at_end(fd))
		error = 0;
	return error ? -1 : __real_vmsplice(fd, iov, n, flags);
}

/* It returns its error. */
WRAP(int, posix_fadvise64, int fd, off_t at, off_t n, int advice)
{
	int error = faults_fails(POSIX_FADVISE);

	return error ? error : __real_posix_fadvise64(fd, at, n, advice);
}

/* A message to another instance; or nothing, for the program. */
WRAP(ssize_t, send, int fd, const void *from, size_t n, int flags)
{
	return n && faults_fails(SEND_MESSAGE) ? -1 : __real_send(fd, from, n, flags);
}

/* The library's own are for messages; programs have others. */
WRAP(int, bind, int fd, const struct sockaddr *address, socklen_t n)
{
	bool is_own = address->sa_family == AF_UNIX && memcmp(address->sa_data, "\0libiou/", 8) == 0;

	return faults_fails(is_own ? BIND_MESSAGES : BIND_SOCKET) ? -1 : __real_bind(fd, address, n);
}

/* Descriptors. */

WRAP(int, accept4, int fd, struct sockaddr *address, socklen_t *n, int flags)
{
	int error = faults_fails(ACCEPT4);

	if (error == EAGAIN && may_have_more(fd))
		error = 0;
	return (int)gave(fd, error ? -1 : faults_opened(__real_accept4(fd, address, n, flags)));
}

WRAP(int, socket, int domain, int type, int protocol)
{
	return faults_fails(SOCKET) ? -1 : faults_opened(__real_socket(domain, type, protocol));
}

static int opened_both(const int *fds, int r)
{
	for (int i = 0; r == 0 && i < 2; i++)
		faults_opened(fds[i]);
	return r;
}

WRAP(int, pipe2, int *fds, int flags)
{
	return opened_both(fds, faults_fails(PIPE2) ? -1 : __real_pipe2(fds, flags));
}

WRAP(int, socketpair, int domain, int type, int protocol, int *fds)
{
	return opened_both(fds, faults_fails(SOCKETPAIR) ? -1 : __real_socketpair(domain, type, protocol, fds));
}

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);

int __wrap_openat64(int dir, const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = va_arg(arguments, mode_t);
	va_end(arguments);
	return faults_fails(OPENAT) ? -1 : faults_opened(__real_openat64(dir, path, flags, mode));
}

int __real_fcntl64(int fd, int what, ...);
int __wrap_fcntl64(int fd, int what, ...);

/* Whether a descriptor is open is always known. */
int __wrap_fcntl64(int fd, int what, ...)
{
	va_list arguments;
	long argument;
	bool is_dup = what == F_DUPFD || what == F_DUPFD_CLOEXEC;
	int r;

	va_start(arguments, what);
	argument = va_arg(arguments, long);
	va_end(arguments);
	if (what != F_GETFD && faults_fails(is_dup ? FCNTL_DUPFD : FCNTL))
		return -1;
	r = __real_fcntl64(fd, what, argument);
	return is_dup ? faults_opened(r) : r;
}

/* That a descriptor is no socket, or what kind of one it is, is always known as well. */
WRAP(int, getsockopt, int fd, int level, int option, void *to, socklen_t *n)
{
	return option == SO_ERROR && faults_fails(GETSOCKOPT) ? -1 : __real_getsockopt(fd, level, option, to, n);
}

/* So is which kind of file it is, where only that tells how it can be read without blocking. */
WRAP(int, fstat64, int fd, struct stat64 *to)
{
	return !faults_are_in_sandbox() && faults_fails(FSTAT) ? -1 : __real_fstat64(fd, to);
}

/* Waiting. */

WRAP(int, epoll_wait, int fd, struct epoll_event *events, int n, int ms)
{
	return faults_fails(EPOLL_WAIT) ? -1 : __real_epoll_wait(fd, events, n, ms);
}

WRAP(int, epoll_pwait2, int fd, struct epoll_event *events, int n, const struct timespec *time, const sigset_t *mask)
{
	int error = faults_fails(EPOLL_PWAIT2);

	if (faults_are_in_sandbox())
		error = errno = ENOSYS;
	return error ? -1 : __real_epoll_pwait2(fd, events, n, time, mask);
}

/* The program's memory. */

WRAP(ssize_t, process_vm_readv, pid_t pid, const struct iovec *to, unsigned long n, const struct iovec *from,
     unsigned long m, unsigned long flags)
{
	int error = faults_fails(PROCESS_VM_READV);

	if (faults_are_in_sandbox())
		error = errno = EPERM;
	return error ? -1 : __real_process_vm_readv(pid, to, n, from, m, flags);
}

WRAP(ssize_t, process_vm_writev, pid_t pid, const struct iovec *from, unsigned long n, const struct iovec *to,
     unsigned long m, unsigned long flags)
{
	int error = faults_fails(PROCESS_VM_WRITEV);

	if (faults_are_in_sandbox())
		error = errno = EPERM;
	return error ? -1 : __real_process_vm_writev(pid, from, n, to, m, flags);
}

/* System calls that libc has no function for; all others are the play's own. */

static int function_of(long number)
{
	switch (number) {
	case SYS_openat2:
		return OPENAT2;
	case SYS_statx:
		return STATX;
	case SYS_waitid:
		return WAITID;
	case SYS_futex_waitv:
		return FUTEX_WAITV;
	case CALL_FUTEX_WAIT:
		return FUTEX_WAIT;
	case CALL_FUTEX_WAKE:
		return FUTEX_WAKE;
	case SYS_kcmp:
		return KCMP;
	default:
		return -1;
	}
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* Of whom nobody knows how many arguments there are, so that it takes as many as there can be: so does libc's. */
__attribute__((no_sanitize("address", "thread"))) long __wrap_syscall(long number, ...)
{
	int function = function_of(number);
	long arguments[6], r;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_write)
		return write((int)arguments[0], (const void *)arguments[1], (size_t)arguments[2]);
	if (function >= 0 && faults_fails(function))
		return -1;
	if ((function == OPENAT2 || function == KCMP) && faults_are_in_sandbox()) {
		errno = ENOSYS;
		return -1;
	}
	r = __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	return function == OPENAT2 ? faults_opened((int)r) : r;
}
