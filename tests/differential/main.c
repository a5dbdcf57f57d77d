/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * differential [--programs N] [--seconds N] [--seed SEED]: TAP, a point for each hundred programs, until there have been
 * so many or so much time has gone by. Of a program that differs what makes no difference is left out, and what is left is
 * printed; it can be had again by its seed.
 *
 * A program counts as different if it is so again and again with ever more patience: else a thread was slow.
 */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROGRAMS_PER_POINT = 100 };

static struct world kernel, threads;

/* Comparing. */

static bool is_same(const struct outcome *one, const struct outcome *other)
{
	if (one->sqe.opcode != other->sqe.opcode || one->n_calls != other->n_calls || one->data != other->data)
		return false;
	return memcmp(one->calls, other->calls, sizeof(one->calls)) == 0;
}

static int compare_ops(void)
{
	int n = 0;

	for (int i = 0; i < N_OPS; i++)
		n += !is_same(&kernel.outcomes[i], &threads.outcomes[i]);
	return n;
}

static bool is_same_trace(int i)
{
	return memcmp(&kernel.traces[i], &threads.traces[i], sizeof(kernel.traces[i])) == 0;
}

static int compare_traces(void)
{
	int n = kernel.n_traces != threads.n_traces;

	for (int i = 0; i < kernel.n_traces && i < threads.n_traces; i++)
		n += !is_same_trace(i);
	return n;
}

static bool differs_once(uint64_t seed, const struct cut *cut)
{
	world_open(&kernel, IOU_ENGINE_URING, seed, cut);
	program_run(&kernel);
	world_close(&kernel);
	world_open(&threads, IOU_ENGINE_THREADS, seed, cut);
	program_run(&threads);
	world_close(&threads);
	return compare_ops() + compare_traces() > 0;
}

static bool differs(uint64_t seed, struct cut *cut)
{
	static const unsigned patiences_ms[] = { 10, 30, 90, 270 };

	for (size_t i = 0; i < sizeof(patiences_ms) / sizeof(patiences_ms[0]); i++) {
		cut->patience_ms = patiences_ms[i];
		if (!differs_once(seed, cut))
			return false;
	}
	return true;
}

/* Leaving out what makes no difference. */

static void cut_steps(uint64_t seed, struct cut *cut)
{
	for (int step = N_STEPS - 1; step >= 0; step--) {
		struct cut less = *cut;

		less.steps |= 1U << step;
		if (differs(seed, &less))
			*cut = less;
	}
}

static void cut_ops(uint64_t seed, struct cut *cut)
{
	for (int i = N_OPS - 1; i >= 0; i--) {
		struct cut less = *cut;

		if (cut->steps >> i / OPS_PER_STEP & 1)
			continue;
		less.ops[i / OPS_PER_STEP] |= (uint8_t)(1U << i % OPS_PER_STEP);
		if (differs(seed, &less))
			*cut = less;
	}
}

/* Reports. */

static void print_calls(const char *engine, const struct outcome *outcome)
{
	printf("#   %-8s", engine);
	for (int i = 0; i < outcome->n_calls && i < MAX_CALLS; i++)
		printf(" %d/%x", outcome->calls[i].result, outcome->calls[i].flags);
	printf(" data %016llx\n", (unsigned long long)outcome->data);
}

static const char *name_of(int fd)
{
	static const char *const names[] = {
		"FILE",        "APPENDED",      "READ_ONLY",    "PATH",        "DIRECTORY", "PIPE",        "PIPE_TO",
		"NB_PIPE",     "NB_PIPE_TO",    "STREAM",       "STREAM_TO",   "DATAGRAM",  "DATAGRAM_TO", "SEQUENCE",
		"SEQUENCE_TO", "NB_STREAM",     "NB_STREAM_TO", "TCP",         "TCP_TO",    "UDP",         "UDP_TO",
		"LISTENER",    "UNIX_LISTENER", "SOCKET",       "UNIX_SOCKET", "EVENTFD",   "EPOLL",
	};

	return fd >= FIRST_FD && fd < FIRST_FD + A_CLOSED_ONE ? names[fd - FIRST_FD] : "none";
}

