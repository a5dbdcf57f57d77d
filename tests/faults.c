/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "faults-list.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>

#include "engine.h"
#include "uring.h"

#define TRANSIENT                            \
	{                                    \
		EAGAIN, EBUSY, EINTR, ENOMEM \
	}

#define WAITS                 \
	{                     \
		EAGAIN, EINTR \
	}

#define OPERATION .is_operation = true

const struct fault faults[] = {
	[ALIGNED_ALLOC] = { "aligned_alloc", { ENOMEM } },
	[CALLOC] = { "calloc", { ENOMEM } },
	[CPUALLOC] = { "__sched_cpualloc", { ENOMEM }, .is_harmless = true },
	[MMAP] = { "mmap", { ENOMEM } },
	[MADVISE] = { "madvise", { EINVAL, ENOMEM } },
	[EVENTFD] = { "eventfd", { EMFILE, ENFILE, ENOMEM } },
	[EPOLL_CREATE1] = { "epoll_create1", { EMFILE, ENFILE, ENOMEM } },
	[EPOLL_CTL] = { "epoll_ctl", { ENOMEM, ENOSPC } },
	[TIMERFD_CREATE] = { "timerfd_create", { EMFILE, ENFILE, ENOMEM } },
	[READ] = { "read", { EINTR, EAGAIN }, .is_harmless = true },
	[WRITE] = { "write", { EINTR, EAGAIN }, .is_harmless = true },
	[CLOSE] = { "close",
		    { EINTR, EIO },
		    .is_harmless = true,
		    .transient = { EINTR },
		    OPERATION,
		    .mended = { EIO } },
	[PPOLL] = { "ppoll", { EINTR, ENOMEM }, .transient = { EINTR } },
	[FOPEN] = { "fopen", { EMFILE, ENOENT }, .is_harmless = true },
	[FGETS] = { "fgets", { EIO }, .is_harmless = true },
	[SCHED_GETAFFINITY] = { "sched_getaffinity", { EINVAL, EPERM }, .is_harmless = true },
	[PTHREAD_CREATE] = { "pthread_create", { EAGAIN } },
	[PTHREAD_SETNAME_NP] = { "pthread_setname_np", { EIO }, .is_harmless = true },
	[QUEUE_INIT_PARAMS] = { "io_uring_queue_init_params", { ENOMEM, EPERM, ENOSYS, EMFILE, EINVAL } },
	[QUEUE_MMAP] = { "io_uring_queue_mmap", { ENOMEM } },
	[REGISTER] = { "io_uring_register", { ENOMEM, EINVAL, EPERM } },
	[REGISTER_EVENTFD] = { "io_uring_register_eventfd", { ENOMEM, EBUSY } },
	[REGISTER_IOWQ] = { "io_uring_register_iowq_max_workers", { ENOMEM, EINVAL } },
	[ENTER2] = { "io_uring_enter2", { EAGAIN, EBUSY, EINTR, ENOMEM, EPERM, ENOSYS }, .transient = TRANSIENT },
	[CREATE] = { "iou__uring_create", { ENOMEM } },
	[BIND] = { "iou__uring_bind", { ENOMEM } },
	[ENTER] = { "iou__uring_enter", { EBADR, FAULT_SHORT }, .transient = { FAULT_SHORT } },
	[RESIZE] = { "iou__uring_resize", { ENOMEM, EINVAL, EOVERFLOW } },
	[SIGNAL] = { "iou__uring_signal", { ENOMEM } },
	[POLL] = { "iou__uring_poll", { EINTR, ENOMEM }, .transient = { EINTR } },
	[WAKE] = { "the poll that wakes the loop", { EBADF, EINVAL }, .is_harmless = true },
	[ACCEPT4] = { "accept4", { EMFILE, EINTR, EAGAIN }, .transient = WAITS, OPERATION },
	[BIND_MESSAGES] = { "bind, to a name for messages", { EADDRINUSE, ENOMEM } },
	[BIND_SOCKET] = { "bind", { EADDRINUSE, EINTR }, .transient = { EINTR }, OPERATION },
	/* Once it is connected a socket is asked again, so that it knows. */
	[CONNECT] = { "connect",
		      { ECONNREFUSED, EINTR, EAGAIN },
		      .transient = WAITS,
		      OPERATION,
		      .mended = { ECONNREFUSED } },
	[EPOLL_PWAIT2] = { "epoll_pwait2", { EINTR, ENOSYS, EPERM, EBADF }, .transient = { EINTR, ENOSYS, EPERM } },
	[EPOLL_WAIT] = { "epoll_wait", { EINTR, EBADF }, .transient = { EINTR } },
	[FALLOCATE] = { "fallocate", { ENOSPC, EINTR }, .transient = { EINTR }, OPERATION },
	[FCNTL] = { "fcntl", { EPERM }, OPERATION, .mended = { EPERM } },
	[FCNTL_DUPFD] = { "fcntl(F_DUPFD)", { EMFILE, ENOMEM } },
	[FDATASYNC] = { "fdatasync", { EIO, EINTR }, .transient = { EINTR }, OPERATION },
	[FGETXATTR] = { "fgetxattr", { EIO }, OPERATION },
	[FSETXATTR] = { "fsetxattr", { ENOSPC }, OPERATION },
	[FSTAT] = { "fstat", { EIO, ENOMEM }, .is_harmless = true },
	[FSYNC] = { "fsync", { EIO, EINTR }, .transient = { EINTR }, OPERATION },
	[FTRUNCATE] = { "ftruncate", { EIO, EINTR }, .transient = { EINTR }, OPERATION },
	[GETRANDOM] = { "getrandom", { ENOSYS, EPERM } },
	[GETSOCKNAME] = { "getsockname", { ENOBUFS } },
	[GETSOCKOPT] = { "getsockopt", { ENOBUFS }, OPERATION },
	[GETXATTR] = { "getxattr", { EIO }, OPERATION },
	[LINKAT] = { "linkat", { ENOSPC, EINTR }, .transient = { EINTR }, OPERATION },
	[LISTEN] = { "listen", { EADDRINUSE }, OPERATION },
	[MKDIRAT] = { "mkdirat", { ENOSPC }, OPERATION },
	[OPENAT] = { "openat", { EMFILE, EINTR }, .transient = { EINTR }, OPERATION },
	[OPENAT2] = { "openat2",
		      { EMFILE, EINTR, EAGAIN, ENOSYS },
		      .transient = { EINTR, EAGAIN }, /* somebody has to give a lease back */
		      OPERATION,
		      .mended = { EAGAIN, ENOSYS } },
	[PIPE2] = { "pipe2", { EMFILE }, OPERATION },
	[POLL_NOW] = { "poll", { ENOMEM, EINTR }, .transient = { EINTR }, OPERATION, .mended = { ENOMEM } },
	[POSIX_FADVISE] = { "posix_fadvise", { EINVAL }, OPERATION },
	[PREADV2] = { "preadv2(RWF_NOWAIT)",
		      { EIO, EINTR, EAGAIN, EOPNOTSUPP },
		      .transient = WAITS,
		      OPERATION,
		      .mended = { EOPNOTSUPP } },
	[PREADV2_WAITING] = { "preadv2", { EIO, EINTR }, .transient = { EINTR }, OPERATION, .mended = { EIO } },
	[PROCESS_VM_READV] = { "process_vm_readv", { EPERM, ENOSYS, ENOMEM }, .is_harmless = true },
	[PROCESS_VM_WRITEV] = { "process_vm_writev", { EPERM, ENOSYS, ENOMEM }, .is_harmless = true },
	[PWRITEV2] = { "pwritev2(RWF_NOWAIT)",
		       { ENOSPC, EINTR, EAGAIN, EOPNOTSUPP },
		       .transient = WAITS,
		       OPERATION,
		       .mended = { EOPNOTSUPP } },
	[PWRITEV2_WAITING] = { "pwritev2", { ENOSPC, EINTR }, .transient = { EINTR }, OPERATION, .mended = { ENOSPC } },
	[RECV] = { "recv", { ECONNRESET, EINTR, EAGAIN }, .transient = WAITS, OPERATION, .mended = { ECONNRESET } },
	[RECVMSG] = { "recvmsg",
		      { ECONNRESET, EINTR, EAGAIN },
		      .transient = WAITS,
		      OPERATION,
		      .mended = { ECONNRESET } },
	[RENAMEAT2] = { "renameat2", { EIO }, OPERATION },
	[SEND_MESSAGE] = { "send",
			   { ECONNRESET, EINTR, EAGAIN },
			   .transient = WAITS,
			   OPERATION,
			   .mended = { ECONNRESET } },
	[SENDMSG] = { "sendmsg", { ECONNRESET, EINTR, EAGAIN }, .transient = WAITS, OPERATION },
	[SENDTO] = { "sendto", { ECONNRESET, EINTR, EAGAIN }, .transient = WAITS, OPERATION },
	[SETXATTR] = { "setxattr", { ENOSPC }, OPERATION },
	[SHUTDOWN] = { "shutdown", { ENOBUFS }, OPERATION },
	[SOCKET] = { "socket", { EMFILE, ENFILE, ENOMEM }, OPERATION },
	[SOCKETPAIR] = { "socketpair", { EMFILE, ENFILE, ENOMEM } },
	[SPLICE] = { "splice", { EIO, EINTR, EAGAIN }, .transient = WAITS, OPERATION },
	[STATX] = { "statx", { EIO, EINTR }, .transient = { EINTR }, OPERATION },
	[SYMLINKAT] = { "symlinkat", { ENOSPC }, OPERATION },
	[SYNC_FILE_RANGE] = { "sync_file_range", { EIO }, OPERATION },
	[TEE] = { "tee", { ENOMEM, EINTR, EAGAIN }, .transient = WAITS, OPERATION },
	[UNLINKAT] = { "unlinkat", { EBUSY }, OPERATION },
	[VMSPLICE] = { "vmsplice",
		       { ENOMEM, EINTR, EAGAIN, ENOSYS, EPERM },
		       .transient = { EINTR, EAGAIN, ENOSYS, EPERM },
		       OPERATION },
	[WAITID] = { "waitid", { EINVAL, EINTR }, .transient = { EINTR }, OPERATION },
	[WRITEV] = { "writev", { ENOMEM, EINTR }, .transient = { EINTR }, OPERATION },
	[FUTEX_WAIT] = { "futex_wait", { ENOSYS, EINTR }, .transient = { EINTR }, OPERATION },
	[FUTEX_WAITV] = { "futex_waitv", { ENOSYS, EINTR }, .transient = { EINTR }, OPERATION },
	[FUTEX_WAKE] = { "futex_wake", { EINVAL, ENOSYS }, .transient = { ENOSYS }, OPERATION },
	[KCMP] = { "kcmp", { EPERM, ENOSYS }, .is_harmless = true },
	[N_FUNCTIONS] = { 0 },
};

