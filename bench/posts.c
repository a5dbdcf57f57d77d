/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * posts: what another thread, on another CPU, tells the loop.
 *
 * "awake": the time of a post while the loop does not wait, from the first to when the last has arrived.
 * "parked": the time from a post until it has arrived, where the loop had gone to sleep.
 */
#include "posts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { AWAKE, PARKED };

#define PAUSE_NS 100000

struct posts {
	struct bench_run *run;
	const struct posts_loop *loop;
	void *handle;
	struct post *post;
	double *times;
	/* The poster reads what is above again and again, and the loop writes this: not on the same cache line. */
	_Alignas(128) uint64_t n_arrived;
	_Alignas(128) _Atomic(struct post *) newest;
	_Alignas(128) pthread_barrier_t begin;
	/* What it took to post all. */
	double posting_ns;
	/* The thread that is parked, its name in /proc, and what it tells the poster. */
	int stat_fd;
	sem_t arrived;
};

bool posts_push(struct post *post)
{
	_Atomic(struct post *) *newest = &post->posts->newest;

	post->next = atomic_load_explicit(newest, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(newest, &post->next, post, memory_order_release,
						      memory_order_relaxed))
		continue;
	return !post->next;
}

void posts_take(struct posts *posts)
{
	struct post *post = atomic_exchange_explicit(&posts->newest, NULL, memory_order_acquire);
	struct post *oldest = NULL, *next;

	for (; post; post = next) {
		next = post->next;
		post->next = oldest;
		oldest = post;
	}
	for (; oldest; oldest = next) {
		next = oldest->next;
		posts_arrived(oldest);
	}
}

void posts_arrived(struct post *post)
{
	struct posts *posts = post->posts;

	if (posts->times)
		posts->times[post->number] += bench_now_ns();
	bench_check(posts->run, post->number == posts->n_arrived, "a post is lost, told twice, or out of order");
	posts->n_arrived++;
	if (posts->times && sem_post(&posts->arrived))
		bench_fail("sem_post: %s", strerror(errno));
}

/* A loop that spins for a while before it sleeps is not parked yet. */
static void wait_for_sleep(const struct posts *posts)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	char stat[512];
	const char *name_end;

	do {
		nanosleep(&pause, NULL);
		stat[bench_try_errno((int)pread(posts->stat_fd, stat, sizeof(stat) - 1, 0), "/proc")] = '\0';
		name_end = strrchr(stat, ')');
	} while (!name_end || name_end[2] != 'S');
}

static void *post_to_parked(void *data)
{
	struct posts *posts = data;

	bench_pin(1);
	pthread_barrier_wait(&posts->begin);
	for (uint64_t i = 0; i < posts->run->n; i++) {
		wait_for_sleep(posts);
		posts->times[i] = -bench_now_ns();
		posts->loop->post(posts->handle, &posts->post[i]);
		bench_try_errno(sem_wait(&posts->arrived), "sem_wait");
	}
	return NULL;
}

static void *post_to_awake(void *data)
{
	struct posts *posts = data;

	bench_pin(1);
	pthread_barrier_wait(&posts->begin);
	posts->posting_ns = -bench_now_ns();
	for (uint64_t i = 0; i < posts->run->n; i++)
		posts->loop->post(posts->handle, &posts->post[i]);
	posts->posting_ns += bench_now_ns();
	return NULL;
}

static void receive(struct posts *posts, void *(*poster)(void *))
{
	struct bench_run *run = posts->run;
	pthread_t thread;

	bench_try(-pthread_create(&thread, NULL, poster, posts), "pthread_create");
	bench_pin(0);
	pthread_barrier_wait(&posts->begin);
	bench_begin(run);
	while (posts->n_arrived < run->n)
		posts->loop->turn(posts->handle, run->param == PARKED);
	bench_end(run);
	bench_try(-pthread_join(thread, NULL), "pthread_join");
	/* One that is told twice would be here now. */
	posts->loop->turn(posts->handle, false);
	bench_check(run, posts->n_arrived == run->n, "number of posts");
}

static void measure_awake(struct posts *posts)
{
	struct bench_run *run = posts->run;

	receive(posts, post_to_awake);
	bench_set(run, run->time_ns / (double)run->n, "ns", true);
	bench_also(run, "post_ns", posts->posting_ns / (double)run->n);
}

static void measure_parked(struct posts *posts)
{
	struct bench_run *run = posts->run;
	double p50;

	posts->stat_fd = bench_try_errno(open("/proc/thread-self/stat", O_RDONLY | O_CLOEXEC), "/proc");
	posts->times = bench_try_ptr(calloc(run->n, sizeof(*posts->times)), "calloc");
	receive(posts, post_to_parked);
	p50 = bench_percentile(posts->times, run->n, 0.5);
	bench_set(run, p50, "ns", true);
	bench_also(run, "p50_ns", p50);
	bench_also(run, "p99_ns", bench_percentile(posts->times, run->n, 0.99));
	free(posts->times);
	close(posts->stat_fd);
}

void posts_measure(struct bench_run *run, const struct posts_loop *loop)
{
	struct posts posts = { .run = run, .loop = loop };

	bench_try(-pthread_barrier_init(&posts.begin, NULL, 2), "pthread_barrier_init");
	bench_try_errno(sem_init(&posts.arrived, 0, 0), "sem_init");
	posts.post = bench_try_ptr(calloc(run->n, sizeof(*posts.post)), "calloc");
	for (uint64_t i = 0; i < run->n; i++)
		posts.post[i] = (struct post){ .posts = &posts, .number = i };
	posts.handle = loop->open(&posts);
	if (run->param == AWAKE)
		measure_awake(&posts);
	else
		measure_parked(&posts);
	loop->close(posts.handle);
	free(posts.post);
	sem_destroy(&posts.arrived);
	pthread_barrier_destroy(&posts.begin);
}

#define CASES(impl, run)                          \
	{ impl, AWAKE, 1000000, run, "awake" },   \
	{                                         \
		impl, PARKED, 2000, run, "parked" \
	}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		CASES("libiou", posts_libiou),
		{ "list", AWAKE, 1000000, posts_list, "awake" },
		CASES("eventfd", posts_eventfd),
		CASES("msg_ring", posts_msg_ring),
#ifdef HAVE_LIBUV
		CASES("libuv", posts_libuv),
#endif
#ifdef HAVE_LIBEV
		CASES("libev", posts_libev),
#endif
#ifdef HAVE_LIBEVENT
		CASES("libevent", posts_libevent),
#endif
#ifdef HAVE_GLIB
		CASES("glib", posts_glib),
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "posts", cases);
}
