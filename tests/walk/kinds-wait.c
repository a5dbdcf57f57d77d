/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds that wait for time or for somebody else, and those that name other ops. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "../opcodes.h"
#include "kinds.h"

#define FUTEX_FLAGS (2 | 128) /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */

static bool is_time(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == -ETIME && walk_now_us() >= act->due_us;
}

/* Or so many have completed. */
static bool is_time_or_count(struct act *act, int result, unsigned flags)
{
	return result == 0 || is_time(act, result, flags);
}

static bool is_link_time(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	/* Its op had ended, or could not be stopped any more. */
	return result == -ETIME || result == -EALREADY || result == -ENOENT || result == -ECANCELED;
}

static bool is_mask(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result > 0;
}

/* The listener does not block: a thread of Linux that comes too late for a connection says so. */
static bool is_descriptor(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result >= 0 || (result == -EAGAIN && act->flags & IOSQE_ASYNC);
}

static bool is_found_or_not(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result == 0 || result == -ENOENT || result == -EALREADY;
}

/* Who waits for a futex is counted. */
static bool is_cancelled_or_not(struct act *act, int result, unsigned flags)
{
	return result == 1 || is_found_or_not(act, result, flags);
}

static bool is_count_or_not(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result >= 0 || result == -ENOENT || result == -EALREADY;
}

static void choose_time(struct act *act, struct source *source)
{
	unsigned us = source_pick(source, 4) * 300;

	act->time = (struct __kernel_timespec){ .tv_nsec = 1000 * us };
	act->due_us = walk_now_us() + us;
}

static void prepare_timeout(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	choose_time(act, source);
	io_uring_prep_timeout(act->op->sqe, &act->time, 0, source_pick(source, 2) ? IORING_TIMEOUT_ETIME_SUCCESS : 0);
}

static void prepare_timeout_count(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	choose_time(act, source);
	io_uring_prep_timeout(act->op->sqe, &act->time, 1 + source_pick(source, 8), 0);
}

static bool timeout_succeeds(const struct act *act, int result)
{
	return result == -ETIME && (act->op->sqe->timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS);
}

/* IORING_TIMEOUT_MULTISHOT, Linux 6.4 */
static void prepare_timeout_multishot(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	choose_time(act, source);
	act->time.tv_nsec += 100000;
	io_uring_prep_timeout(act->op->sqe, &act->time, 1 + source_pick(source, 5), 1U << 6);
}

static void prepare_link_timeout(struct world *world, struct act *act, struct source *source)
{
	(void)world;
	choose_time(act, source);
	io_uring_prep_link_timeout(act->op->sqe, &act->time, 0);
}

__u64 kind_choose_target(struct world *world, struct source *source, bool is_hit)
{
	struct act *act = act_pick(world, source);

	if (!act || source_one_in(source, 8))
		return world->old_identity;
	act->may_be_cancelled |= is_hit;
	act->due_us = 0; /* it may be an update */
	return act->identity;
}

static void prepare_timeout_remove(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_timeout_remove(act->op->sqe, kind_choose_target(world, source, true), 0);
}

/* One that is multishot goes on for ever with this time: with none at all the kernel would do nothing else. */
static void prepare_timeout_update(struct world *world, struct act *act, struct source *source)
{
	choose_time(act, source);
	act->time.tv_nsec += 100000;
	io_uring_prep_timeout_update(act->op->sqe, &act->time, kind_choose_target(world, source, false), 0);
}

static void prepare_poll(struct world *world, struct act *act, struct source *source)
{
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_poll_add(act->op->sqe, act->stream->out, POLLIN);
}

static void prepare_poll_multishot(struct world *world, struct act *act, struct source *source)
{
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_poll_multishot(act->op->sqe, act->stream->out, POLLIN);
}

static void prepare_poll_remove(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_remove(act->op->sqe, kind_choose_target(world, source, true));
}

/* For what it has waited before, and no more often than once. */
static void prepare_poll_update(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_update(act->op->sqe, kind_choose_target(world, source, true), 0, POLLIN,
				  IORING_POLL_UPDATE_EVENTS);
}