static struct {
	int function;
	int error;
	unsigned first, last;
} armed;

static _Atomic bool is_armed, has_failed;
static bool is_old_kernel, is_sandbox;
static int refusal;
static unsigned away_at;
static _Atomic unsigned n_calls[N_FUNCTIONS];
static _Atomic int n_allocations, n_descriptors, n_mappings, n_threads;

void faults_arm(int function, int error, unsigned first, unsigned last)
{
	armed.function = function;
	armed.error = error;
	armed.first = first;
	armed.last = last;
	for (int i = 0; i < N_FUNCTIONS; i++)
		n_calls[i] = 0;
	n_allocations = n_descriptors = n_mappings = n_threads = 0;
	has_failed = false;
	is_armed = true;
}

bool faults_disarm(void)
{
	is_armed = false;
	return has_failed;
}

unsigned faults_n_calls(int function)
{
	return n_calls[function];
}

void faults_pretend_old_kernel(bool is_old)
{
	is_old_kernel = is_old;
}

void faults_refuse_rings(int error)
{
	refusal = error;
}

void faults_put_into_sandbox(bool is)
{
	is_sandbox = is;
}

bool faults_are_in_sandbox(void)
{
	return is_armed && is_sandbox;
}

void faults_take_io_uring_away(unsigned at)
{
	away_at = at;
}

