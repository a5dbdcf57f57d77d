/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the opcodes do: one attempt each, by a system call that does not block, unless request->is_on_worker. Pointers go
 * to the kernel as they are, so that bad ones are its business. Named after the opcodes.
 */
#ifndef IOU_LIB_THREADS_EXEC_H
#define IOU_LIB_THREADS_EXEC_H

#include "request.h"

#define MAX_LENGTH 0x7ffff000U /* the kernel's MAX_RW_COUNT: no request transfers more */

typedef enum outcome attempt_t(struct request *request);
typedef int check_t(struct request *request);

/* exec-rw.c */
attempt_t iou__exec_read, iou__exec_write, iou__exec_readv, iou__exec_writev, iou__exec_read_multishot;
attempt_t iou__exec_read_fixed, iou__exec_write_fixed, iou__exec_readv_fixed, iou__exec_writev_fixed;
check_t iou__check_fixed, iou__check_fixed_vector, iou__check_transfer, iou__check_vector; /* exec-memory.c */
check_t iou__check_read_multishot;

/* exec-file.c: by descriptor */
attempt_t iou__exec_fsync, iou__exec_sync_file_range, iou__exec_fallocate, iou__exec_fadvise, iou__exec_madvise;
attempt_t iou__exec_ftruncate, iou__exec_close, iou__exec_fsetxattr, iou__exec_fgetxattr, iou__exec_epoll_ctl;
attempt_t iou__exec_fixed_fd_install, iou__exec_pipe, iou__exec_splice, iou__exec_tee;
check_t iou__check_fsync, iou__check_close, iou__check_splice, iou__check_epoll_ctl, iou__check_pipe;
check_t iou__check_fixed_fd_install;

/* exec-path.c: by path */
attempt_t iou__exec_openat, iou__exec_openat2, iou__exec_statx, iou__exec_renameat, iou__exec_unlinkat;
attempt_t iou__exec_mkdirat, iou__exec_symlinkat, iou__exec_linkat, iou__exec_setxattr, iou__exec_getxattr;
check_t iou__check_openat, iou__check_openat2, iou__check_unlinkat, iou__check_path, iou__check_paths;
check_t iou__check_statx, iou__check_linkat, iou__check_fgetxattr, iou__check_fsetxattr, iou__check_getxattr;
check_t iou__check_setxattr;

/* exec-socket.c */
attempt_t iou__exec_socket, iou__exec_connect, iou__exec_accept, iou__exec_shutdown, iou__exec_bind, iou__exec_listen;
check_t iou__check_socket, iou__check_connect, iou__check_accept;

/* exec-send.c, exec-receive.c */
attempt_t iou__exec_send, iou__exec_sendmsg, iou__exec_send_zc, iou__exec_sendmsg_zc, iou__exec_recv, iou__exec_recvmsg;
check_t iou__check_send, iou__check_send_zc, iou__check_recv;

/* exec-wait.c */
attempt_t iou__exec_poll, iou__exec_epoll_wait, iou__exec_waitid;
attempt_t iou__exec_futex_wait, iou__exec_futex_waitv, iou__exec_futex_wake;
check_t iou__check_poll, iou__check_futex, iou__check_futex_waitv;

/* exec-ring.c: about other requests, and the engine */
attempt_t iou__exec_nop, iou__exec_cancel, iou__exec_poll_remove, iou__exec_msg_ring, iou__exec_files_update;
attempt_t iou__exec_provide_buffers, iou__exec_remove_buffers, iou__exec_unsupported;
check_t iou__check_msg_ring, iou__check_nop, iou__check_cancel, iou__check_poll_remove;
check_t iou__check_provide_buffers, iou__check_remove_buffers, iou__check_files_update;

/* exec-memory.c: what they point to */

/* The descriptor is one of an open file; those of O_PATH are not. */
bool iou__is_file(int fd);

/* ... and for reading, or writing (O_RDONLY, O_WRONLY). */
bool iou__is_open_for(int fd, int access);

/* 0; -EBADF: it is none of a file; -ENOTSOCK: nor of a socket. */
int iou__check_socket_fd(int fd);

/* The file is one whose reads and writes may wait for a disk, rather than for somebody else. */
bool iou__is_disk(int fd);

/*
 * Whether the memory of the SQE is in the registered buffer that it names; or that of n iovecs at an address. Asked once,
 * when the request begins: 0 or -errno.
 */
int iou__exec_check_fixed(struct request *request);
int iou__exec_check_fixed_vector(struct request *request, __u64 address, size_t n);

/* Whether it is ready for one of these (EPOLL*), or not open at all. */
bool iou__is_ready(int fd, uint32_t events);

/*
 * The end of an attempt that has not tried what it is to wait for: it must look, as epoll may have told others of it
 * already, and does so once.
 */
enum outcome iou__watch_or_again(struct request *request, uint32_t events);

/* Likewise of one that waits before its first attempt: see iou__waits_first(). */
enum outcome iou__watch_or_begin(struct request *request, uint32_t events);

/*
 * The end of an attempt that found nothing, and is to wait: for what says time and again that it is ready nevertheless
 * (an AF_UNIX datagram socket, whose receiver is full) in pauses.
 */
enum outcome iou__watch_or_pause(struct request *request, int fd, uint32_t events);

/* A vector can be read, and none of its lengths is negative: 0 or -errno. */
int iou__check_iovecs(__u64 address, size_t n, int too_many);

/* Likewise of a registered buffer, and of the one vector in whose place a provided buffer comes. */
int iou__check_fixed_iovecs(__u64 address, size_t n);
int iou__check_selection(__u64 address);

/* The memory of the SQE is the program's part of the addresses: 0 or -EFAULT. */
int iou__check_range(const struct io_uring_sqe *sqe);

/*
 * The memory of the SQE, or the buffer that was selected for it, behind what has been transferred already; and how long
 * all of it is. Computed as a number: there may be no memory.
 */
void *iou__exec_memory(const struct request *request);
size_t iou__exec_length(const struct request *request);

/*
 * connect(2), accept(2) and splice(2) have no flag to say that they must not block on a socket; only its open file has. So
 * it is set around the call, where it is not set anyway. Others of the program that use the same open file at this very
 * moment may see it.
 *
 * Instances of any thread and process may have that open file in common, and one must not restore what another has found
 * set: it would go to sleep in its call. So they take turns, by a lock that lives in the kernel and goes with its owner: an
 * open file description's (F_OFD_SETLK). Two files of one inode that everybody has are at hand: epoll sets and their like
 * share one, all over the machine. The place of the lock in there is the number of the socket's inode.
 */
struct nonblock {
	int fd;
	int flags;   /* of the file, as they were */
	off_t place; /* of the lock; -1: none is held */
};

/* 0; or -errno, which the other tells the end of the attempt for: -EAGAIN is that another is at it. For the loop thread. */
int iou__exec_set_nonblock(const struct request *request, int fd, struct nonblock *nonblock);
enum outcome iou__exec_pause_or_fail(struct request *request, int error);

/* errno stays as it is. */
void iou__exec_restore(const struct request *request, const struct nonblock *nonblock);

#endif
