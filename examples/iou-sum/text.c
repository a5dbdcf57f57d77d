/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <string.h>

static size_t put(char *text, const char *what)
{
	size_t n = strlen(what);

	memcpy(text, what, n);
	return n;
}

bool text_needs_escape(const char *name)
{
	return strpbrk(name, "\\\n\r") != NULL;
}

size_t text_escape(char *text, const char *name)
{
	char *end = text;

	for (; *name; name++) {
		if (*name == '\\')
			end += put(end, "\\\\");
		else if (*name == '\n')
			end += put(end, "\\n");
		else if (*name == '\r')
			end += put(end, "\\r");
		else
			*end++ = *name;
	}
	return (size_t)(end - text);
}

bool text_unescape(char *name)
{
	char *end = name;

	for (; *name; name++) {
		if (*name != '\\') {
			*end++ = *name;
			continue;
		}
		name++;
		if (*name == '\\')
			*end++ = '\\';
		else if (*name == 'n')
			*end++ = '\n';
		else if (*name == 'r')
			*end++ = '\r';
		else
			return false;
	}
	*end = '\0';
	return true;
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool needs_quote(const char *name)
{
	static const char special[] = " !\"#$&'()*:;<=>?[\\]^`{|}~";

	if (!*name)
		return true;
	for (; *name; name++)
		if (is_control(*name) || strchr(special, *name))
			return true;
	return false;
}

/* For messages: plain if it can be, else as a shell would take it, so that no name can play with the terminal. */
size_t text_quote(char *text, const char *name)
{
	char *end = text;

	if (!needs_quote(name))
		return put(text, name);
	*end++ = '\'';
	for (; *name; name++) {
		if (*name == '\'')
			end += put(end, "'\\''");
		else if (is_control(*name))
			end += sprintf(end, "'$'\\%03o''", (unsigned char)*name);
		else
			*end++ = *name;
	}
	*end++ = '\'';
	return (size_t)(end - text);
}

size_t text_hex(char *text, const unsigned char *bytes, size_t n_bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n_bytes; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	return 2 * n_bytes;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The text may be shorter: its end is no digit. */
bool text_unhex(unsigned char *bytes, const char *text, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i++) {
		int high = digit_value(text[2 * i]);
		int low = high < 0 ? -1 : digit_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}