static bool is_in(const int *errors, int error)
{
	while (*errors && *errors != error)
		errors++;
	return *errors;
}

bool faults_is_transient(int function, int error)
{
	return is_in(faults[function].transient, error);
}

bool faults_is_harmless(int function, int error)
{
	return faults[function].is_harmless || is_in(faults[function].transient, error);
}

bool faults_is_a_result(int function, int error)
{
	return faults[function].is_operation && !faults_is_transient(function, error) &&
	       !is_in(faults[function].mended, error);
}

const char *faults_left_behind(void)
{
	static char words[128];

	if (!n_allocations && !n_descriptors && !n_mappings && !n_threads)
		return NULL;
	snprintf(words, sizeof(words), "%d allocations, %d descriptors, %d mappings, %d threads were left",
		 n_allocations, n_descriptors, n_mappings, n_threads);
	return words;
}

int faults_fails(int function)
{
	unsigned n;

	if (!is_armed)
		return 0;
	n = atomic_fetch_add(&n_calls[function], 1) + 1;
	if (armed.function != function || n < armed.first || n > armed.last)
		return 0;
	has_failed = true;
	errno = armed.error;
	return armed.error;
}

static void count(_Atomic int *counter, int change)
{
	if (is_armed)
		atomic_fetch_add(counter, change);
}

