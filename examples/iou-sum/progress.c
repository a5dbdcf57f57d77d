/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL
/* What a file costs besides its bytes, in bytes. */
#define BYTES_PER_FILE 16384

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* "1.2 GiB" */
static int format_bytes(char *text, size_t size, double n_bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t i = 0;

	while (n_bytes >= 1024 && i + 1 < sizeof(units) / sizeof(*units)) {
		n_bytes /= 1024;
		i++;
	}
	return snprintf(text, size, "%.*f %s", i ? 1 : 0, n_bytes, units[i]);
}

/* 0 if there is no telling. */
static uint64_t seconds_left(const struct progress *progress, double elapsed_s)
{
	double done = (double)progress->n_bytes + (double)progress->n_files * BYTES_PER_FILE;
	double total = (double)progress->total_bytes + (double)progress->total_files * BYTES_PER_FILE;

	if (!progress->total_is_known || done <= 0 || total <= done)
		return 0;
	return (uint64_t)(elapsed_s * (total - done) / done + 1);
}

static size_t format_progress(const struct progress *progress, char *text, size_t size)
{
	double elapsed_s = (double)(now_ns() - progress->start_ns) / NS_PER_S;
	uint64_t left_s = seconds_left(progress, elapsed_s);
	char bytes[32], rate[32];
	int n;

	format_bytes(bytes, sizeof(bytes), (double)progress->n_bytes);
	format_bytes(rate, sizeof(rate), elapsed_s > 0 ? (double)progress->n_bytes / elapsed_s : 0);
	n = snprintf(text, size, "%" PRIu64 " files, %s, %s/s", progress->n_files, bytes, rate);
	if (left_s)
		n += snprintf(text + n, size - (size_t)n, ", %" PRIu64 ":%02" PRIu64 " left", left_s / 60, left_s % 60);
	return (size_t)n;
}

static int show(struct progress *progress)
{
	struct out *out = &progress->sum->out;
	char text[256] = "\r";
	size_t n;

	n = 1 + format_progress(progress, text + 1, sizeof(text) - 16);
	if (!progress->on_terminal) {
		text[n++] = '\n';
		return out_text(out, STDERR_FILENO, text + 1, n - 1);
	}
	n += (size_t)sprintf(text + n, "\033[K");
	progress->is_shown = true;
	return out_text(out, STDERR_FILENO, text, n);
}

/* The op is as it was, so queueing it again is all that it takes. */
static int have_timeout(void *data)
{
	struct progress *progress = data;
	struct sum *sum = progress->sum;
	int r;

	if (sum->is_over || progress->timer->result != -ETIME) {
		progress->timer = NULL;
		return 0;
	}
	/* If something still waits to be written, this is not worth waiting for. */
	r = sum->out.n_chunks ? 0 : show(progress);
	if (r == 0)
		iou_op_queue(sum->iou, progress->timer, have_timeout, progress);
	return r;
}

int progress_start(struct progress *progress, struct sum *sum)
{
	progress->sum = sum;
	progress->start_ns = now_ns();
	if (!sum->options->progress)
		return 0;
	progress->on_terminal = isatty(STDERR_FILENO) == 1;
	if (progress->on_terminal)
		progress->interval.tv_nsec = NS_PER_S / 5;
	else
		progress->interval.tv_sec = 1;
	progress->timer = iou_op_new(sum->iou);
	if (!progress->timer)
		return -errno;
	io_uring_prep_timeout(progress->timer->sqe, &progress->interval, 0, 0);
	iou_op_queue(sum->iou, progress->timer, have_timeout, progress);
	return count_start(&sum->count, sum);
}

int progress_hide(struct progress *progress)
{
	static const char clear[] = "\r\033[K";

	if (!progress->is_shown)
		return 0;
	progress->is_shown = false;
	return out_text(&progress->sum->out, STDERR_FILENO, clear, sizeof(clear) - 1);
}

/* Where lines stay, the last one is the summary. */
int progress_end(struct progress *progress)
{
	if (!progress->timer)
		return 0;
	iou_op_cancel(progress->sum->iou, progress->timer);
	return progress->on_terminal ? progress_hide(progress) : show(progress);
}
