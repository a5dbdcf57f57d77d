/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <stdlib.h>
#include <string.h>

struct item *item_new(enum item_kind kind, const char *path, const char *name, int error)
{
	size_t n_path = strlen(path), n_name = strlen(name) + 1;
	struct item *item = calloc(1, sizeof(*item) + n_path + n_name);

	if (!item)
		return NULL;
	item->kind = kind;
	item->error = error;
	memcpy(item->name, path, n_path);
	memcpy(item->name + n_path, name, n_name);
	return item;
}

struct item *item_free(struct item *item)
{
	if (item && (item->kind == ITEM_LIST_END || item->kind == ITEM_ERROR))
		free(item->tally);
	free(item);
	return NULL;
}

/* A file of that name in a directory has the directory's name before it. */
bool item_is_stdin(const struct item *item)
{
	return !strcmp(item->name, "-");
}
