/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_FAULTS_LIST_H
#define IOU_TESTS_FAULTS_LIST_H

/* What the files share that wrap functions; see faults.h. */

#include "faults.h"

/* In the order of the table. */
enum fault_function {
	ALIGNED_ALLOC,
	CALLOC,
	CPUALLOC,
	MMAP,
	MADVISE,
	EVENTFD,
	EPOLL_CREATE1,
	EPOLL_CTL,
	TIMERFD_CREATE,
	READ,
	WRITE,
	CLOSE,
	PPOLL,
	FOPEN,
	FGETS,
	SCHED_GETAFFINITY,
	PTHREAD_CREATE,
	PTHREAD_SETNAME_NP,
	QUEUE_INIT_PARAMS,
	QUEUE_MMAP,
	REGISTER,
	REGISTER_EVENTFD,
	REGISTER_IOWQ,
	ENTER2,
	CREATE,
	BIND,
	ENTER,
	RESIZE,
	SIGNAL,
	POLL,
	WAKE,
	ACCEPT4,
	BIND_MESSAGES,
	BIND_SOCKET,
	CONNECT,
	EPOLL_PWAIT2,
	EPOLL_WAIT,
	FALLOCATE,
	FCNTL,
	FCNTL_DUPFD,
	FDATASYNC,
	FGETXATTR,
	FSETXATTR,
	FSYNC,
	FSTAT,
	FTRUNCATE,
	GETRANDOM,
	GETSOCKNAME,
	GETSOCKOPT,
	GETXATTR,
	LINKAT,
	LISTEN,
	MKDIRAT,
	OPENAT,
	OPENAT2,
	PIPE2,
	POLL_NOW,
	POSIX_FADVISE,
	PREADV2,
	PREADV2_WAITING,
	PROCESS_VM_READV,
	PROCESS_VM_WRITEV,
	PWRITEV2,
	PWRITEV2_WAITING,
	RECV,
	RECVMSG,
	RENAMEAT2,
	SEND_MESSAGE,
	SENDMSG,
	SENDTO,
	SETXATTR,
	SHUTDOWN,
	SOCKET,
	SOCKETPAIR,
	SPLICE,
	STATX,
	SYMLINKAT,
	SYNC_FILE_RANGE,
	TEE,
	UNLINKAT,
	VMSPLICE,
	WAITID,
	WRITEV,
	FUTEX_WAIT,
	FUTEX_WAITV,
	FUTEX_WAKE,
	KCMP,
	N_FUNCTIONS,
};

/* The errno of this call of the function, which is set as well, or 0: it is not to fail. */
int faults_fails(int function);

/* A descriptor that was opened by the library, or -1. Returns it. */
int faults_opened(int fd);

/* Whether the sandbox of this setting refuses what can be done without. */
bool faults_are_in_sandbox(void);

#define WRAP(type, name, ...)            \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)

#endif
