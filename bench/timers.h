/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TIMERS_H
#define TIMERS_H

#include "bench.h"

struct timers;

struct timer {
	struct timers *timers;
	/* From timers->base_ns on, which is CLOCK_MONOTONIC. */
	unsigned delay_us;
	bool is_armed;
	/* What an implementation needs for one. */
	struct __kernel_timespec due;
	void *handle;
};

struct timers {
	struct bench_run *run;
	struct timer *timer;
	uint64_t n;
	uint64_t n_armed;
	uint64_t base_ns;
	unsigned last_us;
	/*
	 * An implementation sets these before it arms any: so much may a timer be early, and before another that is due
	 * earlier; and that those of a turn fire in any order.
	 */
	double resolution_ns;
	bool is_unordered;
};

/* All delays count from the same moment, so that their order is known: arm() begins with a fresh look at the clock. */
struct timers_loop {
	/* Returns what the others get. */
	void *(*open)(struct timers *timers);
	/* Make and arm all; of each timers_armed() is told. */
	void (*arm)(void *loop);
	/* Run until all have fired; of each timers_fired() is told. */
	void (*fire)(void *loop);
	/* End all, in the order in which they were armed; of each timers_cancelled() is told. */
	void (*cancel)(void *loop);
	void (*close)(void *loop);
};

void timers_armed(struct timer *timer);
void timers_fired(struct timer *timer);
void timers_cancelled(struct timer *timer);

/* For absolute timeouts: fills in timer->due. */
void timers_set_due(struct timer *timer);

/* So far CLOCK_MONOTONIC_COARSE is behind base_ns, and who goes by it may be early: a tick, or more if that is late. */
double timers_coarse_lag_ns(const struct timers *timers);

void timers_measure(struct bench_run *run, const struct timers_loop *loop);

void timers_libiou(struct bench_run *run);
void timers_raw(struct bench_run *run);
void timers_libuv(struct bench_run *run);
void timers_libev(struct bench_run *run);
void timers_libevent(struct bench_run *run);
void timers_glib(struct bench_run *run);

#endif
