/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create: what it costs to make an instance and to free it, in microseconds; param is its entries. Beside it are the
 * parts that it cannot do without: a ring, a page that tells a forked child that it is one, an eventfd.
 */
#include "create.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned count_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

void create(struct bench_run *run, void (*make_and_free)(struct bench_run *run))
{
	unsigned n_before, n_after;

	/* The first one pays for what is set up once in a process. */
	make_and_free(run);
	run->n_checks = 0;
	n_before = count_descriptors();
	bench_begin(run);
	for (uint64_t i = 0; i < run->n; i++)
		make_and_free(run);
	bench_end(run);
	n_after = count_descriptors();
	if (n_after != n_before)
		bench_fail("wrong: %u descriptors before, %u after", n_before, n_after);
	bench_set(run, run->time_ns / (double)run->n / 1000, "us", true);
}

static void instance(struct bench_run *run)
{
	iou_t *iou = bench_iou_new(run->param);

	bench_check(run, !iou_free(iou), "iou_free");
}

static void ring(struct bench_run *run)
{
	struct io_uring made;

	bench_try(io_uring_queue_init(run->param, &made, 0), "io_uring_queue_init");
	bench_check(run, made.ring_fd >= 0, "descriptor of a ring");
	io_uring_queue_exit(&made);
}

static void page(struct bench_run *run)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		bench_try(-errno, "mmap");
	bench_try_errno(madvise(memory, size, MADV_WIPEONFORK), "MADV_WIPEONFORK");
	*(volatile char *)memory = 1;
	bench_check(run, munmap(memory, size) == 0, "munmap");
}

static void event(struct bench_run *run)
{
	int fd = bench_try_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");

	bench_check(run, close(fd) == 0, "close");
}

static void create_libiou(struct bench_run *run)
{
	create(run, instance);
}

static void create_raw(struct bench_run *run)
{
	create(run, ring);
}

static void create_page(struct bench_run *run)
{
	create(run, page);
}

static void create_eventfd(struct bench_run *run)
{
	create(run, event);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 8, 10000, create_libiou },
		{ "raw", 8, 20000, create_raw },
		{ "page", 8, 50000, create_page },
		{ "eventfd", 8, 200000, create_eventfd },
#ifdef HAVE_LIBUV
		{ "libuv", 8, 10000, create_libuv },
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "create", cases);
}
