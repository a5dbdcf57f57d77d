/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ops pool: chunks that grow and never move, the states of an op and their counters, and the way from an identity
 * to its op. Belongs to the loop thread, but for the moves of a job, which its worker makes.
 */
#ifndef IOU_LIB_OPS_H
#define IOU_LIB_OPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iou.h"
#include "queue.h"
#include "sqe.h"

/*
 * States of an op:
 *
 *	free -> new -> queued -> submitted -> completed -> free       an SQE
 *	        new -> waiting -> working -> finished -> completed    a job
 *	        new -> own -> free                                    a request of the library's own
 *
 * An op whose final callback runs is completed. From there it may go back to queued or waiting. A queued op or a
 * waiting job that is cancelled goes to completed directly.
 *
 * One counter per state says how many ops are in it, and every move changes two of them. That of free counts from
 * zero downwards, so that it is the number of ops taken from the pool, negated, and all counters add up to zero at
 * any time. The moves waiting -> working -> finished are made by a worker, all others by the loop thread.
 *
 * Neither side writes what the other writes. A worker has a tally of the jobs that it has begun and finished; the
 * loop's counters are without these moves, and the tallies are added when somebody asks. Likewise the state of a job
 * that has been handed to the workers stays waiting in the op, which a worker does not touch: a cache line that goes to
 * another CPU and back costs more than a short job.
 */
enum op_state {
	OP_FREE,
	OP_NEW,
	OP_QUEUED,
	OP_SUBMITTED,
	OP_WAITING,
	OP_WORKING,
	OP_FINISHED,
	OP_COMPLETED,
	OP_OWN,
	N_OP_STATES,
};

enum task_kind {
	TASK_OP,    /* an SQE of the program's */
	TASK_JOB,   /* iou_op_async() */
	TASK_ASYNC, /* iou_async(): an op that the program never sees */
	TASK_OWN,   /* an SQE of the library's */
	TASK_POST,  /* iou_post(): a bare task from the heap */
};

/*
 * What else the bit that is spare in task.sqe_flags says: of an op that is staged, that its SQE cannot be copied as
 * it is; of one that is submitted, that timeouts.c has to see its completions before they are delivered.
 */
#define OP_ODD SQE_SPARE_FLAG
#define OP_NOTED SQE_SPARE_FLAG

/* Which timeouts the library keeps itself, see timeouts.h. */
enum kept {
	NOT_KEPT,
	KEPT_ONCE,
	KEPT_MULTISHOT,
};

/* What the loop delivers: a callback, and where it is on its way there. */
struct task {
	union {
		struct node
			node; /* in the pool's free list, the stage, the workers' queue, the mailbox, or the inbox */
		/* Of an op that is submitted, and so in none of these: what timeouts.c has to know of it. */
		struct {
			uint64_t number; /* of its arming, see timers.h */
			uint64_t period_ns;
		} kept;
		struct __kernel_timespec time;
		uint64_t n_ended;
	};
	int (*cb)(void *cb_data);
	void *cb_data;
	_Atomic uint8_t state; /* enum op_state */
	uint8_t kind;          /* enum task_kind */
	uint8_t sqe_flags;     /* as they were when it was queued, less the links that a cancellation cut; OP_NOTED */
	uint8_t has_had_a_call : 1;     /* a completion before the final one has been delivered */
	uint8_t is_to_be_cancelled : 1; /* see cancel.c */
	uint8_t kept_how : 2;           /* enum kept */
	uint32_t n_left;                /* of a multishot timeout that is kept: so many more times, 0: without end */
};

typedef int job_work(void *work_data);

struct job_slot;

/* A CPU job lives in the storage of the SQE that it does not need; only the identity stays where programs look. */
struct job {
	union {
		struct {
			job_work *work;
			void *work_data;
			int result;            /* 0 until the worker has another one */
			struct job_slot *slot; /* where it waits, or has waited */
		};
		char before_user_data[offsetof(struct io_uring_sqe, user_data)];
	};
	__u64 user_data;
};

#define OP_SIZE 128

/*
 * Two cache lines: what a completion touches in the first, the SQE in the second. The identity is the pool's index in
 * the low 24 bits, and above it the generation, which counts the op's lives. Index 0 is never handed out, so that 0,
 * the user_data of an SQE in which nobody set it, is no op's identity.
 */
struct op {
	_Alignas(OP_SIZE) iou_op_t pub;
	struct task task;
	__u64 identity;
	union {
		struct io_uring_sqe sqe;
		struct job job;
	};
};

_Static_assert(sizeof(struct op) == OP_SIZE, "an op fits in two cache lines");
_Static_assert(offsetof(struct op, sqe) <= 64, "what a completion touches is in the first");
_Static_assert(offsetof(struct job, user_data) == offsetof(struct io_uring_sqe, user_data), "one place for identities");

#define OP_INDEX_BITS 24
#define OPS_CHUNK_SHIFT 8
#define OPS_IN_CHUNK (1U << OPS_CHUNK_SHIFT)

/* What a worker has done so far. Only it writes here. */
struct tally {
	struct tally *next;
	_Atomic uint32_t n_begun, n_finished;
};

