/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What requests that name others mean for timeouts: those that are kept, and those that were handed on. */
#include <errno.h>

#include "replace.h"
#include "timeouts.h"

#define CANCEL_FLAGS                                                                                                 \
	(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD_FIXED | \
	 IORING_ASYNC_CANCEL_USERDATA | IORING_ASYNC_CANCEL_OP)

/* In n_ended of a request that may be after all, but not before its turn in its chain comes. */
#define IS_TO_COME UINT64_MAX

/* A multishot timeout that was handed on. */
struct away {
	struct op *op;
	uint64_t period_ns;
	uint64_t due_ns;
	uint32_t n_left;
	bool is_to_resume;
};

/* Whom they may be after. */

struct targets {
	bool are_all; /* that are kept */
	struct op *one;
};

static struct op *kept_one(const struct timeouts *timeouts, __u64 identity)
{
	struct op *op = iou__ops_find(timeouts->ops, identity, 1U << OP_SUBMITTED);

	return op && op->task.kept_how ? op : NULL;
}

static struct targets targets_of(const struct timeouts *timeouts, const struct io_uring_sqe *sqe)
{
	const struct targets none = { 0 }, one = { .one = kept_one(timeouts, sqe->addr) }, all = { .are_all = true };
	unsigned flags = sqe->cancel_flags;

	if (sqe->opcode == IORING_OP_TIMEOUT_REMOVE)
		return one;
	if (sqe->opcode != IORING_OP_ASYNC_CANCEL || flags & IORING_ASYNC_CANCEL_FD)
		return none;
	if (flags & (IORING_ASYNC_CANCEL_ANY | ~CANCEL_FLAGS))
		return all;
	if (!(flags & IORING_ASYNC_CANCEL_OP))
		return one;
	if (sqe->len != IORING_OP_TIMEOUT)
		return none;
	return flags & IORING_ASYNC_CANCEL_USERDATA ? one : all;
}

/* What is known here in all its parts; the kernel would not refuse it. */

static bool has_nothing_strange(const struct io_uring_sqe *sqe)
{
	return !(sqe->flags & ~(IOSQE_CQE_SKIP_SUCCESS | IOSQE_ASYNC)) && !sqe->ioprio && !sqe->buf_index &&
	       !sqe->personality && !sqe->splice_fd_in && !sqe->addr3 && !sqe->__pad2[0];
}

static bool is_known_cancel(const struct timeouts *timeouts, const struct io_uring_sqe *sqe)
{
	unsigned flags = sqe->cancel_flags;

	if (!has_nothing_strange(sqe) || sqe->off || flags & IORING_ASYNC_CANCEL_FD_FIXED)
		return false;
	if (flags & (IORING_ASYNC_CANCEL_OP | IORING_ASYNC_CANCEL_USERDATA))
		return timeouts->knows_op && !(flags & IORING_ASYNC_CANCEL_ANY);
	return !sqe->len && (!flags || timeouts->knows_any);
}

static bool is_known_remove(const struct io_uring_sqe *sqe)
{
	return has_nothing_strange(sqe) && !sqe->len && !sqe->timeout_flags;
}

/* An absolute time is one of the timeout's own clock. */
static bool is_known_update(const struct io_uring_sqe *sqe, const struct op *target)
{
	bool is_absolute = sqe->timeout_flags & IORING_TIMEOUT_ABS;

	return has_nothing_strange(sqe) && !sqe->len &&
	       (sqe->timeout_flags & ~IORING_TIMEOUT_ABS) == IORING_TIMEOUT_UPDATE &&
	       !(is_absolute && target->sqe.timeout_flags & IORING_TIMEOUT_REALTIME);
}

/* Requests on their own. */

static void succeed(struct timeouts *timeouts, struct op *op, int result)
{
	iou__queue_remove(&op->task.node);
	iou__ops_shift(timeouts->ops, op, OP_QUEUED, OP_COMPLETED);
	op->pub.result = result;
	op->pub.flags = 0;
	iou__queue_push(timeouts->out, &op->task.node);
}

static bool carry_out_remove(struct timeouts *timeouts, struct op *op, struct op *target)
{
	uint64_t ns;

	if (is_known_remove(&op->sqe)) {
		succeed(timeouts, op, 0);
		iou__timeouts_cancel(timeouts, target);
		return true;
	}
	if (!is_known_update(&op->sqe, target) || !iou__ns_read(op->sqe.addr2, &ns))
		return false;
	iou__timeouts_update(timeouts, target, ns, op->sqe.timeout_flags & IORING_TIMEOUT_ABS);
	succeed(timeouts, op, 0);
	return true;
}

