/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_H
#define IOU_H

/**
 * @file
 * libiou: an I/O-oriented, callback-driven scheduler on io_uring, with worker threads for CPU-bound work.
 *
 * A program takes an op, prepares any io_uring operation in it with liburing's own helpers, queues it with a
 * callback, and lets iou_run() drive everything:
 *
 *	iou_op_t *op = iou_op_new(iou);
 *
 *	io_uring_prep_read(op->sqe, fd, buf, sizeof(buf), 0);
 *	iou_op_queue(iou, op, have_read, op);
 *	iou_run(iou);
 *
 * No opcode is wrapped: every operation with a 64-byte SQE and a 16-byte CQE works, those of future kernels too.
 *
 * # Rules that hold unless a function says otherwise
 *
 * **Errors.** Functions return 0 or a count, or a negative errno. Those that return a pointer return NULL and set
 * errno. On failure nothing has changed. NULL where a pointer is needed is -EINVAL. No function prints, exits, or
 * aborts on a run-time error or on an argument that can be checked.
 *
 * **Threads.** Everything belongs to the loop thread: the first thread that flushes or runs. Before that an instance
 * may be set up by one thread and handed to another. Any thread may call iou_quit(), iou_post(), iou_hold(),
 * iou_release() and iou_version(); signal handlers may call iou_quit() and iou_version(). Of all others, iou_flush(),
 * iou_run(), iou_run_once(), iou_drain(), iou_resize(), iou_buffers_free() and the calls that register or unregister
 * return -EPERM in another thread, and iou_free() says EBUSY there while ops are in flight. The rest (iou_op_new(),
 * iou_op_queue(), iou_async(), cancellation, ...) do not check: from another thread they are a data race. Two
 * instances never interact.
 *
 * **Callbacks.** A callback may call all functions except iou_run(), iou_run_once() and iou_drain(), which return
 * -EBUSY there. It returns 0 (or any positive number) to go on, or a negative number to end the run with it. Callbacks
 * run one at a time on the thread that runs, never from inside the call that queued them.
 *
 * **Descriptors.** Closing a descriptor of the library (as daemons do that close all from 3 on) is a bug in the
 * program. If the number is not reused, no op is lost and iou_free() works, but a run may return an error, wake-ups
 * from other threads may be delayed (by seconds while jobs or holds exist, otherwise until the next completion), and
 * iou_fd() may stop signalling.
 *
 * **Fork.** In a forked child each call on an inherited instance returns -EOWNERDEAD (or NULL with errno set to it)
 * and does nothing, except iou_free() and iou_buffers_free(), which release what the child has. The parent never
 * notices.
 *
 * **Timeouts.** Plain timeouts are handled in user space: the library keeps them, and the kernel is told only how long
 * to wait. A timeout is plain if it is an IORING_OP_TIMEOUT, single or multishot, that
 *   - has no IOSQE flag except IOSQE_CQE_SKIP_SUCCESS, and no count of completions; and
 *   - is relative on CLOCK_MONOTONIC or CLOCK_REALTIME, or absolute on CLOCK_MONOTONIC.
 *
 * All others (linked, behind a drain, with a count, on CLOCK_BOOTTIME, absolute on CLOCK_REALTIME, invalid) go to the
 * engine, and plain ones are handed to it as well once a linked request may name them (to update, remove or cancel).
 * Results, flags, order and accuracy are the kernel's either way, and other requests find a timeout as they would in
 * the kernel. What differs is the speed, and:
 *   - the timespec of a plain timeout is read by the flush or turn that submits the op. One that cannot be read (except
 *     NULL) may crash there, where the kernel would say -EFAULT;
 *   - callbacks of plain timeouts come from the loop's turns: like other completions they wait while the loop is busy;
 *   - a plain timeout whose time has come, and whose callback has not run yet, is still found, and then ends as it is
 *     told; of completions that are due together with it the others are told first;
 *   - requests submitted through iou_ring(), and IORING_REGISTER_SYNC_CANCEL, do not find plain timeouts.
 *
 * **Since.** Everything here first appeared in version 1.0.
 *
 * # What the library promises
 *
 * - **G1 exactly once.** A queued op gets one callback per completion and exactly one final one, never from inside
 *   the call that queued it, and never before the kernel has let go of the op's memory.
 * - **G2 re-arming.** Inside its final callback an op may be queued again, with no allocation.
 * - **G3 depth.** Any number of ops can be queued on a ring of any size; a full queue never reaches the caller.
 * - **G4 order.** Ops reach the kernel in queueing order; a linked chain is never split over two submissions.
 * - **G5 waiting.** A parked loop uses no CPU. A finished job, a post, the last release or a quit wakes it at once.
 * - **G6 errors.** A negative callback result ends the run; everything else stays queued, in order.
 * - **G7 quit.** iou_quit() ends a run after the callback that is running, or else the next run.
 * - **G8 cancel.** An op that is cancelled still gets its final callback: with -ECANCELED, or with its real result.
 * - **G9 free.** After iou_free() no thread of the library runs, none of its descriptors is open, and no buffer is
 *   written to.
 * - **G10 resize.** At any time where the kernel can; a failed iou_resize() leaves the working ring as it was, except
 *   with -ENOTRECOVERABLE.
 * - **G11 multishot.** One callback per CQE; IORING_CQE_F_MORE in op->flags tells that more come.
 * - **G12 failure.** If making an instance fails, nothing leaks; later failures never lose an op.
 * - **G13 no globals.** No constructors, no static mutable state, no atexit, no thread before it is needed.
 * - **G14 fork.** As under "Fork" above.
 * - **G15 signals.** EINTR never ends a run and never reaches the caller.
 * - **G16 anywhere.** Where io_uring is missing or blocked the same program runs on threads: see @ref
 *   IOU_ENGINE_THREADS.
 * - **G17 fairness.** A turn of the loop delivers only what was there when it began.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <liburing.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header; iou_version() tells that of the library a program runs with. */
