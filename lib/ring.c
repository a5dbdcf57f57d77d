/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring.h"
#include "fill.h"
#include "ring-state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* So many SQEs take no time to speak of. */
#define FEW 16

/* Submission. */

/* What is staged, in order, as far as it may go and finds room. */
static enum left fill(struct ring *ring)
{
	struct io_uring_sq *sq = &ring->uring.ring.sq;
	struct engine *engine = &ring->engine;
	unsigned end = sq->sqe_tail - iou__ring_in_sq(ring) + engine->sq_entries;
	enum left left = LEFT_SOME;

	iou__timeouts_begin(engine->timeouts);
	if (iou__has_first(engine) && !iou__fill_first(engine, sq, end - sq->sqe_tail))
		return LEFT_MORE;
	while (left == LEFT_SOME) {
		struct sqes sqes = { sq->sqes, sq->ring_mask, sq->sqe_tail };

		iou__stage_pop_plain(engine->stage, engine->ops, &sqes, end - sqes.tail);
		sq->sqe_tail = sqes.tail;
		left = iou__queue_is_empty(&engine->stage->queue) ? LEFT_NOTHING
								  : iou__fill_odd(engine, sq, end - sqes.tail);
	}
	return left;
}

/* The kernel sees the new SQEs from here on. */
void iou__ring_publish(struct ring *ring)
{
	struct io_uring_sq *sq = &ring->uring.ring.sq;

	ring->engine.n_submitted += sq->sqe_tail - *sq->ktail;
	sq->sqe_head = sq->sqe_tail;
	__atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
}

/* The kernel has done nothing of what it was entered for. */
static bool is_put_off(int r)
{
	return r == -EINTR || r == -EAGAIN || r == -EBUSY || r == -ENOMEM;
}

static int enter_for(struct ring *ring, unsigned n, unsigned n_wanted, unsigned flags, const struct timespec *timeout)
{
	ring->engine.n_enters++;

	int r = iou__uring_enter(&ring->uring, n, n_wanted, flags, timeout);

	if (ring->may_have_work && flags & IORING_ENTER_GETEVENTS && !is_put_off(r))
		ring->may_have_work = false;
	return r;
}

/* What the polling thread of IOU_SQPOLL has to be told: that it sleeps and should not, and that we wait for room. */
static unsigned sqpoll_flags(const struct ring *ring, bool is_full)
{
	unsigned flags = is_full ? IORING_ENTER_SQ_WAIT : 0;

	/* It sets the flag and then reads the tail; we wrote the tail and now read the flag. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return iou__ring_kernel_says(ring, IORING_SQ_NEED_WAKEUP) ? flags | IORING_ENTER_SQ_WAKEUP : flags;
}

/* How many SQEs the kernel has to be told of. */
static unsigned to_submit(const struct ring *ring)
{
	return ring->config.is_sqpoll ? 0 : iou__ring_in_sq(ring);
}

int iou__ring_submit(struct ring *ring, bool is_full)
{
	unsigned flags = ring->config.is_sqpoll ? sqpoll_flags(ring, is_full) : 0;
	unsigned n = to_submit(ring);

	if (iou__ring_has_work(ring))
		flags |= IORING_ENTER_GETEVENTS;
	return n || flags ? enter_for(ring, n, 0, flags, NULL) : 0;
}

int iou__ring_submit_and_wait(struct ring *ring, const struct timespec *timeout)
{
	unsigned flags = IORING_ENTER_GETEVENTS;

	if (ring->engine.features & IORING_FEAT_NO_IOWAIT)
		flags |= IORING_ENTER_NO_IOWAIT;
	if (ring->config.is_sqpoll)
		flags |= sqpoll_flags(ring, false);
	if (!timeout || ring->engine.features & IORING_FEAT_EXT_ARG)
		return enter_for(ring, to_submit(ring), 1, flags, timeout);

	/* Before Linux 5.11 entering had no timeout. */
	int r = iou__ring_submit(ring, false);

	return r < 0 || to_submit(ring) ? r : iou__uring_poll(&ring->uring, timeout);
}

/*
 * The kernel waits from when it has submitted, so much of that must not come between a look at the clock and that.
 */
static int wait_for_some(struct ring *ring, const struct timespec *timeout)
{
	struct timespec room;

	if (iou__ring_in_sq(ring) > FEW && ring->engine.timeouts->timers.n_armed) {
		int r = iou__ring_submit(ring, false);

		if (r < 0)
			return r;
	}
	return iou__timeouts_limit(ring->engine.timeouts, &timeout, &room) ? iou__ring_submit_and_wait(ring, timeout)
									   : iou__ring_submit(ring, false);
}

static int enter(struct engine *engine, bool wait, const struct timespec *timeout)
{
	struct ring *ring = iou__ring_of(engine);
	enum left left;

	iou__stage_close_chain(engine->stage);
	left = fill(ring);
	iou__ring_publish(ring);

	int r = wait && left == LEFT_NOTHING ? wait_for_some(ring, timeout)
					     : iou__ring_submit(ring, left != LEFT_NOTHING);

	if (r < 0)
		return r;
	/* Should the kernel have stopped half-way, the rest goes with the next call. */
	return left == LEFT_NOTHING && to_submit(ring) ? LEFT_MORE : (int)left;
}

/* Life cycle. */

static struct cq_ring cq_ring_of(const struct uring *uring)
{
	const struct io_uring_cq *cq = &uring->ring.cq;

	return (struct cq_ring){ cq->khead, cq->ktail, cq->ring_mask, cq->cqes };
}

void iou__ring_adopt(struct ring *ring, const struct uring *uring, const struct uring_config *config)
{
	struct engine *engine = &ring->engine;

	ring->uring = *uring;
	ring->config = *config;
	engine->cq->ring = cq_ring_of(uring);
	engine->setup_flags = uring->setup_flags;
	engine->features = uring->ring.features;
	engine->sq_entries = uring->ring.sq.ring_entries;
	engine->cq_entries = uring->ring.cq.ring_entries;
	/* IORING_ASYNC_CANCEL_ANY came with the flag COOP_TASKRUN, in Linux 5.19; SINGLE_ISSUER is newer. */
	engine->can_cancel_any = uring->setup_flags & (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN);
	engine->timeouts->knows_any = engine->can_cancel_any;
	/* Linux 6.6; the first feature since then is of 6.10. */
	engine->timeouts->knows_op = engine->features >= URING_FEAT_RECVSEND_BUNDLE;
}

static int take_owner(struct engine *engine)
{
	struct ring *ring = iou__ring_of(engine);
	int r = iou__uring_bind(&ring->uring);

	ring->is_bound = r == 0;
	return r;
}

static int make_event_fd(struct ring *ring)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = fd < 0 ? -errno : iou__uring_signal(&ring->uring, fd);

	if (r < 0 && fd >= 0)
		close(fd);
	if (r == 0)
		ring->event_fd = fd;
	return r;
}