/* Those that are after all go to the engine as well, see iou__timeouts_note(). */
static bool carry_out_cancel(struct timeouts *timeouts, struct op *op, struct targets targets)
{
	bool counts = op->sqe.cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);

	if (!is_known_cancel(timeouts, &op->sqe) || (targets.are_all && counts))
		return false;

	struct op *target = targets.are_all ? iou__timers_oldest(&timeouts->timers) : targets.one;

	succeed(timeouts, op, counts);
	iou__timeouts_cancel(timeouts, target);
	return true;
}

bool iou__timeouts_carry_out(struct timeouts *timeouts, struct op *op)
{
	struct targets targets = { 0 };

	if (timeouts->timers.n_armed)
		targets = targets_of(timeouts, &op->sqe);
	if (op->sqe.opcode == IORING_OP_TIMEOUT_REMOVE)
		return targets.one && carry_out_remove(timeouts, op, targets.one);
	return (targets.one || targets.are_all) && carry_out_cancel(timeouts, op, targets);
}

/* Those that were handed on. */

static struct away *away_of(const struct timeouts *timeouts, const struct op *op)
{
	for (uint32_t i = 0; i < timeouts->n_aways; i++)
		if (timeouts->aways[i].op == op)
			return &timeouts->aways[i];
	return NULL;
}

static bool add_away(struct timeouts *timeouts, struct op *op)
{
	if (timeouts->n_aways == timeouts->aways_cap) {
		uint32_t cap = 2 * timeouts->aways_cap + 4;
		struct away *old = timeouts->aways;
		struct away *aways = iou__enlarged(old, timeouts->n_aways * sizeof(*old), cap * sizeof(*old));

		if (!aways)
			return false;
		timeouts->aways = aways;
		timeouts->aways_cap = cap;
		iou__free_replaced(old);
	}
	timeouts->aways[timeouts->n_aways++] =
		(struct away){ .op = op, .period_ns = op->task.kept.period_ns, .n_left = op->task.n_left };
	return true;
}

/* Relative, since a time namespace has a clock of its own, which not all of the kernel looks at. */
static void prepare(struct op *op, uint64_t due_ns, struct io_uring_sqe *sqe)
{
	uint64_t now_ns = iou__clock_ns();
	uint64_t ns = due_ns > now_ns ? due_ns - now_ns : 0;

	op->task.time = (struct __kernel_timespec){ (long long)(ns / NS_PER_S), (long long)(ns % NS_PER_S) };
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_TIMEOUT,
		.fd = -1,
		.addr = (__u64)(uintptr_t)&op->task.time,
		.len = 1,
		.timeout_flags = op->sqe.timeout_flags & (IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_ETIME_SUCCESS),
		.user_data = op->identity,
	};
}

/* Where there is no memory to know it by, a multishot one is not found. */
static bool hand_on(struct timeouts *timeouts, struct op *op, struct io_uring_sqe *sqe)
{
	uint64_t due_ns = iou__timers_due(&timeouts->timers, op);

	if (op->task.kept_how == KEPT_ONCE)
		op->task.sqe_flags &= (uint8_t)~OP_NOTED;
	else if (!add_away(timeouts, op))
		return false;
	iou__timers_disarm(&timeouts->timers, op);
	prepare(op, due_ns, sqe);
	return true;
}

static struct op *target_to_hand_on(struct timeouts *timeouts, const struct op *request, bool is_alone)
{
	struct targets targets = targets_of(timeouts, &request->sqe);

	if (targets.are_all && is_alone && is_known_cancel(timeouts, &request->sqe))
		return NULL;
	return targets.are_all ? iou__timers_first(&timeouts->timers) : targets.one;
}

bool iou__timeouts_hand_on(struct timeouts *timeouts, struct chain chain, struct io_uring_sqe *sqe)
{
	struct queue *staged = &timeouts->stage->queue;
	struct node *node = iou__queue_first(staged);

	for (unsigned i = 0; i < chain.n && timeouts->timers.n_armed; i++) {
		struct op *request = container_of(node, struct op, task.node);
		struct op *target = target_to_hand_on(timeouts, request, chain.n == 1);

		if (target && hand_on(timeouts, target, sqe))
			return true;
		node = iou__queue_after(staged, node);
	}
	return false;
}

bool iou__timeouts_resume(struct timeouts *timeouts, struct io_uring_sqe *sqe)
{
	for (uint32_t i = 0; i < timeouts->n_aways && timeouts->n_to_resume; i++) {
		struct away *away = &timeouts->aways[i];

		if (!away->is_to_resume)
			continue;
		away->is_to_resume = false;
		timeouts->n_to_resume--;
		prepare(away->op, away->due_ns, sqe);
		return true;
	}
	return false;
}