#define IOU_VERSION_MAJOR 1
/** Grows when something is added. */
#define IOU_VERSION_MINOR 0
/** Grows with each release that changes nothing in the interface. */
#define IOU_VERSION_MICRO 0

/** An instance: one ring, its loop, and the worker threads that serve it. Opaque. */
typedef struct iou_t iou_t;

/**
 * An operation. Only the library allocates these; later versions may append fields.
 *
 * **Life.** iou_op_new() hands one out. iou_op_queue() or iou_op_async() gives it back to the library, which calls
 * the callback for each completion. After the final callback (the one in which flags does not have IORING_CQE_F_MORE)
 * the op is recycled as the callback returns, unless the callback gave it to one of these two again. Until then all
 * fields stay readable. A pointer to a recycled op is a dangling pointer: the op may already live another life, and
 * then no call can tell.
 */
typedef struct iou_op_t {
	/**
	 * The submission, 64 bytes, all zero after iou_op_new(): fill it with io_uring_prep_*() and
	 * io_uring_sqe_set_flags(). What it points to (buffers, paths, iovecs, timespecs, addresses), and the
	 * descriptors that it names, must stay valid until the final callback: queueing does not pin them.
	 *
	 * iou_op_queue() sets sqe->user_data to the op's identity: what iou_cancel_id() and operations that name
	 * another one (io_uring_prep_cancel64(), _timeout_update(), _timeout_remove(), _poll_update(),
	 * _poll_remove()) take as their target. It is valid until the final callback; no other op gets it within
	 * 2^40 lives.
	 */
	struct io_uring_sqe *sqe;
	/** The result: cqe->res, or the work function's return value. */
	int result;
	/** cqe->flags: IORING_CQE_F_MORE, IORING_CQE_F_BUFFER and the buffer's id, IORING_CQE_F_NOTIF, ... */
	unsigned flags;
} iou_op_t;

/** @name Flags of iou_config_t
 * @{ */
/**
 * Calls may come from any thread, one at a time (the program serializes them). A thread must outlive the ops it
 * submitted. If it exits, they may end with -ECANCELED, or complete only when some unrelated event wakes them. The ring
 * is not a single-issuer one, and somewhat slower.
 */
#define IOU_ANY_THREAD (1U << 0)
/** A kernel thread submits (IORING_SETUP_SQPOLL). It spins, so it doubles the CPU used; rarely worth it. */
#define IOU_SQPOLL (1U << 1)
/** Use spin_ns of iou_config_t (which may be 0) instead of the library's default. */
#define IOU_SPIN (1U << 4)
/** Reserved: 128-byte SQEs; -EINVAL for now. */
#define IOU_SQE128 (1U << 2)
/** Reserved: 32-byte CQEs; -EINVAL for now. */
#define IOU_CQE32 (1U << 3)
/** @} */

/** @name Engines
 * The environment variable LIBIOU_ENGINE, uring or threads, overrides IOU_ENGINE_AUTO alone. Any other value (auto) is
 * as if it were not set. It is not read in programs that gain privileges as they start (setuid; secure_getenv(3)).
 * @{ */
/**
 * The best that works here: io_uring, or threads where the kernel refuses a ring (EPERM, EACCES, ENOSYS, ENOMEM,
 * EINVAL, EOPNOTSUPP). iou_info() tells which, and why.
 */
#define IOU_ENGINE_AUTO 0
/** io_uring, or an error. */
#define IOU_ENGINE_URING 1
/**
 * Threads and epoll in user space carry out the same SQEs, with the same results. What differs:
 *   - IORING_OP_URING_CMD and IORING_OP_RECV_ZC end with -EOPNOTSUPP; zero-copy sends copy;
 *   - iou_ring() returns a dummy: nothing can be registered through it, only with iou_register_files() and its like.
 *     Its ring_fd serves ring messages alone; it is made by the first call, or -1 if no descriptor is available (the
 *     next call tries again);
 *   - ring messages (IORING_OP_MSG_RING) reach only instances on threads, in any process; those to a kernel's ring, or
 *     from one to threads, end with -EBADFD. They carry no files (IORING_MSG_SEND_FD: -EOPNOTSUPP). If the target has
 *     some hundreds to take, the next one waits, and the target must not be freed meanwhile. One to an instance that
 *     was freed ends with -EBADFD;
 *   - @ref IOU_SPIN does not spin for descriptors that become ready, only for what threads have done;
 *   - ops make progress only while the loop runs (or iou_fd() is served), except those that a thread works on;
 *   - IORING_OP_FSYNC writes back the whole file, whatever range it is given;
 *   - IORING_CQE_F_SOCK_NONEMPTY is never set;
 *   - where kcmp(2) is forbidden, cancellation by descriptor matches the number alone, not duplicates of the descriptor
 *     (registered files are duplicates);
 *   - if no thread can be started, the loop itself does what would block on a file, and blocks; what may wait for ever
 *     (futexes) ends with -EAGAIN or -ENOMEM;
 *   - a futex is waited for by a thread, which may not sleep yet when IORING_OP_FUTEX_WAIT or IORING_OP_FUTEX_WAITV has
 *     been submitted. IORING_OP_FUTEX_WAKE of the same instance, by the same address, finds it even so; until it sleeps
 *     no other wake-up does, and it ends with -EAGAIN if the word changes. With a mask other than
 *     FUTEX_BITSET_MATCH_ANY there is no thread: only such ops wake it, and the word is looked at from time to time
 *     (-EAGAIN). At most 127 futexes at a time (-EOPNOTSUPP);
 *   - while a blocking socket is accepted from, connected or spliced, its open file has O_NONBLOCK set, which others that
 *     use it may see. Instances take turns at that (F_OFD_SETLK of fcntl(2)); where the kernel has no such locks, one
 *     that accepts from a listener that another one has in use may sleep there until the next connection: set O_NONBLOCK
 *     on such listeners;
 *   - timeouts on clocks other than CLOCK_MONOTONIC do not notice that the clock is set while they wait;
 *   - a read of what has no RWF_NOWAIT (inotify, /proc/kmsg, terminals on older kernels), if somebody else empties it at
 *     that very moment, keeps its thread, and iou_free() with it, until there is more to read. So does a write to an
 *     eventfd that somebody else fills, or of more than it can take where there is no /proc. Reads by one descriptor do
 *     not disturb each other.
 */
