/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef POSTS_H
#define POSTS_H

#include "bench.h"

struct posts;

struct post {
	/* In the list of those that only wake, see posts_push(). */
	struct post *next;
	struct posts *posts;
	uint64_t number;
};

struct posts_loop {
	/* Returns what the others get. */
	void *(*open)(struct posts *posts);
	/* From another thread, have posts_arrived() called on the loop. */
	void (*post)(void *loop, struct post *post);
	/* One turn of the loop. */
	void (*turn)(void *loop, bool may_wait);
	void (*close)(void *loop);
};

void posts_arrived(struct post *post);

/*
 * For those that have a way to wake a loop and none to tell it why, and that take several calls for one: a list from
 * which the loop takes all. Without a lock, and nothing is allocated. Returns whether it was empty, so that the loop
 * knows of nothing yet.
 */
bool posts_push(struct post *post);
void posts_take(struct posts *posts);

void posts_measure(struct bench_run *run, const struct posts_loop *loop);

void posts_libiou(struct bench_run *run);
void posts_list(struct bench_run *run);
void posts_eventfd(struct bench_run *run);
void posts_msg_ring(struct bench_run *run);
void posts_libuv(struct bench_run *run);
void posts_libev(struct bench_run *run);
void posts_libevent(struct bench_run *run);
void posts_glib(struct bench_run *run);

#endif