/* Memory. */

static void *allocated(void *memory)
{
	count(&n_allocations, memory != NULL);
	return memory;
}

WRAP(void *, aligned_alloc, size_t alignment, size_t size)
{
	return faults_fails(ALIGNED_ALLOC) ? NULL : allocated(__real_aligned_alloc(alignment, size));
}

WRAP(void *, calloc, size_t n, size_t size)
{
	return faults_fails(CALLOC) ? NULL : allocated(__real_calloc(n, size));
}

WRAP(void, free, void *memory)
{
	count(&n_allocations, -(memory != NULL));
	__real_free(memory);
	/* So it may, before glibc 2.33. */
	if (is_armed)
		errno = EXDEV;
}

WRAP(cpu_set_t *, __sched_cpualloc, size_t n)
{
	return faults_fails(CPUALLOC) ? NULL : __real___sched_cpualloc(n);
}

/* Rings are mapped by liburing and unmapped by the library: seen here is what the library maps itself, some at a time. */
static void *mapped_at[4];

/* What was there is there no longer. False: it was not. */
static bool replace_mapping(const void *old, void *new)
{
	for (size_t i = 0; i < sizeof(mapped_at) / sizeof(mapped_at[0]); i++)
		if (mapped_at[i] == old) {
			mapped_at[i] = new;
			return true;
		}
	return false;
}

static void *mapped(void *memory)
{
	count(&n_mappings, memory != MAP_FAILED);
	if (memory != MAP_FAILED)
		replace_mapping(NULL, memory);
	return memory;
}

WRAP(void *, mmap, void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return faults_fails(MMAP) ? MAP_FAILED : mapped(__real_mmap(address, length, protection, flags, fd, offset));
}

WRAP(void *, mmap64, void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return faults_fails(MMAP) ? MAP_FAILED : mapped(__real_mmap64(address, length, protection, flags, fd, offset));
}

WRAP(int, munmap, void *address, size_t length)
{
	count(&n_mappings, -(int)replace_mapping(address, NULL));
	return __real_munmap(address, length);
}

WRAP(int, madvise, void *address, size_t length, int advice)
{
	return faults_fails(MADVISE) ? -1 : __real_madvise(address, length, advice);
}

/* Descriptors. */

int faults_opened(int fd)
{
	count(&n_descriptors, fd >= 0);
	return fd;
}

WRAP(int, eventfd, unsigned value, int flags)
{
	return faults_fails(EVENTFD) ? -1 : faults_opened(__real_eventfd(value, flags));
}

WRAP(int, epoll_create1, int flags)
{
	return faults_fails(EPOLL_CREATE1) ? -1 : faults_opened(__real_epoll_create1(flags));
}

WRAP(int, timerfd_create, int clock, int flags)
{
	return faults_fails(TIMERFD_CREATE) ? -1 : faults_opened(__real_timerfd_create(clock, flags));
}

WRAP(int, epoll_ctl, int fd, int what, int other, struct epoll_event *event)
{
	return faults_fails(EPOLL_CTL) ? -1 : __real_epoll_ctl(fd, what, other, event);
}

/*
 * An eventfd has nothing to read, or is full: in both cases it is as if the call had been made. Nothing else can be
 * made to fail here, or loops would have to do without being woken. In the sandbox what is read and written may be the
 * program's memory, on its way through a pipe, which does not fail.
 */
static bool is_eventfd(size_t size)
{
	return size == sizeof(uint64_t) && !is_sandbox;
}

static bool is_done_nonetheless(int error)
{
	return error == EAGAIN;
}

WRAP(ssize_t, read, int fd, void *buffer, size_t size)
{
	int error = is_eventfd(size) ? faults_fails(READ) : 0;

	if (!error)
		return __real_read(fd, buffer, size);
	if (is_done_nonetheless(error) && __real_read(fd, buffer, size) < 0)
		errno = error;
	errno = error;
	return -1;
}

WRAP(ssize_t, write, int fd, const void *buffer, size_t size)
{
	int error = is_eventfd(size) ? faults_fails(WRITE) : 0;

	if (!error)
		return __real_write(fd, buffer, size);
	if (is_done_nonetheless(error) && __real_write(fd, buffer, size) < 0)
		errno = error;
	errno = error;
	return -1;
}

