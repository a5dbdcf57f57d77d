/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Other threads may be running: nothing is torn down. */
void bench_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(EXIT_FAILURE);
}

int bench_try(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, strerror(-result));
	return result;
}

int bench_try_errno(int result, const char *what)
{
	return bench_try(result < 0 ? -errno : result, what);
}

void *bench_try_ptr(void *result, const char *what)
{
	if (!result)
		bench_fail("%s: %s", what, strerror(errno));
	return result;
}

static double clock_ns(clockid_t clock)
{
	struct timespec time;

	bench_try_errno(clock_gettime(clock, &time), "clock_gettime");
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double bench_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

double bench_coarse_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE);
}

double bench_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void bench_begin(struct bench_run *run)
{
	run->cpu_ns = -bench_cpu_ns();
	run->time_ns = -bench_now_ns();
}

void bench_end(struct bench_run *run)
{
	run->time_ns += bench_now_ns();
	run->cpu_ns += bench_cpu_ns();
}

void bench_set(struct bench_run *run, double value, const char *unit, bool is_lower_better)
{
	run->value = value;
	run->unit = unit;
	run->is_lower_better = is_lower_better;
}

void bench_also(struct bench_run *run, const char *name, double value)
{
	if (run->n_figures == BENCH_MAX_FIGURES)
		bench_fail("no room for the figure %s", name);
	run->figures[run->n_figures++] = (struct bench_figure){ name, value };
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t n, double share)
{
	qsort(values, n, sizeof(*values), compare);
	return values[(size_t)((double)(n - 1) * share + 0.5)];
}

void bench_pin(unsigned n)
{
	cpu_set_t all, one;
	int cpu = -1;

	bench_try_errno(sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity");
	n %= (unsigned)CPU_COUNT(&all);
	do {
		cpu++;
	} while (!CPU_ISSET(cpu, &all) || n-- > 0);
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	bench_try_errno(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

void bench_ring_init(struct io_uring *ring, unsigned entries)
{
	unsigned best = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

	/* Before Linux 6.1 there is no such ring. */
	if (io_uring_queue_init(entries, ring, best))
		bench_try(io_uring_queue_init(entries, ring, 0), "io_uring_queue_init");
	bench_try(io_uring_register_ring_fd(ring), "io_uring_register_ring_fd");
}

void bench_ring_turn(struct io_uring *ring)
{
	bench_try(io_uring_submit(ring), "io_uring_submit");
	if (io_uring_cq_ready(ring) == 0)
		bench_try(io_uring_submit_and_wait(ring, 1), "io_uring_submit_and_wait");
}

iou_t *bench_iou_new(unsigned entries)
{
	return bench_try_ptr(iou_new(entries), "iou_new");
}

iou_op_t *bench_op_new(iou_t *iou)
{
	return bench_try_ptr(iou_op_new(iou), "iou_op_new");
}

static void print_figures(const struct bench_run *run)
{
	for (unsigned i = 0; i < run->n_figures; i++)
		printf("%s\"%s\":%.3f", i ? "," : "", run->figures[i].name, run->figures[i].value);
}

/* quote: round a name, as JSON has it. */
static void print_param(const struct bench_case *bench_case, const char *quote)
{
	if (bench_case->param_name)
		printf("%s%s%s", quote, bench_case->param_name, quote);
	else
		printf("%u", bench_case->param);
}

static void print_run(const char *workload, const struct bench_case *found, const struct bench_run *run)
{
	printf("{\"workload\":\"%s\",\"impl\":\"%s\",\"param\":", workload, found->impl);
	print_param(found, "\"");
	printf(",\"n\":%llu,", (unsigned long long)run->n);
	printf("\"value\":%.3f,\"unit\":\"%s\",\"better\":\"%s\",", run->value, run->unit,
	       run->is_lower_better ? "lower" : "higher");
	printf("\"cpu_ns\":%.3f,\"checks\":%llu,\"also\":{", run->cpu_ns / (double)run->n,
	       (unsigned long long)run->n_checks);
	print_figures(run);
	printf("}}\n");
}

static int run_case(const char *workload, const struct bench_case *found, uint64_t n)
{
	struct bench_run run = { .param = found->param, .n = n };

	found->run(&run);
	/* Nothing has been checked, or nothing been measured: that is no result. */
	if (run.n_checks < run.n || !(run.time_ns > 0))
		bench_fail("%llu checks of %llu operations in %.0f ns", (unsigned long long)run.n_checks,
			   (unsigned long long)run.n, run.time_ns);
	if (!run.unit)
		bench_set(&run, (double)run.n * 1e9 / run.time_ns, "ops/s", false);
	print_run(workload, found, &run);
	if (fflush(stdout))
		bench_fail("stdout: %s", strerror(errno));
	return EXIT_SUCCESS;
}

static int list(const struct bench_case *cases)
{
	for (; cases->impl; cases++) {
		printf("%s ", cases->impl);
		print_param(cases, "");
		putchar('\n');
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-')
		bench_fail("not a number: %s", text);
	return n;
}

static bool has_param(const struct bench_case *bench_case, const char *param)
{
	if (bench_case->param_name)
		return !strcmp(bench_case->param_name, param);
	return strspn(param, "0123456789") == strlen(param) && number(param) == bench_case->param;
}

static const struct bench_case *find_case(const struct bench_case *cases, const char *impl, const char *param)
{
	for (; cases->impl; cases++)
		if (!strcmp(cases->impl, impl) && has_param(cases, param))
			return cases;
	bench_fail("there is no \"%s %s\"; see --list", impl, param);
}

static int usage(FILE *out)
{
	fprintf(out, "usage: %s --list\n       %s IMPL PARAM [N]\n", program_invocation_short_name,
		program_invocation_short_name);
	return out == stdout ? EXIT_SUCCESS : EXIT_FAILURE;
}

int bench_main(int argc, char **argv, const char *workload, const struct bench_case *cases)
{
	static const struct option options[] = { { "list", no_argument, NULL, 'l' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	const struct bench_case *found;
	uint64_t n;
	int option = getopt_long(argc, argv, "lh", options, NULL);

	if (option == 'l')
		return list(cases);
	if (option != -1 || argc - optind < 2 || argc - optind > 3)
		return usage(option == 'h' ? stdout : stderr);
	found = find_case(cases, argv[optind], argv[optind + 1]);
	n = argc - optind == 3 ? number(argv[optind + 2]) : found->n;
	if (n == 0)
		bench_fail("nothing to do");
	return run_case(workload, found, n);
}
