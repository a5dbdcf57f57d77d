/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_H
#define BENCH_H

/*
 * What the programs in this directory share. Each measures one workload, written once for each implementation:
 *
 *	NAME --list            what there is to run, a line "IMPL PARAM" each
 *	NAME IMPL PARAM [N]    run N operations; the measurement is one line of JSON on stdout
 *
 * A program is a table of cases, and bench_main(). A case sets up, calls bench_begin(), does run->n operations, calls
 * bench_end() and tears down. It checks each result with bench_check(), at least one per operation. Whatever is wrong
 * ends the program with a message and a status that is not 0.
 */

#include <iou.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MAX_FIGURES 8

struct bench_figure {
	const char *name;
	double value;
};

struct bench_run {
	unsigned param;
	/* How many operations to do. A case that cannot do just so many (batches) writes here how many it did. */
	uint64_t n;
	/* How many results have been checked. */
	uint64_t n_checks;
	/* Between bench_begin() and bench_end(): wall-clock time, and user and system time of all threads. */
	double time_ns;
	double cpu_ns;
	/* The measurement. Unless the case sets another it is operations per second. */
	double value;
	const char *unit;
	bool is_lower_better;
	/* What else there is to tell, see bench_also(). */
	struct bench_figure figures[BENCH_MAX_FIGURES];
	unsigned n_figures;
};

struct bench_case {
	const char *impl;
	unsigned param;
	/* How many operations take about half a second. */
	uint64_t n;
	void (*run)(struct bench_run *run);
	/* How the parameter is written where a number would tell nothing; else NULL. */
	const char *param_name;
};

/* The table ends with a case whose impl is NULL. */
int bench_main(int argc, char **argv, const char *workload, const struct bench_case *cases);

void bench_begin(struct bench_run *run);
void bench_end(struct bench_run *run);

/* Set the measurement, for workloads that are not about operations per second. */
void bench_set(struct bench_run *run, double value, const char *unit, bool is_lower_better);

/* One more figure; it becomes a member of "also" in the line of JSON. */
void bench_also(struct bench_run *run, const char *name, double value);

/* Any thread. */
void bench_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Passes on what a call returned; fails if that is a negative errno. */
int bench_try(int result, const char *what);

/* The same for calls that return -1 and set errno. */
int bench_try_errno(int result, const char *what);

/* The same for calls that return NULL and set errno. */
void *bench_try_ptr(void *result, const char *what);

static inline void bench_check(struct bench_run *run, bool is_right, const char *what)
{
	run->n_checks++;
	if (!is_right)
		bench_fail("wrong: %s", what);
}

/* CLOCK_MONOTONIC, as it is and as it was at the last tick. */
double bench_now_ns(void);
double bench_coarse_ns(void);
double bench_cpu_ns(void);

/* The same numbers in each run. state: any number but 0 to begin with. */
static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Sorts the values. share: 0.5 for the median. */
double bench_percentile(double *values, size_t n, double share);

/* Bind the calling thread to the n-th (modulo their number) of the CPUs that it may run on. */
void bench_pin(unsigned n);

/* What a program that knows its ring would choose: the flags that are fastest, and the ring's descriptor registered. */
void bench_ring_init(struct io_uring *ring, unsigned entries);

/* Submit, and wait only if nothing has completed by then: what finishes inline is not waited for. */
void bench_ring_turn(struct io_uring *ring);

/* iou_new() and iou_op_new() that fail as said above. */
iou_t *bench_iou_new(unsigned entries);
iou_op_t *bench_op_new(iou_t *iou);

#endif
