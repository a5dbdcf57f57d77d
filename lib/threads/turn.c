/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "turn.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "../deadline.h"
#include "completions.h"
#include "exec-timeout.h"
#include "flow.h"
#include "timeline.h"

#define MAX_EVENTS 64
#define MAX_ROUNDS 64
/* While there is other work to do the descriptors are looked at every so many turns. */
#define MOST_UNPOLLED 15
#define LONGEST_UNTOLD_NS (5 * NS_PER_S)

/*
 * Submission. As with a ring, plain timeouts are not the engine's but kept in front of it, see lib/timeouts.h: so both
 * keep them alike, and the engine's own timeline is for what depends on other requests, linked timeouts and timeouts
 * in chains or with a count, and for those that are handed on.
 */

static void start_one(struct threads *threads, const struct io_uring_sqe *sqe)
{
	struct request *request = iou__requests_new(threads, sqe->user_data);

	request->sqe = *sqe;
	threads->engine.n_submitted++;
	iou__flow_submit(request);
}

/* Straight into the first op's request. */
static struct request *pop(struct threads *threads, bool is_alone)
{
	struct engine *engine = &threads->engine;
	const struct op *first = container_of(iou__queue_first(&engine->stage->queue), struct op, task.node);
	struct request *request = iou__requests_new(threads, first->identity);

	iou__timeouts_note(engine->timeouts, iou__stage_pop(engine->stage, engine->ops, &request->sqe), is_alone);
	return request;
}

/* One that is alone and concerns no timeout, as most are. False: the first is none, or there is none. */
static bool submit_plain(struct threads *threads)
{
	struct engine *engine = &threads->engine;
	const struct op *op = iou__op_of_node(iou__queue_first(&engine->stage->queue));
	struct request *request;

	if (!op || op->task.sqe_flags & (SQE_LINKS | IOSQE_IO_DRAIN | OP_ODD) || iou__sqe_is_of_timeouts(&op->sqe))
		return false;
	request = iou__requests_new(threads, op->identity);
	iou__stage_pop(engine->stage, engine->ops, &request->sqe);
	engine->n_submitted++;
	iou__flow_submit(request);
	return true;
}

static void start_chain(struct threads *threads, unsigned n)
{
	struct request *head = NULL, **end = &head;
	bool is_alone = n == 1;

	threads->engine.n_submitted += n;
	for (; n; n--) {
		*end = pop(threads, is_alone);
		end = &(*end)->next;
	}
	iou__flow_submit(head);
}

/* What goes ahead of all. */
static enum left submit_first(struct threads *threads, unsigned *n_free)
{
	struct engine *engine = &threads->engine;
	struct io_uring_sqe sqe;

	for (; *n_free && engine->timeouts->n_to_resume && iou__timeouts_resume(engine->timeouts, &sqe); (*n_free)--)
		start_one(threads, &sqe);
	for (; *n_free && !iou__queue_is_empty(&engine->stage->own); (*n_free)--)
		start_one(threads, &container_of(iou__queue_pop(&engine->stage->own), struct op, task.node)->sqe);
	return engine->timeouts->n_to_resume || !iou__queue_is_empty(&engine->stage->own) ? LEFT_MORE : LEFT_SOME;
}

/* The first chain, if it may go and finds room, and ahead of it the timeouts that it may be after. */
static enum left submit_chain(struct threads *threads, unsigned *n_free)
{
	struct engine *engine = &threads->engine;
	struct chain chain = iou__stage_first_chain(engine->stage);
	struct io_uring_sqe sqe;

	if (!chain.n || (chain.drains && iou__ops_n(engine->ops, OP_SUBMITTED)))
		return LEFT_NOTHING;
	for (; *n_free && iou__timeouts_hand_on(engine->timeouts, chain, &sqe); (*n_free)--)
		start_one(threads, &sqe);
	if (chain.n > *n_free)
		return chain.n > engine->sq_entries ? LEFT_TOO_LONG : LEFT_MORE;
	start_chain(threads, chain.n);
	*n_free -= chain.n;
	return LEFT_SOME;
}

/* A queue's worth, as the kernel would take it. */
static enum left submit(struct threads *threads)
{
	struct engine *engine = &threads->engine;
	unsigned n_free = engine->sq_entries;
	enum left left;

	iou__timeouts_begin(engine->timeouts);
	left = submit_first(threads, &n_free);
	while (left == LEFT_SOME) {
		for (; n_free && submit_plain(threads); n_free--)
			;
		if (iou__queue_is_empty(&engine->stage->queue))
			return LEFT_NOTHING;
		left = iou__timeouts_take(engine->timeouts) ? LEFT_SOME : submit_chain(threads, &n_free);
	}
	return left;
}

/* Waiting. */

static void take_event(struct threads *threads, const struct epoll_event *event)
{
	uint64_t n;

	if (event->data.u64 == TURN_WORKERS)
		iou__iopool_rouse(&threads->iopool);
	else if (event->data.u64 == MESSAGES_CAME)
		threads->messages.has_some = true;
	else if (event->data.u64 == TURN_TIMER)
		while (read(threads->timer_fd, &n, sizeof(n)) < 0 && errno == EINTR)
			;
	else
		iou__watches_tell(&threads->watches, event->data.u64, event->events, &threads->ready);
}