#define IOU_ENGINE_THREADS 2
/** @} */

/**
 * How to make an instance. Zero it, set size to sizeof(iou_config_t), then what matters: all zero except size is the
 * sane default. A size shorter than version 1.0's is EINVAL; in a longer one the tail that the library does not know
 * must be zero (else E2BIG).
 */
typedef struct iou_config_t {
	/** sizeof(iou_config_t) as the caller knows it. */
	size_t size;
	/** Bytes of stack for each worker thread; 0: the system's default. Less than PTHREAD_STACK_MIN is EINVAL. */
	size_t stack_size;
	/**
	 * Called on the loop for each CQE that belongs to no op: ring messages, SQEs the program submitted through
	 * iou_ring(). Gets a copy, valid during the call, and foreign_cqe_data. A callback like the others: a
	 * negative result ends the run. NULL: they are counted (iou_stats_t) and dropped.
	 */
	int (*foreign_cqe)(const struct io_uring_cqe *cqe, void *foreign_cqe_data);
	void *foreign_cqe_data; /**< passed to foreign_cqe */
	/** SQ entries, rounded up to a power of two; at most 32,768; 0: 128. */
	uint32_t entries;
	/** CQ entries, rounded up likewise, not fewer than entries; at most 65,536; 0: twice the SQ's. */
	uint32_t cq_entries;
	/** IOU_ANY_THREAD, IOU_SQPOLL, IOU_SPIN. Unknown bits are EINVAL. */
	uint32_t flags;
	/** IOU_ENGINE_*. */
	uint32_t engine;
	/** The most worker threads, up to 4,096; 0: one per CPU this process may use (affinity, cgroup quota). */
	uint32_t workers;
	/**
	 * Limits for the threads that run requests which would block: the kernel's io-wq workers
	 * (IORING_REGISTER_IOWQ_MAX_WORKERS), or iou-io on the threads engine. Bounded: regular files and paths;
	 * unbounded: everything else. 0: the kernel's default; on threads 4 per CPU and 1,024.
	 */
	uint32_t iowq_bounded;
	uint32_t iowq_unbounded; /**< see iowq_bounded */
	/**
	 * How long to busy-wait before sleeping (ns, at most 10^9; 0: never); to sleep and be woken takes tens of
	 * microseconds. Without IOU_SPIN it must be 0 (else EINVAL), and 50,000 is used, for jobs only: a worker spins
	 * for the next job, a loop for a job about to finish, when the other runs on another CPU. With IOU_SPIN a loop
	 * spins for any event. Spinning is skipped after an unsuccessful spin, for jobs if the process may run on only
	 * one CPU, and always on one-CPU machines.
	 */
	uint32_t spin_ns;
	/** Must be zero (else EINVAL). */
	uint32_t reserved[2];
} iou_config_t;

/** What iou_info() tells. Set size to sizeof(iou_info_t) before the call. */
typedef struct iou_info_t {
	/** In: the caller's sizeof. Out: how many bytes were filled in. */
	size_t size;
	/** Why this engine was chosen, in words ("seccomp: EPERM", ...); valid until iou_free(), never NULL. */
	const char *reason;
	/** IOU_ENGINE_URING or IOU_ENGINE_THREADS. */
	uint32_t engine;
	/** The errno with which the kernel refused a ring; 0: it did not, or was not asked. */
	int32_t engine_error;
	/** IORING_SETUP_* flags that the ring was made with. */
	uint32_t ring_flags;
	/** IORING_FEAT_* of the ring. */
	uint32_t ring_features;
	/** Sizes of the two queues. */
	uint32_t sq_entries;
	uint32_t cq_entries; /**< of completions */
	/** The most worker threads there may be, and how many have been started. */
	uint32_t workers;
	uint32_t workers_started; /**< so far */
} iou_info_t;

/** What iou_stats() tells. Set size to sizeof(iou_stats_t) before the call. */
typedef struct iou_stats_t {
	/** In: the caller's sizeof. Out: how many bytes were filled in. */
	size_t size;
	/** Bytes held for ops; grows with the largest number of ops alive at once, and is given back by iou_free(). */
	size_t pool_bytes;
	/** How many ops are in each state now. */
	uint64_t ops_new;       /**< taken, not yet queued */
	uint64_t ops_queued;    /**< queued, not yet submitted */
	uint64_t ops_submitted; /**< submitted, final completion not yet delivered */
	uint64_t ops_waiting;   /**< jobs no worker has begun */
	uint64_t ops_working;   /**< jobs a worker is running */
	uint64_t ops_finished;  /**< jobs done, not yet seen by the loop */
	uint64_t ops_completed; /**< result known, callback due or running */
	/** How many of each so far. */
	uint64_t n_submitted; /**< SQEs given to the kernel, the library's own among them */
	uint64_t n_enters;    /**< calls of io_uring_enter() */
	uint64_t n_cqes;      /**< CQEs taken from the ring */
	uint64_t n_foreign;   /**< of these, the ones that belonged to no op */
	uint64_t n_callbacks; /**< callbacks run */
	uint64_t n_wakeups;   /**< wake-ups the parked loop was sent */
} iou_stats_t;

