/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * differential [--programs N] [--seed SEED]: TAP, a point for each program. One that differs says in what, and can be had
 * again by its seed.
 */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const char *engine, const struct outcome *outcome)
{
	printf("#   %-8s", engine);
	for (int i = 0; i < outcome->n_calls && i < MAX_CALLS; i++)
		printf(" %d/%x", outcome->calls[i].result, outcome->calls[i].flags);
	printf(" data %016llx\n", (unsigned long long)outcome->data);
}

static bool is_same(const struct outcome *one, const struct outcome *other)
{
	if (one->sqe.opcode != other->sqe.opcode || one->n_calls != other->n_calls || one->data != other->data)
		return false;
	return memcmp(one->calls, other->calls, sizeof(one->calls)) == 0;
}

/* The op, and the chain that it is in. */
static void print_op(const struct world *kernel, const struct world *threads, int i)
{
	const struct io_uring_sqe *sqe = &kernel->outcomes[i].sqe;

	printf("# op %d: opcode %u fd %d flags %#x ioprio %u off %lld len %u rw %#x buf %u file %#x\n", i, sqe->opcode,
	       sqe->fd, sqe->flags, sqe->ioprio, (long long)sqe->off, sqe->len, sqe->rw_flags, sqe->buf_index,
	       sqe->file_index);
	print("kernel", &kernel->outcomes[i]);
	print("threads", &threads->outcomes[i]);
}

static bool is_linked(const struct world *world, int i)
{
	return i >= 0 && world->outcomes[i].sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
}

static void print_chain(const struct world *kernel, const struct world *threads, int i)
{
	while (is_linked(kernel, i - 1))
		i--;
	do
		print_op(kernel, threads, i);
	while (is_linked(kernel, i++) && i < kernel->n_ops);
}

static int compare(const struct world *kernel, const struct world *threads)
{
	int n_different = kernel->n_ops != threads->n_ops;

	for (int i = 0; i < kernel->n_ops && i < threads->n_ops; i++) {
		if (is_same(&kernel->outcomes[i], &threads->outcomes[i]))
			continue;
		print_chain(kernel, threads, i);
		n_different++;
	}
	return n_different;
}

static bool run(uint64_t seed)
{
	static struct world kernel, threads;

	world_open(&kernel, IOU_ENGINE_URING, seed);
	program_run(&kernel);
	world_close(&kernel);
	world_open(&threads, IOU_ENGINE_THREADS, seed);
	program_run(&threads);
	world_close(&threads);
	return compare(&kernel, &threads) == 0;
}

int main(int argc, char **argv)
{
	unsigned long n = 50;
	uint64_t seed = 1;
	int n_failed = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--programs") == 0)
			n = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
	}
	signal(SIGPIPE, SIG_IGN);
	printf("1..%lu\n", n);
	for (unsigned long i = 0; i < n; i++) {
		bool is_same = run(seed + i);

		printf("%sok %lu - program %llu\n", is_same ? "" : "not ", i + 1, (unsigned long long)(seed + i));
		fflush(stdout);
		n_failed += !is_same;
	}
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
