/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds that transfer bytes: to and from streams and the file. */
#include <errno.h>

#include "../opcodes.h"
#include "kinds.h"

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

/* A thread of Linux does not wait for one that is to wait first. */
static bool is_never_waited_for(const struct act *act)
{
	return act->world->has_ring && act->op->sqe->ioprio & IORING_RECVSEND_POLL_FIRST &&
	       (act->chain || act->flags & IOSQE_ASYNC);
}

/* By a slot, which may be of no table, or empty, or have a socket without a peer in it. */
static bool is_read(struct act *act, int result, unsigned flags)
{
	if (!(act->op->sqe->flags & IOSQE_FIXED_FILE))
		return is_length(act, result, flags);
	if (result == -EBADF || (result == -EINVAL && act->may_find & HAS_FILES))
		return act->may_miss & HAS_ENDS;
	return act->may_find & HAS_ENDS && is_length(act, result, flags);
}

static bool is_some(struct act *act, int result, unsigned flags)
{
	return is_length(act, result, flags) || (result == -EAGAIN && is_never_waited_for(act));
}

/* All but for who is cancelled on the way. */
static bool is_all(struct act *act, int result, unsigned flags)
{
	return result == (int)act->length || (act->may_be_cancelled && is_length(act, result, flags)) ||
	       (result == -EAGAIN && is_never_waited_for(act));
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

/* What came is told of before it: no name and no control data. */
static bool is_message_received(struct act *act, int result, unsigned flags)
{
	const struct io_uring_recvmsg_out *out;

	if (!is_received(act, result, flags) || (result > 0 && result <= (int)act->n_head))
		return false;
	if (result < 0 || !act->has_group)
		return true;
	out = iou_buffers_at(act->world->buffers, flags >> IORING_CQE_BUFFER_SHIFT);
	return out && out->payloadlen == (unsigned)result - act->n_head && !out->namelen && !out->controllen &&
	       !(out->flags & MSG_TRUNC);
}

/* Nothing, where somebody has taken it all as soon as Linux has seen that there is something. */
static bool is_copied(struct act *act, int result, unsigned flags)
{
	return is_length(act, result, flags) || result == 0;
}

static bool is_read_into_group(struct act *act, int result, unsigned flags)
{
	return is_received(act, result, flags) && result <= (int)act->length;
}

void kind_choose_memory(struct world *world, struct act *act, struct source *source)
{
	act->buffer = world_take_slot(world);
	act->length = 1 + source_pick(source, SLOT_BYTES / 2);
}

/* The memory in two parts, of which one may be empty. */
static void choose_vector(struct act *act, struct source *source)
{
	unsigned n = source_pick(source, act->length + 1);

	act->iov[0] = (struct iovec){ act->buffer, n };
	act->iov[1] = (struct iovec){ act->buffer + n, act->length - n };
}

static void prepare_read(struct world *world, struct act *act, struct source *source)
{
	unsigned i = source_pick(source, N_STREAMS);

	kind_choose_memory(world, act, source);
	act->stream = &world->streams[i];
	io_uring_prep_read(act->op->sqe, act->stream->out, act->buffer, act->length, (__u64)-1);
	if (source_one_in(source, world->registered & HAS_ENDS ? 2 : 16)) {
		act->op->sqe->fd = (int)i;
		act->op->sqe->flags |= IOSQE_FIXED_FILE;
	}
}

static void prepare_write(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_write(act->op->sqe, act->stream->in, act->buffer, act->length, (__u64)-1);
}

static void prepare_writev(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	choose_vector(act, source);
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_writev(act->op->sqe, act->stream->in, act->iov, 2, (__u64)-1);
}

static struct stream *pick_sockets(struct world *world, struct source *source)
{
	return &world->streams[UNIX_PAIR + source_pick(source, N_STREAMS - UNIX_PAIR)];
}

static void prepare_recv(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = pick_sockets(world, source);
	io_uring_prep_recv(act->op->sqe, act->stream->out, act->buffer, act->length, 0);
	if (source_one_in(source, 4))
		act->op->sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

void kind_choose_group(struct act *act, struct source *source)
{
	act->has_group = source_one_in(source, 2);
	act->op->sqe->flags |= IOSQE_BUFFER_SELECT;
	act->op->sqe->buf_group = act->has_group ? RING_GROUP : PROVIDED_GROUP;
}

static void prepare_recv_multishot(struct world *world, struct act *act, struct source *source)
{
	act->stream = pick_sockets(world, source);
	io_uring_prep_recv(act->op->sqe, act->stream->out, NULL, 0, 0);
	act->op->sqe->ioprio |= IORING_RECV_MULTISHOT;
	kind_choose_group(act, source);
}

static void prepare_recvmsg_multishot(struct world *world, struct act *act, struct source *source)
{
	act->stream = pick_sockets(world, source);
	act->n_head = sizeof(struct io_uring_recvmsg_out);
	io_uring_prep_recvmsg_multishot(act->op->sqe, act->stream->out, &act->message, 0);
	kind_choose_group(act, source);
}

/* Linux 6.7 */
static void prepare_read_multishot(struct world *world, struct act *act, struct source *source)
{
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	io_uring_prep_read(act->op->sqe, act->stream->out, NULL, 0, (__u64)-1);
	act->op->sqe->opcode = OP_READ_MULTISHOT;
	kind_choose_group(act, source);
}

static void prepare_group_read(struct world *world, struct act *act, struct source *source)
{
	act->stream = &world->streams[source_pick(source, N_STREAMS)];
	act->length = SLOT_BYTES;
	io_uring_prep_read(act->op->sqe, act->stream->out, NULL, act->length, (__u64)-1);
	kind_choose_group(act, source);
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
	kind_choose_memory(world, act, source);
	act->stream = pick_sockets(world, source);
	io_uring_prep_send(act->op->sqe, act->stream->in, act->buffer, act->length, 0);
}

static void prepare_recv_all(struct world *world, struct act *act, struct source *source)
{
	prepare_recv(world, act, source);
	act->op->sqe->msg_flags = MSG_WAITALL;
}

static void prepare_send_all(struct world *world, struct act *act, struct source *source)
{
	prepare_send(world, act, source);
	act->op->sqe->msg_flags = MSG_WAITALL;
}

static void make_message(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = pick_sockets(world, source);
	choose_vector(act, source);
	act->message = (struct msghdr){ .msg_iov = act->iov, .msg_iovlen = 2 };
}

static void prepare_recvmsg(struct world *world, struct act *act, struct source *source)
{
	make_message(world, act, source);
	io_uring_prep_recvmsg(act->op->sqe, act->stream->out, &act->message, 0);
}

static void prepare_sendmsg(struct world *world, struct act *act, struct source *source)
{
	make_message(world, act, source);
	io_uring_prep_sendmsg(act->op->sqe, act->stream->in, &act->message, 0);
}

static void prepare_send_zc(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	act->stream = &world->streams[TCP_PAIR];
	io_uring_prep_send_zc(act->op->sqe, act->stream->in, act->buffer, act->length, 0, 0);
}

static void prepare_sendmsg_zc(struct world *world, struct act *act, struct source *source)
{
	make_message(world, act, source);
	act->stream = &world->streams[TCP_PAIR];
	io_uring_prep_sendmsg_zc(act->op->sqe, act->stream->in, &act->message, 0);
}

static void prepare_file_read(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	io_uring_prep_read(act->op->sqe, world->file, act->buffer, act->length, 0);
}

static void prepare_file_readv(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	choose_vector(act, source);
	io_uring_prep_readv(act->op->sqe, world->file, act->iov, 2, 0);
}

static void prepare_file_write(struct world *world, struct act *act, struct source *source)
{
	kind_choose_memory(world, act, source);
	io_uring_prep_write(act->op->sqe, world->file, act->buffer, act->length, FILE_BYTES);
}

/* Between the pipes, one way: the bytes come out of the one and go into the other. */
static void prepare_splice(struct world *world, struct act *act, struct source *source)
{
	act->length = 1 + source_pick(source, SLOT_BYTES / 2);
	act->source_stream = &world->streams[PIPE_A];
	act->stream = &world->streams[PIPE_B];
	io_uring_prep_splice(act->op->sqe, act->source_stream->out, -1, act->stream->in, -1, act->length, 0);
}

/* The same, but the one has them still. */
static void prepare_tee(struct world *world, struct act *act, struct source *source)
{
	act->length = 1 + source_pick(source, SLOT_BYTES / 2);
	act->source_stream = &world->streams[PIPE_A];
	act->stream = &world->streams[PIPE_B];
	io_uring_prep_tee(act->op->sqe, act->source_stream->out, act->stream->in, act->length, 0);
}

static void prepare_fsync(struct world *world, struct act *act, struct source *source)
{
	(void)source;
	io_uring_prep_fsync(act->op->sqe, world->file, 0);
}

static const struct kind kinds[] = {
	{ "read", MAY_LINK | TAKES | AWAITS_INPUT | USES_REGISTERED, prepare_read, is_read, is_whole },
	{ "write", MAY_LINK | GIVES | AWAITS_ROOM, prepare_write, is_length, is_whole },
	{ "recv", MAY_LINK | TAKES | AWAITS_INPUT, prepare_recv, is_some, NULL },
	{ "send", MAY_LINK | GIVES | AWAITS_ROOM, prepare_send, is_length, NULL },
	{ "recv all", MAY_LINK | TAKES | AWAITS_INPUT, prepare_recv_all, is_all, is_whole },
	{ "send all", MAY_LINK | GIVES | AWAITS_ROOM, prepare_send_all, is_all, is_whole },
	{ "recvmsg", MAY_LINK | TAKES | AWAITS_INPUT, prepare_recvmsg, is_length, NULL },
	{ "sendmsg", MAY_LINK | GIVES | AWAITS_ROOM, prepare_sendmsg, is_length, NULL },
	{ "send zc", GIVES | AWAITS_ROOM | IS_MULTI, prepare_send_zc, is_sent, NULL },
	{ "multishot recv", TAKES | AWAITS_INPUT | IS_MULTI, prepare_recv_multishot, is_received, NULL },
	{ "multishot read", TAKES | AWAITS_INPUT | IS_MULTI, prepare_read_multishot, is_received, NULL },
	{ "read into a group", MAY_LINK | TAKES | AWAITS_INPUT, prepare_group_read, is_read_into_group, is_whole },
	{ "provide a buffer", MAY_LINK | MAY_SKIP | PROVIDES, prepare_provide, NULL, NULL },
	{ "file read", MAY_LINK | TAKES_THREAD, prepare_file_read, is_file_content, is_whole },
	{ "file readv", MAY_LINK | TAKES_THREAD, prepare_file_readv, is_file_content, is_whole },
	{ "file write", MAY_LINK | TAKES_THREAD, prepare_file_write, is_length, is_whole },
	{ "writev", MAY_LINK | GIVES | AWAITS_ROOM, prepare_writev, is_length, is_whole },
	{ "sendmsg zc", GIVES | AWAITS_ROOM | IS_MULTI, prepare_sendmsg_zc, is_sent, NULL },
	{ "multishot recvmsg", TAKES | AWAITS_INPUT | IS_MULTI, prepare_recvmsg_multishot, is_message_received, NULL },
	{ "tee", MAY_LINK | GIVES | KEEPS | AWAITS_OTHERS, prepare_tee, is_copied, is_whole },
	{ "splice", MAY_LINK | GIVES | AWAITS_OTHERS, prepare_splice, is_length, is_whole },
	{ "fsync", MAY_LINK | TAKES_THREAD | MAY_SKIP, prepare_fsync, NULL, NULL },
};

const struct kind *kind_fsync(void)
{
	return &kinds[sizeof(kinds) / sizeof(kinds[0]) - 1];
}

const struct kinds kinds_data = { kinds, sizeof(kinds) / sizeof(kinds[0]) };