/**
 * The version of the library a program runs with, as "1.0.0". Any thread, and signal handlers; static storage.
 */
const char *iou_version(void);

/** @name Life cycle
 * @{ */

/**
 * A new instance with defaults: iou_new_with() with these entries.
 *
 * @param entries SQ entries, rounded up to a power of two; 1 to 32,768. It bounds how much is submitted per system
 *                call, not how many ops can be queued or in flight.
 * @returns the instance, to be given to iou_free(); or NULL with errno set as by iou_new_with(), EINVAL for 0
 *          entries.
 */
iou_t *iou_new(unsigned entries);

/**
 * A new instance.
 *
 * The ring is created here, disabled, and bound to the loop thread by its first flush or run; registrations through
 * iou_ring() work before that. No thread is started.
 *
 * @param config what to make; not kept.
 * @returns the instance, to be given to iou_free(); or NULL with errno:
 *   - EINVAL: config is NULL or too short, a value is out of range, or an unknown flag or a reserved field is set;
 *   - E2BIG: config is longer than this library knows, and its unknown tail is not zero; or its size is absurd (over
 *     4,096);
 *   - EMFILE, ENFILE: no descriptor is left in the process, or in the system;
 *   - ENOMEM: no memory; with IOU_ENGINE_URING also: no more of it may be locked (RLIMIT_MEMLOCK). Rings count as
 *     locked memory before Linux 5.12, and on 6.18, and still for some milliseconds after they are freed; this waits up
 *     to 250 ms for that;
 *   - with IOU_ENGINE_URING, ENOSYS: the kernel has no io_uring, or one from before Linux 5.5; EPERM: seccomp or
 *     kernel.io_uring_disabled forbids it; EACCES: a security module does; EOPNOTSUPP: a seccomp filter says so;
 *   - any other errno of io_uring_setup(2).
 */
iou_t *iou_new_with(const iou_config_t *config);

/**
 * End everything, deliver what is due, and free the instance.
 *
 * Cancels again and again until nothing is in flight, waits until the kernel has let go of all memory, delivers the
 * final callbacks, runs jobs of iou_async() to their end and delivers posts, joins the workers, and frees. The wait
 * has no bound that the library could set (a read from a dead server, SEND_ZC to a peer that never reads);
 * iou_drain() has one. Ops that were allocated and never queued are freed without a callback.
 *
 * If the ring cannot be used any more (it has failed, see iou_run(), or the loop thread has exited) and has ops in
 * flight, it is closed, the kernel gets a tenth of a second to cancel them, and their callbacks see -ECANCELED. The
 * kernel offers no way to learn when the memory of such ops is safe; keep buffers of disk I/O longer. If
 * io_uring_register(2) is refused too, the ring and its IOSQE_ASYNC work live until the loop thread exits.
 *
 * During this delivery nothing new starts: iou_op_new(), iou_async(), iou_op_async(), iou_post(), iou_hold() and
 * registration fail with ESHUTDOWN; an op queued again in its final callback is recycled without another callback; one
 * that was allocated earlier and is queued now ends with -ECANCELED; iou_flush() does nothing; results of callbacks,
 * and iou_quit(), are ignored; iou_run(), iou_run_once(), iou_drain() and iou_resize() return -EBUSY. A callback that
 * queues its op again for as long as there is work must know that this is the end, to release what belongs to the op:
 * set a flag of the program's own before iou_free() or iou_drain().
 *
 * **From a callback** it returns NULL, and is carried out when the outermost run returns; that returns -ECANCELED.
 *
 * **Threads.** The loop thread; any thread if none has flushed or run yet, if the loop thread has exited, or with
 * IOU_ANY_THREAD. From another thread while the loop thread lives: only if nothing is in flight. A thread that has a
 * hold (iou_hold()) may call iou_post() and, last, iou_release(), and iou_free() may follow as soon as the run has
 * returned because nothing was left: it waits until such calls, and those of iou_quit(), have left the library. A call
 * that begins after iou_free() is a bug in the program. If the loop thread lives on and is not the one that frees, the
 * kernel keeps the ring in that thread's name until it exits, and with the ring what is registered with it: have the loop
 * thread unregister files and buffers before.
 *
 * **Fork.** In a child it releases what the child has of the instance. A child that calls neither this nor execve()
 * keeps the ring open: when the parent frees the instance everything in flight ends all the same, but an idle io-wq
 * thread (iou-wrk) of the kernel may stay with the parent until the child closes the ring.
 *
 * @param iou the instance; NULL is fine.
 * @returns NULL; or iou itself, with nothing freed and errno EBUSY: ops are in flight that belong to another live
 *          thread.
 */
iou_t *iou_free(iou_t *iou);

/**
 * Cancel everything and deliver it, within a bound. The rules of delivery are those of iou_free(), except that posts
 * and holds are still accepted; holds are not waited for. A call of iou_quit() is kept for the next run. Afterwards the
 * instance is usable.
 *
 * @param timeout at most this long, relative, CLOCK_MONOTONIC; NULL: for as long as it takes.
 * @returns 0: no op and no job is left; or
 *   - -ETIME: some did not end in time; they stay in flight, cancelled;
 *   - -EINVAL: timeout is not a valid time; -EPERM: not the loop thread; -EBUSY: called from a callback;
 *   - -ECANCELED: a callback called iou_free(): the instance is gone;
 *   - as iou_run() otherwise.
 */
