/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random walks over the whole API, for as long as wanted: see walk/world.h. A walk that fails names its seed, and is
 * walked again with --seed SEED --walks 1.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "walk/world.h"

/* A walk takes some milliseconds, with sanitizers a second; one that takes so long hangs. */
#define HANG_S 60

struct plan {
	uint64_t seed;
	uint64_t n_walks; /* 0: as the time allows */
	unsigned n_steps;
	uint32_t engine; /* IOU_ENGINE_AUTO: each in turn */
	int64_t seconds;
	bool is_verbose;
};

static void usage(FILE *to)
{
	fputs("usage: soak [--seconds N] [--walks N] [--steps N] [--seed N]\n"
	      "            [--engine uring|threads] [--verbose]\n"
	      "\n"
	      "Walks at random over the API of libiou, with seeds from the given one on (default: from the clock), and\n"
	      "checks at each step what is promised. Stops after so many seconds (default: 10) or walks, but not before\n"
	      "the first is over. Even seeds are for io_uring and odd ones for threads, if it is not said which engine.\n",
	      to);
}

/* Async-signal-safe. */
static void say(const char *what)
{
	if (write(STDERR_FILENO, walk_name, strlen(walk_name)) > 0)
		(void)!write(STDERR_FILENO, what, strlen(what));
}

static void hang(int number)
{
	(void)number;
	say(": hangs\n");
	abort();
}

static void die(int number)
{
	char what[] = ": ended by signal 00\n";

	what[sizeof(what) - 4] = (char)('0' + number / 10);
	what[sizeof(what) - 3] = (char)('0' + number % 10);
	say(what);
	/* By default, from when this handler returns on. */
	raise(number);
}

static void be_ended(void)
{
	say(": ended by a sanitizer\n");
}

/* There is one in programs that are built with a sanitizer, which ends them without a word about the walk. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void set_handlers(void)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGPIPE, SIGTERM };
	const struct sigaction action = { .sa_handler = die, .sa_flags = (int)SA_RESETHAND };
	struct sigaction old;

	signal(SIGALRM, hang);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(be_ended);
	/* Where a sanitizer has a handler of its own, that one tells more. */
	for (unsigned i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		if (sigaction(deadly[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(deadly[i], &action, NULL);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (!*text || *end || *text == '-') {
		usage(stderr);
		exit(2);
	}
	return n;
}

static uint32_t engine_named(const char *name)
{
	if (strcmp(name, "uring") == 0)
		return IOU_ENGINE_URING;
	if (strcmp(name, "threads") == 0)
		return IOU_ENGINE_THREADS;
	usage(stderr);
	exit(2);
}

static struct plan read_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "walks", required_argument, NULL, 'w' },
		{ "steps", required_argument, NULL, 'n' },   { "seed", required_argument, NULL, 'r' },
		{ "engine", required_argument, NULL, 'e' },  { "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
	};
	struct plan plan = { .seed = (uint64_t)time(NULL) * 1000000, .n_steps = 300, .seconds = 10 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			plan.seconds = (int64_t)number(optarg);
			break;
		case 'w':
			plan.n_walks = number(optarg);
			break;
		case 'n':
			plan.n_steps = (unsigned)number(optarg);
			break;
		case 'r':
			plan.seed = number(optarg);
			break;
		case 'e':
			plan.engine = engine_named(optarg);
			break;
		case 'v':
			plan.is_verbose = true;
			break;
		default:
			usage(option == 'h' ? stdout : stderr);
			exit(option == 'h' ? 0 : 2);
		}
	}
	if (optind < argc) {
		usage(stderr);
		exit(2);
	}
	return plan;
}

static bool is_over(const struct plan *plan, uint64_t n_walks, int64_t begin)
{
	return plan->n_walks ? n_walks == plan->n_walks : time(NULL) >= begin + plan->seconds;
}

static void walk_once(const struct plan *plan, uint64_t seed)
{
	uint32_t by_seed = seed % 2 ? IOU_ENGINE_THREADS : IOU_ENGINE_URING;
	uint32_t engine = plan->engine == IOU_ENGINE_AUTO ? by_seed : plan->engine;
	struct source source = source_of_seed(seed);

	snprintf(walk_name, sizeof(walk_name), "soak: --engine %s --seed %" PRIu64 " --steps %u",
		 engine == IOU_ENGINE_URING ? "uring" : "threads", seed, plan->n_steps);
	if (plan->is_verbose)
		fprintf(stderr, "%s\n", walk_name);
	alarm(HANG_S);
	walk(&source, engine, plan->n_steps);
}

int main(int argc, char **argv)
{
	struct plan plan = read_arguments(argc, argv);
	int64_t begin = time(NULL);
	uint64_t n_walks = 0;

	set_handlers();
	/* Now, and not when it is too late. */
	printf("# from seed %" PRIu64 " on\n", plan.seed);
	fflush(stdout);
	do
		walk_once(&plan, plan.seed + n_walks++);
	while (!is_over(&plan, n_walks, begin));
	alarm(0);
	/* As TAP, since it is one of the suite. A walk that fails ends the program before. */
	printf("ok 1 - %" PRIu64 " walks from seed %" PRIu64 " on, %" PRId64 " s\n1..1\n", n_walks, plan.seed,
	       (int64_t)time(NULL) - begin);
	/* What leaks may be told of at the exit, and is any walk's. */
	snprintf(walk_name, sizeof(walk_name), "soak: %" PRIu64 " walks from seed %" PRIu64 " on", n_walks, plan.seed);
	return EXIT_SUCCESS;
}