struct ops {
	struct op **chunks;
	size_t n_chunks;
	size_t extra;            /* bytes that the engine keeps for each op; set before the first is taken */
	uint32_t n_fresh;        /* indices below this have been handed out before */
	struct node *free;       /* those that came back, the latest first; linked by next alone */
	uint32_t n[N_OP_STATES]; /* by the loop thread's moves */
	struct tally *tallies;
	uint32_t n_jobs; /* waiting, working and finished, which cannot be read at the same time */
};

void iou__ops_init(struct ops *ops);
void iou__ops_destroy(struct ops *ops);

/* An op in state new with a zeroed SQE, or NULL: no memory. */
struct op *iou__ops_take(struct ops *ops);

/* Back to the pool, from any state that the loop thread may move it from. */
void iou__ops_give_back(struct ops *ops, struct op *op);

/* Bytes held. */
size_t iou__ops_bytes(const struct ops *ops);

/* Whether the counters add up. */
bool iou__ops_add_up(const struct ops *ops);

/* Count in a worker's tally from now on; for as long as there is no end to them. */
void iou__ops_add_tally(struct ops *ops, struct tally *tally);

/* Nobody works any more: the tallies may go. */
void iou__ops_end_tallies(struct ops *ops);

/* How many jobs are waiting, working or finished, by the loop's moves and the workers'. */
uint32_t iou__ops_n_jobs(const struct ops *ops, enum op_state state);

/* How many jobs no worker has finished. */
uint32_t iou__ops_n_unfinished(const struct ops *ops);

static inline enum op_state iou__op_state(const struct op *op)
{
	return (enum op_state)atomic_load_explicit(&op->task.state, memory_order_relaxed);
}

static inline bool iou__op_is(const struct op *op, unsigned states)
{
	return (1U << iou__op_state(op)) & states;
}

/* The op that was handed out with this index; for going through all of them. */
static inline struct op *iou__ops_at(const struct ops *ops, uint32_t index)
{
	return &ops->chunks[index >> OPS_CHUNK_SHIFT][index & (OPS_IN_CHUNK - 1)];
}

/* What the engine keeps for that op: zero when it is first handed out, and then the engine's business. */
static inline void *iou__ops_extra(const struct ops *ops, uint32_t index)
{
	char *extras = (char *)(ops->chunks[index >> OPS_CHUNK_SHIFT] + OPS_IN_CHUNK);

	return extras + (index & (OPS_IN_CHUNK - 1)) * ops->extra;
}

/* The op that has this identity, dead or alive, or NULL. */
static inline struct op *iou__ops_named(const struct ops *ops, __u64 identity)
{
	uint32_t index = identity & ((1U << OP_INDEX_BITS) - 1);

	if (!index || index >= ops->n_fresh)
		return NULL;

	struct op *op = iou__ops_at(ops, index);

	return op->identity == identity ? op : NULL;
}

/* The same, if it is in one of these states (a mask of 1 << enum op_state). */
static inline struct op *iou__ops_find(const struct ops *ops, __u64 identity, unsigned states)
{
	struct op *op = iou__ops_named(ops, identity);

	return op && iou__op_is(op, states) ? op : NULL;
}

/* Begin a new life: a new identity, also in sqe.user_data. What was known of the former one matches no longer. */
static inline void iou__ops_rename(struct op *op)
{
	op->identity += 1U << OP_INDEX_BITS;
	op->sqe.user_data = op->identity;
}

static inline bool iou__is_workers(enum op_state state)
{
	return state >= OP_WAITING && state <= OP_FINISHED;
}

static inline uint32_t iou__ops_n(const struct ops *ops, enum op_state state)
{
	return iou__is_workers(state) ? iou__ops_n_jobs(ops, state) : ops->n[state];
}

/* Waiting, working and finished are one to it. */
static inline bool iou__op_may_be(const struct op *op, enum op_state state)
{
	return iou__op_state(op) == (iou__is_workers(state) ? OP_WAITING : state);
}

static inline void iou__ops_move(struct ops *ops, struct op *op, enum op_state from, enum op_state to)
{
	assert(iou__op_may_be(op, from) && to != OP_WORKING && to != OP_FINISHED);
	assert(from == OP_FREE || iou__is_workers(from) || ops->n[from] > 0);
	ops->n[from]--;
	ops->n[to]++;
	if (iou__is_workers(from) != iou__is_workers(to))
		ops->n_jobs += iou__is_workers(to) ? 1 : (uint32_t)-1;
	atomic_store_explicit(&op->task.state, (uint8_t)to, memory_order_relaxed);
}

static inline void iou__tally_add(_Atomic uint32_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_release);
}

/* A worker's moves: waiting -> working -> finished. */
static inline void iou__tally_begin(struct tally *tally)
{
	iou__tally_add(&tally->n_begun);
}

static inline void iou__tally_finish(struct tally *tally)
{
	iou__tally_add(&tally->n_finished);
}

/* The same for states that the loop thread alone moves ops between. */
static inline void iou__ops_shift(struct ops *ops, struct op *op, enum op_state from, enum op_state to)
{
	assert(!iou__is_workers(from) && !iou__is_workers(to));
	assert(iou__op_state(op) == from && (from == OP_FREE || ops->n[from] > 0));
	ops->n[from]--;
	ops->n[to]++;
	atomic_store_explicit(&op->task.state, (uint8_t)to, memory_order_relaxed);
}

#endif
