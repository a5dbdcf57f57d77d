/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iopool.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../cpus.h"
#include "opcodes.h"

#define PER_CPU 4 /* the kernel's own limit for bounded work */
#define MAX_UNBOUNDED 1024
#define MOST_THREADS 4096

int iou__iopool_init(struct iopool *pool, const unsigned n_max[N_LANES])
{
	pool->is_made = true;
	pthread_mutex_init(&pool->lock, NULL);
	iou__queue_init(&pool->finished);
	for (int i = 0; i < N_LANES; i++) {
		struct iolane *lane = &pool->lanes[i];

		lane->pool = pool;
		lane->n_max = n_max[i] < MOST_THREADS ? n_max[i] : MOST_THREADS;
		iou__queue_init(&lane->waiting);
		pthread_cond_init(&lane->has_news, NULL);
	}
	pool->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return pool->wake_fd < 0 ? -errno : 0;
}

/* Under the lock: wait for a request and take it, or NULL: stop. */
static struct request *claim(struct iolane *lane)
{
	struct node *node;

	while (!(node = iou__queue_pop(&lane->waiting)) && !lane->pool->has_to_stop) {
		lane->n_idle++;
		pthread_cond_wait(&lane->has_news, &lane->pool->lock);
		lane->n_idle--;
	}
	if (!node)
		return NULL;

	struct request *request = container_of(node, struct request, node);

	lane->n_waiting--;
	request->is_on_worker = true;
	return request;
}

