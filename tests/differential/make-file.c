/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about files, by descriptor and by path. */
#include "make.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum thing any_thing(struct world *world)
{
	return below(world, N_THINGS);
}

int any_fd(struct world *world)
{
	return world->fds[any_thing(world)];
}

static int any_file(struct world *world)
{
	enum thing thing = below(world, 10) ? below(world, A_DIRECTORY + 1) : any_thing(world);

	return world->fds[thing == AN_EPOLL ? A_CLOSED_ONE : thing];
}

/* Letters, so that what is taken for a path is at most a funny one. */
void fill_data(struct world *world, struct slot *slot)
{
	for (int i = 0; i < DATA_SIZE; i++)
		slot->data[i] = (unsigned char)('a' + below(world, 26));
}

unsigned any_iovecs(struct world *world, struct slot *slot)
{
	unsigned first = below(world, 64);

	slot->iov[0] = (struct iovec){ slot->data, first };
	slot->iov[1] = (struct iovec){ slot->data + first, below(world, 64) };
	if (below(world, 12) == 0)
		slot->iov[1].iov_base = (void *)(uintptr_t)bad_address(world);
	if (below(world, 20) == 0)
		slot->iov[below(world, 2)].iov_len = below(world, 2) ? SIZE_MAX : SSIZE_MAX;
	return below(world, 20) ? 1 + below(world, 2) : below(world, 2) ? 0 : 5000;
}

unsigned any_small_iovecs(struct world *world, struct slot *slot)
{
	unsigned n = any_iovecs(world, slot);

	for (int i = 0; i < 2; i++)
		if (slot->iov[i].iov_len == SSIZE_MAX)
			slot->iov[i].iov_len = 7;
	return n;
}

__u64 bad_address(struct world *world)
{
	static char anywhere[2 * SLOT_SIZE];
	const __u64 end = (__u64)(uintptr_t)world->read_only - SLOT_SIZE;
	const __u64 addresses[] = { 0, 8, end, end - 3, (__u64)(uintptr_t)world->read_only, ~0ULL, 1ULL << 63 };

	/* What stands between us and system calls would look there itself. */
	return is_sanitized() ? (__u64)(uintptr_t)anywhere : pick(world, addresses);
}

static __u64 any_offset(struct world *world)
{
	static const __u64 odd[] = { (__u64)-2, 1ULL << 40, INT64_MAX, INT64_MAX - 10, 1ULL << 63 };

	switch (below(world, 12)) {
	case 0:
		return pick(world, odd);
	case 1:
	case 2:
	case 3:
		return (__u64)-1;
	default:
		return below(world, 64);
	}
}

/* What is no file has no place that is far away, and says so in its own words. */
static __u64 any_offset_in(struct world *world, int fd)
{
	__u64 offset = any_offset(world);

	return fd < world->fds[A_PIPE] ? offset : (__u64)((__s64)offset % 64);
}

static int any_rw_flags(struct world *world)
{
	static const int flags[] = { RWF_NOWAIT, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_APPEND, 0x20, 0x40, 0x80, 0x100 };

	return below(world, 6) ? 0 : pick(world, flags);
}

/* Empty transfers, and those that cannot be for other reasons, are no system calls that would look at them. */
static bool may_have_flags(const struct world *world, const struct io_uring_sqe *sqe, const struct slot *slot)
{
	bool is_vectored = sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITEV;

	bool is_far = (__s64)sqe->off < -1 || (__s64)sqe->off > UINT32_MAX;
	bool is_regular = sqe->fd < world->fds[A_DIRECTORY];

	return sqe->len && is_regular && !is_far && (!is_vectored || slot->iov[0].iov_len);
}

/* Where a file's own position is after a transfer that broke off is left open. */
static void mend_iovecs(const struct io_uring_sqe *sqe, struct slot *slot)
{
	if (sqe->off == (__u64)-1)
		slot->iov[1].iov_base = slot->data;
}

/* System calls do not ask the file if there is nothing to transfer. */
static void mend_empty(struct io_uring_sqe *sqe, struct slot *slot)
{
	slot->iov[0].iov_len += slot->iov[0].iov_len == 0;
	sqe->len += sqe->len == 0;
}

void make_file_read(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	int fd = any_file(world);
	__u64 offset = any_offset_in(world, fd);

	if (below(world, 2))
		io_uring_prep_read(sqe, fd, slot->data, below(world, DATA_SIZE), offset);
	else
		io_uring_prep_readv(sqe, fd, slot->iov, any_iovecs(world, slot), offset);
	mend_iovecs(sqe, slot);
	if (fd == world->fds[AN_EVENTFD])
		mend_empty(sqe, slot);
	sqe->rw_flags = may_have_flags(world, sqe, slot) ? any_rw_flags(world) : 0;
}