static void print_op(int i)
{
	const struct io_uring_sqe *sqe = &kernel.outcomes[i].sqe;

	printf("# step %d op %d: opcode %u fd %d (%s) flags %#x ioprio %u off %lld addr %#llx len %u rw %#x buf %u "
	       "personality %u file %#x addr3 %#llx\n",
	       i / OPS_PER_STEP, i % OPS_PER_STEP, sqe->opcode, sqe->fd, name_of(sqe->fd), sqe->flags, sqe->ioprio,
	       (long long)sqe->off, (unsigned long long)sqe->addr, sqe->len, sqe->rw_flags, sqe->buf_index,
	       sqe->personality, sqe->file_index, (unsigned long long)sqe->addr3);
	print_calls("kernel", &kernel.outcomes[i]);
	print_calls("threads", &threads.outcomes[i]);
}

static void print_difference(uint64_t seed)
{
	printf("# program %llu:\n", (unsigned long long)seed);
	for (int i = 0; i < N_OPS; i++)
		if (kernel.outcomes[i].is_queued || threads.outcomes[i].is_queued)
			print_op(i);
	for (int i = 0; i < kernel.n_traces && i < threads.n_traces; i++)
		if (!is_same_trace(i))
			printf("# %s: kernel %#llx; threads, %s: %#llx\n", kernel.traces[i].name,
			       (unsigned long long)kernel.traces[i].value, threads.traces[i].name,
			       (unsigned long long)threads.traces[i].value);
	fflush(stdout);
}

static void report(uint64_t seed, struct cut *cut)
{
	cut_steps(seed, cut);
	cut_ops(seed, cut);
	differs(seed, cut);
	print_difference(seed);
}

struct options {
	unsigned long n_programs, n_seconds;
	uint64_t seed;
};

static void read_options(struct options *options, int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--programs") == 0)
			options->n_programs = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seconds") == 0)
			options->n_seconds = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			options->seed = strtoull(argv[i + 1], NULL, 0);
	}
}

/* How many of these programs differ. */
static int run(uint64_t seed, unsigned long n)
{
	int n_different = 0;

	for (; n; n--, seed++) {
		struct cut cut = { 0 };

		if (!differs(seed, &cut))
			continue;
		report(seed, &cut);
		n_different++;
	}
	return n_different;
}

static unsigned long min(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

/* The descriptor 0 gets into everything: it is one that can be waited for, and never is ready. */
static void take_stdin(void)
{
	int fds[2];

	if (pipe(fds) < 0 || dup2(fds[0], 0) < 0 || dup2(fds[1], STDIN_WRITER) < 0 || close(fds[0]) < 0 ||
	    close(fds[1]) < 0) {
		perror("stdin");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options options = { .n_programs = ~0UL, .n_seconds = ~0UL, .seed = (uint64_t)time(NULL) << 20 };
	unsigned long n_done = 0, n_points = 0;
	time_t begin = time(NULL);
	int n_failed = 0;

	read_options(&options, argc, argv);
	take_stdin();
	signal(SIGPIPE, SIG_IGN);
	while (n_done < options.n_programs && (unsigned long)(time(NULL) - begin) < options.n_seconds) {
		unsigned long n = min(PROGRAMS_PER_POINT, options.n_programs - n_done);
		int n_different = run(options.seed + n_done, n);

		printf("%sok %lu - programs %llu to %llu\n", n_different ? "not " : "", ++n_points,
		       (unsigned long long)(options.seed + n_done),
		       (unsigned long long)(options.seed + n_done + n - 1));
		fflush(stdout);
		n_failed += n_different;
		n_done += n;
	}
	printf("1..%lu\n# %lu programs, %d of them different\n", n_points, n_done, n_failed);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