/* Whatever it returns, the descriptor is gone. */
WRAP(int, close, int fd)
{
	int error = faults_fails(CLOSE);
	int r = __real_close(fd);

	count(&n_descriptors, -1);
	if (!error)
		return r;
	errno = error;
	return -1;
}

WRAP(int, ppoll, struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	return faults_fails(PPOLL) ? -1 : __real_ppoll(fds, n, timeout, mask);
}

WRAP(FILE *, fopen, const char *path, const char *mode)
{
	return faults_fails(FOPEN) ? NULL : __real_fopen(path, mode);
}

WRAP(FILE *, fopen64, const char *path, const char *mode)
{
	return faults_fails(FOPEN) ? NULL : __real_fopen64(path, mode);
}

WRAP(char *, fgets, char *line, int size, FILE *file)
{
	return faults_fails(FGETS) ? NULL : __real_fgets(line, size, file);
}

/* Time, and threads. */

/* A hundred times as fast: what is waited for is not what this is about. */
WRAP(int, nanosleep, const struct timespec *time, struct timespec *left)
{
	struct timespec shorter = { .tv_nsec = time->tv_nsec / 100 };

	return __real_nanosleep(is_armed ? &shorter : time, left);
}

WRAP(int, sched_getaffinity, pid_t thread, size_t size, cpu_set_t *set)
{
	return faults_fails(SCHED_GETAFFINITY) ? -1 : __real_sched_getaffinity(thread, size, set);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*function)(void *), void *data)
{
	int error = faults_fails(PTHREAD_CREATE);

	if (!error)
		error = __real_pthread_create(thread, attr, function, data);
	count(&n_threads, error == 0);
	return error;
}

WRAP(int, pthread_join, pthread_t thread, void **result)
{
	count(&n_threads, -1);
	return __real_pthread_join(thread, result);
}

WRAP(int, pthread_setname_np, pthread_t thread, const char *name)
{
	int error = faults_fails(PTHREAD_SETNAME_NP);

	return error ? error : __real_pthread_setname_np(thread, name);
}

/* liburing. What it maps itself is seen in /proc. */

#define NOT_IN_5_10 (~(IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE))

WRAP(int, io_uring_queue_init_params, unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
	int error = faults_fails(QUEUE_INIT_PARAMS);

	if (is_old_kernel && params->flags & NOT_IN_5_10)
		error = EINVAL;
	if (is_armed && refusal)
		error = refusal;
	if (error)
		return -error;

	int r = __real_io_uring_queue_init_params(entries, ring, params);

	count(&n_descriptors, r == 0);
	if (r == 0 && is_old_kernel)
		ring->features &= IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
	return r;
}

WRAP(void, io_uring_queue_exit, struct io_uring *ring)
{
	count(&n_descriptors, -1);
	__real_io_uring_queue_exit(ring);
}

WRAP(int, io_uring_queue_mmap, int fd, struct io_uring_params *params, struct io_uring *ring)
{
	int error = faults_fails(QUEUE_MMAP);

	return error ? -error : __real_io_uring_queue_mmap(fd, params, ring);
}

/*
 * The owner's table of ring descriptors lets go of a ring whatever happens: were that refused, the thread would keep the
 * ring, and of IOU_SQPOLL the kernel's thread.
 */
static bool lets_go(unsigned opcode)
{
	return (opcode & ~URING_REGISTER_USE_REGISTERED_RING) == IORING_UNREGISTER_RING_FDS;
}

/* A file on its way to another ring, alone, has a descriptor from the kernel, which is closed when it has arrived. */
WRAP(int, io_uring_register, unsigned fd, unsigned opcode, const void *arg, unsigned n)
{
	int error = lets_go(opcode) ? 0 : faults_fails(REGISTER);

	count(&n_descriptors, opcode == IORING_REGISTER_FILES_UPDATE && n == 1);
	return error ? -error : __real_io_uring_register(fd, opcode, arg, n);
}

WRAP(int, io_uring_register_eventfd, struct io_uring *ring, int fd)
{
	int error = faults_fails(REGISTER_EVENTFD);

	return error ? -error : __real_io_uring_register_eventfd(ring, fd);
}

WRAP(int, io_uring_register_iowq_max_workers, struct io_uring *ring, unsigned *max)
{
	int error = faults_fails(REGISTER_IOWQ);

	return error ? -error : __real_io_uring_register_iowq_max_workers(ring, max);
}

