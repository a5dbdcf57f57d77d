/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "threads.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "flow.h"
#include "opcodes.h"
#include "register.h"
#include "timeline.h"
#include "turn.h"

static struct threads *threads_of(struct engine *engine)
{
	return container_of(engine, struct threads, engine);
}

/* For who watches the epoll set from outside. */

static int make_timer(struct threads *threads)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r = fd < 0 ? -errno : iou__watches_add_foreign(&threads->watches, fd, TURN_TIMER);

	if (r < 0 && fd >= 0)
		close(fd);
	if (r == 0)
		threads->timer_fd = fd;
	return r;
}

static int watch(struct engine *engine)
{
	struct threads *threads = threads_of(engine);
	int r = threads->timer_fd < 0 ? make_timer(threads) : 0;

	return r < 0 ? r : threads->watches.epoll_fd;
}

static void set_timer(struct threads *threads)
{
	uint64_t at = iou__timeline_next(&threads->timeline);
	struct itimerspec time = { 0 };

	if (at == threads->timer_is_at)
		return;
	if (at != TIMELINE_NEVER)
		time.it_value = iou__time_of_ns(at);
	timerfd_settime(threads->timer_fd, TFD_TIMER_ABSTIME, &time, NULL);
	threads->timer_is_at = at;
}

static bool look(struct engine *engine)
{
	struct threads *threads = threads_of(engine);

	bool has = iou__turn_look(threads);

	set_timer(threads);
	return has;
}

static bool has_news(struct engine *engine)
{
	return iou__turn_has_news(threads_of(engine));
}

static bool look_up(struct engine *engine, struct cqe *cqe)
{
	struct threads *threads = threads_of(engine);

	if (cqe->user_data != MESSAGES_MARK)
		return false;
	*cqe = iou__messages_pop(&threads->messages);
	return !iou__requests_find(threads, cqe->user_data);
}

static int enter(struct engine *engine, bool wait, const struct timespec *timeout)
{
	return iou__turn_take(threads_of(engine), wait, timeout);
}

/* Life cycle. */

static int take_owner(struct engine *engine)
{
	iou__messages_enable(&threads_of(engine)->messages);
	return 0;
}

/* The queues in this size; what is in the CQ goes to the copies. */
static int make_queues(struct threads *threads, unsigned entries, unsigned cq_entries)
{
	struct engine *engine = &threads->engine;
	unsigned n = iou__power_of_two(cq_entries ? cq_entries : 2 * iou__power_of_two(entries));
	struct io_uring_cqe *cqes = calloc(n, sizeof(*cqes));

	if (!cqes || !iou__cq_empty_ring(engine->cq)) {
		free(cqes);
		return -ENOMEM;
	}
	free(threads->cqes);
	threads->cqes = cqes;
	engine->cq->ring = (struct cq_ring){ &threads->cq_head, &threads->cq_tail, n - 1, cqes };
	engine->sq_entries = iou__power_of_two(entries);
	engine->cq_entries = n;
	return 0;
}

/* A CQ that was given a size of its own keeps it as long as it can. */
static int resize(struct engine *engine, unsigned entries, bool is_idle)
{
	struct threads *threads = threads_of(engine);
	unsigned n = threads->n_cq_wanted && threads->n_cq_wanted < entries ? entries : threads->n_cq_wanted;

	(void)is_idle;
	return make_queues(threads, entries, n);
}

static int supports(struct engine *engine, unsigned opcode)
{
	(void)engine;
	return iou__opcode_is_supported(opcode);
}

static int do_register(struct engine *engine, unsigned opcode, const void *arg, unsigned n)
{
	return iou__threads_register(threads_of(engine), opcode, arg, n);
}

/* It has the number of a descriptor for messages, and is a dummy in all else. */
static struct io_uring *uring_of(struct engine *engine)
{
	struct threads *threads = threads_of(engine);

	threads->dummy.ring.ring_fd = iou__messages_fd(&threads->messages);
	return &threads->dummy.ring;
}

/* Workers are waited for: they write to the program's memory. */
static void let_go(struct engine *engine, bool is_owner)
{
	(void)is_owner;
	iou__cq_empty_ring(engine->cq);
	iou__flow_let_go(threads_of(engine));
}

static void free_memory(struct threads *threads)
{
	iou__groups_destroy(&threads->groups);
	iou__fixed_destroy(&threads->fixed);
	/* A forked child shares the epoll set, which must not be told that these files go. */
	iou__watches_destroy(&threads->watches);
	iou__files_destroy(&threads->files);
	iou__messages_destroy(&threads->messages);
	if (threads->timer_fd >= 0)
		close(threads->timer_fd);
	free(threads->cqes);
	free(threads);
}

static void release(struct engine *engine, bool is_owner)
{
	struct threads *threads = threads_of(engine);

	(void)is_owner;
	if (threads->iopool.is_made)
		iou__flow_let_go(threads);
	iou__iopool_destroy(&threads->iopool);
	free_memory(threads);
}

static void abandon(struct engine *engine)
{
	iou__iopool_abandon(&threads_of(engine)->iopool);
	free_memory(threads_of(engine));
}

static const struct engine_verbs verbs = {
	.bind = take_owner,
	.enter = enter,
	.resize = resize,
	.has_news = has_news,
	.watch = watch,
	.look = look,
	.supports = supports,
	.do_register = do_register,
	.uring = uring_of,
	.look_up = look_up,
	.let_go = let_go,
	.free = release,
	.abandon = abandon,
};

static int init(struct threads *threads, const struct threads_config *config)
{
	int r = iou__watches_init(&threads->watches);

	if (r == 0)
		r = iou__iopool_init(&threads->iopool, config->n_workers);
	if (r == 0)
		r = iou__watches_add_foreign(&threads->watches, threads->iopool.wake_fd, TURN_WORKERS);
	return r < 0 ? r : make_queues(threads, config->entries, config->cq_entries);
}

int iou__threads_new(const struct threads_config *config, struct ops *ops, struct stage *stage,
		     struct timeouts *timeouts, struct cq *cq, struct engine **engine)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	int r;

	if (!threads)
		return -ENOMEM;
	threads->engine = (struct engine){
		.verbs = &verbs,
		.kind = IOU_ENGINE_THREADS,
		.ops = ops,
		.stage = stage,
		.timeouts = timeouts,
		.cq = cq,
		.can_cancel_any = true,
	};
	timeouts->knows_any = timeouts->knows_op = true;
	threads->n_cq_wanted = config->cq_entries;
	ops->extra = sizeof(struct request);
	threads->timer_fd = threads->watches.epoll_fd = threads->iopool.wake_fd = -1;
	threads->timer_is_at = TIMELINE_NEVER;
	iou__files_init(&threads->files, &threads->watches);
	iou__messages_init(&threads->messages, &threads->watches);
	iou__queue_init(&threads->ready);
	iou__queue_init(&threads->timeline);
	iou__queue_init(&threads->done);
	iou__uring_make_dummy(&threads->dummy);
	iou__cq_init(cq, (struct cq_ring){ &threads->cq_head, &threads->cq_tail, 0, NULL });
	r = init(threads, config);
	if (r < 0) {
		release(&threads->engine, false);
		return r;
	}
	*engine = &threads->engine;
	return 0;
}