/*
 * Not the ring's own descriptor: epoll is not told of completions that wait for the owner to enter the kernel
 * (IORING_SETUP_DEFER_TASKRUN), while a registered eventfd is.
 */
static int watch(struct engine *engine)
{
	struct ring *ring = iou__ring_of(engine);
	int r = ring->event_fd < 0 ? make_event_fd(ring) : 0;

	return r < 0 ? r : ring->event_fd;
}

static bool has_news(struct engine *engine)
{
	return iou__cq_in_ring(engine->cq) || iou__ring_has_work(iou__ring_of(engine));
}

static bool look(struct engine *engine)
{
	struct ring *ring = iou__ring_of(engine);
	uint64_t n;

	while (read(ring->event_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	return has_news(engine);
}

static int do_register(struct engine *engine, unsigned opcode, const void *arg, unsigned n)
{
	struct ring *ring = iou__ring_of(engine);
	int r = iou__registered_do(&ring->registered, &ring->uring, opcode, arg, n);

	engine->has_files = ring->registered.n_files;
	return r;
}

static struct io_uring *uring_of(struct engine *engine)
{
	return &iou__ring_of(engine)->uring.ring;
}

static void let_go(struct engine *engine, bool is_owner)
{
	struct ring *ring = iou__ring_of(engine);

	iou__cq_empty_ring(engine->cq);
	iou__uring_close(&ring->uring, is_owner);
	engine->cq->ring = cq_ring_of(&ring->uring);
}

static void release(struct engine *engine, bool is_owner)
{
	struct ring *ring = iou__ring_of(engine);

	iou__uring_close(&ring->uring, is_owner);
	iou__registered_destroy(&ring->registered);
	if (ring->event_fd >= 0)
		close(ring->event_fd);
	free(ring);
}

/* Not the owner, so that nothing is unregistered. */
static void abandon(struct engine *engine)
{
	release(engine, false);
}

static int supports(struct engine *engine, unsigned opcode)
{
	return iou__uring_supports(&iou__ring_of(engine)->uring, opcode);
}

static const struct engine_verbs verbs = {
	.bind = take_owner,
	.enter = enter,
	.resize = iou__ring_resize,
	.takes = iou__ring_takes,
	.has_news = has_news,
	.watch = watch,
	.look = look,
	.supports = supports,
	.do_register = do_register,
	.uring = uring_of,
	.let_go = let_go,
	.free = release,
	.abandon = abandon,
};

int iou__ring_new(const struct uring_config *config, struct ops *ops, struct stage *stage, struct timeouts *timeouts,
		  struct cq *cq, struct engine **engine)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	struct uring uring;

	if (!ring)
		return -ENOMEM;

	int r = iou__uring_create(config, &uring);

	if (r < 0) {
		free(ring);
		return r;
	}
	ring->engine = (struct engine){
		.verbs = &verbs,
		.kind = IOU_ENGINE_URING,
		.ops = ops,
		.stage = stage,
		.timeouts = timeouts,
		.cq = cq,
	};
	ring->event_fd = -1;
	iou__cq_init(cq, cq_ring_of(&uring));
	iou__ring_adopt(ring, &uring, config);
	*engine = &ring->engine;
	return 0;
}
