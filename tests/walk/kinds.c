/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations of the walk: how each is prepared, and what it may come to if nobody cancels it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "kinds.h"

/* Results. */

static bool is_message(struct act *act, int result, unsigned flags)
{
	(void)flags;
	act->world->n_messages += result == 0;
	/* It was prepared before the ring was built anew: another file may have that descriptor by now, or none. */
	return result == 0 || result == -EOVERFLOW || result == -EBADFD || result == -EBADF;
}

static bool is_opened(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result >= 0;
}

static bool is_bad_fd(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result == -EBADF;
}

static bool is_fault(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result == -EFAULT;
}

/* As whatever is not supported. */
static bool is_unknown(struct act *act, int result, unsigned flags)
{
	(void)act, (void)result, (void)flags;
	return false;
}

static bool is_invalid(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result == -EINVAL;
}

/* Preparation. */

static void prepare_nop(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	io_uring_prep_nop(act->op->sqe);
}

static void prepare_open(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	io_uring_prep_openat(act->op->sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
}

/* To the ring itself, under a name that no op has: index 0, an index that was never handed out, a former life. */
static void prepare_message(struct world *world, struct act *act, struct source *source)
{
	const __u64 names[] = { 0, ~0ULL, 0xffffff, 1ULL << 63, world->old_identity, LIBURING_UDATA_TIMEOUT };
	unsigned i = source_pick(source, sizeof(names) / sizeof(names[0]));

	io_uring_prep_msg_ring(act->op->sqe, iou_ring(world->iou)->ring_fd, 5, names[i], 0);
}

static void prepare_bad_fd(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	io_uring_prep_read(act->op->sqe, -1, act->buffer, act->length, 0);
}

static void prepare_bad_pointer(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_write(act->op->sqe, world->file, NULL, 8, FILE_BYTES);
}

static void prepare_bad_opcode(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	io_uring_prep_nop(act->op->sqe);
	act->op->sqe->opcode = 240;
}

static void prepare_bad_update(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_update(act->op->sqe, kind_choose_target(world, source, false), 1, POLLIN,
				  IORING_POLL_UPDATE_USER_DATA);
}

static void prepare_nothing(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)act, (void)source;
}

static const struct kind job = { "job", IS_JOB, prepare_nothing, NULL, NULL };

static const struct kind kinds[] = {
	{ "nop", MAY_LINK | MAY_SKIP | IS_NOP, prepare_nop, NULL, NULL },
	{ "open", MAKES_FD | TAKES_THREAD, prepare_open, is_opened, NULL },
	{ "message", 0, prepare_message, is_message, NULL },
	{ "bad descriptor", MAY_LINK | MAY_SKIP, prepare_bad_fd, is_bad_fd, NULL },
	{ "bad pointer", MAY_SKIP | TAKES_THREAD, prepare_bad_pointer, is_fault, NULL },
	{ "bad opcode", MAY_SKIP, prepare_bad_opcode, is_unknown, NULL },
	{ "bad update", MAY_SKIP, prepare_bad_update, is_invalid, NULL },
};

static const struct kinds kinds_other = { kinds, sizeof(kinds) / sizeof(kinds[0]) };
static const struct kinds *const tables[] = { &kinds_other,      &kinds_data,    &kinds_wait,
					      &kinds_registered, &kinds_objects, &kinds_files };

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static unsigned count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_TABLES; i++)
		n += tables[i]->n;
	return n;
}

static const struct kind *at(unsigned i)
{
	const struct kinds *const *table = tables;

	while (i >= (*table)->n)
		i -= (*table++)->n;
	return &(*table)->first[i];
}

const struct kind *kind_pick(struct source *source, unsigned traits)
{
	const unsigned n = count();
	unsigned i = source_pick(source, n);

	while ((at(i)->traits & traits) != traits)
		i = (i + 1) % n;
	return at(i);
}

const struct kind *kind_job(void)
{
	return &job;
}

const struct kind *kind_nop(void)
{
	return &kinds[0];
}
