/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flow.h"

#include "completions.h"
#include "exec-timeout.h"
#include "exec.h"
#include "opcodes.h"
#include "timeline.h"

#define FIRST_PAUSE_NS 1000000ULL
#define LONGEST_PAUSE_NS 100000000ULL

/* A provided buffer, while the request waits: also one that holds something already. */
static bool keeps_buffer(const struct request *request)
{
	return request->done || request->opcode->flags & KEEPS_BUFFER;
}

/* It does not complete at once, so what limits it begins to run. */
static void arm_limit(struct request *request)
{
	struct request *limit = request->next;

	if (request->has_begun)
		return;
	request->has_begun = true;
	if (request->opcode->flags & WAITS_FOR_FUTEX) {
		request->threads->n_futexes++;
		request->target = request->threads->n_waits++;
	}
	if (!limit || limit->sqe.opcode != IORING_OP_LINK_TIMEOUT)
		return;
	request->next = limit->next;
	request->limit = limit;
	limit->limit = request;
	limit->next = NULL;
	iou__exec_limit_start(limit);
}

/* Attempts. */

static void wait_for_time(struct request *request, uint64_t at)
{
	request->place = AT_TIME;
	request->at = at;
	iou__timeline_add(&request->threads->timeline, request);
}

/* Nothing tells when another attempt is worth while: after a while, and then after a longer one. */
static void pause_request(struct request *request)
{
	request->span = request->span ? 2 * request->span : FIRST_PAUSE_NS;
	if (request->span > LONGEST_PAUSE_NS)
		request->span = LONGEST_PAUSE_NS;
	wait_for_time(request, iou__clock_ns() + request->span);
}

static void handle(struct request *request, enum outcome outcome);

/*
 * Where no worker can be had the loop does the work, however long that takes. What might take for ever is tried again later
 * where others are at work, and ends where nobody is: who wakes it may be waiting in vain.
 */
static void hand_to_worker(struct request *request)
{
	int r;

	request->place = AT_WORKER;
	r = iou__iopool_put(&request->threads->iopool, request);
	if (r == 0)
		return;
	if (!request->is_bounded) {
		if (r == -EBUSY)
			pause_request(request);
		else
			iou__completions_complete(request, r);
		return;
	}
	request->is_on_worker = true;

	enum outcome outcome = iou__opcode_try(request);

	request->is_on_worker = false;
	handle(request, outcome);
}

/* What epoll does not watch is always ready: the next attempt knows. */
static void watch(struct request *request)
{
	int r = iou__watches_add(&request->threads->watches, request);
	bool is_news = r == -EPERM && !request->is_unwatchable;

	request->has_waited = true;
	request->is_unwatchable = r == -EPERM;
	request->is_unwatched = r < 0 && r != -EPERM;
	request->place = AT_WATCH;
	if (r == 0) {
		request->span = 0;
		return;
	}
	if (r == -EBADF)
		iou__completions_complete(request, r);
	else if (is_news)
		iou__requests_make_ready(request);
	else
		pause_request(request);
}

static void wait_for_it(struct request *request, enum outcome outcome)
{
	switch (outcome) {
	case OUT_WATCH:
		watch(request);
		break;
	case OUT_WORKER:
		hand_to_worker(request);
		break;
	case OUT_PAUSE:
		pause_request(request);
		break;
	case OUT_TIME:
		wait_for_time(request, request->at);
		break;
	case OUT_AGAIN:
	case OUT_DONE:
		iou__requests_make_ready(request);
		break;
	}
}

/* Here, since the table is the loop's, and a worker may have opened it. */
static int take_new_file(const struct request *request)
{
	bool is_direct = request->opcode->flags & MAKES_FILE && request->sqe.file_index && request->res >= 0;

	return is_direct ? iou__files_install(&request->threads->files, request->sqe.file_index, request->res)
			 : request->res;
}

static void handle(struct request *request, enum outcome outcome)
{
	if (outcome == OUT_DONE) {
		int r = take_new_file(request);

		request->is_unplaced = r != request->res && r < 0;
		request->cqe_flags |= request->uses_buffer ? iou__groups_use(request) : 0;
		iou__completions_complete(request, r);
		return;
	}
	if (outcome != OUT_WORKER && !keeps_buffer(request))
		iou__groups_give_back(&request->threads->groups, request);
	arm_limit(request);
	wait_for_it(request, outcome);
}

/* A completion has to have a place to go to; until it has, nothing is begun. */
static void attempt(struct request *request)
{
	request->place = AT_HAND;
	if (iou__completions_have_room(request->threads))
		handle(request, iou__opcode_try(request));
	else
		iou__requests_make_ready(request);
}