/* Before Linux 5.11, and in some sandboxes, there are whole milliseconds only: rather too late than too early. */
static int wait_for_ms(int epoll_fd, struct epoll_event *events, uint64_t ns)
{
	uint64_t ms = ns / 1000000 + (ns % 1000000 != 0);

	return epoll_wait(epoll_fd, events, MAX_EVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int wait_for_events(struct threads *threads, struct epoll_event *events, uint64_t ns)
{
	struct timespec span = iou__time_of_ns(ns);
	int n;

	if (!ns)
		return epoll_wait(threads->watches.epoll_fd, events, MAX_EVENTS, 0);
	if (ns == TIMELINE_NEVER)
		return epoll_wait(threads->watches.epoll_fd, events, MAX_EVENTS, -1);
	n = epoll_pwait2(threads->watches.epoll_fd, events, MAX_EVENTS, &span, NULL);
	if (n < 0 && (errno == ENOSYS || errno == EPERM))
		return wait_for_ms(threads->watches.epoll_fd, events, ns);
	return n;
}

/* Should the program have closed the workers' eventfd, the loop looks for what they have done by itself. */
static uint64_t cut_short(const struct threads *threads, uint64_t ns)
{
	return threads->iopool.n_out && ns > LONGEST_UNTOLD_NS ? LONGEST_UNTOLD_NS : ns;
}

/* Sleep at most so long; what comes becomes ready. 0; -EINTR; any other -errno: the epoll set is gone. */
static int wait_at_most(struct threads *threads, uint64_t ns)
{
	struct epoll_event events[MAX_EVENTS];
	int n;

	ns = ns && !iou__iopool_doze(&threads->iopool) ? 0 : cut_short(threads, ns);
	threads->n_unpolled = 0;
	n = wait_for_events(threads, events, ns);
	for (int i = 0; i < n; i++)
		take_event(threads, &events[i]);
	return n < 0 ? -errno : 0;
}

/* What workers have finished, and whose time has come. */
static void take_what_is_due(struct threads *threads)
{
	iou__iopool_take(&threads->iopool, &threads->ready);
	if (!iou__queue_is_empty(&threads->timeline))
		iou__timeline_take(&threads->timeline, iou__clock_ns(), &threads->ready);
}

/* As far as that goes without waiting, and not for ever: a multishot request can always go on. */
static void run_ready(struct threads *threads)
{
	take_what_is_due(threads);
	for (int i = 0; i < MAX_ROUNDS && !iou__queue_is_empty(&threads->ready); i++)
		iou__flow_run_ready(threads);
	iou__completions_take_messages(threads);
	if (threads->n_counting)
		iou__exec_timeout_count(threads);
	if (!iou__queue_is_empty(&threads->done))
		iou__completions_flush(threads);
}

/* Whether what waits for readiness, or for messages, is due for a look. */
static bool is_to_be_polled(struct threads *threads)
{
	if (!threads->watches.n_waiting && threads->messages.inbox < 0)
		return false;
	return !iou__cq_ready(threads->engine.cq) || threads->n_unpolled++ >= MOST_UNPOLLED;
}

static uint64_t ns_until(uint64_t now, uint64_t at)
{
	if (at == TIMELINE_NEVER)
		return TIMELINE_NEVER;
	return at > now ? at - now : 0;
}

/* Decades are for ever. */
static uint64_t ns_of(const struct timespec *time)
{
	if (!time || time->tv_sec > INT32_MAX)
		return TIMELINE_NEVER;
	return iou__ns_of_time(time);
}

/* How long nothing will be due. */
static uint64_t longest_sleep(const struct threads *threads, const struct deadline *deadline)
{
	struct timespec left;
	uint64_t ns = ns_of(iou__deadline_left(deadline, &left));
	uint64_t at = iou__timeline_next(&threads->timeline);
	uint64_t until = at == TIMELINE_NEVER ? at : ns_until(iou__clock_ns(), at);

	if (!iou__queue_is_empty(&threads->ready))
		return 0;
	return ns < until ? ns : until;
}

/* Until there is a completion, be it one that had to be moved out of a CQ that was full. */
static int wait_for_completion(struct threads *threads, const struct timespec *timeout)
{
	struct deadline deadline;
	struct timespec left;
	int r = iou__deadline_in(timeout, &deadline);

	while (r == 0 && !iou__cq_ready(threads->engine.cq)) {
		r = wait_at_most(threads, longest_sleep(threads, &deadline));
		run_ready(threads);
		if (iou__cq_ready(threads->engine.cq))
			return LEFT_NOTHING;
		if (r == 0 && iou__time_is_zero(iou__deadline_left(&deadline, &left)))
			r = -ETIME;
	}
	return r < 0 ? r : LEFT_NOTHING;
}

int iou__turn_take(struct threads *threads, bool wait, const struct timespec *timeout)
{
	struct engine *engine = &threads->engine;
	struct timespec room;
	enum left left;

	engine->n_enters++;
	iou__stage_close_chain(engine->stage);
	left = submit(threads);
	run_ready(threads);
	wait = wait && left == LEFT_NOTHING && !iou__cq_ready(engine->cq);
	if (wait && iou__timeouts_limit(engine->timeouts, &timeout, &room))
		return wait_for_completion(threads, timeout);
	if (!is_to_be_polled(threads))
		return left;

	int r = wait_at_most(threads, 0);

	run_ready(threads);
	return r < 0 && r != -EINTR ? r : (int)left;
}

bool iou__turn_look(struct threads *threads)
{
	wait_at_most(threads, 0);
	run_ready(threads);
	return iou__cq_ready(threads->engine.cq) || !iou__queue_is_empty(&threads->ready) ||
	       !iou__iopool_doze(&threads->iopool);
}

bool iou__turn_has_news(const struct threads *threads)
{
	uint64_t at = iou__timeline_next(&threads->timeline);

	return iou__cq_ready(threads->engine.cq) || !iou__queue_is_empty(&threads->ready) ||
	       threads->messages.has_some || iou__iopool_has_finished(&threads->iopool) ||
	       (at != TIMELINE_NEVER && at <= iou__clock_ns());
}