WRAP(int, io_uring_enter2, unsigned fd, unsigned n, unsigned n_wanted, unsigned flags, sigset_t *arg, size_t size)
{
	int error = faults_fails(ENTER2);

	if (is_armed && away_at && n_calls[ENTER2] >= away_at)
		error = EPERM;
	return error ? -error : __real_io_uring_enter2(fd, n, n_wanted, flags, arg, size);
}

/* The library's own functions. */

WRAP(int, iou__uring_create, const struct uring_config *config, struct uring *uring)
{
	int error = faults_fails(CREATE);

	return error ? -error : __real_iou__uring_create(config, uring);
}

WRAP(int, iou__uring_bind, struct uring *uring)
{
	int error = faults_fails(BIND);

	return error ? -error : __real_iou__uring_bind(uring);
}

/* The poll, which in the play is the library's alone, comes back with an error. */
static void spoil(struct io_uring_sqe *sqe, int error)
{
	if (error == EINVAL)
		sqe->off = 1;
	else
		sqe->fd = -1;
}

static void spoil_wake(const struct io_uring_sq *sq)
{
	for (unsigned i = *sq->khead; i != *sq->ktail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
		int error = sqe->opcode == IORING_OP_POLL_ADD && sqe->poll32_events == POLLIN ? faults_fails(WAKE) : 0;

		if (error)
			spoil(sqe, error);
	}
}

int __real_iou__uring_enter(struct uring *, unsigned, unsigned, unsigned, const struct timespec *);

/* The library's name for a file on its way to another ring. Which descriptor it got is lost with the completion. */
#define TAKEN_OUT 0x66696c6573000000ULL

static void close_what_is_lost(const struct io_uring_cq *cq)
{
	for (unsigned i = *cq->khead; i != *cq->ktail; i++)
		if (cq->cqes[i & cq->ring_mask].user_data == TAKEN_OUT && cq->cqes[i & cq->ring_mask].res >= 0)
			__real_close(cq->cqes[i & cq->ring_mask].res);
}

/* The completions that there are are lost, also those that the kernel keeps for want of room. */
static int drop(struct uring *uring)
{
	const struct io_uring_sq *sq = &uring->ring.sq;
	unsigned n = *sq->ktail - *sq->khead;

	do {
		__real_iou__uring_enter(uring, n, 0, IORING_ENTER_GETEVENTS, NULL);
		close_what_is_lost(&uring->ring.cq);
		*uring->ring.cq.khead = *uring->ring.cq.ktail;
		n = 0;
	} while (*sq->kflags & IORING_SQ_CQ_OVERFLOW);
	return -EBADR;
}

static bool is_linked(const struct io_uring_sq *sq, unsigned i)
{
	return sq->sqes[i & sq->ring_mask].flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
}

/*
 * A kernel that stops half-way does not wait. It does so for want of memory, and in the middle of a chain as well,
 * which then is in two; but nothing can be done about that.
 */
static int submit_half(struct uring *uring, unsigned n)
{
	const struct io_uring_sq *sq = &uring->ring.sq;

	for (n /= 2; n && is_linked(sq, *sq->khead + n - 1);)
		n--;
	return __real_iou__uring_enter(uring, n, 0, 0, NULL);
}

WRAP(int, iou__uring_enter, struct uring *uring, unsigned n, unsigned n_wanted, unsigned flags,
     const struct timespec *timeout)
{
	spoil_wake(&uring->ring.sq);

	int error = faults_fails(ENTER);

	if (error == FAULT_SHORT && n)
		return submit_half(uring, n);
	if (error && error != FAULT_SHORT)
		return drop(uring);
	return __real_iou__uring_enter(uring, n, n_wanted, flags, timeout);
}

/* A descriptor that the kernel has made. */
WRAP(bool, iou__ring_takes, struct engine *engine, const struct cqe *cqe)
{
	bool takes = __real_iou__ring_takes(engine, cqe);

	count(&n_descriptors, takes && cqe->res >= 0);
	return takes;
}

WRAP(int, iou__uring_resize, struct uring *uring, const struct uring_config *config)
{
	int error = faults_fails(RESIZE);

	return error ? -error : __real_iou__uring_resize(uring, config);
}

WRAP(int, iou__uring_signal, struct uring *uring, int fd)
{
	int error = faults_fails(SIGNAL);

	return error ? -error : __real_iou__uring_signal(uring, fd);
}

WRAP(int, iou__uring_poll, const struct uring *uring, const struct timespec *timeout)
{
	int error = faults_fails(POLL);

	return error ? -error : __real_iou__uring_poll(uring, timeout);
}
