/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_SKIPS_H
#define IOU_TESTS_SKIPS_H

/*
 * Check knows no skipped tests. A test that skips says so here, in memory shared with the processes that Check forks
 * (skips_open() comes first), and main.c completes the test's line.
 */
int skips_open(void);
void skips_add(const char *function, const char *reason);
/** The reason why the test on this line of TAP was skipped, or NULL. */
const char *skips_find(const char *line);

#endif