int iou_drain(iou_t *iou, const struct timespec *timeout);

/**
 * Give the ring another size. Ops that are queued stay so, and timeouts go on; iou_fd() stays the same.
 *
 * On the threads engine, and where the kernel can resize in place (Linux 6.13, rings with IORING_SETUP_DEFER_TASKRUN,
 * see iou_info(), once they have flushed or run), it works at any time: also in callbacks, with ops in flight and with
 * everything that is registered.
 *
 * Otherwise a new ring is built. This fails with -EBUSY if ops are in the kernel, if files or buffers were registered
 * through iou_ring() (as far as the ring's fdinfo shows them), or, before Linux 6.8, if files or groups of
 * iou_buffers_new() are registered. What was registered through the library is registered with the new ring; buffers
 * of iou_register_buffers() are pinned by both rings for a moment, and count twice for RLIMIT_MEMLOCK meanwhile.
 * Anything else that was registered through iou_ring() is lost. With registered files the calling thread becomes the
 * loop thread, as if it had flushed.
 *
 * @param entries as for iou_new().
 * @returns 0; or, with the ring as it was,
 *   - -EINVAL: entries is 0 or more than 32,768; -EPERM: not the loop thread; -EOWNERDEAD: in a forked child;
 *   - -EBUSY: see above; the new queues could not hold what is in the old ones; or iou_free() or iou_drain() is
 *     delivering;
 *   - any errno with which iou_new() can fail;
 *
 * or, if the ring has failed for good (see iou_run()): -ENOTRECOVERABLE: there was no memory to map the resized ring,
 * nor one of the old size; or the errno with which it failed before.
 */
int iou_resize(iou_t *iou, unsigned entries);

/**
 * The ring, to register with liburing what the library does not register (files and buffers are registered with
 * iou_register_files() and its like, on either engine). The loop thread only. Valid until iou_resize() or iou_free().
 *
 * The program may submit SQEs through it, after the first flush or run and not on the threads engine. They complete as
 * foreign_cqe. iou_pending(), iou_resize() and iou_free() do not see them: the program must end them before.
 *
 * ring_fd is the target for ring messages to this instance (io_uring_prep_msg_ring()), which arrive as foreign_cqe: on
 * either engine, from instances on the same engine, and from its first flush or run on (-EBADFD before).
 *
 * The user_data of such SQEs, and of ring messages, may be anything except the identity of an op that has been
 * submitted and not had its final callback (see sqe in iou_op_t). Such a completion would count as that op's; threads
 * drop such a message.
 *
 * @returns the ring; never NULL, except for a NULL instance (EINVAL) or in a forked child (EOWNERDEAD).
 */
struct io_uring *iou_ring(iou_t *iou);
/** @} */

/** @name Files and buffers that are registered
 * Files and buffers that requests name by an index, so that the kernel need not look them up each time. All of this
 * works on both engines, and survives iou_resize() (before Linux 6.8 with exceptions, see there). The loop thread only.
 * Whatever is unregistered, a request that has begun keeps what it needs until it has completed.
 *
 * Requests fill and empty the table of files too: IORING_OP_FILES_UPDATE, and direct descriptors, which are opened
 * into a slot (io_uring_prep_openat_direct(), _accept_direct(), _multishot_accept_direct(), _socket_direct(), ...) and
 * closed in it (io_uring_prep_close_direct()). The threads engine keeps a descriptor of its own for each file, which
 * counts for RLIMIT_NOFILE.
 *
 * The errnos below are the kernel's. All of these functions also return
 *   - -EINVAL: iou is NULL; -EPERM: not the loop thread; -EOWNERDEAD: in a forked child;
 *   - any other errno: the ring has failed for good (see iou_run());
 *
 * and those that register return -ESHUTDOWN while iou_free() or iou_drain() is delivering.
 * @{ */

/**
 * Register files: requests with IOSQE_FIXED_FILE name a slot of this table, from 0 on, instead of a descriptor. The
 * descriptors may be closed afterwards.
 *
 * @param fds n descriptors; -1: an empty slot; NULL: all slots are empty. Not kept.
 * @param n how many slots.
 * @returns 0; or
 *   - -EBUSY: some are registered already; -EINVAL: n is 0;
 *   - -EBADF: one is no descriptor, or that of a ring, or was opened with O_PATH;
 *   - -EMFILE: n is more than RLIMIT_NOFILE or 1,048,576; on threads also: no descriptor is left;
 *   - -ENOMEM: no memory.
 */
int iou_register_files(iou_t *iou, const int *fds, unsigned n);

/**
 * Replace n of the registered files, from slot offset on.
 *
 * @param fds n descriptors; -1: empty the slot; IORING_REGISTER_FILES_SKIP: leave it.
 * @returns how many were replaced or left: n, or fewer if memory or descriptors ran out, or one cannot be registered (a
 *          ring's, or opened with O_PATH); or
 *   - -ENXIO: no files are registered;
 *   - -EINVAL: offset + n exceeds the table, fds is NULL, or n is 0; -EOVERFLOW: offset + n exceeds 32 bits;
 *   - -EBADF: one is no descriptor, and nothing was replaced; or the first cannot be registered, and its slot is empty;
 *   - -ENOMEM: no memory; -EMFILE: on threads, no descriptor is left.
 */
int iou_register_files_update(iou_t *iou, unsigned offset, const int *fds, unsigned n);

/**
 * Undo iou_register_files().
 *
 * @returns 0; or -ENXIO: no files are registered.
 */
int iou_unregister_files(iou_t *iou);

