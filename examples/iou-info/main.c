/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-info.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_TO_BE_HAD = 1, WRONG_USAGE = 2, NOT_WRITTEN = 3 };

static const char help[] = "Usage: iou-info [OPTION]...\n"
			   "Print which engine libiou has here, why, and what it can do.\n"
			   "\n"
			   "      --engine NAME  auto (default), uring or threads: have that one, or say why not\n"
			   "      --json         print one JSON object\n"
			   "      --help         print this and exit\n"
			   "      --version      print the version and exit\n"
			   "\n"
			   "Exit status: 0 if all is well, 1 if the engine is not to be had, 2 for wrong\n"
			   "usage, 3 if the output could not be written.\n";

enum { ENGINE = 256, JSON, HELP, VERSION };

static const struct option options[] = {
	{ "engine", required_argument, NULL, ENGINE },
	{ "json", no_argument, NULL, JSON },
	{ "help", no_argument, NULL, HELP },
	{ "version", no_argument, NULL, VERSION },
	{ NULL, 0, NULL, 0 },
};

/* What is to be done, and with which engine. */
struct wish {
	int what; /* of the options, or 0 */
	uint32_t engine;
	const char *engine_name;
};

static int usage_error(const char *what, const char *word)
{
	if (what)
		fprintf(stderr, "iou-info: %s: %s\n", what, word);
	fputs("Try 'iou-info --help' for more information.\n", stderr);
	return WRONG_USAGE;
}

static int read_engine(const char *name, struct wish *wish)
{
	static const char *const names[] = { "auto", "uring", "threads" }; /* by IOU_ENGINE_* */

	for (uint32_t engine = 0; engine < 3; engine++) {
		if (strcmp(name, names[engine]) == 0) {
			wish->engine = engine;
			wish->engine_name = names[engine];
			return 0;
		}
	}
	return usage_error("no such engine", name);
}

static int read_options(int argc, char **argv, struct wish *wish)
{
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			r = usage_error(NULL, NULL);
		else if (option == ENGINE)
			r = read_engine(optarg, wish);
		else if (wish->what != HELP && wish->what != VERSION)
			wish->what = option;
	}
	if (r == 0 && optind < argc)
		r = usage_error("too much", argv[optind]);
	return r;
}

static int tell(const struct wish *wish)
{
	static struct facts facts;
	int error = facts_find(&facts, wish->engine);

	if (error) {
		fprintf(stderr, "iou-info: %s is not to be had: %s%s%s\n", wish->engine_name, strerror(error),
			facts.info.engine_error ? ": " : "", facts.info.engine_error ? facts.reason : "");
		return NOT_TO_BE_HAD;
	}
	if (wish->what == JSON)
		print_json(&facts);
	else
		print_text(&facts);
	return 0;
}

/* What is buffered may not find room. */
static int close_output(int status)
{
	if (!ferror(stdout) && fflush(stdout) == 0)
		return status;
	fprintf(stderr, "iou-info: write error: %s\n", strerror(errno));
	return status ? status : NOT_WRITTEN;
}

int main(int argc, char **argv)
{
	struct wish wish = { .engine_name = "auto" };
	int status = read_options(argc, argv, &wish);

	if (status == 0 && wish.what == HELP)
		fputs(help, stdout);
	else if (status == 0 && wish.what == VERSION)
		printf("iou-info (libiou) %s\n", iou_version());
	else if (status == 0)
		status = tell(&wish);
	return close_output(status);
}
