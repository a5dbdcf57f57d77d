/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Delivery: the one place from which the program's callbacks are run. A completion is copied and the CQ advanced
 * before its callback runs, and one delivery takes no more than was there when it began, so callbacks may call
 * anything.
 */
#include <string.h>

#include "internal.h"
#include "relax.h"
#include "sqe.h"

void iou__complete(iou_t *iou, struct op *op, int result)
{
	iou__ops_move(&iou->ops, op, iou__op_state(op), OP_COMPLETED);
	op->pub.result = result;
	op->pub.flags = 0;
	iou__queue_push(&iou->inbox, &op->task.node);
}

static inline int call(iou_t *iou, int (*cb)(void *), void *cb_data)
{
	int r = cb(cb_data);

	iou->n_callbacks++;
	return r;
}

/* Whether to go on after a callback that returned this. One that forked returns in the child, too: not there. */
static inline bool goes_on(iou_t *iou, int *r)
{
	if (iou__is_steady(iou))
		return *r >= 0;
	if (iou__check(iou) < 0)
		*r = -EOWNERDEAD;
	else if (iou->is_ending)
		*r = 0; /* what callbacks return is of no interest then */
	return *r >= 0 && !iou__has_to_stop(iou);
}

/* An op's final callback. It may queue the op again, and then the op is somebody else's by the time it returns. */
static inline int call_finally(iou_t *iou, struct op *op)
{
	iou->current = op;

	int r = call(iou, op->task.cb, op->task.cb_data);

	if (iou->current) {
		iou->current = NULL;
		iou__ops_give_back(&iou->ops, op);
	}
	return r;
}

/* The op of iou_async() is the library's, and its work's failure counts like a callback's. */
static int deliver_async(iou_t *iou, struct op *op)
{
	int result = op->job.result;
	int r = 0;

	iou__ops_move(&iou->ops, op, OP_FINISHED, OP_COMPLETED);
	if (op->task.cb)
		r = call_finally(iou, op);
	else
		iou__ops_give_back(&iou->ops, op);
	return result < 0 ? result : r;
}

static int deliver_job(iou_t *iou, struct op *op)
{
	iou__ops_move(&iou->ops, op, OP_FINISHED, OP_COMPLETED);
	op->pub.result = op->job.result;
	op->pub.flags = 0;
	memset(&op->sqe, 0, sizeof(op->sqe));
	return call_finally(iou, op);
}

/* Only a first and only completion is skipped: whoever was told of one is told of the end. */
static bool is_skipped(const struct op *op)
{
	return (op->task.sqe_flags & IOSQE_CQE_SKIP_SUCCESS) && !op->task.has_had_a_call &&
	       iou__sqe_succeeded(&op->sqe, op->pub.result);
}

/* One that is completed: its final callback, or none. */
static int deliver_ended(iou_t *iou, struct op *op)
{
	if (!is_skipped(op))
		return call_finally(iou, op);
	iou__ops_give_back(&iou->ops, op);
	return 0;
}

static int deliver_task(iou_t *iou, struct task *task)
{
	struct op *op = container_of(task, struct op, task);

	switch ((enum task_kind)task->kind) {
	case TASK_ASYNC:
		return deliver_async(iou, op);
	case TASK_JOB:
		return deliver_job(iou, op);
	case TASK_OP:
	case TASK_OWN:
	case TASK_POST:
		break;
	}
	return deliver_ended(iou, op);
}

static int deliver_foreign(iou_t *iou, const struct cqe *cqe)
{
	struct io_uring_cqe copy = { .user_data = cqe->user_data, .res = cqe->res, .flags = cqe->flags };
	const struct engine_verbs *verbs = iou->engine->verbs;

	if (verbs->takes && verbs->takes(iou->engine, cqe))
		return 0;
	iou->n_foreign++;
	if (!iou->foreign_cqe)
		return 0;

	int r = iou->foreign_cqe(&copy, iou->foreign_cqe_data);

	iou->n_callbacks++;
	return r;
}

static void take_result(struct op *op, struct cqe cqe)
{
	op->pub.result = cqe.res;
	op->pub.flags = cqe.flags;
}

static int deliver_final(iou_t *iou, struct op *op, struct cqe cqe)
{
	take_result(op, cqe);
	iou__ops_shift(&iou->ops, op, OP_SUBMITTED, OP_COMPLETED);
	return call_finally(iou, op);
}

/* What the engine has kept aside may bear the name of an op that it knows nothing of: a timeout that is kept, say. */
static struct op *look_up(iou_t *iou, struct cqe *cqe)
{
	struct engine *engine = iou->engine;

	if (!engine->verbs->look_up || !engine->verbs->look_up(engine, cqe))
		return NULL;
	return iou__ops_find(&iou->ops, cqe->user_data, 1U << OP_SUBMITTED);
}

/* One that is not the whole and only completion of an op of the program's that wants to be told. */
static int deliver_special(iou_t *iou, struct op *op, struct cqe cqe)
{
	if (!op)
		op = look_up(iou, &cqe);
	if (!op || !iou__op_is(op, 1U << OP_SUBMITTED | 1U << OP_OWN))
		return deliver_foreign(iou, &cqe);
	if (op->task.kind == TASK_OWN) {
		iou__own_completed(iou, op, &cqe);
		return 0;
	}
	if (op->task.sqe_flags & OP_NOTED)
		iou__timeouts_completed(&iou->timeouts, op, &cqe);
	take_result(op, cqe);
	if (cqe.flags & IORING_CQE_F_MORE) {
		op->task.has_had_a_call = true;
		return call(iou, op->task.cb, op->task.cb_data);
	}
	iou__ops_shift(&iou->ops, op, OP_SUBMITTED, OP_COMPLETED);
	return deliver_ended(iou, op);
}