/**
 * Register buffers for io_uring_prep_read_fixed(), io_uring_prep_write_fixed() and their like, which name a buffer by
 * its buf_index, from 0 on, and any part of its memory. The memory is the program's, and has to stay until it is
 * unregistered and the last request has had its final callback. The kernel pins it, which may count for RLIMIT_MEMLOCK.
 *
 * @param iovecs n buffers; a base of NULL and a length of 0: none with this index. Not kept.
 * @param n how many; at most 16,384.
 * @returns 0; or
 *   - -EBUSY: some are registered already; -EINVAL: iovecs is NULL, or n is 0 or too large;
 *   - -EFAULT: memory cannot be written to (threads check both ends only), a length is 0 or more than 1 GiB, or memory
 *     is a MAP_SHARED mapping of a file on a disk (-EOPNOTSUPP on older kernels; accepted by threads);
 *   - -EOVERFLOW: a buffer exceeds the address space;
 *   - -ENOMEM: no memory, or more than may be locked; this waits for what was freed lately, as iou_new_with() does.
 */
int iou_register_buffers(iou_t *iou, const struct iovec *iovecs, unsigned n);

/**
 * Undo iou_register_buffers().
 *
 * @returns 0; or -ENXIO: no buffers are registered.
 */
int iou_unregister_buffers(iou_t *iou);

/**
 * A group of provided buffers: each receive or read takes one when it has data to put there. Opaque.
 */
typedef struct iou_buffers_t iou_buffers_t;

/**
 * Provide n buffers of size bytes each. Requests with IOSQE_BUFFER_SELECT and this group in sqe->buf_group (recv,
 * recvmsg, read, and their multishot kinds) take one each: IORING_CQE_F_BUFFER in op->flags says that one was taken,
 * and op->flags >> IORING_CQE_BUFFER_SHIFT is its id, 0 to n - 1. A request that finds none ends with -ENOBUFS: to queue
 * it again at once is to try again and again, so remember it until a buffer has been recycled, and take another op then.
 *
 * The memory is the library's. The program frees it with iou_buffers_free(), before iou_free() or after it: until then
 * what was received can be read.
 *
 * @param group 0 to 65,535; not in use for other buffers.
 * @param n how many; 1 to 32,768.
 * @param size of each, in bytes; 1 to INT_MAX.
 * @param buffers set to the group; on failure it is left alone.
 * @returns 0; or
 *   - -EINVAL: a value is out of range, or buffers is NULL; -EEXIST: the group is in use;
 *   - -EOPNOTSUPP: the kernel does not have this (before Linux 5.19; IORING_OP_PROVIDE_BUFFERS works from 5.7 on);
 *   - -ENOMEM: no memory.
 */
int iou_buffers_new(iou_t *iou, unsigned group, unsigned n, size_t size, iou_buffers_t **buffers);

/**
 * The address of the buffer with this id, aligned to 64 bytes. Works after iou_free() too, and then in any thread.
 *
 * @returns the address; or NULL with errno EINVAL: buffers is NULL, or there is no such id; EOWNERDEAD: in a forked
 *          child.
 */
void *iou_buffers_at(const iou_buffers_t *buffers, unsigned id);

/**
 * Give a buffer back to the group, for other requests to take. It must have come with a completion, and not have been
 * given back since: otherwise two requests may get it at once.
 *
 * @returns 0; or -EINVAL: buffers is NULL, or there is no such id; -ESHUTDOWN: after iou_free(); -EOWNERDEAD.
 */
int iou_buffers_recycle(iou_buffers_t *buffers, unsigned id);

/**
 * Withdraw the group, and free its memory. After iou_free() any thread may do so; in a forked child it releases what
 * the child has of it.
 *
 * @param buffers NULL is fine.
 * @returns 0; or, with nothing changed,
 *   - -EBUSY: an op that takes from this group has been submitted and not had its final callback (cancel it, and free
 *     the group after that callback);
 *   - -EPERM: not the loop thread;
 *   - any other errno: the ring has failed or was closed: free the group after iou_free().
 */
int iou_buffers_free(iou_buffers_t *buffers);
/** @} */

/** @name Operations
 * @{ */

/**
 * Take an op. Its SQE is all zero, result and flags are 0.
 *
 * @returns the op, to be given to iou_op_queue(), iou_op_async() or iou_op_free(); or NULL with errno:
 *   - ENOMEM: no memory, or more than 16.7 million ops are alive;
 *   - ESHUTDOWN: iou_free() or iou_drain() is delivering;
 *   - EINVAL, EOWNERDEAD.
 */
iou_op_t *iou_op_new(iou_t *iou);

/**
 * Queue an op. It reaches the kernel with the next iou_flush() or turn of the loop, in queueing order.
 *
 * The op must be new, or in its final callback. In the latter case, with the SQE untouched, this repeats the operation;
 * call iou_op_reset() before another operation is prepared in the op. Flags of the SQE that the library handles:
 *   - IOSQE_IO_LINK, IOSQE_IO_HARDLINK: chains are never split. One that is open when a flush or turn submits ends
 *     there, as in the kernel. For one longer than the ring the ring grows, as by iou_resize(); if it cannot, the ops
 *     of the chain end with -E2BIG;
 *   - IOSQE_IO_DRAIN: this op (or its whole chain) and all ops behind it wait until every op queued before has
 *     completed; jobs do not count. The library does this itself;
 *   - IOSQE_CQE_SKIP_SUCCESS: on success the op is recycled without a callback. On failure or cancellation it gets its
 *     callback, and so does each op linked behind it. Failure is what breaks a link in the kernel: a negative result,
 *     or a short transfer (read, write and their variants, splice, tee, and send or recv with MSG_WAITALL). The library
 *     does this itself.
 *
 * IORING_POLL_UPDATE_USER_DATA completes with -EINVAL, since identities belong to the library.
 *
 * **A call in error** (op or cb NULL, op neither new nor in its final callback) has no effect and is remembered: the
 * next iou_flush(), iou_run() or iou_run_once() returns -EINVAL once, before it does anything else.
 *
 * @param cb called on the loop for each completion, with cb_data; see "Callbacks" at the top.
 */
