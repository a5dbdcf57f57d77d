/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_WALK_WORLD_H
#define IOU_TESTS_WALK_WORLD_H

/*
 * A random walk over the whole API, with a model beside it that says at each step what may happen. The files:
 *
 *	source.c    where choices come from
 *	world.c     an instance and what its ops work on; what must be so before and after it
 *	kinds*.c    the operations: how each is prepared, and which results it may have
 *	acts.c      the life of an op, as the model sees it
 *	outcomes.c  which of its ends may be
 *	jobs.c      jobs, posts, and completions that are no op's
 *	runs.c      calls that deliver, and what they may return
 *	registry.c  what is registered
 *	settle.c    that whatever can end does end
 *	helpers.c   other threads
 *	neighbour.c another instance
 *	steps*.c    what the walk chooses from
 */

#include <iou.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "source.h"

struct world;
struct kind;

#define ARENA_BYTES 65536
#define SLOT_BYTES 64
#define N_SLOTS (ARENA_BYTES / SLOT_BYTES)
#define FILE_BYTES 4096
#define RING_BUFFERS 8
#define RING_GROUP 7
#define PROVIDED_BUFFERS 8
#define PROVIDED_GROUP 8
#define N_EVENTS 4
#define N_FREE_SLOTS 4 /* of the table of registered files, behind the streams */

/** Bytes that go in at one end and must come out at the other, no more and no less. */
struct stream {
	int in, out; /* written to, read from */
	uint64_t n_in, n_out;
};

/* The second pair is the first one, the other way. */
enum { PIPE_A, PIPE_B, UNIX_PAIR, UNIX_BACK, TCP_PAIR, N_STREAMS };

enum act_state { ACT_NEW, ACT_QUEUED, ACT_OVER };

/** Ops linked to each other. */
struct chain {
	SLIST_ENTRY(chain) entry;
	uint64_t first;     /* serial of the first */
	uint64_t latest;    /* of the latest member that came to its own end */
	uint64_t broken_at; /* of the one that failed, where the link behind it is soft; 0: none */
	bool drains;
};

SLIST_HEAD(chains, chain);

/** What is registered. */
enum {
	HAS_FILES = 1 << 0,    /* a table of them, and in it... */
	HAS_ENDS = 1 << 1,     /* ...the streams' ends: out of stream i at index i */
	HAS_FIXED = 1 << 2,    /* the arena, as a buffer */
	HAS_GROUP = 1 << 3,    /* the group that is a ring */
	HAS_PROVIDED = 1 << 4, /* the other group, for sure */
};

/* What is known of a group of buffers: whether something that takes from it has been submitted. */
enum use { UNUSED, PERHAPS_USED, USED };

/** An op, as the model sees it. */
struct act {
	TAILQ_ENTRY(act) entry;
	struct world *world;
	iou_op_t *op; /* NULL: a job of iou_async() */
	const struct kind *kind;
	struct source source; /* of what its callbacks do */
	enum act_state state;
	uint64_t serial; /* grows with each op that is queued */
	uint64_t identity;
	uint64_t epoch; /* of the world, when it was queued */
	struct chain *chain;
	unsigned flags; /* of its SQE */
	bool may_be_cancelled;
	bool must_be_cancelled;
	bool is_limited;             /* by a timeout that is linked to it */
	bool has_to_end;             /* that one has come: nothing is waited for any more */
	bool is_silent;              /* its success has no callback: it may be over already */
	bool has_group;              /* it takes from the group that is a ring */
	unsigned may_find, may_miss; /* what was registered, and what was not, at some time in its life */
	unsigned n_calls;
	unsigned n_rearms;

	/* What its SQE points to. */
	struct stream *stream;
	unsigned char *buffer;
	unsigned length;
	unsigned n_head;              /* of each result: bytes before those of the stream */
	struct stream *source_stream; /* of a splice or tee: its other end */
	struct iovec iov[2];
	struct msghdr message;
	int64_t due_us; /* a timeout does not end before */
	struct __kernel_timespec time;
	union {
		struct futex_waitv waiters[2];
		int slot_fd; /* to be put into a slot */
		struct sockaddr_storage address;
		struct statx status;
		struct open_how how;
		int pipe[2];
		struct epoll_event events[N_EVENTS];
		siginfo_t info;
	};
	int expected; /* result, where there is but one */
	int fds[2];   /* its own */
	unsigned n_fds;

	/* A job. */
	_Atomic int n_works;
	int answer; /* of the work function */
};

TAILQ_HEAD(acts, act);

/** A thread that posts, holds, releases and quits. */
struct helper {
	struct world *world;
	pthread_t thread;
	sem_t go, done;
	struct source source;
	bool is_busy;
	bool has_to_end;
	bool is_refused;      /* where only the loop thread may go */
	bool has_to_quit;     /* when it is done */
	bool has_to_release;  /* likewise: somebody has held on its behalf */
	uint64_t n_posted;    /* its own */
	uint64_t n_delivered; /* the loop's */
};

