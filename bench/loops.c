/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loops: whether loops get in each other's way. As many loops as param says, each in a thread that is bound to a CPU
 * of its own, issue run->n nops each, 32 at a time. The measurement is the nops of all loops in a second.
 */
#include "nops.h"

#include <pthread.h>
#include <stdlib.h>

#define DEPTH 32
#define MAX_LOOPS 2

struct loop {
	struct bench_run run;
	void (*nops)(struct bench_run *run);
	unsigned number;
	pthread_t thread;
	pthread_barrier_t *barrier;
};

static void *run_loop(void *data)
{
	struct loop *loop = data;

	bench_pin(loop->number);
	pthread_barrier_wait(loop->barrier);
	/* The clock has been started. */
	pthread_barrier_wait(loop->barrier);
	loop->nops(&loop->run);
	return NULL;
}

static void run_loops(struct bench_run *run, void (*nops)(struct bench_run *run))
{
	struct loop loops[MAX_LOOPS] = { 0 };
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, run->param + 1);
	for (unsigned i = 0; i < run->param; i++) {
		loops[i] = (struct loop){ { .param = DEPTH, .n = run->n }, nops, i, .barrier = &barrier };
		bench_try(-pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]), "pthread_create");
	}
	pthread_barrier_wait(&barrier);
	bench_begin(run);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < run->param; i++) {
		pthread_join(loops[i].thread, NULL);
		run->n_checks += loops[i].run.n_checks;
	}
	bench_end(run);
	run->n *= run->param;
	pthread_barrier_destroy(&barrier);
}

static void loops_libiou(struct bench_run *run)
{
	run_loops(run, nops_libiou);
}

static void loops_raw(struct bench_run *run)
{
	run_loops(run, nops_raw);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 1, 4000000, loops_libiou },
		{ "libiou", 2, 4000000, loops_libiou },
		{ "raw", 1, 5000000, loops_raw },
		{ "raw", 2, 5000000, loops_raw },
		{ 0 },
	};

	return bench_main(argc, argv, "loops", cases);
}
