/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line that does not fit is no line of a list: names have at most PATH_MAX bytes. */
#define TEXT_BYTES (64 * 1024)

/* The lists that were given, one after the other. */
struct list {
	struct source source;
	struct sum *sum;
	char **names;
	unsigned n_names;
	unsigned next; /* list */
	int fd;
	int error;
	bool is_open;
	bool at_end;
	bool skips_line; /* too long: up to its end */
	iou_op_t *op;
	struct tally *tally; /* of the list that is open */
	struct line line;
	size_t start; /* what has not been taken yet, in the text */
	size_t end;
	char text[TEXT_BYTES + 1];
};

static bool is_stdin(const struct list *list)
{
	return !strcmp(list->names[list->next], "-");
}

static int wake_up(struct list *list)
{
	return list->source.wake(list->source.wake_data);
}

static int queue(struct list *list, int (*cb)(void *))
{
	iou_op_queue(list->sum->iou, list->op, cb, list);
	return 0;
}

static iou_op_t *new_op(struct list *list)
{
	return list->op = iou_op_new(list->sum->iou);
}

static int start_read(struct list *list);

static int have_polled(void *data)
{
	struct list *list = data;

	list->op = NULL;
	return start_read(list);
}

static int start_poll(struct list *list)
{
	if (!new_op(list))
		return -errno;
	io_uring_prep_poll_add(list->op->sqe, list->fd, POLLIN);
	return queue(list, have_polled);
}

static int have_read(void *data)
{
	struct list *list = data;
	int n = list->op->result;

	list->op = NULL;
	if (n == -EINTR)
		return start_read(list);
	if (n == -EAGAIN)
		return start_poll(list);
	if (n > 0)
		list->end += (size_t)n;
	if (n < 0)
		list->error = -n;
	list->at_end = n <= 0;
	return wake_up(list);
}

static int start_read(struct list *list)
{
	if (!new_op(list))
		return -errno;
	io_uring_prep_read(list->op->sqe, list->fd, list->text + list->end, (unsigned)(TEXT_BYTES - list->end),
			   (__u64)-1);
	return queue(list, have_read);
}

static int have_opened(void *data)
{
	struct list *list = data;
	int result = list->op->result;

	list->op = NULL;
	list->is_open = result >= 0;
	list->fd = result;
	list->at_end = result < 0;
	list->error = result < 0 ? -result : 0;
	return wake_up(list);
}

static int start_open(struct list *list)
{
	if (!new_op(list))
		return -errno;
	io_uring_prep_openat(list->op->sqe, AT_FDCWD, list->names[list->next], O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
	return queue(list, have_opened);
}

static struct tally *new_tally(const char *name)
{
	struct tally *tally = calloc(1, sizeof(*tally) + strlen(name) + 1);

	if (tally)
		strcpy(tally->name, name);
	return tally;
}

static int start_list(struct list *list)
{
	list->tally = new_tally(is_stdin(list) ? "standard input" : list->names[list->next]);
	if (!list->tally)
		return -ENOMEM;
	list->start = list->end = 0;
	list->error = 0;
	list->at_end = list->skips_line = false;
	list->line.style = LINE_ANY;
	if (!is_stdin(list))
		return start_open(list);
	list->fd = STDIN_FILENO;
	list->is_open = true;
	return 0;
}

static int have_closed(void *data)
{
	struct list *list = data;

	list->op = NULL;
	return wake_up(list);
}

static int start_close(struct list *list)
{
	list->is_open = false;
	if (list->fd == STDIN_FILENO)
		return 0;
	if (!new_op(list))
		return -errno;
	io_uring_prep_close(list->op->sqe, list->fd);
	return queue(list, have_closed);
}

/* What is said after the last line: what was wrong with the lines, or why there are none. */
static int end_list(struct list *list, struct item **item)
{
	int r = list->is_open ? start_close(list) : 0;

	if (r < 0)
		return r;
	*item = item_new(list->error ? ITEM_ERROR : ITEM_LIST_END, "", list->tally->name, list->error);
	if (!*item)
		return -ENOMEM;
	(*item)->tally = list->tally;
	list->tally = NULL;
	list->next++;
	return 1;
}

/* The next line without its end; NULL if it is not all there yet. */
static char *cut_line(struct list *list)
{
	char *line = list->text + list->start;
	char *end = memchr(line, '\n', list->end - list->start);

	if (!end && !(list->at_end && list->start < list->end))
		return NULL;
	list->start = end ? (size_t)(end - list->text) + 1 : list->end;
	if (!end)
		end = list->text + list->end;
	if (end > line && end[-1] == '\r')
		end--;
	*end = '\0';
	return line;
}

static int take_line(struct list *list, char *text, struct item **item)
{
	bool is_good = !list->skips_line;

	list->skips_line = false;
	list->tally->n_lines++;
	if (*text == '\0' || *text == '#')
		return 0;
	is_good = is_good && line_parse(&list->line, text);
	*item = is_good ? item_new(ITEM_FILE, "", list->line.name, 0) : item_new(ITEM_BAD_LINE, "", "", 0);
	if (!*item)
		return -ENOMEM;
	(*item)->tally = list->tally;
	(*item)->line_number = list->tally->n_lines;
	memcpy((*item)->expected, list->line.digest, sizeof(list->line.digest));
	if (is_good)
		list->tally->n_good_lines++;
	else
		list->tally->n_bad_lines++;
	return 1;
}

/* Move what is left to the front, and of a line that fills everything keep the first byte, to know a comment. */
static int read_on(struct list *list)
{
	memmove(list->text, list->text + list->start, list->end - list->start);
	list->end -= list->start;
	list->start = 0;
	if (list->end == TEXT_BYTES) {
		list->skips_line = true;
		list->end = 1;
	}
	return start_read(list);
}

static int list_next(struct source *source, struct item **item)
{
	struct list *list = (struct list *)source;
	int r = 0;

	while (r == 0 && !list->op && (list->tally || list->next < list->n_names)) {
		char *text;

		if (!list->tally)
			r = start_list(list);
		else if ((text = cut_line(list)))
			r = take_line(list, text, item);
		else if (list->at_end)
			r = end_list(list, item);
		else
			r = read_on(list);
	}
	return r == 0 && list->op ? -EAGAIN : r;
}

static void list_free(struct source *source)
{
	struct list *list = (struct list *)source;

	free(list->tally);
	free(list);
}

struct source *list_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data)
{
	struct list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->source = (struct source){ list_next, list_free, wake, wake_data };
	list->sum = sum;
	list->names = sum->options->names;
	list->n_names = sum->options->n_names;
	list->line.label = sum->options->label;
	list->line.digest_bytes = sum->hash.digest_bytes;
	return &list->source;
}
