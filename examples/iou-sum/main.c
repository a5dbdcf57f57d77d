/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static iou_t *volatile running;
static volatile sig_atomic_t caught;

static void quit(int signal)
{
	caught = signal;
	iou_quit(running);
}

/* Once only: a second signal ends the program at once. */
static void catch (int signal)
{
	struct sigaction action = { .sa_handler = quit, .sa_flags = SA_RESTART | (int)SA_RESETHAND }, old;

	sigaction(signal, NULL, &old);
	if (old.sa_handler != SIG_IGN)
		sigaction(signal, &action, NULL);
}

/* Otherwise a file or the ring would get the number of a standard stream that was closed, and be written to. */
static void fill_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static int run(struct sum *sum)
{
	int r = progress_start(&sum->progress, sum);

	if (r == 0)
		r = sum_go_on(sum);
	if (r == 0)
		r = iou_run(sum->iou);
	/* A sum that is missing must not look like success. */
	return r == 0 && !sum->is_over && !caught ? -ECANCELED : r;
}

static void report_failure(const struct sum *sum, int r)
{
	if (sum->progress.is_shown)
		fputs("\r\033[K", stderr);
	if (sum->out.error)
		fprintf(stderr, "iou-sum: write error: %s\n", strerror(sum->out.error));
	else if (r < 0)
		fprintf(stderr, "iou-sum: %s\n", strerror(-r));
}

int main(int argc, char **argv)
{
	struct options options;
	struct sum sum;
	int r;

	options_parse(&options, argc, argv);
	fill_standard_streams();
	r = sum_init(&sum, &options);
	if (r == 0) {
		running = sum.iou;
		catch (SIGINT);
		catch (SIGTERM);
		r = run(&sum);
		report_failure(&sum, r);
	}
	running = NULL;
	sum_free(&sum);
	if (caught)
		raise(caught);
	return r < 0 ? EXIT_FAILURE : sum.status;
}