void iou_op_queue(iou_t *iou, iou_op_t *op, int (*cb)(void *cb_data), void *cb_data);

/**
 * Zero the SQE of a new op, or of one in its final callback. Needed before another operation is prepared in an op: from
 * liburing 2.6 on io_uring_prep_*() leaves flags, ioprio, buf_index, personality, file_index and more alone. A call in
 * error is remembered as by iou_op_queue().
 */
void iou_op_reset(iou_t *iou, iou_op_t *op);

/**
 * Give back an op that was never queued. NULL is fine, and so is an op in its final callback, which is recycled
 * anyway. Any other op is an error: it has no effect and is remembered as by iou_op_queue().
 */
void iou_op_free(iou_t *iou, iou_op_t *op);

/**
 * Try to cancel an op. What came of it is told by the op's own final callback: -ECANCELED, or its real result. An op
 * that has not been submitted, a timeout that the library keeps (see "Timeouts" at the top), and a job of
 * iou_op_async() that has not started always end with -ECANCELED, and as in the kernel so do the ops linked behind them
 * (IOSQE_IO_LINK). For others the attempt reaches the kernel as if it were an op queued now.
 *
 * @returns 0: an attempt was made; or
 *   - -EALREADY: its work is running, or it has ended and its callback is due;
 *   - -ENOENT: it is in its final callback, or was recycled (if it already lives another life, no call can tell: keep
 *     op->sqe->user_data and use iou_cancel_id() where that may happen);
 *   - -EINVAL: it was never queued, or is NULL; -ENOMEM: no memory for the request; -EOWNERDEAD.
 */
int iou_op_cancel(iou_t *iou, iou_op_t *op);

/**
 * iou_op_cancel() by identity.
 *
 * @param user_data op->sqe->user_data as it was after iou_op_queue() or iou_op_async().
 * @returns as iou_op_cancel(); -ENOENT if that life has ended or never was.
 */
int iou_cancel_id(iou_t *iou, __u64 user_data);

/**
 * Try to cancel all ops, and jobs of iou_op_async(). Jobs of iou_async() are left alone, since they have no way to tell
 * that their work did not run, and so are posts. An op still in flight from an earlier call is counted again. SQEs that
 * were submitted through iou_ring() may be cancelled too.
 *
 * @returns how many attempts were made; or -EINVAL, -EOWNERDEAD.
 */
int iou_cancel_all(iou_t *iou);
/** @} */

/** @name The loop
 * @{ */

/**
 * Submit what is queued, now. Does not wait, unless the kernel has no memory for requests: then it tries for some 10
 * milliseconds, and leaves the rest to the next flush or turn. Ops that must wait for others (IOSQE_IO_DRAIN) stay
 * queued. While iou_free() or iou_drain() is delivering it does nothing, and returns 0.
 *
 * @returns 0; or
 *   - -EINVAL: an earlier call was in error, see iou_op_queue();
 *   - -EPERM: not the loop thread; -EOWNERDEAD: in a forked child;
 *   - any other errno: the ring has failed for good (see iou_run()).
 */
int iou_flush(iou_t *iou);

/**
 * Drive everything until nothing is left to do (see iou_pending()), a callback returns a negative number, or
 * iou_quit() is called. Afterwards it may be called again, and goes on where it stopped.
 *
 * @returns 0: nothing is left, or iou_quit() was called (iou_pending() tells which); or
 *   - the negative result of a callback, or of the work of iou_async() after its completion callback has run (if that
 *     is negative too, the work's result counts);
 *   - -EINVAL: an earlier call was in error, see iou_op_queue();
 *   - -EPERM: not the loop thread; -EBUSY: called from a callback; -EOWNERDEAD: in a forked child;
 *   - -ECANCELED: a callback called iou_free(): the instance is gone;
 *   - -EBADR: the kernel dropped completions for lack of memory; or another errno of io_uring_enter(2) for which
 *     repeating the call is no use: the ring has failed for good. From then on each run returns that errno, and only
 *     iou_free() works.
 */
int iou_run(iou_t *iou);

/**
 * One turn for a foreign loop: submit, wait until there is something to deliver, deliver what is there, submit what
 * its callbacks queued.
 *
 * @param timeout wait at most this long, relative, CLOCK_MONOTONIC; NULL: for as long as it takes; {0, 0}: do not
 *                wait.
 * @returns how many callbacks were run (0: time out, quit, or nothing to wait for); or a negative number as iou_run(),
 *          and -EINVAL: timeout is not a valid time.
 */
int iou_run_once(iou_t *iou, const struct timespec *timeout);

/**
 * How much keeps iou_run() going: ops queued or submitted, jobs, callbacks due, posts, holds. An op whose final
 * callback is running does not count.
 *
 * @returns the number, at most INT_MAX; 0: iou_run() would return at once; or -EINVAL, -EOWNERDEAD.
 */
int iou_pending(iou_t *iou);

/**
 * End the current run after the callback that is running, or the next run if none is under way. The run that ends
 * consumes the request; several before that count as one. What is queued stays queued, and what is in flight goes on.
 * Any thread, and signal handlers. Do not call it once iou_free() has begun: reset the signal handler first.
 *
 * @returns 0; or -EINVAL, -EOWNERDEAD.
 */
int iou_quit(iou_t *iou);