static bool is_special(const struct op *op, struct cqe cqe)
{
	return !op || iou__op_state(op) != OP_SUBMITTED || cqe.flags & IORING_CQE_F_MORE ||
	       op->task.sqe_flags & (IOSQE_CQE_SKIP_SUCCESS | OP_NOTED);
}

/* Up to and including this task. */
static int deliver_inbox(iou_t *iou, const struct node *last)
{
	struct node *node = NULL;
	int r;

	do {
		node = iou__queue_pop(&iou->inbox);
		r = deliver_task(iou, container_of(node, struct task, node));
	} while (goes_on(iou, &r) && node != last);
	return r;
}

/* What the callback of the job after next touches: to wait for it in each takes longer than all the rest. */
static void fetch_ahead(const iou_t *iou)
{
	struct task *task = iou__mailbox_peek(&iou->mailbox, 2);

	if (task)
		iou__fetch_to_write(task->cb_data);
}

/* So much of what other threads have handed over. */
static int deliver_mail(iou_t *iou, size_t n)
{
	struct mail mail;

	for (; n && iou__mailbox_take(&iou->mailbox, &mail); n--) {
		bool is_task = mail.cb == iou__mailbox_task;

		if (is_task && n > 3)
			fetch_ahead(iou);

		int r = is_task ? deliver_task(iou, mail.cb_data) : call(iou, mail.cb, mail.cb_data);

		if (!goes_on(iou, &r))
			return r;
	}
	return 0;
}

static int deliver_timeouts(iou_t *iou, const struct due *due)
{
	struct op *op;
	struct cqe cqe;

	while ((op = iou__timeouts_pop(&iou->timeouts, due, &cqe))) {
		int r = deliver_special(iou, op, cqe);

		if (!goes_on(iou, &r))
			return r;
	}
	return 0;
}

static int deliver_cqes(iou_t *iou, size_t n)
{
	for (; n; n--) {
		struct cqe cqe = iou__cq_take(&iou->cq);
		struct op *op = iou__ops_named(&iou->ops, cqe.user_data);
		int r = is_special(op, cqe) ? deliver_special(iou, op, cqe) : deliver_final(iou, op, cqe);

		if (!goes_on(iou, &r))
			return r;
	}
	return 0;
}

/*
 * Where completions come from, in the order in which they are delivered. Those of the engine go before timeouts that are
 * kept: of a read and what limits its time, both of which are due, the read is told first.
 */
enum source { FROM_INBOX, FROM_MAIL, FROM_CQ, FROM_TIMEOUTS, N_SOURCES };

struct there {
	unsigned sources; /* a bit for each that has something */
	const struct node *last_in_inbox;
	size_t n_mail;
	size_t n_cqes;
	struct due due;
};

static struct there what_is_there(iou_t *iou)
{
	struct there there = {
		.last_in_inbox = iou__queue_last(&iou->inbox),
		.n_mail = iou__mailbox_has_mail(&iou->mailbox) ? iou__mailbox_ready(&iou->mailbox) : 0,
		.n_cqes = iou__cq_ready(&iou->cq),
		.due = iou__timeouts_due(&iou->timeouts),
	};

	there.sources = (there.last_in_inbox ? 1U << FROM_INBOX : 0) | (there.n_mail ? 1U << FROM_MAIL : 0) |
			(there.n_cqes ? 1U << FROM_CQ : 0) | (iou->timeouts.timers.n_armed ? 1U << FROM_TIMEOUTS : 0);
	return there;
}

static int deliver_from(iou_t *iou, enum source source, const struct there *there)
{
	switch (source) {
	case FROM_INBOX:
		return deliver_inbox(iou, there->last_in_inbox);
	case FROM_MAIL:
		return deliver_mail(iou, there->n_mail);
	case FROM_CQ:
		return deliver_cqes(iou, there->n_cqes);
	case FROM_TIMEOUTS:
	case N_SOURCES:
		break;
	}
	return deliver_timeouts(iou, &there->due);
}

/*
 * A delivery that is stopped leaves what comes after it to the next, which begins there: runs that all end early would else
 * never get further than what makes them end.
 */
static int deliver_in_turn(iou_t *iou, struct there there)
{
	unsigned source = iou->next_source;
	int r = 0;

	for (; there.sources; source = (source + 1) % N_SOURCES) {
		if (!(there.sources & 1U << source))
			continue;
		if (r < 0 || iou__has_to_stop(iou)) {
			iou->next_source = source;
			return r;
		}
		there.sources &= ~(1U << source);
		r = deliver_from(iou, (enum source)source, &there);
	}
	iou->next_source = 0;
	return r;
}

/* As in most turns. */
static bool has_cqes_alone(iou_t *iou)
{
	return iou__queue_is_empty(&iou->inbox) && !iou__mailbox_has_mail(&iou->mailbox) &&
	       !iou->timeouts.timers.n_armed;
}

int iou__deliver(iou_t *iou)
{
	int r = 0;

	if (!has_cqes_alone(iou))
		r = deliver_in_turn(iou, what_is_there(iou));
	else if (!iou__has_to_stop(iou))
		r = deliver_cqes(iou, iou__cq_ready(&iou->cq));
	return r < 0 ? r : 0;
}
