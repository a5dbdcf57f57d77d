/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is left of a world: its files, its descriptors, and the memory of its ops. */
#include "world.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "make.h"

/* FNV-1a */
static uint64_t hash(uint64_t h, const void *data, size_t n)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ bytes[i]) * 0x100000001b3;
	return h;
}

#define START 0xcbf29ce484222325ULL

static uint64_t hash_statx(uint64_t h, const struct statx *stat)
{
	const uint64_t fields[] = { stat->stx_mask, stat->stx_nlink, stat->stx_mode, stat->stx_size };

	return hash(h, fields, sizeof(fields));
}

uint64_t state_hash(const struct slot *slot, const struct io_uring_sqe *sqe)
{
	uint64_t h = hash(START, slot->data, sizeof(slot->data));

	h = hash(h, &slot->length, sizeof(slot->length));
	h = hash(h, &slot->message.msg_namelen, sizeof(slot->message.msg_namelen));
	h = hash(h, &slot->message.msg_controllen, sizeof(slot->message.msg_controllen));
	h = hash(h, &slot->message.msg_flags, sizeof(slot->message.msg_flags));
	h = hash(h, &slot->word, sizeof(slot->word));
	if (sqe->opcode == IORING_OP_STATX)
		return hash_statx(h, (const struct statx *)(const void *)slot->other);
	return hash(h, slot->other, sizeof(slot->other));
}

/* Traces. */

static void trace(struct world *world, const char *name, const char *what, uint64_t value)
{
	struct trace *trace = &world->traces[world->n_traces];

	if (world->n_traces == MAX_TRACES)
		return;
	memset(trace, 0, sizeof(*trace));
	snprintf(trace->name, sizeof(trace->name), "%.28s %.8s", name, what);
	trace->value = value;
	world->n_traces++;
}

/* Bytes that were not read are zero, and their number is among what is hashed. */
static uint64_t hash_content(int directory_fd, const char *name)
{
	char bytes[8192] = { 0 }, value[512] = { 0 };
	int fd = openat(directory_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	uint64_t h = hash(hash(START, &n, sizeof(n)), bytes, sizeof(bytes));

	if (fd >= 0 && fgetxattr(fd, "user.x", value, sizeof(value)) >= 0)
		h = hash(h, value, sizeof(value));
	if (fd >= 0)
		close(fd);
	return h;
}

static uint64_t hash_link(int directory_fd, const char *name)
{
	char target[256] = { 0 };

	return readlinkat(directory_fd, name, target, sizeof(target)) < 0 ? 0 : hash(START, target, sizeof(target));
}

static void trace_file(struct world *world, int directory_fd, const char *name)
{
	struct stat stat;

	if (fstatat(directory_fd, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	trace(world, name, "mode", stat.st_mode);
	trace(world, name, "links", stat.st_nlink);
	if (S_ISREG(stat.st_mode)) {
		trace(world, name, "size", (uint64_t)stat.st_size);
		trace(world, name, "content", hash_content(directory_fd, name));
	}
	if (S_ISLNK(stat.st_mode))
		trace(world, name, "target", hash_link(directory_fd, name));
}

static void trace_directory(struct world *world)
{
	struct dirent **entries;
	int n = scandir(world->directory, &entries, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		if (strcmp(entries[i]->d_name, "..") != 0)
			trace_file(world, world->directory_fd, entries[i]->d_name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static void trace_descriptor(struct world *world, enum thing thing)
{
	struct pollfd pollfd = { .fd = world->fds[thing], .events = POLLIN | POLLOUT | POLLRDHUP };
	char name[16];
	int n_bytes = 0;
	bool is_file = thing <= A_DIRECTORY;

	snprintf(name, sizeof(name), "thing %d", thing);
	trace(world, name, "flags", (uint64_t)fcntl(world->fds[thing], F_GETFL));
	trace(world, name, "position", is_file ? (uint64_t)lseek(world->fds[thing], 0, SEEK_CUR) : 0);
	if (!is_file)
		ioctl(world->fds[thing], FIONREAD, &n_bytes);
	trace(world, name, "bytes", (uint64_t)n_bytes);
	poll(&pollfd, 1, 0);
	trace(world, name, "events", (uint64_t)pollfd.revents);
}

void state_trace(struct world *world)
{
	for (int i = 0; i < A_CLOSED_ONE; i++)
		trace_descriptor(world, i);
	trace_directory(world);
	trace(world, "buffers", "hash", hash(START, world->buffers, (size_t)N_BUFFERS * BUFFER_SIZE));
}

void state_remove_files(int directory_fd)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fdopendir(fd);
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0 || unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
			continue;

		int inner_fd = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (inner_fd >= 0) {
			state_remove_files(inner_fd);
			close(inner_fd);
			unlinkat(fd, entry->d_name, AT_REMOVEDIR);
		}
	}
	if (directory)
		closedir(directory);
}
