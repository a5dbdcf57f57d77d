/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "skips.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Runs the suite of the file it is linked to. TAP goes to stdout, one point for each test; the exit status says whether
 * all passed. Check's own variables work: CK_FORK, CK_RUN_CASE, CK_DEFAULT_TIMEOUT, CK_TIMEOUT_MULTIPLIER.
 */

/* Tests that wait for another process or thread give it this long. */
#define DEFAULT_TIMEOUT_S "30"

static ssize_t write_line(void *cookie, const char *line, size_t length)
{
	const char *reason = NULL;

	(void)cookie;
	if (length > 3 && memcmp(line, "ok ", 3) == 0 && line[length - 1] == '\n') {
		char copy[1024];

		snprintf(copy, sizeof(copy), "%.*s", (int)length - 1, line);
		reason = skips_find(copy);
	}
	if (reason)
		dprintf(STDOUT_FILENO, "%.*s # SKIP %s\n", (int)length - 1, line, reason);
	else if (write(STDOUT_FILENO, line, length) != (ssize_t)length)
		return 0;
	return (ssize_t)length;
}

/* Check prints to stdout alone, line by line: have the lines pass through here. */
static int open_stdout(void)
{
	FILE *lines = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = write_line });

	if (!lines)
		return -1;
	setvbuf(lines, NULL, _IOLBF, BUFSIZ);
	stdout = lines;
	return 0;
}

/* Under valgrind and with sanitizers everything takes longer. */
static void set_timeouts(void)
{
	char multiplier[16];

	snprintf(multiplier, sizeof(multiplier), "%d", support_slowness());
	setenv("CK_DEFAULT_TIMEOUT", DEFAULT_TIMEOUT_S, 0);
	setenv("CK_TIMEOUT_MULTIPLIER", multiplier, 0);
}

int main(void)
{
	SRunner *runner;
	int n_failed, n_run;

	set_timeouts();
	if (skips_open() || open_stdout())
		return EXIT_FAILURE;
	runner = srunner_create(suite());
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	n_failed = srunner_ntests_failed(runner);
	n_run = srunner_ntests_run(runner);
	srunner_free(runner);
	fflush(stdout);
	return n_failed == 0 && n_run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