/**
 * One descriptor for foreign loops (poll, epoll, GLib, libuv, sd-event). It is readable, level-triggered, whenever
 * iou_run_once() would run a callback, and after iou_quit(). It may also be readable spuriously, and stays so until
 * iou_run_once() has been called. It is made by the first call, and stays the same descriptor and open file for the life of the instance,
 * across iou_resize(). It belongs to the library: do not close or read it. After queueing or cancelling outside
 * callbacks call iou_flush().
 *
 * @returns the descriptor; or
 *   - -ENOMEM, -EMFILE, -ENFILE, -ENOSPC: see eventfd(2), timerfd_create(2), epoll_create1(2) and epoll_ctl(2);
 *   - -EBUSY: the program has registered an eventfd with the ring, where the library needs one of its own;
 *   - -EINVAL, -EOWNERDEAD; any other errno: the ring has failed for good (see iou_run()).
 */
int iou_fd(iou_t *iou);
/** @} */

/** @name CPU-bound work
 * Jobs run on worker threads, which are started as needed, block all signals, and are named iou-worker. A job may start
 * as soon as it is queued, not at the next flush. It sees what was written before it was queued, and its callback sees
 * what the job wrote. Jobs may end in any order. A job may call iou_quit(), iou_post(), iou_hold() and iou_release().
 * One that forks must not return in the child. A job ends by returning: a thread that exits in it is waited for for ever.
 * @{ */

/**
 * Run async_cb(async_cb_data) on a worker, then completion_cb(completion_cb_data) on the loop. Such a job is never
 * cancelled.
 *
 * @param async_cb a negative result ends the run with it, after completion_cb has run.
 * @param completion_cb may be NULL.
 * @returns 0; or
 *   - -ENOMEM: no memory; -EAGAIN: no worker thread could be started, and none runs;
 *   - -ESHUTDOWN: iou_free() or iou_drain() is delivering; -EINVAL; -EOWNERDEAD.
 */
int iou_async(iou_t *iou, int (*async_cb)(void *async_cb_data), void *async_cb_data,
	      int (*completion_cb)(void *completion_cb_data), void *completion_cb_data);

/**
 * The same for an op: work(work_data) on a worker, its result in op->result, then cb(cb_data) on the loop as the op's
 * final callback. It can be cancelled before it starts. The op's SQE is used as storage and is all zero in the
 * callback; op->sqe->user_data is the op's identity until then.
 *
 * @param op new, or in its final callback.
 * @returns as iou_async(), and -EINVAL also if op is in another state, or op, work or cb is NULL. On failure the op is
 *          as it was.
 */
int iou_op_async(iou_t *iou, iou_op_t *op, int (*work)(void *work_data), void *work_data, int (*cb)(void *cb_data),
		 void *cb_data);
/** @} */

/** @name Other threads
 * @{ */

/**
 * Run cb(cb_data) on the loop. Posts are delivered in the order they were made, and cb sees what the posting thread
 * wrote before. Any thread; not signal handlers.
 *
 * A post that has not been delivered keeps iou_run() going, and one that comes between two runs is delivered by the
 * next. But a run that has nothing else to do does not wait for a post to come: call iou_hold() for a thread that will
 * post, before it starts.
 *
 * @returns 0; or -ENOMEM: no memory; -ESHUTDOWN: iou_free() is delivering; -EINVAL; -EOWNERDEAD.
 */
int iou_post(iou_t *iou, int (*cb)(void *cb_data), void *cb_data);

/**
 * Keep iou_run() alive until iou_release() has been called the same number of times. Any thread; not signal handlers.
 *
 * @returns 0; or -EOVERFLOW: there are INT_MAX holds; -ESHUTDOWN: iou_free() is delivering; -EINVAL; -EOWNERDEAD.
 */
int iou_hold(iou_t *iou);

/**
 * Undo one iou_hold(). Any thread; not signal handlers. The loop thread may call iou_free() as soon as the run has
 * returned, even while this call is still returning.
 *
 * @returns 0; or -EINVAL: there is no hold; -EOWNERDEAD.
 */
int iou_release(iou_t *iou);
/** @} */

/** @name What am I running on
 * @{ */

/**
 * Engine, why, ring flags and features, sizes, workers.
 *
 * @param info the caller sets size to sizeof(iou_info_t); the call fills it in, and sets size to how much it filled.
 * @returns 0; or -EINVAL: info is NULL or shorter than version 1.0's; -EOWNERDEAD.
 */
int iou_info(iou_t *iou, iou_info_t *info);

/**
 * Whether the engine carries out an opcode: io_uring those that this kernel knows, threads those that this library
 * knows, except the ones listed at @ref IOU_ENGINE_THREADS. A request with another opcode is queued like all, and ends
 * with -EINVAL or -EOPNOTSUPP. That an opcode is supported does not mean that all of its flags are. Asks the kernel
 * anew each time.
 *
 * @param opcode IORING_OP_*, those of newer kernels too.
 * @returns 1: yes; 0: no; or
 *   - -EINVAL: iou is NULL, or the kernel cannot be asked (before Linux 5.6); -EOWNERDEAD;
 *   - -EACCES: the program has restricted its ring; -EPERM: a seccomp filter forbids the query;
 *   - any other errno: the ring has failed for good (see iou_run()).
 */
int iou_supports(iou_t *iou, unsigned opcode);

/**
 * Counters, as of now.
 *
 * @param stats the caller sets size to sizeof(iou_stats_t); the call fills it in, and sets size to how much it filled.
 * @returns 0; or -EINVAL: stats is NULL or shorter than version 1.0's; -EOWNERDEAD.
 */
int iou_stats(iou_t *iou, iou_stats_t *stats);
/** @} */

#ifdef __cplusplus
}
#endif

#endif
