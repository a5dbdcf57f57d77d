/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Timeouts in user space. Plain ones (IORING_OP_TIMEOUT on its own, without a count of completions, on
 * CLOCK_MONOTONIC or relative) never reach the engine: they are kept here, submitted as all can see, and the engine
 * waits no longer than until the next is due. All else about timeouts is the engine's.
 *
 * Requests that name others (to remove or update a timeout, to cancel) find them nevertheless. One on its own is
 * carried out here as it leaves the stage, in order; if it is after everything it also goes to the engine, and what
 * was ended here is added to its result (it is noted, and its completion passes by here). One in a chain takes effect
 * when its turn comes, which only the engine knows, and so does one whose meaning is not known here: before it goes,
 * the timeouts that it may be after are handed on to the engine. There a multishot one is a single one each time, set
 * going again from here, since no SQE could say when it is first due.
 *
 * Belongs to the loop thread. The times are those of CLOCK_MONOTONIC, in nanoseconds.
 */
#ifndef IOU_LIB_TIMEOUTS_H
#define IOU_LIB_TIMEOUTS_H

#include "cq.h"
#include "deadline.h"
#include "stage.h"
#include "timers.h"

struct away;

struct timeouts {
	struct timers timers;
	/* The instance's. What ends here goes to the end of out. */
	struct ops *ops;
	struct stage *stage;
	struct queue *out;
	/* Multishot ones that were handed on; of these, how many are to be set going again. */
	struct away *aways;
	uint32_t n_aways, aways_cap, n_to_resume;
	uint32_t n_sweeps; /* requests after everything whose turn is to come: meanwhile none is kept */
	uint64_t now_ns;   /* of the submission that is under way; 0: nobody has looked */
	/* What the engine understands: ANY and ALL; cancelling by opcode. */
	bool knows_any, knows_op;
};

void iou__timeouts_init(struct timeouts *timeouts, struct ops *ops, struct stage *stage, struct queue *out);

/* Of a forked child's, too. */
void iou__timeouts_destroy(struct timeouts *timeouts);

/* For the engine. */

/* A submission begins: all that leaves the stage until the next does so at the same time. */
static inline void iou__timeouts_begin(struct timeouts *timeouts)
{
	timeouts->now_ns = 0;
}

/* Take what is staged as far as it can be carried out here. Returns whether it was anything. */
bool iou__timeouts_take(struct timeouts *timeouts);

/*
 * Before the first chain goes: prepare the SQE of a timeout that must go ahead of it. False: there is none, or none
 * any more.
 */
bool iou__timeouts_hand_on(struct timeouts *timeouts, struct chain chain, struct io_uring_sqe *sqe);

/* Ahead of everything: prepare the SQE of one that is to be set going again. False: there is none. */
bool iou__timeouts_resume(struct timeouts *timeouts, struct io_uring_sqe *sqe);

/* An op that has left the stage for the engine. */
void iou__timeouts_note(struct timeouts *timeouts, struct op *op, bool is_alone);

/*
 * How long to wait: the timeout, or what is left until the next is due, for which there is room. False: not at all,
 * since one is due, or something has ended here.
 */
bool iou__timeouts_limit(struct timeouts *timeouts, const struct timespec **timeout, struct timespec *room);

/* For the loop. */

/* What is due now. */
static inline struct due iou__timeouts_due(const struct timeouts *timeouts)
{
	return (struct due){ timeouts->timers.n_armed ? iou__clock_ns() : 0, timeouts->timers.n_armings };
}

/* The next of these and its completion, or NULL. */
struct op *iou__timeouts_pop(struct timeouts *timeouts, const struct due *due, struct cqe *cqe);

/* A completion of an op that is noted, from the engine: what it is to be. */
void iou__timeouts_completed(struct timeouts *timeouts, struct op *op, struct cqe *cqe);

/* End one that is kept, with -ECANCELED. */
void iou__timeouts_cancel(struct timeouts *timeouts, struct op *op);

/* The same for all, the oldest first. Returns how many. */
uint32_t iou__timeouts_cancel_all(struct timeouts *timeouts);

/*
 * The same for one that was handed on, and all of those, if it is between two times: it would be set going again, and when
 * its times are short the engine, asked to cancel it, would find that it has just fired. False: it is the engine's.
 */
bool iou__timeouts_stop(struct timeouts *timeouts, struct op *op);
void iou__timeouts_stop_all(struct timeouts *timeouts);

/* Common to these: it is neither armed nor the engine's. */
void iou__timeouts_end(struct timeouts *timeouts, struct op *op);

/* How many ops are submitted and not the engine's. */
static inline uint32_t iou__timeouts_n(const struct timeouts *timeouts)
{
	return timeouts->timers.n_armed + timeouts->n_to_resume;
}

/* Between timeouts.c, which has those that are kept, and requests.c. */

/* Nothing is due later: the kernel's KTIME_MAX. */
#define TIME_END_NS ((uint64_t)INT64_MAX)

uint64_t iou__ns_after(uint64_t now_ns, uint64_t ns);

/* A program's. False: there is none, or it is strange, and for the kernel to judge. */
bool iou__ns_read(__u64 address, uint64_t *ns);

/* One that is kept is due at another time. */
void iou__timeouts_update(struct timeouts *timeouts, struct op *op, uint64_t ns, bool is_absolute);

/* A request on its own, still staged. False: it is the engine's. */
bool iou__timeouts_carry_out(struct timeouts *timeouts, struct op *op);

/* Count a shot of a multishot one. */
static inline bool iou__was_last_shot(uint32_t *n_left)
{
	return *n_left && !--*n_left;
}

#endif
