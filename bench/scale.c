/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scale: whether what is pending makes the rest slower. param operations are pending in one loop: receives on up to
 * 10,000 connections (a pair of sockets each), and polls of an eventfd. Measured are messages over the first 1,000
 * connections, 32 at a time; all others are idle. In the end the eventfd is written to, and all polls must complete.
 */
#include "scale.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS 10000
#define N_BUSY 1000
#define N_IN_FLIGHT 32
#define N_CANCELS 100

/* In bytes: what this process has, and what the kernel has in objects for all. Only root is told the latter; else 0. */
struct memory {
	double user;
	double kernel;
};

static double user_memory(void)
{
	FILE *file = bench_try_ptr(fopen("/proc/self/statm", "r"), "/proc/self/statm");
	unsigned long pages = 0;

	if (fscanf(file, "%*u %lu", &pages) != 1)
		bench_fail("/proc/self/statm has no second number");
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* The objects in use, since pages of those that were freed are kept for a while. */
static double kernel_memory(void)
{
	FILE *file = fopen("/proc/slabinfo", "r");
	unsigned long n_active, size;
	double bytes = 0;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %lu %*u %lu", &n_active, &size) == 2)
			bytes += (double)n_active * (double)size;
	if (file)
		fclose(file);
	return bytes;
}

static struct memory memory_now(void)
{
	return (struct memory){ user_memory(), kernel_memory() };
}

/* The kernel frees what the last program had when it finds time, and that would be taken off what this one gets. */
static void let_settle(void)
{
	const struct timespec pause = { .tv_nsec = 300 * 1000 * 1000 };

	nanosleep(&pause, NULL);
}

static void tell_memory(struct bench_run *run, struct memory before, unsigned n, const char *user, const char *kernel)
{
	struct memory now = memory_now();

	bench_also(run, user, (now.user - before.user) / n);
	/* Fewer would be lost in what the others do. */
	if (now.kernel > 0 && n >= MAX_CONNS)
		bench_also(run, kernel, (now.kernel - before.kernel) / n);
}

static void allow_descriptors(rlim_t n)
{
	struct rlimit limit;

	bench_try_errno(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
	if (limit.rlim_cur >= n)
		return;
	limit.rlim_cur = n;
	if (limit.rlim_max < n)
		limit.rlim_max = n;
	bench_try_errno(setrlimit(RLIMIT_NOFILE, &limit), "so many descriptors");
}

/* In turns, so that a connection gets its next message long after the last one has been received. */
static void send_next(struct scale *scale)
{
	struct conn *conn = &scale->conns[scale->n_sent % N_BUSY];

	conn->sent = (scale->n_sent++ << 16) + 1;
	scale->engine->send(conn);
}

void conn_sent(struct conn *conn, int result)
{
	bench_check(conn->scale->run, result == (int)sizeof(conn->sent), "result of a send");
}

void conn_received(struct conn *conn, int result)
{
	struct scale *scale = conn->scale;

	if (scale->is_closing) {
		bench_check(scale->run, result == (conn->sender < 0 ? 0 : -ECANCELED), "result of a last receive");
		scale->n_ended++;
		return;
	}
	bench_check(scale->run, result == (int)sizeof(conn->received), "result of a receive");
	bench_check(scale->run, conn->received == conn->sent, "message");
	scale->n_received++;
	scale->engine->receive(conn);
	if (scale->n_sent < scale->n_to_send)
		send_next(scale);
}

void scale_watched(struct scale *scale, int result)
{
	if (result == -ECANCELED) {
		scale->n_cancelled++;
		return;
	}
	bench_check(scale->run, result > 0 && result & POLLIN, "result of a poll");
	scale->n_watched++;
}

static void connect_one(struct scale *scale, unsigned i)
{
	struct conn *conn = &scale->conns[i];
	int fds[2];

	bench_try_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair");
	bench_try(io_uring_register_files_update(scale->engine->ring(scale), i, &fds[0], 1), "register a file");
	close(fds[0]);
	*conn = (struct conn){ .scale = scale, .receiver = i, .sender = fds[1] };
	scale->engine->receive(conn);
}

static void connect_all(struct scale *scale)
{
	struct memory before = memory_now();

	scale->conns = bench_try_ptr(calloc(scale->n_conns, sizeof(*scale->conns)), "calloc");
	bench_try(io_uring_register_files_sparse(scale->engine->ring(scale), scale->n_conns), "register files");
	for (unsigned i = 0; i < scale->n_conns; i++)
		connect_one(scale, i);
	scale->engine->flush(scale);
	tell_memory(scale->run, before, scale->n_conns, "user_bytes_per_connection", "kernel_bytes_per_connection");
}

static void watch_all(struct scale *scale)
{
	struct memory before = memory_now();
	double time = -bench_now_ns();

	if (scale->n_watches == 0)
		return;
	for (unsigned i = 0; i < scale->n_watches; i++)
		scale->engine->watch(scale);
	scale->engine->flush(scale);
	bench_also(scale->run, "arm_ns", (time + bench_now_ns()) / scale->n_watches);
	tell_memory(scale->run, before, scale->n_watches, "user_bytes_per_op", "kernel_bytes_per_op");
}

static void exchange(struct scale *scale)
{
	bench_begin(scale->run);
	while (scale->n_sent < N_IN_FLIGHT && scale->n_sent < scale->n_to_send)
		send_next(scale);
	while (scale->n_received < scale->n_to_send)
		scale->engine->turn(scale);
	bench_end(scale->run);
}

static void cancel_some(struct scale *scale)
{
	double time = -bench_now_ns();

	for (unsigned i = 1; i <= N_CANCELS; i++) {
		scale->engine->cancel(scale);
		while (scale->n_cancelled < i)
			scale->engine->turn(scale);
	}
	bench_also(scale->run, "cancel_ns", (time + bench_now_ns()) / N_CANCELS);
}

static void wake_all(struct scale *scale)
{
	double time = -bench_now_ns();

	bench_try_errno(eventfd_write(scale->event, 1), "eventfd_write");
	while (scale->n_watched < scale->n_watches)
		scale->engine->turn(scale);
	if (scale->n_watches > 0)
		bench_also(scale->run, "complete_ns", (time + bench_now_ns()) / scale->n_watches);
}

static void disconnect_from(struct scale *scale, unsigned first)
{
	for (unsigned i = first; i < scale->n_conns; i++) {
		close(scale->conns[i].sender);
		scale->conns[i].sender = -1;
	}
}

/* Receives on idle connections get the end of the file; those of busy ones are still pending when the loop is closed. */
static void end(struct scale *scale)
{
	double time;

	scale->is_closing = true;
	disconnect_from(scale, N_BUSY);
	while (scale->n_ended + N_BUSY < scale->n_conns)
		scale->engine->turn(scale);
	time = -bench_now_ns();
	scale->engine->close(scale);
	bench_also(scale->run, "free_ns", (time + bench_now_ns()) / N_BUSY);
	scale->n_conns = N_BUSY;
	disconnect_from(scale, 0);
	free(scale->conns);
}

static void scale_run(struct bench_run *run, const struct engine *engine)
{
	struct scale scale = { .run = run, .engine = engine, .n_to_send = run->n };

	scale.n_conns = run->param < MAX_CONNS ? run->param : MAX_CONNS;
	scale.n_watches = run->param - scale.n_conns;
	scale.event = bench_try_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
	allow_descriptors((rlim_t)scale.n_conns + 100);
	engine->open(&scale);
	let_settle();
	connect_all(&scale);
	watch_all(&scale);
	exchange(&scale);
	cancel_some(&scale);
	wake_all(&scale);
	if (scale.n_watched != scale.n_watches || scale.n_cancelled != N_CANCELS)
		bench_fail("wrong: %llu of %u polls, %llu of %u cancelled", (unsigned long long)scale.n_watched,
			   scale.n_watches, (unsigned long long)scale.n_cancelled, N_CANCELS);
	end(&scale);
	close(scale.event);
	bench_set(run, run->time_ns / (double)run->n, "ns", true);
}

static void run_libiou(struct bench_run *run)
{
	scale_run(run, &scale_libiou);
}

static void run_raw(struct bench_run *run)
{
	scale_run(run, &scale_raw);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 1000, 250000, run_libiou },
		{ "libiou", 10000, 250000, run_libiou },
		{ "libiou", 100000, 250000, run_libiou },
		{ "libiou", 1000000, 250000, run_libiou },
		{ "raw", 1000, 250000, run_raw },
		{ "raw", 10000, 250000, run_raw },
		{ "raw", 100000, 250000, run_raw },
		{ "raw", 1000000, 250000, run_raw },
		{ 0 },
	};

	return bench_main(argc, argv, "scale", cases);
}
