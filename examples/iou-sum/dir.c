/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * So many names are held. A directory with more is read several times: each time the next ones of the sorted order
 * are kept. That way memory has a bound, whatever there is in a directory.
 */
#ifndef DIR_NAMES_MAX
#define DIR_NAMES_MAX 131072
#endif

static const char *name_at(const struct dir *dir, size_t i)
{
	return dir->text + dir->names[i];
}

static int compare(const void *a, const void *b, void *text)
{
	return strcmp((char *)text + *(const uint32_t *)a, (char *)text + *(const uint32_t *)b);
}

static int make_room(struct dir *dir, size_t n_bytes)
{
	if (dir->n_names == dir->names_size) {
		size_t size = dir->names_size ? 2 * dir->names_size : 64;
		uint32_t *names = realloc(dir->names, size * sizeof(*names));

		if (!names)
			return -ENOMEM;
		dir->names = names;
		dir->names_size = size;
	}
	while (!dir->text || dir->text_bytes + n_bytes > dir->text_size) {
		size_t size = dir->text_size ? 2 * dir->text_size : 1024;
		char *text = realloc(dir->text, size);

		if (!text)
			return -ENOMEM;
		dir->text = text;
		dir->text_size = size;
	}
	return 0;
}

static int append(struct dir *dir, const char *name, const char *suffix)
{
	size_t n = strlen(name), n_suffix = strlen(suffix) + 1;
	int r = make_room(dir, n + n_suffix);

	if (r < 0)
		return r;
	dir->names[dir->n_names++] = (uint32_t)dir->text_bytes;
	memcpy(dir->text + dir->text_bytes, name, n);
	memcpy(dir->text + dir->text_bytes + n, suffix, n_suffix);
	dir->text_bytes += n + n_suffix;
	return 0;
}

/* Sort, and forget the names past the bound, giving back the room that their text takes. */
static int sort_and_cut(struct dir *dir)
{
	struct dir kept = { .n_names = 0 };
	int r = 0;

	if (dir->n_names)
		qsort_r(dir->names, dir->n_names, sizeof(*dir->names), compare, dir->text);
	if (dir->n_names <= DIR_NAMES_MAX)
		return 0;
	for (size_t i = 0; r == 0 && i < DIR_NAMES_MAX; i++)
		r = append(&kept, name_at(dir, i), "");
	free(dir->text);
	free(dir->names);
	dir->text = kept.text;
	dir->text_bytes = kept.text_bytes;
	dir->text_size = kept.text_size;
	dir->names = kept.names;
	dir->n_names = kept.n_names;
	dir->names_size = kept.names_size;
	dir->has_more = true;
	return r;
}

/* As in struct dirent: some file systems do not tell there. */
static unsigned char type_of(DIR *stream, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type;
	if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
		return DT_REG; /* Opening it will tell why not. */
	return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
}

/* Those that were there the last time, and those that would be cut off again. */
static bool is_out_of_range(const struct dir *dir, const char *name)
{
	if (dir->last && strcmp(name, dir->last) <= 0)
		return true;
	return dir->has_more && strcmp(name, name_at(dir, DIR_NAMES_MAX - 1)) > 0;
}

static int take_entry(struct dir *dir, DIR *stream, const struct dirent *entry)
{
	const char *name = entry->d_name;
	unsigned char type = type_of(stream, entry);
	int r;

	if (!strcmp(name, ".") || !strcmp(name, "..") || (type != DT_REG && type != DT_DIR))
		return 0;
	r = append(dir, name, type == DT_DIR ? "/" : "");
	if (r == 0 && is_out_of_range(dir, name_at(dir, dir->n_names - 1)))
		dir->text_bytes = dir->names[--dir->n_names];
	if (r == 0 && dir->n_names == 2 * DIR_NAMES_MAX)
		r = sort_and_cut(dir);
	return r;
}

static int take_entries(struct dir *dir, DIR *stream)
{
	struct dirent *entry;
	int r = 0;

	errno = 0;
	while (r == 0 && (entry = readdir(stream))) {
		r = take_entry(dir, stream, entry);
		errno = 0;
	}
	return r ? r : -errno;
}

/* Only the one that was given may be a symbolic link. With the slash at its end any path would be followed. */
static int open_dir(struct dir *dir)
{
	char *slash = dir->path + strlen(dir->path) - 1;
	int fd;

	if (!dir->parent)
		return open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*slash = '\0';
	fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	*slash = '/';
	return fd;
}

static int open_and_read(struct dir *dir)
{
	int fd = open_dir(dir);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	int r;

	if (!stream) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = take_entries(dir, stream);
	closedir(stream);
	return r;
}

int dir_read(void *data)
{
	struct dir *dir = data;
	int r;

	free(dir->last);
	dir->last = dir->n_names ? strdup(name_at(dir, dir->n_names - 1)) : NULL;
	if (dir->n_names && !dir->last)
		return -ENOMEM;
	dir->next = dir->n_names = dir->text_bytes = 0;
	dir->has_more = false;
	r = open_and_read(dir);
	if (r == 0)
		r = sort_and_cut(dir);
	else
		sort_and_cut(dir);
	dir->error = -r;
	return 0;
}

const char *dir_next(struct dir *dir)
{
	return dir->next < dir->n_names ? name_at(dir, dir->next++) : NULL;
}

struct dir *dir_new(struct dir *parent, const char *path, const char *name)
{
	size_t n_path = strlen(path), n_name = strlen(name) + 1;
	struct dir *dir = calloc(1, sizeof(*dir) + n_path + n_name + 1);

	if (!dir)
		return NULL;
	dir->parent = parent;
	memcpy(dir->path, path, n_path);
	memcpy(dir->path + n_path, name, n_name);
	return dir;
}

struct dir *dir_free(struct dir *dir)
{
	struct dir *parent = dir->parent;

	free(dir->text);
	free(dir->names);
	free(dir->last);
	free(dir);
	return parent;
}