void make_file_write(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	int fd = any_file(world);
	__u64 offset = any_offset_in(world, fd);

	fill_data(world, slot);
	if (below(world, 2))
		io_uring_prep_write(sqe, fd, slot->data, below(world, 100), offset);
	else
		io_uring_prep_writev(sqe, fd, slot->iov, any_small_iovecs(world, slot), offset);
	mend_iovecs(sqe, slot);
	mend_empty(sqe, slot);
	sqe->rw_flags = may_have_flags(world, sqe, slot) ? any_rw_flags(world) : 0;
}

/* Nothing is registered. */
void make_fixed(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const __u8 opcodes[] = { IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, OP_READV_FIXED, OP_WRITEV_FIXED };

	any_iovecs(world, slot);
	slot->iov[0].iov_base = slot->iov[1].iov_base = slot->data;
	slot->iov[0].iov_len = 7;
	io_uring_prep_rw(pick(world, opcodes), sqe, any_file(world), slot->iov, 1, 0);
	sqe->buf_index = (__u16)below(world, 2);
	if (below(world, 4) == 0) {
		io_uring_prep_rw(OP_FIXED_FD_INSTALL, sqe, (int)below(world, 2), NULL, 0, 0);
		sqe->flags = below(world, 2) ? IOSQE_FIXED_FILE : 0;
		sqe->rw_flags = (int)below(world, 3);
	}
}

static void make_allocation(struct world *world, struct io_uring_sqe *sqe)
{
	static const int modes[] = { 0,
				     0,
				     FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_COLLAPSE_RANGE,
				     0x1000 };
	static const __u64 offsets[] = { 0, 10, 4096, (__u64)-1, INT64_MAX };

	io_uring_prep_fallocate(sqe, any_file(world), pick(world, modes), 0, below(world, 100));
	sqe->off = pick(world, offsets);
}

void make_file_change(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const int advices[] = { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, 500, -1 };
	static const __u64 lengths[] = { 0, 7, 1000, (__u64)-1, 1ULL << 40, 1ULL << 63, INT64_MAX };

	(void)slot;
	switch (below(world, 6)) {
	case 0:
		io_uring_prep_fsync(sqe, any_file(world), below(world, 3));
		sqe->off = below(world, 4) ? 0 : any_offset(world);
		sqe->len = below(world, 2) * 10;
		break;
	case 1:
		make_allocation(world, sqe);
		break;
	case 2:
		io_uring_prep_fadvise(sqe, any_file(world), below(world, 9), 10, (int)below(world, 8) - 1);
		sqe->off = any_offset(world);
		sqe->addr = below(world, 3) ? 0 : pick(world, lengths);
		break;
	case 3:
		io_uring_prep_sync_file_range(sqe, any_file(world), 10, 0, (int)below(world, 9));
		sqe->off = any_offset(world);
		break;
	case 4:
		io_uring_prep_rw(OP_FTRUNCATE, sqe, any_file(world), NULL, 0, pick(world, lengths));
		break;
	default:
		io_uring_prep_madvise(sqe, world->buffers, SLOT_SIZE, pick(world, advices));
		sqe->addr += below(world, 6) == 0;
		sqe->len += below(world, 3) * SLOT_SIZE;
	}
}

void make_xattr(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const char *const names[] = { "user.x", "user.x", "user.y", "", "bad.x", "user." };
	static const char *const files[] = { "file", "appended", "a", "." };

	fill_data(world, slot);
	strcpy(slot->paths[0], pick(world, names));
	strcpy(slot->paths[1], pick(world, files));
	switch (below(world, 4)) {
	case 0:
		io_uring_prep_fsetxattr(sqe, any_file(world), slot->paths[0], (char *)slot->data, (int)below(world, 4),
					below(world, 9));
		break;
	case 1:
		io_uring_prep_fgetxattr(sqe, any_file(world), slot->paths[0], (char *)slot->data, below(world, 10));
		break;
	case 2:
		io_uring_prep_setxattr(sqe, slot->paths[0], (char *)slot->data, slot->paths[1], (int)below(world, 4),
				       below(world, 9));
		break;
	default:
		io_uring_prep_getxattr(sqe, slot->paths[0], (char *)slot->data, slot->paths[1], below(world, 10));
	}
}