/** The last of them is the loop thread itself. */
#define N_HELPERS 3
#define OWN_HELPER (N_HELPERS - 1)

/** Whoever makes the calls of the loop thread: one of two, with IOU_ANY_THREAD. */
struct driver {
	pthread_t thread;
	sem_t go, done;
	void (*call)(struct world *world);
	struct world *world;
	bool is_there;
};

/** Another instance. */
struct neighbour {
	iou_t *iou; /* NULL: there is none */
	unsigned n_queued, n_called;
};

#define N_SUPPORTED 128 /* opcodes that are asked about */

struct world {
	struct source *source;
	iou_t *iou;
	iou_config_t config;
	bool is_bound; /* has flushed or run */

	/* What ops work on. */
	struct stream streams[N_STREAMS];
	int file, listener, tcp_listener, epoll;
	uint32_t futexes[2]; /* always 0 */
	unsigned char *arena;
	bool is_slot_taken[N_SLOTS];
	iou_buffers_t *buffers;
	unsigned char *provided_buffers;
	unsigned n_provided[PROVIDED_BUFFERS]; /* at most so many times each is in its group */
	unsigned registered;
	bool has_ring;                  /* a kernel's */
	bool is_supported[N_SUPPORTED]; /* by opcode */
	bool is_rebuilt;                /* where it is to have another size */
	bool has_few_threads;           /* who waits for one may wait for long */
	int fd;                         /* iou_fd(), or -1 */
	int n_descriptors;              /* open before */

	/* Ops. */
	struct acts news, alive, silent;
	struct chains chains;
	unsigned n_new, n_alive, n_silent;
	unsigned n_sweeps;     /* SQEs that cancel anything, and are not over */
	uint64_t old_identity; /* of a life that has ended */
	uint64_t n_serials;
	uint64_t last_nop;   /* serial of the latest plain NOP that was delivered */
	uint64_t last_job;   /* of the latest job */
	uint64_t n_messages; /* ring messages that were sent, and that came */
	uint64_t n_foreign;

	/* Where the model is. */
	uint64_t epoch; /* changes whenever something may have been submitted */
	uint64_t n_callbacks;
	bool is_delivering; /* callbacks may run */
	bool is_in_callback;
	bool is_ending;      /* nothing new starts */
	bool has_asked_free; /* from a callback */
	bool is_freeing;
	bool has_to_stop; /* no callback may follow in this run */
	int stop_result;  /* and this is what it returns, unless it counts */
	bool has_misused; /* the next flush or run says so */
	_Atomic uint64_t n_quits_begun, n_quits_done;
	uint64_t n_quits_over; /* surely consumed */
	uint64_t n_quits_old;  /* begun when the last run ended: who knows */

	struct helper helpers[N_HELPERS];
	struct driver driver;
	struct neighbour neighbour;
};