static void forget(struct timeouts *timeouts, struct away *away)
{
	timeouts->n_to_resume -= away->is_to_resume;
	away->op->task.sqe_flags &= (uint8_t)~OP_NOTED;
	*away = timeouts->aways[--timeouts->n_aways];
}

static void stop(struct timeouts *timeouts, struct away *away)
{
	struct op *op = away->op;

	forget(timeouts, away);
	iou__timeouts_end(timeouts, op);
}

bool iou__timeouts_stop(struct timeouts *timeouts, struct op *op)
{
	struct away *away = timeouts->n_to_resume ? away_of(timeouts, op) : NULL;

	if (!away || !away->is_to_resume)
		return false;
	stop(timeouts, away);
	return true;
}

/* The last one takes the place of who is stopped. */
void iou__timeouts_stop_all(struct timeouts *timeouts)
{
	for (uint32_t i = timeouts->n_aways; i > 0 && timeouts->n_to_resume; i--)
		if (timeouts->aways[i - 1].is_to_resume)
			stop(timeouts, &timeouts->aways[i - 1]);
}

/* Requests that have gone to the engine, and what comes back. */

static void note(struct op *op)
{
	op->task.sqe_flags |= OP_NOTED;
}

/* The engine will only know of the time until it is next due. */
static void note_update(const struct timeouts *timeouts, struct op *op)
{
	const struct op *target = iou__ops_find(timeouts->ops, op->sqe.addr, 1U << OP_SUBMITTED);

	if (!(op->sqe.timeout_flags & IORING_TIMEOUT_UPDATE) || !target || !away_of(timeouts, target) ||
	    !iou__ns_read(op->sqe.addr2, &op->task.kept.period_ns))
		return;
	note(op);
}

/* One that is alone takes effect as it goes; what is in a chain later, and until then more may be armed. */
static void note_sweep(struct timeouts *timeouts, struct op *op, bool is_alone)
{
	if (is_alone && is_known_cancel(timeouts, &op->sqe)) {
		op->task.n_ended = iou__timeouts_cancel_all(timeouts);
	} else {
		op->task.n_ended = IS_TO_COME;
		timeouts->n_sweeps++;
	}
	note(op);
}

void iou__timeouts_note(struct timeouts *timeouts, struct op *op, bool is_alone)
{
	if (op->sqe.opcode == IORING_OP_TIMEOUT_REMOVE && timeouts->n_aways)
		note_update(timeouts, op);
	else if (op->sqe.opcode == IORING_OP_ASYNC_CANCEL && targets_of(timeouts, &op->sqe).are_all)
		note_sweep(timeouts, op, is_alone);
}

static void sweep_completed(struct timeouts *timeouts, struct op *op, struct cqe *cqe)
{
	if (op->task.n_ended == IS_TO_COME)
		timeouts->n_sweeps--;
	else if (cqe->res >= 0)
		cqe->res += (int)op->task.n_ended;
	op->task.sqe_flags &= (uint8_t)~OP_NOTED;
}

static void away_completed(struct timeouts *timeouts, struct op *op, struct cqe *cqe)
{
	struct away *away = away_of(timeouts, op);

	if (cqe->res == -ETIME && !iou__was_last_shot(&away->n_left)) {
		cqe->flags |= IORING_CQE_F_MORE;
		away->due_ns = iou__ns_after(iou__clock_ns(), away->period_ns);
		timeouts->n_to_resume += !away->is_to_resume;
		away->is_to_resume = true;
		return;
	}
	forget(timeouts, away);
}

static void update_completed(struct timeouts *timeouts, const struct op *op, const struct cqe *cqe)
{
	const struct op *target = iou__ops_find(timeouts->ops, op->sqe.addr, 1U << OP_SUBMITTED);
	struct away *away = target && cqe->res == 0 ? away_of(timeouts, target) : NULL;

	if (!away)
		return;
	away->period_ns = op->task.kept.period_ns;
	away->n_left = 0;
}

/* A ring message can bear the identity of one that is kept. */
static void kept_completed(struct timeouts *timeouts, struct op *op, const struct cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	iou__timers_disarm(&timeouts->timers, op);
	op->task.sqe_flags &= (uint8_t)~OP_NOTED;
}

void iou__timeouts_completed(struct timeouts *timeouts, struct op *op, struct cqe *cqe)
{
	switch (op->sqe.opcode) {
	case IORING_OP_TIMEOUT:
		if (op->task.kept_how)
			kept_completed(timeouts, op, cqe);
		else
			away_completed(timeouts, op, cqe);
		break;
	case IORING_OP_TIMEOUT_REMOVE:
		update_completed(timeouts, op, cqe);
		break;
	default:
		sweep_completed(timeouts, op, cqe);
	}
}
