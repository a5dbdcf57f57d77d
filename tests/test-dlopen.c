/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include <iou.h>

#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A host that is not linked to libiou (nor to liburing: what it uses of that is inline) and knows only dlsym(). It
 * finds the library in the environment variable LIBRARY.
 */

#define N_WARM_UP 20
#define N_ROUNDS 1000

#define FUNCTIONS(do_) \
	do_(iou_new) do_(iou_free) do_(iou_op_new) do_(iou_op_queue) do_(iou_async) do_(iou_run) do_(iou_version)

struct library {
	void *handle;
#define MEMBER(function) __typeof__(function) *function;
	FUNCTIONS(MEMBER)
#undef MEMBER
};

struct round {
	iou_op_t *reader;
	iou_op_t *writer;
	int ends[2];
	int n_read;
	int n_written;
	int n_worked;
	int n_completed;
	char text[8];
};

struct counts {
	int threads;
	int descriptors;
	int mappings;
};

static const char *path(void)
{
	const char *name = getenv("LIBRARY");

	ck_assert_msg(name != NULL, "LIBRARY does not say where the library is");
	return name;
}

static void library_open(struct library *library)
{
	library->handle = dlopen(path(), RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(library->handle != NULL, "%s", dlerror());
#define LOOK_UP(function)                                                 \
	*(void **)&library->function = dlsym(library->handle, #function); \
	ck_assert_msg(library->function != NULL, "no " #function);
	FUNCTIONS(LOOK_UP)
#undef LOOK_UP
}

static void library_close(struct library *library)
{
	ck_assert_int_eq(dlclose(library->handle), 0);
	ck_assert_msg(dlopen(path(), RTLD_NOW | RTLD_NOLOAD) == NULL, "the library is still loaded");
}

static int have_read(void *data)
{
	struct round *round = data;

	round->n_read += round->reader->result;
	return 0;
}

static int have_written(void *data)
{
	struct round *round = data;

	round->n_written += round->writer->result;
	return 0;
}

static int work(void *data)
{
	struct round *round = data;

	round->n_worked++;
	return 0;
}

static int have_worked(void *data)
{
	struct round *round = data;

	round->n_completed++;
	return 0;
}

static void check(const struct round *round)
{
	ck_assert_int_eq(round->n_read, 5);
	ck_assert_int_eq(round->n_written, 5);
	ck_assert_int_eq(round->n_worked, 1);
	ck_assert_int_eq(round->n_completed, 1);
	ck_assert_mem_eq(round->text, "hello", 5);
}

/* Load, a read and a write of a pipe through the ring, a job on a worker, free, unload. */
static void load_use_unload(void)
{
	struct library library;
	struct round round;
	iou_t *iou;

	memset(&round, 0, sizeof(round));
	ck_assert_int_eq(pipe(round.ends), 0);
	library_open(&library);
	iou = library.iou_new(4);
	ck_assert_ptr_nonnull(iou);
	round.reader = library.iou_op_new(iou);
	round.writer = library.iou_op_new(iou);
	ck_assert(round.reader && round.writer);
	io_uring_prep_read(round.reader->sqe, round.ends[0], round.text, sizeof(round.text), 0);
	io_uring_prep_write(round.writer->sqe, round.ends[1], "hello", 5, 0);
	library.iou_op_queue(iou, round.reader, have_read, &round);
	library.iou_op_queue(iou, round.writer, have_written, &round);
	ck_assert_int_eq(library.iou_async(iou, work, &round, have_worked, &round), 0);
	ck_assert_int_eq(library.iou_run(iou), 0);
	ck_assert_ptr_null(library.iou_free(iou));
	library_close(&library);
	close(round.ends[0]);
	close(round.ends[1]);
	VALGRIND_MAKE_MEM_DEFINED(round.text, 5);
	check(&round);
}

static void count(struct counts *counts, int n_threads)
{
	counts->threads = support_settle(support_threads, n_threads);
	counts->descriptors = support_descriptors();
	counts->mappings = support_mappings();
}

START_TEST(test_host_is_not_linked_to_the_library)
{
	ck_assert_ptr_null(dlsym(RTLD_DEFAULT, "iou_new"));
	ck_assert_ptr_null(dlsym(RTLD_DEFAULT, "io_uring_setup"));
	ck_assert_ptr_null(dlopen(path(), RTLD_NOW | RTLD_NOLOAD));
}
END_TEST

START_TEST(test_g13_version_of_the_loaded_library_is_the_header_s)
{
	struct library library;
	char version[32];

	snprintf(version, sizeof(version), "%d.%d.%d", IOU_VERSION_MAJOR, IOU_VERSION_MINOR, IOU_VERSION_MICRO);
	library_open(&library);
	ck_assert_str_eq(library.iou_version(), version);
	library_close(&library);
}
END_TEST

START_TEST(test_g13_load_use_unload_1000_times_leaves_nothing)
{
	struct counts before, after;

	/* One heap for all threads: how many there are else is a matter of luck. */
	mallopt(M_ARENA_MAX, 1);
	for (int i = 0; i < N_WARM_UP; i++)
		load_use_unload();
	/* Thread sanitizer has threads of its own. */
	count(&before, support_sanitized() ? INT_MAX : 1);
	for (int i = 0; i < N_ROUNDS; i++)
		load_use_unload();
	count(&after, before.threads);
	if (!support_sanitized())
		ck_assert_int_eq(before.threads, 1);
	ck_assert_int_le(after.threads, before.threads);
	ck_assert_int_eq(after.descriptors, before.descriptors);
	/* Sanitizers and valgrind map memory of their own as they go. */
	if (!support_sanitized() && !RUNNING_ON_VALGRIND)
		ck_assert_int_eq(after.mappings, before.mappings);
}
END_TEST

Suite *suite(void)
{
	Suite *dlopen_suite = suite_create("dlopen");
	TCase *rounds;

	ADD_CASE(dlopen_suite, "host", test_host_is_not_linked_to_the_library,
		 test_g13_version_of_the_loaded_library_is_the_header_s);
	rounds = ADD_CASE(dlopen_suite, "rounds", test_g13_load_use_unload_1000_times_leaves_nothing);
	tcase_set_timeout(rounds, 60);
	return dlopen_suite;
}
