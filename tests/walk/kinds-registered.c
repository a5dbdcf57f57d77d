/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds that use what is registered: slots of the table of files, the buffer, groups of provided ones. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "../opcodes.h"
#include "kinds.h"

static bool is_file_memory(const unsigned char *memory, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		if (memory[i] != world_file_byte(i))
			return false;
	return true;
}

/* Into any buffer of the group; what is in one that was provided by an op nobody minds. */
static bool is_file_in_group(struct act *act, int result, unsigned flags)
{
	if (!(flags & IORING_CQE_F_BUFFER))
		return result == -ENOBUFS;
	if (result != (int)act->length)
		return false;
	return act->op->sqe->buf_group != RING_GROUP ||
	       is_file_memory(iou_buffers_at(act->world->buffers, flags >> IORING_CQE_BUFFER_SHIFT), act->length);
}

static bool is_whole(const struct act *act, int result)
{
	return result == (int)act->length;
}

static void prepare_group_file_read(struct world *world, struct act *act, struct source *source)
{
	act->length = SLOT_BYTES;
	io_uring_prep_read(act->op->sqe, world->file, NULL, act->length, 0);
	kind_choose_group(act, source);
}

/* The registered buffer is the arena. */
static bool is_fixed_content(struct act *act, int result, unsigned flags)
{
	(void)flags;
	if (result == -EFAULT)
		return act->may_miss & HAS_FIXED;
	return act->may_find & HAS_FIXED && result == (int)act->length && is_file_memory(act->buffer, act->length);
}

static void prepare_fixed_read(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	io_uring_prep_read_fixed(act->op->sqe, world->file, act->buffer, act->length, 0, 0);
}

/* From and into any stream. */

static bool is_fixed_transfer(struct act *act, int result, unsigned flags)
{
	(void)flags;
	if (result == -EFAULT)
		return act->may_miss & HAS_FIXED;
	return act->may_find & HAS_FIXED && result > 0 && result <= (int)act->length;
}

static void prepare_fixed_stream_read(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_read_fixed(act->op->sqe, act->stream->out, act->buffer, act->length, (__u64)-1, 0);
}

static void prepare_fixed_write(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_write_fixed(act->op->sqe, act->stream->in, act->buffer, act->length, (__u64)-1, 0);
}

/* Out of the group of provided ones: as many as there are, if there is a group. */

static bool is_number_removed(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == -ENOENT ? act->may_miss & HAS_PROVIDED : result >= 0 && result <= act->op->sqe->fd;
}

static void prepare_remove_buffers(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	io_uring_prep_remove_buffers(act->op->sqe, 1 + (int)source_pick(source, 3), PROVIDED_GROUP);
}

/* Slots, of which others may take the file at any time. */

static unsigned choose_slot(struct source *source)
{
	return N_STREAMS + source_pick(source, N_FREE_SLOTS);
}

static bool is_placed(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return (act->may_find & HAS_FILES && result == 0) || (act->may_miss & HAS_FILES && result == -ENXIO);
}

static bool is_closed(struct act *act, int result, unsigned flags)
{
	return (act->may_find & HAS_FILES && result == -EBADF) || is_placed(act, result, flags);
}

static bool is_free_slot(struct act *act, int result, unsigned flags)
{
	(void)flags;
	if (result < 0)
		return result == -ENFILE || (result == -ENXIO && act->may_miss & HAS_FILES);
	if (result < N_STREAMS)
		return act->may_find & HAS_FILES && act->may_miss & HAS_ENDS;
	return act->may_find & HAS_FILES && result < N_STREAMS + N_FREE_SLOTS;
}

static bool is_installed(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == -EBADF || (act->may_find & HAS_FILES && result >= 0);
}

static void prepare_slot_open(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	io_uring_prep_openat_direct(act->op->sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0, choose_slot(source));
}

static void prepare_slot_close(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	io_uring_prep_close_direct(act->op->sqe, choose_slot(source));
}

static void prepare_any_slot(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	io_uring_prep_socket_direct_alloc(act->op->sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static bool is_one(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == 1 ? act->may_find & HAS_FILES : result == -ENXIO && act->may_miss & HAS_FILES;
}

static void prepare_files_update(struct world *world, struct act *act, struct source *source)
{
	act->slot_fd = source_one_in(source, 2) ? world->file : -1;
	io_uring_prep_files_update(act->op->sqe, &act->slot_fd, 1, (int)choose_slot(source));
}

/* Linux 6.8 */
static void prepare_install(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	io_uring_prep_nop(act->op->sqe);
	act->op->sqe->opcode = OP_FIXED_FD_INSTALL;
	act->op->sqe->fd = (int)choose_slot(source);
	act->op->sqe->flags |= IOSQE_FIXED_FILE;
}

static const struct kind kinds[] = {
	{ "file read into a group", MAY_LINK | TAKES_THREAD, prepare_group_file_read, is_file_in_group, is_whole },
	{ "fixed file read", MAY_LINK | TAKES_THREAD, prepare_fixed_read, is_fixed_content, is_whole },
	{ "fixed read", MAY_LINK | TAKES | AWAITS_INPUT | USES_REGISTERED, prepare_fixed_stream_read, is_fixed_transfer,
	  is_whole },
	{ "fixed write", MAY_LINK | GIVES | AWAITS_ROOM | USES_REGISTERED, prepare_fixed_write, is_fixed_transfer,
	  is_whole },
	{ "remove buffers", MAY_LINK, prepare_remove_buffers, is_number_removed, NULL },
	{ "files update", TAKES_THREAD, prepare_files_update, is_one, NULL },
	{ "open in a slot", TAKES_THREAD, prepare_slot_open, is_placed, NULL },
	{ "close of a slot", TAKES_THREAD, prepare_slot_close, is_closed, NULL },
	{ "socket in any slot", TAKES_THREAD, prepare_any_slot, is_free_slot, NULL },
	{ "descriptor of a slot", MAKES_FD | TAKES_THREAD, prepare_install, is_installed, NULL },
};

const struct kinds kinds_registered = { kinds, sizeof(kinds) / sizeof(kinds[0]) };
