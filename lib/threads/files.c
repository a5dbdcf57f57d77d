/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../replace.h"
#include "messages.h"
#include "peek.h"

#define MAX_FILES (1U << 20) /* the kernel's IORING_MAX_FIXED_FILES */
#define EMPTY (-1)

void iou__files_init(struct files *files, struct watches *watches)
{
	*files = (struct files){ .watches = watches };
	iou__queue_init(&files->open);
}

/* Files. */

static struct file *make_file(struct files *files, int fd)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	*file = (struct file){ .fd = fd, .n_users = 1 };
	iou__queue_push(&files->open, &file->node);
	return file;
}

/* What only names a path is no file that could be registered, nor is a ring, be it none of the kernel's. */
static int duplicate(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || flags & O_PATH)
		return flags < 0 ? -errno : -EBADF;
	if (iou__messages_are_for(fd))
		return -EBADF;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int duplicate_file(struct files *files, int fd, struct file **file)
{
	fd = duplicate(fd);
	*file = fd < 0 ? NULL : make_file(files, fd);
	if (*file || fd < 0)
		return fd < 0 ? fd : 0;
	close(fd);
	return -ENOMEM;
}

/* It is in no list any more. */
static void close_file(struct files *files, struct file *file)
{
	iou__watches_forget(files->watches, file->fd);
	close(file->fd);
	free(file);
}

void iou__files_put(struct files *files, struct file *file)
{
	if (!file || --file->n_users)
		return;
	iou__queue_remove(&file->node);
	close_file(files, file);
}

struct file *iou__files_get(const struct files *files, unsigned slot)
{
	struct file *file = slot < files->n ? files->slots[slot] : NULL;

	if (file)
		file->n_users++;
	return file;
}

/* Slots. Where the next free one is looked for is as in the kernel, so that both choose the same. */

static void empty_slot(struct files *files, unsigned slot)
{
	if (!files->slots[slot])
		return;
	iou__files_put(files, files->slots[slot]);
	files->slots[slot] = NULL;
	files->hint = slot;
}

static void fill_slot(struct files *files, unsigned slot, struct file *file)
{
	bool was_free = !files->slots[slot];

	iou__files_put(files, files->slots[slot]);
	files->slots[slot] = file;
	if (was_free)
		files->hint = slot + 1;
}

/* The table's size: there is none. */
static unsigned find_free_slot(const struct files *files)
{
	for (unsigned i = 0; i < files->n; i++) {
		unsigned slot = (files->hint + i) % files->n;

		if (!files->slots[slot])
			return slot;
	}
	return files->n;
}

/* The table. */

static bool are_too_many(unsigned n)
{
	struct rlimit limit;

	return n > MAX_FILES || (getrlimit(RLIMIT_NOFILE, &limit) == 0 && n > limit.rlim_cur);
}

static void drop_table(struct files *files)
{
	struct file **slots = files->slots;
	unsigned n = files->n;

	files->slots = NULL;
	files->n = 0;
	for (unsigned i = 0; i < n; i++)
		iou__files_put(files, slots[i]);
	iou__free_replaced(slots);
}

static int fill_table(struct files *files, const int *fds)
{
	for (unsigned i = 0; i < files->n; i++) {
		int r = fds[i] == EMPTY ? 0 : duplicate_file(files, fds[i], &files->slots[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

int iou__files_register(struct files *files, const int *fds, unsigned n)
{
	int r;

	if (files->n)
		return -EBUSY;
	if (!n || are_too_many(n))
		return n ? -EMFILE : -EINVAL;
	files->slots = calloc(n, sizeof(struct file *));
	if (!files->slots)
		return -ENOMEM;
	files->n = n;
	files->hint = 0;
	r = fill_table(files, fds);
	if (r < 0)
		drop_table(files);
	return r;
}

int iou__files_unregister(struct files *files)
{
	if (!files->n)
		return -ENXIO;
	drop_table(files);
	return 0;
}

/* All that are open, whoever has them. The slots of a forked child may name one that its parent has just freed. */
void iou__files_destroy(struct files *files)
{
	struct node *node;

	while ((node = iou__queue_pop(&files->open)))
		close_file(files, container_of(node, struct file, node));
	free(files->slots);
	files->slots = NULL;
	files->n = 0;
}

/* Changes. */

static int update_slot(struct files *files, unsigned slot, int fd)
{
	struct file *file;
	int r;

	if (fd == IORING_REGISTER_FILES_SKIP)
		return 0;
	r = fd == EMPTY ? 0 : duplicate_file(files, fd, &file);
	if (r == 0 || r == -EBADF)
		empty_slot(files, slot);
	if (r == 0 && fd != EMPTY)
		fill_slot(files, slot, file);
	return r;
}

int iou__files_update(struct files *files, unsigned offset, __u64 fds, unsigned n)
{
	int r = 0;
	unsigned i;

	if ((__u64)offset + n > UINT32_MAX)
		return -EOVERFLOW;
	if (!files->n)
		return -ENXIO;
	if (offset + n > files->n)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		int fd = EMPTY;

		r = iou__peek(fds + i * sizeof(fd), &fd, sizeof(fd));
		if (r == 0)
			r = update_slot(files, offset + i, fd);
		if (r < 0)
			break;
	}
	return i ? (int)i : r;
}

static int add_file(struct files *files, int fd)
{
	fd = duplicate(fd);
	return fd < 0 ? fd : iou__files_install(files, IORING_FILE_INDEX_ALLOC, fd);
}

int iou__files_update_free(struct files *files, __u64 fds, unsigned n)
{
	int r = 0;
	unsigned i;

	if (!files->n)
		return -ENXIO;
	for (i = 0; i < n; i++) {
		int fd = EMPTY, slot;

		r = iou__peek(fds + i * sizeof(fd), &fd, sizeof(fd));
		slot = r < 0 ? r : add_file(files, fd);
		if (slot >= 0)
			r = iou__poke(fds + i * sizeof(fd), &slot, sizeof(slot));
		if (slot >= 0 && r < 0)
			empty_slot(files, (unsigned)slot);
		if (slot < 0 || r < 0) {
			r = slot < 0 ? slot : r;
			break;
		}
	}
	return i ? (int)i : r;
}

/* 0 or -errno: which one, where a new file is to go. */
static int find_slot(const struct files *files, unsigned file_index, unsigned *slot)
{
	if (file_index == IORING_FILE_INDEX_ALLOC) {
		*slot = find_free_slot(files);
		return *slot < files->n ? 0 : -ENFILE;
	}
	*slot = file_index - 1;
	if (!files->n)
		return -ENXIO;
	return *slot < files->n ? 0 : -EINVAL;
}

int iou__files_install(struct files *files, unsigned file_index, int fd)
{
	unsigned slot;
	int r = find_slot(files, file_index, &slot);
	struct file *file = r < 0 ? NULL : make_file(files, fd);

	if (!file) {
		close(fd);
		return r < 0 ? r : -ENOMEM;
	}
	fill_slot(files, slot, file);
	return file_index == IORING_FILE_INDEX_ALLOC ? (int)slot : 0;
}

int iou__files_close(struct files *files, unsigned slot)
{
	if (!files->n)
		return -ENXIO;
	if (slot >= files->n)
		return -EINVAL;
	if (!files->slots[slot])
		return -EBADF;
	empty_slot(files, slot);
	return 0;
}
