/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *skip_blanks(char *text)
{
	while (is_blank(*text))
		text++;
	return text;
}

/* The part of "LABEL (name) = digest" that follows the parenthesis. */
static bool parse_tagged(struct line *line, char *text)
{
	char *end = strrchr(text, ')');

	if (!end)
		return false;
	line->name = text;
	*end = '\0';
	text = skip_blanks(end + 1);
	if (*text++ != '=')
		return false;
	text = skip_blanks(text);
	return text_unhex(line->digest, text, line->digest_bytes) && !text[2 * line->digest_bytes];
}

/*
 * "digest  name", "digest *name", or, as some systems write it, "digest name". In the last, a name may begin with a
 * blank or an asterisk: so all lines of a list have to be of one style.
 */
static bool parse_plain(struct line *line, char *text)
{
	bool has_mark;

	if (!text_unhex(line->digest, text, line->digest_bytes))
		return false;
	text += 2 * line->digest_bytes;
	if (!is_blank(*text) || !text[1])
		return false;
	text++;
	has_mark = (*text == ' ' || *text == '*') && text[1];
	if (!has_mark && line->style == LINE_WITH_MARK)
		return false;
	if (!has_mark)
		line->style = LINE_WITHOUT_MARK;
	else if (line->style == LINE_ANY)
		line->style = LINE_WITH_MARK;
	line->name = line->style == LINE_WITH_MARK ? text + 1 : text;
	return true;
}

static char *skip_label(struct line *line, char *text)
{
	size_t n = strlen(line->label);

	return strncmp(text, line->label, n) ? NULL : text + n;
}

bool line_parse(struct line *line, char *text)
{
	bool is_escaped, is_good;
	char *rest;

	text = skip_blanks(text);
	is_escaped = *text == '\\';
	text += is_escaped;
	rest = skip_label(line, text);
	if (rest) {
		rest += *rest == ' ';
		is_good = *rest == '(' && parse_tagged(line, rest + 1);
	} else {
		is_good = parse_plain(line, text);
	}
	return is_good && (!is_escaped || text_unescape(line->name));
}
