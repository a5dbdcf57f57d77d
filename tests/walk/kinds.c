/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations of the walk: how each is prepared, and what it may come to if nobody cancels it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "world.h"

/* Results. */

static bool is_length(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result > 0 && result <= (int)act->length;
}

static bool is_whole(const struct act *act, int result)
{
	return result == (int)act->length;
}

static bool is_file_content(struct act *act, int result, unsigned flags)
{
	(void)flags;
	if (result != (int)act->length)
		return false;
	for (unsigned i = 0; i < act->length; i++)
		if (act->buffer[i] != world_file_byte(i))
			return false;
	return true;
}

static bool is_time(struct act *act, int result, unsigned flags)
{
	(void)flags;
	return result == -ETIME && walk_now_us() >= act->due_us;
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

static bool is_count_or_not(struct act *act, int result, unsigned flags)
{
	(void)act, (void)flags;
	return result >= 0 || result == -ENOENT || result == -EALREADY;
}

static bool is_sent(struct act *act, int result, unsigned flags)
{
	return flags & IORING_CQE_F_NOTIF ? act->n_calls == 2 && result == 0 : is_length(act, result, flags);
}

static bool is_received(struct act *act, int result, unsigned flags)
{
	(void)act;
	return result > 0 ? (flags & IORING_CQE_F_BUFFER) != 0 : result == -ENOBUFS && !(flags & IORING_CQE_F_MORE);
}

static bool is_read_into_group(struct act *act, int result, unsigned flags)
{
	return is_received(act, result, flags) && result <= (int)act->length;
}

static bool is_message(struct act *act, int result, unsigned flags)
{
	(void)flags;
	act->world->n_messages += result == 0;
	if (!act->world->has_ring)
		return result == -EBADF;
	/* It was prepared before the ring was built anew: another file may have that descriptor by now, or none. */
	return result == 0 || result == -EOVERFLOW || result == -EBADFD || result == -EBADF;
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

static void choose_memory(struct world *world, struct act *act, struct source *source)
{
	act->buffer = world_take_slot(world);
	act->length = 1 + source_pick(source, SLOT_BYTES / 2);
}

static void prepare_read(struct world *world, struct act *act, struct source *source)
{
	unsigned i = source_pick(source, N_STREAMS);

	choose_memory(world, act, source);
	act->stream = &world->streams[i];
	io_uring_prep_read(act->op->sqe, act->stream->out, act->buffer, act->length, (__u64)-1);
	if (world->has_files && source_one_in(source, 2)) {
		act->op->sqe->fd = (int)i;
		act->op->sqe->flags |= IOSQE_FIXED_FILE;
	}
}

static void prepare_write(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_write(act->op->sqe, act->stream->in, act->buffer, act->length, (__u64)-1);
}

static struct stream *pick_sockets(struct world *world, struct source *source)
{
	return &world->streams[UNIX_PAIR + source_pick(source, N_STREAMS - UNIX_PAIR)];
}

static void prepare_recv(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	act->stream = pick_sockets(world, source);
	io_uring_prep_recv(act->op->sqe, act->stream->out, act->buffer, act->length, 0);
}

/* Which kinds of groups there are depends on the engine. */
static void choose_group(struct world *world, struct act *act, struct source *source)
{
	act->op->sqe->flags |= IOSQE_BUFFER_SELECT;
	act->op->sqe->buf_group = world->has_ring && source_one_in(source, 2) ? RING_GROUP : PROVIDED_GROUP;
}

static void prepare_recv_multishot(struct world *world, struct act *act, struct source *source)
{
	act->stream = pick_sockets(world, source);
	io_uring_prep_recv(act->op->sqe, act->stream->out, NULL, 0, 0);
	act->op->sqe->ioprio |= IORING_RECV_MULTISHOT;
	choose_group(world, act, source);
}

static void prepare_group_read(struct world *world, struct act *act, struct source *source)
{
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	act->length = SLOT_BYTES;
	io_uring_prep_read(act->op->sqe, act->stream->out, NULL, act->length, (__u64)-1);
	choose_group(world, act, source);
}

/* The same may be in the group more than once: nobody minds what is in it. */
static void prepare_provide(struct world *world, struct act *act, struct source *source)
{
	unsigned id = source_pick(source, PROVIDED_BUFFERS);

	io_uring_prep_provide_buffers(act->op->sqe, world->provided_buffers + id * SLOT_BYTES, SLOT_BYTES, 1,
				      PROVIDED_GROUP, (int)id);
}

static void prepare_send(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	act->stream = pick_sockets(world, source);
	io_uring_prep_send(act->op->sqe, act->stream->in, act->buffer, act->length, 0);
}

static void prepare_send_zc(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	act->stream = &world->streams[TCP_PAIR];
	io_uring_prep_send_zc(act->op->sqe, act->stream->in, act->buffer, act->length, 0, 0);
}

static void prepare_file_read(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	io_uring_prep_read(act->op->sqe, world->file, act->buffer, act->length, 0);
}

static void prepare_file_write(struct world *world, struct act *act, struct source *source)
{
	choose_memory(world, act, source);
	io_uring_prep_write(act->op->sqe, world->file, act->buffer, act->length, FILE_BYTES);
}

static void prepare_fsync(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_fsync(act->op->sqe, world->file, 0);
}

static void prepare_open(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)source;
	io_uring_prep_openat(act->op->sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
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

static __u64 target(struct world *world, struct source *source, bool is_hit)
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
	io_uring_prep_timeout_remove(act->op->sqe, target(world, source, true), 0);
}

/* One that is multishot goes on for ever with this time: with none at all the kernel would do nothing else. */
static void prepare_timeout_update(struct world *world, struct act *act, struct source *source)
{
	choose_time(act, source);
	act->time.tv_nsec += 100000;
	io_uring_prep_timeout_update(act->op->sqe, &act->time, target(world, source, false), 0);
}

static void prepare_poll(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_add(act->op->sqe, world->streams[source_pick(source, N_STREAMS)].out, POLLIN);
}

static void prepare_poll_multishot(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_multishot(act->op->sqe, world->streams[source_pick(source, N_STREAMS)].out, POLLIN);
}

static void prepare_poll_remove(struct world *world, struct act *act, struct source *source)
{
	io_uring_prep_poll_remove(act->op->sqe, target(world, source, true));
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
	io_uring_prep_cancel64(act->op->sqe, target(world, source, true), 0);
}

static void prepare_sweep(struct world *world, struct act *act, struct source *source)
{
	int fd = world->streams[source_pick(source, N_STREAMS)].out;

	if (source_one_in(source, 2))
		io_uring_prep_cancel64(act->op->sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	else
		io_uring_prep_cancel_fd(act->op->sqe, fd, IORING_ASYNC_CANCEL_ALL);
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
	choose_memory(world, act, source);
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
	io_uring_prep_poll_update(act->op->sqe, target(world, source, false), 1, POLLIN, IORING_POLL_UPDATE_USER_DATA);
}

static void prepare_nothing(struct world *world, struct act *act, struct source *source)
{
	(void)world, (void)act, (void)source;
}

static const struct kind link_timeout = { "link timeout", 0, prepare_link_timeout, is_link_time, NULL };
static const struct kind job = { "job", IS_JOB, prepare_nothing, NULL, NULL };

static const struct kind kinds[] = {
	{ "nop", MAY_LINK | MAY_SKIP | IS_NOP, prepare_nop, NULL, NULL },
	{ "read", MAY_LINK | TAKES, prepare_read, is_length, is_whole },
	{ "write", MAY_LINK | GIVES, prepare_write, is_length, is_whole },
	{ "recv", MAY_LINK | TAKES, prepare_recv, is_length, NULL },
	{ "send", MAY_LINK | GIVES, prepare_send, is_length, NULL },
	{ "send zc", GIVES | IS_MULTI, prepare_send_zc, is_sent, NULL },
	{ "multishot recv", TAKES | IS_MULTI, prepare_recv_multishot, is_received, NULL },
	{ "read into a group", MAY_LINK | TAKES, prepare_group_read, is_read_into_group, is_whole },
	{ "provide a buffer", MAY_LINK | MAY_SKIP | PROVIDES, prepare_provide, NULL, NULL },
	{ "file read", MAY_LINK, prepare_file_read, is_file_content, is_whole },
	{ "file write", MAY_LINK, prepare_file_write, is_length, is_whole },
	{ "fsync", MAY_LINK | MAY_SKIP, prepare_fsync, NULL, NULL },
	{ "open", MAKES_FD, prepare_open, is_descriptor, NULL },
	{ "timeout", MAY_LINK | MAY_SKIP, prepare_timeout, is_time, timeout_succeeds },
	{ "multishot timeout", IS_MULTI, prepare_timeout_multishot, is_time, NULL },
	{ "timeout remove", 0, prepare_timeout_remove, is_found_or_not, NULL },
	{ "timeout update", 0, prepare_timeout_update, is_found_or_not, NULL },
	{ "poll", MAY_SKIP, prepare_poll, is_mask, NULL },
	{ "multishot poll", IS_MULTI, prepare_poll_multishot, is_mask, NULL },
	{ "poll remove", 0, prepare_poll_remove, is_found_or_not, NULL },
	{ "accept", MAKES_FD, prepare_accept, is_descriptor, NULL },
	{ "multishot accept", MAKES_FD | IS_MULTI, prepare_accept_multishot, is_descriptor, NULL },
	{ "cancel", 0, prepare_cancel, is_found_or_not, NULL },
	{ "cancel anything", SWEEPS, prepare_sweep, is_count_or_not, NULL },
	{ "message", 0, prepare_message, is_message, NULL },
	{ "bad descriptor", MAY_LINK | MAY_SKIP, prepare_bad_fd, is_bad_fd, NULL },
	{ "bad pointer", MAY_SKIP, prepare_bad_pointer, is_fault, NULL },
	{ "bad opcode", MAY_SKIP, prepare_bad_opcode, is_invalid, NULL },
	{ "bad update", MAY_SKIP, prepare_bad_update, is_invalid, NULL },
};

const struct kind *kind_pick(struct source *source, unsigned traits)
{
	const unsigned n = sizeof(kinds) / sizeof(kinds[0]);
	unsigned i = source_pick(source, n);

	while ((kinds[i].traits & traits) != traits)
		i = (i + 1) % n;
	return &kinds[i];
}

const struct kind *kind_link_timeout(void)
{
	return &link_timeout;
}

const struct kind *kind_job(void)
{
	return &job;
}

const struct kind *kind_nop(void)
{
	return &kinds[0];
}
