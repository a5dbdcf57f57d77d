/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds about the file as a whole, and what it is made of beyond its contents. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "../opcodes.h"
#include "kinds.h"

#define MORE_BYTES SLOT_BYTES /* what is written at its end, see kinds-data.c */

static bool is_told_of(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == 0 && act->status.stx_size >= FILE_BYTES && act->status.stx_size <= FILE_BYTES + MORE_BYTES;
}

static void prepare_statx(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	memset(&act->status, 0, sizeof(act->status));
	io_uring_prep_statx(act->op->sqe, world->file, "", AT_EMPTY_PATH, STATX_SIZE, &act->status);
}

static void prepare_fallocate(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_fallocate(act->op->sqe, world->file, 0, FILE_BYTES, 1 + source_pick(source, MORE_BYTES));
}

/* Linux 6.9 */
static void prepare_ftruncate(struct world *world, struct act *act, struct source *source)
{
	act->op->sqe->opcode = OP_FTRUNCATE;
	act->op->sqe->fd = world->file;
	act->op->sqe->off = FILE_BYTES + source_pick(source, MORE_BYTES);
}

static void prepare_sync_range(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_sync_file_range(act->op->sqe, world->file, 1 + source_pick(source, 200), 0,
				      SYNC_FILE_RANGE_WRITE);
}

static void prepare_fadvise(struct world *world, struct act *act, struct source *source)
{
	int advice = source_one_in(source, 2) ? POSIX_FADV_WILLNEED : POSIX_FADV_SEQUENTIAL;

	io_uring_prep_fadvise(act->op->sqe, world->file, 0, FILE_BYTES, advice);
}

static void prepare_madvise(struct world *world, struct act *act, struct source *source)
{
	int advice = source_one_in(source, 2) ? MADV_WILLNEED : MADV_NORMAL;

	io_uring_prep_madvise(act->op->sqe, world->arena, ARENA_BYTES, advice);
}

static bool is_opened(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result >= 0;
}

static void prepare_openat2(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	memset(&act->how, 0, sizeof(act->how));
	act->how.flags = O_RDONLY | O_CLOEXEC;
	io_uring_prep_openat2(act->op->sqe, AT_FDCWD, "/dev/null", &act->how);
}

static const struct kind kinds[] = {
	{ "statx", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_statx, is_told_of, NULL },
	{ "fallocate", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_fallocate, NULL, NULL },
	{ "ftruncate", MAY_SKIP | TAKES_THREAD, prepare_ftruncate, NULL, NULL },
	{ "sync file range", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_sync_range, NULL, NULL },
	{ "fadvise", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_fadvise, NULL, NULL },
	{ "madvise", MAY_LINK | MAY_SKIP | TAKES_THREAD, prepare_madvise, NULL, NULL },
	{ "openat2", MAKES_FD | TAKES_THREAD, prepare_openat2, is_opened, NULL },
};

const struct kinds kinds_files = { kinds, sizeof(kinds) / sizeof(kinds[0]) };
