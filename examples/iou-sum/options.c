/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] = "Usage: iou-sum [OPTION]... [FILE]...\n"
			   "Print or check SHA256 (256-bit) checksums, of files in parallel.\n"
			   "\n"
			   "With no FILE, or when FILE is -, read standard input. A FILE that is a directory\n"
			   "stands for all regular files below it, sorted; symbolic links in it are not\n"
			   "followed. The output has the order of the FILEs, and is that of sha256sum.\n"
			   "\n"
			   "  -a, --algorithm NAME  any message digest of OpenSSL; default: sha256\n"
			   "  -b, --binary          mark names as read in binary mode (no other difference)\n"
			   "  -t, --text            mark names as read in text mode (default)\n"
			   "  -c, --check           read checksums from the FILEs and check them\n"
			   "      --tag             create BSD-style checksum lines\n"
			   "  -z, --zero            end each output line with NUL, not newline, and do not\n"
			   "                        escape file names\n"
			   "      --workers N       hash in at most N threads; default: one per CPU\n"
			   "      --depth N         have at most N files open at a time (directories, lists\n"
			   "                        and standard input apart); default: 128, and never more\n"
			   "                        than the limit of open files (ulimit -n) leaves room for\n"
			   "      --progress        show files, bytes, rate and time left on standard error;\n"
			   "                        default if that is a terminal\n"
			   "      --no-progress     do not\n"
			   "\n"
			   "When checking:\n"
			   "      --ignore-missing  do not fail or report status for missing files\n"
			   "      --quiet           do not print OK for each file that was verified\n"
			   "      --status          print nothing, the exit status tells\n"
			   "      --strict          fail if a line is not properly formatted\n"
			   "  -w, --warn            warn about each such line\n"
			   "\n"
			   "      --help            print this and exit\n"
			   "      --version         print the version and exit\n"
			   "\n"
			   "Exit status: 0 if all is well, 1 if not.\n";

enum { IGNORE_MISSING = 256, QUIET, STATUS, STRICT, TAG, WORKERS, DEPTH, PROGRESS, NO_PROGRESS, HELP, VERSION };

static const struct option long_options[] = {
	{ "algorithm", required_argument, NULL, 'a' },
	{ "binary", no_argument, NULL, 'b' },
	{ "check", no_argument, NULL, 'c' },
	{ "text", no_argument, NULL, 't' },
	{ "warn", no_argument, NULL, 'w' },
	{ "zero", no_argument, NULL, 'z' },
	{ "ignore-missing", no_argument, NULL, IGNORE_MISSING },
	{ "quiet", no_argument, NULL, QUIET },
	{ "status", no_argument, NULL, STATUS },
	{ "strict", no_argument, NULL, STRICT },
	{ "tag", no_argument, NULL, TAG },
	{ "workers", required_argument, NULL, WORKERS },
	{ "depth", required_argument, NULL, DEPTH },
	{ "progress", no_argument, NULL, PROGRESS },
	{ "no-progress", no_argument, NULL, NO_PROGRESS },
	{ "help", no_argument, NULL, HELP },
	{ "version", no_argument, NULL, VERSION },
	{ NULL, 0, NULL, 0 },
};

static void usage_error(const char *what)
{
	if (what)
		fprintf(stderr, "iou-sum: %s\n", what);
	fputs("Try 'iou-sum --help' for more information.\n", stderr);
	exit(EXIT_FAILURE);
}

/* To standard output, which may be full. */
static void print_and_exit(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout)) {
		fprintf(stderr, "iou-sum: write error: %s\n", strerror(errno));
		exit(EXIT_FAILURE);
	}
	exit(EXIT_SUCCESS);
}

static void print_version(void)
{
	char text[128];

	snprintf(text, sizeof(text), "iou-sum (libiou) %s\n", iou_version());
	print_and_exit(text);
}

static unsigned number(const char *option, const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || n < 1 || n > max) {
		fprintf(stderr, "iou-sum: --%s takes a number from 1 to %lu, not '%s'\n", option, max, text);
		usage_error(NULL);
	}
	return (unsigned)n;
}

/* Options that just set a flag, or take it back. */
static const struct flag {
	int option;
	bool value;
	size_t offset;
} flags[] = {
	{ 'b', true, offsetof(struct options, binary) },
	{ 't', false, offsetof(struct options, binary) },
	{ 'c', true, offsetof(struct options, check) },
	{ 'z', true, offsetof(struct options, zero) },
	{ TAG, true, offsetof(struct options, tag) },
	{ IGNORE_MISSING, true, offsetof(struct options, ignore_missing) },
	{ STRICT, true, offsetof(struct options, strict) },
	{ PROGRESS, true, offsetof(struct options, progress) },
	{ NO_PROGRESS, false, offsetof(struct options, progress) },
};

static bool set_flag(struct options *options, int option)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		if (flags[i].option != option)
			continue;
		*(bool *)((char *)options + flags[i].offset) = flags[i].value;
		return true;
	}
	return false;
}

/* How much is said while checking: of these options the last one counts. */
static bool set_verbosity(struct options *options, int option)
{
	if (option != QUIET && option != STATUS && option != 'w')
		return false;
	options->quiet = option == QUIET;
	options->status = option == STATUS;
	options->warn = option == 'w';
	return true;
}

static void set_option(struct options *options, int option, const char *value)
{
	if (set_flag(options, option) || set_verbosity(options, option))
		return;
	if (option == 'a')
		options->algorithm = value;
	else if (option == WORKERS)
		options->workers = number("workers", value, 1024);
	else if (option == DEPTH)
		options->depth = number("depth", value, 65536);
	else if (option == HELP)
		print_and_exit(help);
	else if (option == VERSION)
		print_version();
	else
		usage_error(NULL);
}

static void require_check(bool is_given, const char *option)
{
	if (!is_given)
		return;
	fprintf(stderr, "iou-sum: the --%s option is meaningful only when verifying checksums\n", option);
	usage_error(NULL);
}

static void check_options(const struct options *options)
{
	if (!options->check) {
		require_check(options->ignore_missing, "ignore-missing");
		require_check(options->status, "status");
		require_check(options->warn, "warn");
		require_check(options->quiet, "quiet");
		require_check(options->strict, "strict");
		return;
	}
	if (options->tag)
		usage_error("the --tag option is meaningless when verifying checksums");
	if (options->zero)
		usage_error("the --zero option is not supported when verifying checksums");
	if (options->binary)
		usage_error("the --binary and --text options are meaningless when verifying checksums");
}

/* SHA256 for sha256: what BSD-style lines begin with. */
static void make_label(struct options *options)
{
	size_t i;

	for (i = 0; i < sizeof(options->label) - 1 && options->algorithm[i]; i++)
		options->label[i] = (char)toupper((unsigned char)options->algorithm[i]);
	options->label[i] = '\0';
}

void options_parse(struct options *options, int argc, char **argv)
{
	static char dash[] = "-", *just_stdin[] = { dash, NULL };
	int option;

	*options = (struct options){ .algorithm = "sha256", .depth = 128, .progress = isatty(STDERR_FILENO) == 1 };
	while ((option = getopt_long(argc, argv, "a:bctwz", long_options, NULL)) != -1)
		set_option(options, option, optarg);
	check_options(options);
	make_label(options);
	options->names = optind < argc ? argv + optind : just_stdin;
	options->n_names = optind < argc ? (unsigned)(argc - optind) : 1;
}