/* From what has something, to what has room. */
void make_splice(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const enum thing sources[] = { A_FILE,       A_FILE,          A_READ_ONLY_FILE, A_NONBLOCK_PIPE,
					      A_STREAM,     A_NONBLOCK_PIPE, A_DIRECTORY,      A_PATH,
					      A_CLOSED_ONE, A_NEGATIVE_ONE };
	static const enum thing targets[] = { A_PIPE_TO, A_PIPE_TO,        A_NONBLOCK_PIPE_TO, A_STREAM_TO,
					      A_FILE,    AN_APPENDED_FILE, A_CLOSED_ONE };
	enum thing from = pick(world, sources), to = pick(world, targets);
	unsigned flags = below(world, 4) ? 0 : 1U << below(world, 6);
	int64_t in = below(world, 3) ? -1 : (int64_t)below(world, 60),
		out = below(world, 3) ? -1 : (int64_t)below(world, 60);
	unsigned length = below(world, 30);

	(void)slot;
	if (from > A_DIRECTORY && !world_has_data(world, from))
		from = A_FILE;
	if (below(world, 3))
		io_uring_prep_splice(sqe, world->fds[from], in, world->fds[to], out, length, flags);
	else
		io_uring_prep_tee(sqe, world->fds[from], world->fds[to], length, flags);
}

/* By path. */

static const char *any_path(struct world *world, struct slot *slot, int i)
{
	static const char *const names[] = { "file", "a", "b", "c", "d", "d/e", "no/where", "", ".", "d/", "socket" };

	strcpy(slot->paths[i], pick(world, names));
	return slot->paths[i];
}

static int any_directory(struct world *world)
{
	return below(world, 8) ? world->directory_fd : below(world, 2) ? AT_FDCWD : any_fd(world);
}

static unsigned some_flags(struct world *world)
{
	static const unsigned flags[] = { AT_EMPTY_PATH,
					  AT_REMOVEDIR,
					  AT_SYMLINK_FOLLOW,
					  AT_SYMLINK_NOFOLLOW,
					  AT_STATX_DONT_SYNC,
					  AT_STATX_FORCE_SYNC,
					  1,
					  2,
					  4,
					  1U << 31 };

	return below(world, 3) ? 0 : pick(world, flags);
}

void make_path(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const unsigned masks[] = { STATX_SIZE, STATX_BASIC_STATS, 0, ~0U, 1U << 31, STATX_ALL };
	static const mode_t modes[] = { 0755, 0700, 0, 07777, 0170755 };
	const char *path = any_path(world, slot, 0), *other = any_path(world, slot, 1);
	int fd = any_directory(world), other_fd = any_directory(world);

	switch (below(world, 7)) {
	case 0:
		io_uring_prep_renameat(sqe, fd, path, other_fd, other, below(world, 2) ? 0 : below(world, 8));
		break;
	case 1:
		io_uring_prep_unlinkat(sqe, fd, path, below(world, 2) ? AT_REMOVEDIR : (int)some_flags(world));
		break;
	case 2:
		io_uring_prep_mkdirat(sqe, fd, path, pick(world, modes));
		break;
	case 3:
		io_uring_prep_symlinkat(sqe, path, fd, other);
		break;
	case 4:
		io_uring_prep_linkat(sqe, fd, path, other_fd, other, (int)some_flags(world));
		break;
	default:
		io_uring_prep_statx(sqe, fd, path, (int)some_flags(world), pick(world, masks),
				    (struct statx *)(void *)slot->other);
	}
}

static int open_flags(struct world *world)
{
	static const int flags[] = { O_CREAT,   O_CREAT,    O_EXCL | O_CREAT, O_TRUNC,  O_APPEND,    O_DIRECTORY,
				     O_PATH,    O_NOFOLLOW, O_TMPFILE,        O_DIRECT, O_NONBLOCK,  0x800000,
				     O_NOATIME, 1 << 25,    1 << 30,          O_SYNC,   O_LARGEFILE, O_ASYNC };
	int value = (int)below(world, 4) | (below(world, 3) ? O_CLOEXEC : 0);

	for (unsigned n = below(world, 3); n; n--)
		value |= pick(world, flags);
	return value;
}

void make_open(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	static const mode_t modes[] = { 0600, 0755, 0, 07777, 0170600 };
	static const __u64 resolves[] = { 0, 0, 0, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT, 0x20, 0x40 };
	const char *path = any_path(world, slot, 0);
	int fd = any_directory(world), flags = open_flags(world);
	mode_t mode = pick(world, modes);

	if (below(world, 2)) {
		io_uring_prep_openat(sqe, fd, path, flags, mode);
		return;
	}
	slot->how.flags = (__u64)(unsigned)flags;
	slot->how.mode = flags & O_CREAT ? mode : 0;
	slot->how.resolve = pick(world, resolves);
	io_uring_prep_openat2(sqe, fd, path, &slot->how);
	if (below(world, 6) == 0)
		sqe->len = below(world, 2) ? sizeof(slot->how) + 8 : sizeof(slot->how) - 8;
}

void make_close(struct world *world, struct io_uring_sqe *sqe, struct slot *slot)
{
	(void)slot;
	io_uring_prep_close(sqe, any_fd(world));
	if (below(world, 4) == 0)
		sqe->file_index = below(world, 3);
}
