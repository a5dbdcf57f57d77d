/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_CHILDREN_H
#define IOU_TESTS_CHILDREN_H

/*
 * Tests in a forked child, for what cannot be undone or may end the process. What the child finds goes to the parent
 * through memory that they share. The child ends by becoming another program, so that nothing of the parent's is looked
 * for, or tidied up, at its exit.
 */

#include <check.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { N_FINDINGS = 32 };

struct findings {
	int n;
	int wrong_line[N_FINDINGS];
	int value;   /* what was found instead, the first time */
	int n_noted; /* whatever else a test counts */
	bool is_done;
};

#define FIND(findings, is_right)                                            \
	do {                                                                \
		if (!(is_right) && (findings)->n < N_FINDINGS)              \
			(findings)->wrong_line[(findings)->n++] = __LINE__; \
	} while (0)

/** The same, with what was found instead. */
#define FIND_EQ(findings, found, wanted)                      \
	do {                                                  \
		long long found_ = (found);                   \
		if (found_ != (wanted) && (findings)->n == 0) \
			(findings)->value = (int)found_;      \
		FIND(findings, found_ == (wanted));           \
	} while (0)

static inline struct findings *open_findings(void)
{
	void *shared = mmap(NULL, sizeof(struct findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	return shared;
}

#ifdef HAVE_GCOV
void __gcov_dump(void);
#endif

/* Of valgrind's errors nobody would hear: it ends with the program. Sanitizers have ended the child when they found one. */
static inline void end_child(struct findings *findings)
{
	FIND_EQ(findings, VALGRIND_COUNT_ERRORS, 0);
	findings->is_done = true;
#ifdef HAVE_GCOV
	__gcov_dump();
#endif
	execl("/bin/true", "true", (char *)NULL);
	_exit(0);
}

/** Returns what the child has noted. */
static inline int close_findings(struct findings *findings, pid_t child)
{
	int status = 0, n_noted;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (findings->n)
		ck_abort_msg("%d findings in the child, the first in line %d (%d)", findings->n,
			     findings->wrong_line[0], findings->value);
	ck_assert_msg(findings->is_done && status == 0,
		      "the child did not come to its end, or a sanitizer ended it: wait status %d", status);
	n_noted = findings->n_noted;
	munmap(findings, sizeof(*findings));
	return n_noted;
}

/* LeakSanitizer looks at exit, where children do not come by. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/** Nothing was allocated that cannot be reached any more; known with AddressSanitizer alone. */
static inline void find_no_leak(struct findings *findings)
{
	FIND(findings, !__lsan_do_recoverable_leak_check || __lsan_do_recoverable_leak_check() == 0);
}

/* As long as a test case may last; where that is less Check ends the child as well. */
enum { CHILD_LIMIT_S = 120 };

/** A child that runs a test, and is killed should it hang. */
struct child {
	struct findings *findings;
	pid_t pid;
};

static inline struct child start_child(void (*body)(struct findings *findings, const void *data), const void *data)
{
	struct child child = { .findings = open_findings() };

	child.pid = fork();
	if (child.pid == 0) {
		alarm((unsigned)(CHILD_LIMIT_S * support_slowness()));
		body(child.findings, data);
		alarm(0);
		end_child(child.findings);
	}
	return child;
}

static inline int end_of_child(struct child child)
{
	return close_findings(child.findings, child.pid);
}

static inline void in_child(void (*body)(struct findings *findings, const void *data), const void *data)
{
	end_of_child(start_child(body, data));
}

#endif
