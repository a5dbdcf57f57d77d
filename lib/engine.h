/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam between the loop and what carries out SQEs. An engine takes ops from the stage and hands completions back
 * through the cq; the loop makes one call through this table per turn. Belongs to the loop thread.
 */
#ifndef IOU_LIB_ENGINE_H
#define IOU_LIB_ENGINE_H

#include <time.h>

#include "cq.h"
#include "stage.h"
#include "timeouts.h"

struct engine {
	const struct engine_verbs *verbs;
	/* The instance's; the engine moves ops from queued to submitted. */
	struct ops *ops;
	struct stage *stage;
	struct timeouts *timeouts;
	struct cq *cq;
	/* For iou_info() and iou_stats(). */
	uint32_t kind; /* IOU_ENGINE_* */
	uint32_t setup_flags;
	uint32_t features;
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint64_t n_submitted;
	uint64_t n_enters;
	bool has_files;      /* registered ones, so that it has to be bound before it is resized */
	bool can_cancel_any; /* understands IORING_ASYNC_CANCEL_ANY */
};

/* What enter() left staged. */
enum left {
	LEFT_NOTHING, /* or just what must wait for completions */
	LEFT_SOME,    /* not yet said: the engine goes on */
	LEFT_MORE,    /* the engine's queue was full */
	LEFT_TOO_LONG /* a chain that is longer than the engine's queue is first now */
};

struct engine_verbs {
	/* The calling thread is the owner from now on. 0 or -errno. */
	int (*bind)(struct engine *engine);

	/*
	 * Submit a queue's worth of what is staged, but for the timeouts that are kept (see timeouts.h). If that was
	 * all of it, and it is wanted, wait until there is a completion or a timeout is due, at most for the timeout
	 * (NULL: without a bound). An enum left, or -errno: ETIME; EINTR, where the same call is to be made again;
	 * EAGAIN, EBUSY and ENOMEM, likewise when completions have been taken or some time has gone by; all others
	 * are for good.
	 */
	int (*enter)(struct engine *engine, bool wait, const struct timespec *timeout);

	/*
	 * Another size. With ops in flight only where the engine can keep them, else -EBUSY. 0; or 1: the engine has
	 * started afresh, so that the library's own requests are gone; or -errno with everything as it was, but for
	 * -ENOTRECOVERABLE.
	 */
	int (*resize)(struct engine *engine, unsigned entries, bool is_idle);

	/* Whether there are completions, or would be after entering. Costs next to nothing. */
	bool (*has_news)(struct engine *engine);

	/* A descriptor that becomes readable as completions come, for the life of the engine. It, or -errno. */
	int (*watch)(struct engine *engine);

	/* Make that one not readable, and then say whether there are completions. */
	bool (*look)(struct engine *engine);

	/* Whether it can carry out this opcode: 1, 0, or -errno. */
	int (*supports)(struct engine *engine, unsigned opcode);

	/*
	 * Files, buffers and rings of provided buffers, by the opcodes and with the results of io_uring_register(2).
	 * What is registered so survives a resize.
	 */
	int (*do_register)(struct engine *engine, unsigned opcode, const void *arg, unsigned n);

	/* For other registrations by liburing. */
	struct io_uring *(*uring)(struct engine *engine);

	/* Whether a CQE that is no op's is the result of a request of its own that came too late; NULL: there are none. */
	bool (*takes)(struct engine *engine, const struct cqe *cqe);

	/*
	 * What a CQE that is no op's stands for, where an engine keeps that aside; NULL: it is what it is. Whether it is
	 * that of a request which the engine does not have, so that it may be an op's after all.
	 */
	bool (*look_up)(struct engine *engine, struct cqe *cqe);

	/*
	 * Give up what is in flight: nothing can be submitted any more, the engine ends its requests, and nothing
	 * will be heard of them. Whether the owner calls decides what may be unregistered.
	 */
	void (*let_go)(struct engine *engine, bool is_owner);

	/* What is in flight is not waited for; is_owner as above. */
	void (*free)(struct engine *engine, bool is_owner);

	/* In a forked child: what is the child's is released, and the parent's left alone. */
	void (*abandon)(struct engine *engine);
};

/* The smallest that is not less than n: queues have such sizes. */
static inline unsigned iou__power_of_two(unsigned n)
{
	unsigned power = 1;

	while (power < n)
		power *= 2;
	return power;
}

#endif