/** What must be so. If it is not, say where the walk was and abort. */
#define CHECK(condition)                                           \
	do {                                                       \
		if (!(condition))                                  \
			walk_fail(__FILE__, __LINE__, #condition); \
	} while (0)
#define CHECK_RESULT(condition, result)                                           \
	do {                                                                      \
		if (!(condition))                                                 \
			walk_fail_with(__FILE__, __LINE__, #condition, (result)); \
	} while (0)
_Noreturn void walk_fail(const char *file, int line, const char *condition);
_Noreturn void walk_fail_with(const char *file, int line, const char *condition, long long result);

/** CLOCK_MONOTONIC. */
int64_t walk_now_us(void);

/** What is said of the walk that is under way when it fails: set by who starts it. */
extern char walk_name[80];

/** One walk: an instance of this engine, so many steps with it (or as many as the source is good for), and its end. */
void walk(struct source *source, uint32_t engine, unsigned n_steps);

/* world.c */
void world_open(struct world *world, struct source *source, uint32_t engine);
/** After iou_free(): everything that was given has come back. */
void world_close(struct world *world);
/** Memory for the kernel, painted; while nobody has it, it must stay so. */
unsigned char *world_take_slot(struct world *world);
void world_give_slot(struct world *world, unsigned char *slot);
/** A child of the program's, for all walks. It has ended and not been waited for, or does not end. */
pid_t world_child(bool has_ended);
/** Byte i of the file. */
unsigned char world_file_byte(unsigned i);
/** Close one that nobody uses, and have others under the numbers of its ends. */
void world_replace_stream(struct world *world, int i);
/** A buffer has been used: it is the walk's again. */
void world_take_buffer(struct world *world, unsigned group, unsigned id);

/* kinds.c */
enum {
	MAY_LINK = 1 << 0, /* its preparation cannot fail */
	MAY_SKIP = 1 << 1, /* nothing is lost if nobody is told of its success */
	IS_NOP = 1 << 2,   /* completes as it is submitted */
	IS_MULTI = 1 << 3, /* several completions */
	IS_JOB = 1 << 4,
	TAKES = 1 << 5, /* its result is bytes out of its stream */
	GIVES = 1 << 6, /* into it */
	MAKES_FD = 1 << 7,
	SWEEPS = 1 << 8, /* cancels anything */
	PROVIDES = 1 << 9,
	/* What it may wait for without end: something in its stream, room there, a connection, or somebody else. */
	AWAITS_INPUT = 1 << 10,
	AWAITS_ROOM = 1 << 11,
	AWAITS_CONNECTION = 1 << 12,
	AWAITS_OTHERS = 1 << 13,
	USES_REGISTERED = 1 << 17, /* and may have to wait */
	ONCE = 1 << 16,            /* a second time it would come to something else */
	KEEPS = 1 << 15,           /* its other end has the bytes as well */
	TAKES_THREAD = 1 << 14,    /* of Linux: all of its threads may be waiting, at what is linked to others */
};

struct kind {
	const char *name;
	unsigned traits;
	void (*prepare)(struct world *world, struct act *act, struct source *source);
	/** Whether this may be a completion, cancellations aside. NULL: only 0. */
	bool (*allows)(struct act *act, int result, unsigned flags);
	/** Whether this result does not break a chain. NULL: if not negative. */
	bool (*succeeds)(const struct act *act, int result);
};

/** One that has all these traits. */
const struct kind *kind_pick(struct source *source, unsigned traits);
const struct kind *kind_link_timeout(void);
const struct kind *kind_job(void);
const struct kind *kind_nop(void);
const struct kind *kind_fsync(void);

/* acts.c */
/** A new op of this kind, not queued. */
struct act *act_new(struct world *world, const struct kind *kind, struct source *source);
void act_queue(struct act *act, unsigned flags, struct chain *chain);
struct chain *chain_new(struct world *world);
/** It was never queued. */
void act_drop(struct act *act);
void act_cancel(struct act *act, bool by_identity);
/** Each may be cancelled from now on. */
void acts_may_be_cancelled(struct world *world);
/** And those that have not been submitted must be. */
void acts_are_cancelled(struct world *world);
/** What is registered has changed. */
void acts_see_registered(struct world *world);
enum use acts_use_group(const struct world *world);
/** A living one, or NULL. */
struct act *act_pick(struct world *world, struct source *source);
/** Whether one may be at this stream. */
bool acts_use(const struct world *world, const struct stream *stream);
/** Nothing is alive any more: those whose success has no callback must be over as well. */
void acts_check_all_over(struct world *world);
/** Also those that were never queued. */
void acts_free_all(struct world *world);

/** From new, or from its final callback. */
void act_begin_life(struct act *act);
void act_end_life(struct act *act);
/** The op is not the walk's any more. */
void act_forget(struct act *act);
/** What a callback does besides. Returns what it is to answer. */
int act_do_something(struct world *world, struct source *source);

/* jobs.c */
/** iou_op_async(), iou_async(), and iou_post() by whichever thread this is. */
void act_start_job(struct world *world, struct source *source);
void act_start_async(struct world *world, struct source *source);
void act_post(struct helper *helper, struct source *source);
int act_foreign_cqe(const struct io_uring_cqe *cqe, void *world);

/* runs.c */
void run_flush(struct world *world);
void run_once(struct world *world, const struct timespec *timeout);
void run_until_stopped(struct world *world);
void run_drain(struct world *world, const struct timespec *timeout);
void run_free(struct world *world);
/** Around each callback. end() returns what it is to return. */
void run_begin_callback(struct world *world);
int run_end_callback(struct world *world, int result);
/** From a callback. */
void run_ask_free(struct world *world);
/** From any thread. */
void run_ask_quit(struct world *world);
/** Something is queued and not submitted: behind a drain, as long as somebody before it waits without end. */
bool run_has_staged(const struct world *world);
/** The counters are as the model has them. */
void run_check_counts(struct world *world);

/* registry.c */
void registry_open(struct world *world);
/** Who is alive may find it as it was, or as it is now. */
void registry_change(struct world *world, unsigned gone, unsigned there);

/* neighbour.c */
void neighbour_open(struct world *world);
void neighbour_close(struct world *world);

/* settle.c */
/** Have the threads engine's workers wake the loop. */
void run_until_woken(struct world *world);
/** Run until all that can end without anything else happening has ended. */
void run_until_settled(struct world *world);

/* helpers.c */
void helpers_open(struct world *world);
void helpers_close(struct world *world);
/** Have one do something; wait until all have done it. */
void helper_start(struct helper *helper, struct source *source, bool has_to_quit, bool has_to_release);
void helpers_wait(struct world *world);
/** Have the second driver make the call. */
void driver_call(struct world *world, void (*call)(struct world *world));

/* steps.c */
void step_anywhere(struct world *world, struct source *source);
void step_outside(struct world *world);

#endif