static void wake_loop(const struct iopool *pool)
{
	uint64_t one = 1;

	while (write(pool->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Under the lock. */
static void hand_back(struct iopool *pool, struct request *request)
{
	iou__queue_push(&pool->finished, &request->node);
	atomic_store_explicit(&pool->has_finished, true, memory_order_relaxed);
	if (pool->is_asleep)
		wake_loop(pool);
	pool->is_asleep = false;
}

/* The word. */

static void call_futex(struct request *request, int what, uint32_t value)
{
	syscall(SYS_futex, &request->word, what, value, NULL, NULL, 0);
}

/* Whether the worker has left off. */
static bool tell(struct request *request, uint32_t word)
{
	uint32_t none = WORD_NONE;

	if (!request->listens || !atomic_compare_exchange_strong(&request->word, &none, word))
		return false;
	call_futex(request, FUTEX_WAKE_PRIVATE, 1);
	while (atomic_load(&request->word) == word)
		call_futex(request, FUTEX_WAIT_PRIVATE, word);
	return atomic_load(&request->word) == WORD_LEFT;
}

uint32_t iou__iopool_leave_off(struct request *request)
{
	uint32_t word = atomic_load(&request->word);

	if (word != WORD_NONE)
		atomic_store(&request->word, WORD_LEFT);
	return word;
}

/* The worker's attempt is over: there is no telling it anything from now on, and who waits for its answer gets it. */
static void answer(struct request *request)
{
	uint32_t word = WORD_NONE;

	if (!request->listens || atomic_compare_exchange_strong(&request->word, &word, WORD_KEPT))
		return;
	if (word != WORD_LEFT)
		atomic_store(&request->word, WORD_KEPT);
	call_futex(request, FUTEX_WAKE_PRIVATE, 1);
}

static void *work(void *data)
{
	struct iolane *lane = data;
	struct iopool *pool = lane->pool;
	struct request *request;

	pthread_setname_np(pthread_self(), "iou-io");
	pthread_mutex_lock(&pool->lock);
	while ((request = claim(lane))) {
		pthread_mutex_unlock(&pool->lock);
		request->outcome = (uint8_t)iou__opcode_try(request);
		answer(request);
		pthread_mutex_lock(&pool->lock);
		hand_back(pool, request);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Signals are the program's: a worker is born with all of them blocked. */
static int create_thread(struct iolane *lane, pthread_t *thread)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);

	int r = pthread_create(thread, NULL, work, lane);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static unsigned default_max(const struct iolane *lane)
{
	return lane == &lane->pool->lanes[LANE_BOUNDED] ? PER_CPU * iou__cpus() : MAX_UNBOUNDED;
}

/* 0; -EBUSY: there are as many as may be; or why there is no more. */
static int start_thread(struct iolane *lane)
{
	int r;

	if (!lane->n_max)
		lane->n_max = default_max(lane);
	if (!lane->threads)
		lane->threads = calloc(lane->n_max, sizeof(pthread_t));
	if (!lane->threads)
		return -ENOMEM;
	if (lane->n_threads == lane->n_max)
		return -EBUSY;
	r = create_thread(lane, &lane->threads[lane->n_threads]);
	lane->n_threads += r == 0;
	return -r;
}

static struct iolane *lane_of(struct iopool *pool, const struct request *request)
{
	return &pool->lanes[request->is_bounded ? LANE_BOUNDED : LANE_UNBOUNDED];
}

int iou__iopool_put(struct iopool *pool, struct request *request)
{
	struct iolane *lane = lane_of(pool, request);
	int r = 0;

	atomic_store_explicit(&request->word, WORD_NONE, memory_order_relaxed);
	pthread_mutex_lock(&pool->lock);
	if (lane->n_waiting >= lane->n_idle)
		r = start_thread(lane);
	if (r < 0 && lane->n_threads)
		r = request->is_bounded ? 0 : -EBUSY;
	if (r == 0) {
		iou__queue_push(&lane->waiting, &request->node);
		lane->n_waiting++;
		pool->n_out++;
		pthread_cond_signal(&lane->has_news);
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

enum withdrawal iou__iopool_withdraw(struct iopool *pool, struct request *request, uint32_t word)
{
	struct iolane *lane = lane_of(pool, request);

	pthread_mutex_lock(&pool->lock);

	bool is_withdrawn = !request->is_on_worker;

	if (is_withdrawn) {
		iou__queue_remove(&request->node);
		lane->n_waiting--;
		pool->n_out--;
	}
	pthread_mutex_unlock(&pool->lock);
	if (is_withdrawn)
		return IOPOOL_WITHDRAWN;
	return tell(request, word) ? IOPOOL_LEFT : IOPOOL_KEPT;
}

void iou__iopool_take(struct iopool *pool, struct queue *out)
{
	struct node *node;

	if (!pool->n_out)
		return;
	pthread_mutex_lock(&pool->lock);
	while ((node = iou__queue_pop(&pool->finished))) {
		iou__queue_push(out, node);
		pool->n_out--;
	}
	atomic_store_explicit(&pool->has_finished, false, memory_order_relaxed);
	pthread_mutex_unlock(&pool->lock);
}

bool iou__iopool_doze(struct iopool *pool)
{
	bool is_asleep = true;

	if (!pool->n_out)
		return true;
	pthread_mutex_lock(&pool->lock);
	is_asleep = pool->is_asleep = iou__queue_is_empty(&pool->finished);
	pthread_mutex_unlock(&pool->lock);
	return is_asleep;
}

void iou__iopool_rouse(struct iopool *pool)
{
	uint64_t n;

	while (read(pool->wake_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

void iou__iopool_stop(struct iopool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->has_to_stop = true;
	for (int i = 0; i < N_LANES; i++) {
		iou__queue_init(&pool->lanes[i].waiting);
		pthread_cond_broadcast(&pool->lanes[i].has_news);
	}
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < N_LANES; i++)
		while (pool->lanes[i].n_threads)
			pthread_join(pool->lanes[i].threads[--pool->lanes[i].n_threads], NULL);
}

static void free_lanes(struct iopool *pool)
{
	for (int i = 0; i < N_LANES; i++) {
		free(pool->lanes[i].threads);
		pool->lanes[i].threads = NULL;
		pool->lanes[i].n_threads = 0;
	}
	if (pool->wake_fd >= 0)
		close(pool->wake_fd);
	pool->wake_fd = -1;
}

void iou__iopool_destroy(struct iopool *pool)
{
	if (!pool->is_made)
		return;
	pool->is_made = false;
	iou__iopool_stop(pool);
	free_lanes(pool);
	for (int i = 0; i < N_LANES; i++)
		pthread_cond_destroy(&pool->lanes[i].has_news);
	pthread_mutex_destroy(&pool->lock);
}

void iou__iopool_abandon(struct iopool *pool)
{
	free_lanes(pool);
}
