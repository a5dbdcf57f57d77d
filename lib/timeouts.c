/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeouts.h"

#include <errno.h>
#include <stdlib.h>

void iou__timeouts_init(struct timeouts *timeouts, struct ops *ops, struct stage *stage, struct queue *out)
{
	*timeouts = (struct timeouts){ .ops = ops, .stage = stage, .out = out };
	iou__timers_init(&timeouts->timers);
}

void iou__timeouts_destroy(struct timeouts *timeouts)
{
	free(timeouts->aways);
	timeouts->aways = NULL;
	iou__timers_destroy(&timeouts->timers);
}

/* Time. */

static uint64_t now_of(struct timeouts *timeouts)
{
	if (!timeouts->now_ns)
		timeouts->now_ns = iou__clock_ns();
	return timeouts->now_ns;
}

uint64_t iou__ns_after(uint64_t now_ns, uint64_t ns)
{
	return ns < TIME_END_NS - now_ns ? now_ns + ns : TIME_END_NS;
}

bool iou__ns_read(__u64 address, uint64_t *ns)
{
	const struct __kernel_timespec *time = (const void *)(uintptr_t)address;

	if (!time || time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= NS_PER_S)
		return false;
	*ns = TIME_END_NS;
	if (time->tv_sec < (long long)(TIME_END_NS / NS_PER_S))
		*ns = (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec;
	return true;
}

/* Keeping. */

#define FLAGS_KEPT \
	(IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_ETIME_SUCCESS | IORING_TIMEOUT_MULTISHOT)

/* Those that are not mentioned here the kernel does not look at. */
static bool is_plain(const struct io_uring_sqe *sqe)
{
	unsigned flags = sqe->timeout_flags;

	if ((sqe->flags & ~IOSQE_CQE_SKIP_SUCCESS) | sqe->ioprio | (sqe->len != 1) | sqe->buf_index | sqe->personality |
	    (sqe->splice_fd_in != 0) | (sqe->addr3 != 0) | (sqe->__pad2[0] != 0) | (flags & ~FLAGS_KEPT))
		return false;
	if (flags & IORING_TIMEOUT_ABS && flags & (IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_MULTISHOT))
		return false;
	return flags & IORING_TIMEOUT_MULTISHOT ? sqe->off <= UINT32_MAX : sqe->off == 0;
}

/* A time that has passed is now: such timeouts are due in the order in which they come, as in the kernel. */
static uint64_t due_at(struct timeouts *timeouts, uint64_t ns, bool is_absolute)
{
	uint64_t now = now_of(timeouts);

	if (!is_absolute)
		return iou__ns_after(now, ns);
	return ns > now ? ns : now;
}

/* It stays where it is if there is no memory. */
static bool keep(struct timeouts *timeouts, struct op *op)
{
	const struct io_uring_sqe *sqe = &op->sqe;
	enum kept how = sqe->timeout_flags & IORING_TIMEOUT_MULTISHOT ? KEPT_MULTISHOT : KEPT_ONCE;
	uint64_t ns;

	if (timeouts->n_sweeps || !is_plain(sqe) || !iou__ns_read(sqe->addr, &ns) ||
	    !iou__timers_reserve(&timeouts->timers))
		return false;
	iou__queue_remove(&op->task.node);
	iou__ops_shift(timeouts->ops, op, OP_QUEUED, OP_SUBMITTED);
	op->task.sqe_flags |= OP_NOTED;
	op->task.kept.period_ns = ns;
	op->task.n_left = (uint32_t)sqe->off;
	iou__timers_arm(&timeouts->timers, op, how, due_at(timeouts, ns, sqe->timeout_flags & IORING_TIMEOUT_ABS));
	return true;
}

/* From now on it is multishot without end, if at all: so says the kernel. */
void iou__timeouts_update(struct timeouts *timeouts, struct op *op, uint64_t ns, bool is_absolute)
{
	enum kept how = (enum kept)op->task.kept_how;

	iou__timers_disarm(&timeouts->timers, op);
	op->task.kept.period_ns = ns;
	op->task.n_left = 0;
	iou__timers_arm(&timeouts->timers, op, how, due_at(timeouts, ns, is_absolute));
}

bool iou__timeouts_take(struct timeouts *timeouts)
{
	struct queue *staged = &timeouts->stage->queue;
	struct node *node;
	bool has_taken = false;

	while ((node = iou__queue_first(staged))) {
		struct op *op = container_of(node, struct op, task.node);

		if (op->task.sqe_flags & (SQE_LINKS | IOSQE_IO_DRAIN | OP_ODD) || !iou__sqe_is_of_timeouts(&op->sqe))
			break;
		if (!(op->sqe.opcode == IORING_OP_TIMEOUT ? keep(timeouts, op) : iou__timeouts_carry_out(timeouts, op)))
			break;
		has_taken = true;
	}
	return has_taken;
}

bool iou__timeouts_limit(struct timeouts *timeouts, const struct timespec **timeout, struct timespec *room)
{
	uint64_t due, now;

	if (!iou__queue_is_empty(timeouts->out))
		return false;
	if (!iou__timers_next(&timeouts->timers, &due))
		return true;
	now = iou__clock_ns();
	if (due <= now)
		return false;
	*room = iou__time_of_ns(due - now);
	if (!*timeout || iou__time_is_shorter(room, *timeout))
		*timeout = room;
	return true;
}

/* The end. */

struct op *iou__timeouts_pop(struct timeouts *timeouts, const struct due *due, struct cqe *cqe)
{
	enum kept how;
	struct op *op = iou__timers_pop(&timeouts->timers, due, &how);

	if (!op)
		return NULL;
	*cqe = (struct cqe){ .user_data = op->identity, .res = -ETIME };
	if (how == KEPT_ONCE || iou__was_last_shot(&op->task.n_left)) {
		op->task.sqe_flags &= (uint8_t)~OP_NOTED;
		return op;
	}
	cqe->flags = IORING_CQE_F_MORE;
	iou__timers_arm(&timeouts->timers, op, how, iou__ns_after(due->by_ns, op->task.kept.period_ns));
	return op;
}

void iou__timeouts_end(struct timeouts *timeouts, struct op *op)
{
	op->task.sqe_flags &= (uint8_t)~OP_NOTED;
	iou__ops_shift(timeouts->ops, op, OP_SUBMITTED, OP_COMPLETED);
	op->pub.result = -ECANCELED;
	op->pub.flags = 0;
	iou__queue_push(timeouts->out, &op->task.node);
}

void iou__timeouts_cancel(struct timeouts *timeouts, struct op *op)
{
	iou__timers_disarm(&timeouts->timers, op);
	iou__timeouts_end(timeouts, op);
}

uint32_t iou__timeouts_cancel_all(struct timeouts *timeouts)
{
	const struct due always = { UINT64_MAX, UINT64_MAX };
	uint32_t n = timeouts->timers.n_armed;
	struct op *op;
	enum kept how;

	iou__timers_hurry(&timeouts->timers);
	while ((op = iou__timers_pop(&timeouts->timers, &always, &how)))
		iou__timeouts_end(timeouts, op);
	return n;
}
