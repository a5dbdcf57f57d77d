/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-timeout.h"

#include "completions.h"
#include "opcodes.h"
#include "peek.h"
#include "timeline.h"

#define UPDATES (IORING_TIMEOUT_UPDATE | IORING_LINK_TIMEOUT_UPDATE)
#define CLOCKS ((unsigned)IORING_TIMEOUT_CLOCK_MASK)
#define UPDATE_FLAGS (UPDATES | IORING_TIMEOUT_ABS)
#define TIMEOUT_FLAGS (IORING_TIMEOUT_ABS | CLOCKS | IORING_TIMEOUT_ETIME_SUCCESS | TIMEOUT_MULTISHOT)

static int read_time(__u64 address, struct __kernel_timespec *time)
{
	int r = iou__peek(address, time, sizeof(*time));

	return r == 0 && (time->tv_sec < 0 || time->tv_nsec < 0) ? -EINVAL : r;
}

static int check_flags(unsigned flags, unsigned known)
{
	if (flags & ~known || (flags & CLOCKS) == CLOCKS)
		return -EINVAL;
	/* What comes again and again is relative. */
	return (flags & TIMEOUT_MULTISHOT) && (flags & IORING_TIMEOUT_ABS) ? -EINVAL : 0;
}

/* The time is read when it is submitted, and begins to run when its turn has come. */
static int check(struct request *request)
{
	struct __kernel_timespec time = { 0 };
	int r = request->sqe.len == 1 ? check_flags(request->sqe.timeout_flags, TIMEOUT_FLAGS) : -EINVAL;

	if (r == 0)
		r = read_time(request->sqe.addr, &time);
	if (r < 0)
		return r;
	request->span = iou__timeline_span(&time);
	if (request->sqe.timeout_flags & IORING_TIMEOUT_ABS)
		request->at = iou__timeline_at(request->span, request->sqe.timeout_flags);
	return 0;
}

int iou__check_timeout(struct request *request)
{
	if (request->sqe.timeout_flags & TIMEOUT_MULTISHOT)
		request->n_left = (uint32_t)request->sqe.off;
	return check(request);
}

int iou__check_link_timeout(struct request *request)
{
	return (uint32_t)request->sqe.off ? -EINVAL : check(request);
}

static void start(struct request *request)
{
	request->number = ++request->threads->n_armings;
	if (!(request->sqe.timeout_flags & IORING_TIMEOUT_ABS))
		request->at = iou__clock_ns() + request->span;
}

static enum outcome begin(struct request *request)
{
	struct threads *threads = request->threads;

	start(request);
	/* A count has 32 bits. */
	if ((uint32_t)request->sqe.off && !(request->sqe.timeout_flags & TIMEOUT_MULTISHOT)) {
		request->is_counting = true;
		request->target = threads->n_completed + (uint32_t)request->sqe.off;
		threads->n_counting++;
	}
	return OUT_TIME;
}

/* A multishot one that fires goes on, from now on anew, until it has done so as often as it was asked to. */
static enum outcome fire(struct request *request)
{
	request->threads->n_counting -= request->is_counting;
	request->is_counting = false;
	if (!(request->sqe.timeout_flags & TIMEOUT_MULTISHOT) || request->n_left == 1)
		return iou__done_as(request, -ETIME);
	request->n_left -= request->n_left > 0;
	iou__completions_post_more(request, -ETIME, 0);
	start(request);
	return OUT_TIME;
}

enum outcome iou__exec_timeout(struct request *request)
{
	return request->has_begun ? fire(request) : begin(request);
}

/* The first one that has counted enough, or NULL. */
static struct request *find_counted(const struct threads *threads)
{
	struct node *node = threads->n_counting ? iou__queue_first(&threads->timeline) : NULL;

	for (; node; node = iou__queue_after(&threads->timeline, node)) {
		struct request *request = container_of(node, struct request, node);

		if (request->is_counting && (int64_t)(threads->n_completed - request->target) >= 0)
			return request;
	}
	return NULL;
}

/* Each that ends takes its limit out of the timeline, and may be what the next one waited for. */
void iou__exec_timeout_count(struct threads *threads)
{
	struct request *request;

	while ((request = find_counted(threads)))
		iou__flow_end(request, 0);
}

/* Linked timeouts. */

/* It is taken with what it limits, and never attempted by itself. */
enum outcome iou__exec_link_timeout(struct request *request)
{
	return iou__done_as(request, -EINVAL);
}

void iou__exec_limit_start(struct request *limit)
{
	start(limit);
	limit->has_begun = true;
	limit->place = AT_TIME;
	iou__timeline_add(&limit->threads->timeline, limit);
}

void iou__exec_limit_reached(struct request *limit)
{
	struct request *request = limit->limit;

	request->limit = NULL;

	int r = iou__flow_cancel(request);

	limit->limit = NULL;
	limit->place = AT_HAND;
	iou__flow_end(limit, r == 0 ? -ETIME : r);
}

/* Removal and update. */

int iou__check_timeout_remove(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct __kernel_timespec time = { 0 };
	int r;

	if (sqe->flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT))
		return -EINVAL;
	if (!(sqe->timeout_flags & UPDATES))
		return sqe->timeout_flags ? -EINVAL : 0;
	if (check_flags(sqe->timeout_flags, UPDATE_FLAGS) < 0)
		return -EINVAL;
	r = read_time(sqe->addr2, &time);
	if (r == 0)
		request->span = iou__timeline_span(&time);
	return r;
}

static struct request *find(const struct request *request)
{
	struct request *found = iou__requests_find(request->threads, request->sqe.addr);
	bool is_linked = request->sqe.timeout_flags & IORING_LINK_TIMEOUT_UPDATE;

	if (!found || found->sqe.opcode != (is_linked ? IORING_OP_LINK_TIMEOUT : IORING_OP_TIMEOUT))
		return NULL;
	return iou__is_waiting(found) ? found : NULL;
}

/* It counts no more, neither completions nor how often it comes; an absolute time is one of its own clock. */
static void update(struct request *found, const struct request *by)
{
	struct threads *threads = found->threads;
	unsigned clock = found->sqe.timeout_flags & CLOCKS;

	iou__queue_remove(&found->node);
	threads->n_counting -= found->is_counting;
	found->is_counting = false;
	found->n_left = 0;
	found->number = ++threads->n_armings;
	found->span = by->span;
	found->at = iou__timeline_at(by->span, clock | (by->sqe.timeout_flags & IORING_TIMEOUT_ABS));
	found->place = AT_TIME;
	iou__timeline_add(&threads->timeline, found);
}

enum outcome iou__exec_timeout_remove(struct request *request)
{
	struct request *found = find(request);

	if (!found)
		return iou__done_as(request, -ENOENT);
	if (!(request->sqe.timeout_flags & UPDATES)) {
		iou__flow_end(found, -ECANCELED);
		return iou__done_as(request, 0);
	}
	update(found, request);
	return iou__done_as(request, 0);
}
