/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_SUPPORT_H
#define IOU_TESTS_SUPPORT_H

/*
 * What the test programs share. Each has one file of tests that defines suite(); main.c runs it and prints TAP.
 */

#include <check.h>
#include <stdint.h>

#ifdef HAVE_VALGRIND
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_COUNT_ERRORS 0U
#define VALGRIND_MAKE_MEM_DEFINED(address, length) ((void)(address), (void)(length))
#define VALGRIND_MAKE_MEM_UNDEFINED(address, length) ((void)(address), (void)(length))
#endif

/** Each test file has one. */
Suite *suite(void);

/**
 * A test of a promise: PROMISE(03, million_nops_on_8_entries) { ... } END_TEST is test_g03_million_nops_on_8_entries.
 * PROMISE_TEST(03, ...) is its name for tcase_add_test().
 */
#define PROMISE(number, sentence) START_TEST(test_g##number##_##sentence)
#define PROMISE_TEST(number, sentence) test_g##number##_##sentence

/** A test case with one test case name and its tests: ADD_CASE(suite, "name", test_a, test_b). At most 64 tests. */
#define ADD_CASE(suite, name, ...) support_add_case(suite, name, (const TTest *const[]){ __VA_ARGS__, NULL })
/**
 * The same for what only a kernel's ring has: it is left out where LIBIOU_ENGINE asks for another engine, or blocked.c has
 * blocked io_uring. Nothing else leaves it out: a test that wants a ring and gets none fails.
 */
#define ADD_RING_CASE(suite, name, ...)                     \
	do {                                                \
		if (support_has_ring())                     \
			ADD_CASE(suite, name, __VA_ARGS__); \
	} while (0)
int support_has_ring(void);
TCase *support_add_case(Suite *to, const char *name, const TTest *const *tests);

/** Leave the test that is running; TAP shows it as skipped. In the test function itself only. */
#define SKIP(reason)                            \
	do {                                    \
		support_skip(__func__, reason); \
		return;                         \
	} while (0)
void support_skip(const char *function, const char *reason);

/** The signature support_settle() takes. Each counts for this process; -1 where /proc cannot be read. */
typedef int support_count_t(void);
/** Threads: /proc/self/task, the kernel's io-wq and SQPOLL threads among them. */
int support_threads(void);
/** Open descriptors. */
int support_descriptors(void);
/** Mappings: lines in /proc/self/maps. */
int support_mappings(void);

/**
 * Wait until a count is not more than wanted. A thread leaves /proc a little after it was joined, a closed ring's
 * memory a little after close().
 *
 * @returns the count as it is then; after ten seconds as it is.
 */
int support_settle(support_count_t *count, int wanted);

/** The count once it has not changed for some milliseconds: what to compare with later. */
int support_steady(support_count_t *count);

/** CPU time of all threads, and of this one, user and system, in microseconds. */
int64_t support_cpu_us(void);
int64_t support_thread_cpu_us(void);
/** CLOCK_MONOTONIC. */
int64_t support_now_us(void);
int64_t support_now_ms(void);

/** Two ends of a TCP connection; the second's receive buffer is as given, or 0: the system's default. */
void support_connect_tcp(int fds[2], int receive_buffer);

/** How much slower than usual this may be: 1, or more with a sanitizer or under valgrind. For upper bounds of times. */
int support_slowness(void);
/** Built with a sanitizer? */
int support_sanitized(void);

#endif
