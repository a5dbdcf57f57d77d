/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Room for a name, however it is written, and for what is said about it. */
static char *new_text(const char *name)
{
	return malloc(9 * strlen(name) + 512);
}

/* Takes the text, from its start to its end. */
static int say(struct sum *sum, int fd, char *text, const char *end)
{
	bool is_in_the_way = sum->progress.is_shown && (fd == STDERR_FILENO || isatty(fd));
	int r = is_in_the_way ? progress_hide(&sum->progress) : 0;

	if (r == 0)
		r = out_text(&sum->out, fd, text, (size_t)(end - text));
	free(text);
	return r;
}

/* To standard error: "iou-sum: NAME: what", or without a name if that is NULL. */
__attribute__((format(printf, 3, 4))) static int complain(struct sum *sum, const char *name, const char *format, ...)
{
	char *text = new_text(name ? name : ""), *end = text;
	va_list args;

	if (!text)
		return -ENOMEM;
	end = stpcpy(end, "iou-sum: ");
	if (name) {
		end += text_quote(end, name);
		end = stpcpy(end, ": ");
	}
	va_start(args, format);
	end += vsnprintf(end, 256, format, args);
	va_end(args);
	*end++ = '\n';
	return say(sum, STDERR_FILENO, text, end);
}

static int complain_of_error(struct sum *sum, const struct item *item)
{
	sum->status = EXIT_FAILURE;
	return complain(sum, item->name, "%s", strerror(item->error));
}

static char *put_name(const struct sum *sum, char *end, const char *name)
{
	return sum->options->zero ? stpcpy(end, name) : end + text_escape(end, name);
}

static int say_sum(struct sum *sum, const struct item *item)
{
	const struct options *options = sum->options;
	char *text = new_text(item->name), *end = text;

	if (!text)
		return -ENOMEM;
	if (!options->zero && text_needs_escape(item->name))
		*end++ = '\\';
	if (options->tag) {
		end += sprintf(end, "%s (", options->label);
		end = put_name(sum, end, item->name);
		end = stpcpy(end, ") = ");
	}
	end += text_hex(end, item->digest, sum->hash.digest_bytes);
	if (!options->tag) {
		end = stpcpy(end, options->binary ? " *" : "  ");
		end = put_name(sum, end, item->name);
	}
	*end++ = options->zero ? '\0' : '\n';
	return say(sum, STDOUT_FILENO, text, end);
}

/* Only a newline would break the line; sha256sum escapes no other name here. */
static int say_verdict(struct sum *sum, const struct item *item, const char *verdict)
{
	char *text = new_text(item->name), *end = text;

	if (!text)
		return -ENOMEM;
	if (strchr(item->name, '\n')) {
		*end++ = '\\';
		end += text_escape(end, item->name);
	} else {
		end = stpcpy(end, item->name);
	}
	end += sprintf(end, ": %s\n", verdict);
	return say(sum, STDOUT_FILENO, text, end);
}

static int check_unreadable(struct sum *sum, const struct item *item)
{
	int r;

	if (item->error == ENOENT && sum->options->ignore_missing)
		return 0;
	item->tally->n_unreadable++;
	r = complain_of_error(sum, item);
	return r < 0 || sum->options->status ? r : say_verdict(sum, item, "FAILED open or read");
}

static int check(struct sum *sum, const struct item *item)
{
	const struct options *options = sum->options;

	if (item->error)
		return check_unreadable(sum, item);
	if (memcmp(item->digest, item->expected, sum->hash.digest_bytes)) {
		item->tally->n_mismatched++;
		return options->status ? 0 : say_verdict(sum, item, "FAILED");
	}
	item->tally->n_matched++;
	return options->status || options->quiet ? 0 : say_verdict(sum, item, "OK");
}

static int report_bad_line(struct sum *sum, const struct item *item)
{
	if (!sum->options->warn)
		return 0;
	return complain(sum, item->tally->name, "%" PRIu64 ": improperly formatted %s checksum line", item->line_number,
			sum->options->label);
}

static int warn(struct sum *sum, uint64_t n, const char *one, const char *many)
{
	return n ? complain(sum, NULL, "WARNING: %" PRIu64 " %s", n, n == 1 ? one : many) : 0;
}

static int report_warnings(struct sum *sum, const struct tally *tally)
{
	int r = warn(sum, tally->n_bad_lines, "line is improperly formatted", "lines are improperly formatted");

	if (r == 0)
		r = warn(sum, tally->n_unreadable, "listed file could not be read", "listed files could not be read");
	if (r == 0)
		r = warn(sum, tally->n_mismatched, "computed checksum did NOT match",
			 "computed checksums did NOT match");
	if (r == 0 && sum->options->ignore_missing && !tally->n_matched)
		r = complain(sum, tally->name, "no file was verified");
	return r;
}

static int report_list(struct sum *sum, const struct tally *tally)
{
	bool is_good = tally->n_matched && !tally->n_mismatched && !tally->n_unreadable;

	if (!is_good || (sum->options->strict && tally->n_bad_lines))
		sum->status = EXIT_FAILURE;
	if (!tally->n_good_lines)
		return complain(sum, tally->name, "no properly formatted checksum lines found");
	return sum->options->status ? 0 : report_warnings(sum, tally);
}

static int report_file(struct sum *sum, const struct item *item)
{
	if (item->tally)
		return check(sum, item);
	return item->error ? complain_of_error(sum, item) : say_sum(sum, item);
}

int report_item(struct sum *sum, struct item *item)
{
	switch (item->kind) {
	case ITEM_FILE:
		return report_file(sum, item);
	case ITEM_ERROR:
		return complain_of_error(sum, item);
	case ITEM_BAD_LINE:
		return report_bad_line(sum, item);
	case ITEM_LIST_END:
		return report_list(sum, item->tally);
	}
	return -EINVAL;
}