static void go_on(struct request *request)
{
	if (request->place == AT_WORKER) {
		request->is_on_worker = false;
		handle(request, (enum outcome)request->outcome);
	} else if (request->sqe.opcode == IORING_OP_LINK_TIMEOUT) {
		iou__exec_limit_reached(request);
	} else {
		attempt(request);
	}
}

void iou__flow_run_ready(struct threads *threads)
{
	struct node mark, *node;

	iou__queue_push(&threads->ready, &mark);
	while ((node = iou__queue_pop(&threads->ready)) != &mark)
		go_on(container_of(node, struct request, node));
}

/* Submission. */

static bool check_chain(struct request *head)
{
	bool is_good = true;

	for (struct request *request = head; request; request = request->next) {
		request->is_read_first = head->next;

		int r = iou__opcode_check(request);

		request->place = request == head ? AT_HAND : AT_LINK;
		request->is_failed = r < 0;
		request->res = r;
		is_good = is_good && r == 0;
	}
	return is_good;
}

/* A linked timeout limits what is before it, and that is no linked timeout. */
static bool check_limits(struct request *head)
{
	bool may_come = false, is_good = true;

	for (struct request *request = head; request; request = request->next) {
		bool is_limit = request->sqe.opcode == IORING_OP_LINK_TIMEOUT;

		if (is_limit && !may_come && !request->is_failed) {
			request->is_failed = true;
			request->res = -EINVAL;
			is_good = false;
		}
		may_come = !is_limit;
	}
	return is_good;
}

void iou__flow_submit(struct request *head)
{
	bool is_good = check_chain(head);

	if (check_limits(head) && is_good)
		attempt(head);
	else
		iou__completions_fail_chain(head);
}

/* Ends before their time. */

static void leave(struct request *request)
{
	switch ((enum place)request->place) {
	case AT_WATCH:
		iou__watches_remove(&request->threads->watches, request);
		break;
	case AT_READY:
	case AT_TIME:
		iou__queue_remove(&request->node);
		break;
	default:
		break;
	}
	request->threads->n_counting -= request->is_counting;
	request->is_counting = false;
}

void iou__flow_end(struct request *request, int res)
{
	leave(request);
	iou__completions_complete(request, res);
}

bool iou__flow_can_cancel(const struct request *request)
{
	return request->has_begun && request->place != AT_HAND && request->place != AT_DONE &&
	       request->sqe.opcode != IORING_OP_LINK_TIMEOUT;
}

/* A worker is at it. Those that do not listen cannot be kept from anything. */
static int cancel_at_worker(const struct request *request, enum withdrawal withdrawal, int cancelled)
{
	if (withdrawal == IOPOOL_KEPT && request->listens)
		return -ENOENT;
	return request->is_bounded ? -EALREADY : cancelled;
}

/* What has been transferred so far is the result, and yet a failure for what is linked behind. */
int iou__flow_cancel(struct request *request)
{
	enum withdrawal withdrawal = IOPOOL_WITHDRAWN;
	int cancelled;

	if (!iou__flow_can_cancel(request))
		return -ENOENT;
	cancelled = request->opcode->flags & IS_COUNTED ? 1 : 0;
	if (request->place == AT_WORKER)
		withdrawal = iou__iopool_withdraw(&request->threads->iopool, request, WORD_CANCEL);
	if (withdrawal != IOPOOL_WITHDRAWN)
		return cancel_at_worker(request, withdrawal, cancelled);
	request->cqe_flags |= keeps_buffer(request) ? iou__groups_use(request) : 0;
	iou__flow_end(request, request->done ? (int)request->done : -ECANCELED);
	return cancelled;
}

bool iou__flow_wake(struct request *request, unsigned number)
{
	enum withdrawal withdrawal = IOPOOL_WITHDRAWN;

	if (!iou__flow_can_cancel(request))
		return false;
	if (request->place == AT_WORKER)
		withdrawal = iou__iopool_withdraw(&request->threads->iopool, request, WORD_WOKEN + number);
	if (withdrawal == IOPOOL_WITHDRAWN)
		iou__flow_end(request, (int)number);
	return withdrawal != IOPOOL_KEPT;
}

void iou__flow_let_go(struct threads *threads)
{
	struct node *node;

	for (struct request *request = NULL; (request = iou__requests_after(threads, request));)
		if (request->place == AT_WORKER &&
		    iou__iopool_withdraw(&threads->iopool, request, WORD_CANCEL) == IOPOOL_WITHDRAWN)
			request->place = AT_REST;
	iou__iopool_stop(&threads->iopool);
	iou__iopool_take(&threads->iopool, &threads->ready);
	while ((node = iou__queue_pop(&threads->ready))) {
		struct request *request = container_of(node, struct request, node);

		if (request->place == AT_WORKER && request->outcome == OUT_DONE)
			go_on(request);
		else
			request->place = AT_REST;
	}
}