static void prepare_accept(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_accept(act->op->sqe, world->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void prepare_accept_multishot(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_multishot_accept(act->op->sqe, world->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void prepare_cancel(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_cancel64(act->op->sqe, kind_choose_target(world, source, true), 0);
}

static void prepare_sweep(struct world *world, struct act *act, struct source *source)
{
	int fd = world->streams[source_pick(source, N_STREAMS)].out;

	if (source_one_in(source, 2))
		io_uring_prep_cancel64(act->op->sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	else
		io_uring_prep_cancel_fd(act->op->sqe, fd, IORING_ASYNC_CANCEL_ALL);
}

/* Linux 6.7. A wait is not linked: in the kernel one that is cancelled does not break its chain. */
static void prepare_futex(struct act *act, __u8 opcode, const uint32_t *futex, __u64 value)
{
	struct io_uring_sqe *sqe = act->op->sqe;

	sqe->opcode = opcode;
	sqe->fd = FUTEX_FLAGS;
	sqe->addr = (__u64)(uintptr_t)futex;
	sqe->off = value;
	sqe->addr3 = UINT32_MAX;
}

static void prepare_futex_wait(struct world *world, struct act *act, struct source *source)
{
	prepare_futex(act, OP_FUTEX_WAIT, &world->futexes[source_pick(source, 2)], 0);
}

/* For either. */
static void prepare_futex_waitv(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	for (int i = 0; i < 2; i++)
		act->waiters[i] = (struct futex_waitv){
			.uaddr = (__u64)(uintptr_t)&world->futexes[i],
			.flags = FUTEX_FLAGS,
		};
	act->op->sqe->opcode = OP_FUTEX_WAITV;
	act->op->sqe->addr = (__u64)(uintptr_t)act->waiters;
	act->op->sqe->len = 2;
}

static bool is_which(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result == 0 || result == 1;
}

static void prepare_futex_wake(struct world *world, struct act *act, struct source *source)
{
	prepare_futex(act, OP_FUTEX_WAKE, &world->futexes[source_pick(source, 2)], 1 + source_pick(source, 3));
}

static bool is_number_woken(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result >= 0 && result <= (int)act->op->sqe->off;
}

static const struct kind kinds[] = {
	{ "timeout", MAY_LINK | MAY_SKIP, prepare_timeout, is_time, timeout_succeeds },
	{ "counting timeout", MAY_LINK, prepare_timeout_count, is_time_or_count, NULL },
	{ "multishot timeout", AWAITS_OTHERS | IS_MULTI, prepare_timeout_multishot, is_time, NULL },
	{ "timeout remove", 0, prepare_timeout_remove, is_found_or_not, NULL },
	{ "timeout update", 0, prepare_timeout_update, is_found_or_not, NULL },
	{ "poll", AWAITS_INPUT | MAY_SKIP, prepare_poll, is_mask, NULL },
	{ "multishot poll", AWAITS_OTHERS | IS_MULTI, prepare_poll_multishot, is_mask, NULL },
	{ "poll remove", 0, prepare_poll_remove, is_found_or_not, NULL },
	{ "poll update", 0, prepare_poll_update, is_found_or_not, NULL },
	{ "futex wait", AWAITS_OTHERS, prepare_futex_wait, NULL, NULL },
	{ "futex wake", MAY_LINK, prepare_futex_wake, is_number_woken, NULL },
	{ "futex waitv", AWAITS_OTHERS, prepare_futex_waitv, is_which, NULL },
	{ "accept", AWAITS_CONNECTION | MAKES_FD, prepare_accept, is_descriptor, NULL },
	{ "multishot accept", AWAITS_CONNECTION | MAKES_FD | IS_MULTI, prepare_accept_multishot, is_descriptor, NULL },
	{ "cancel", 0, prepare_cancel, is_cancelled_or_not, NULL },
	{ "cancel anything", SWEEPS, prepare_sweep, is_count_or_not, NULL },
};

const struct kinds kinds_wait = { kinds, sizeof(kinds) / sizeof(kinds[0]) };

static const struct kind link_timeout = { "link timeout", 0, prepare_link_timeout, is_link_time, NULL };

const struct kind *kind_link_timeout(void)
{
	return &link_timeout;
}
