/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "completions.h"

#include "../sqe.h"
#include "exec.h"
#include "opcodes.h"

static bool has_room(const struct threads *threads)
{
	return threads->cq_tail - threads->cq_head < threads->engine.cq_entries;
}

bool iou__completions_have_room(struct threads *threads)
{
	return has_room(threads) || iou__cq_empty_ring(threads->engine.cq);
}

static void put(struct threads *threads, __u64 user_data, int res, unsigned flags)
{
	struct io_uring_cqe *cqe = &threads->cqes[threads->cq_tail & (threads->engine.cq_entries - 1)];

	cqe->user_data = user_data;
	cqe->res = res;
	cqe->flags = flags;
	__atomic_store_n(&threads->cq_tail, threads->cq_tail + 1, __ATOMIC_RELEASE);
}

static void post(struct threads *threads, const struct request *request, int res, unsigned flags)
{
	put(threads, request->sqe.user_data, res, flags);
	threads->n_completed += request->sqe.opcode != IORING_OP_TIMEOUT;
}

void iou__completions_post_message(struct threads *threads, const struct cqe *message)
{
	if (!iou__completions_have_room(threads) || !iou__messages_keep(&threads->messages, message))
		return;
	put(threads, MESSAGES_MARK, 0, 0);
	threads->n_completed++;
}

void iou__completions_take_messages(struct threads *threads)
{
	struct cqe message;

	while (has_room(threads) && iou__messages_take(&threads->messages, &message))
		iou__completions_post_message(threads, &message);
}

void iou__completions_post_more(struct request *request, int res, unsigned flags)
{
	request->has_given = true;
	if (iou__completions_have_room(request->threads))
		post(request->threads, request, res, flags | IORING_CQE_F_MORE);
}

void iou__completions_flush(struct threads *threads)
{
	while (!iou__queue_is_empty(&threads->done) && iou__completions_have_room(threads)) {
		struct request *request = container_of(iou__queue_pop(&threads->done), struct request, node);

		post(threads, request, request->res, request->cqe_flags);
		request->place = AT_REST;
	}
}

/*
 * What a zero-copy send comes to is told first, and then that its memory is free; where there is room for one of these
 * alone, in one.
 */
static int notify(struct request *request, int res)
{
	if (!request->has_notice || !iou__completions_have_room(request->threads))
		return res;
	iou__completions_post_more(request, res, 0);
	request->cqe_flags = IORING_CQE_F_NOTIF;
	return request->sqe.ioprio & IORING_SEND_ZC_REPORT_USAGE ? (int)IORING_NOTIF_USAGE_ZC_COPIED : 0;
}

/* What is registered may be closed from here on. */
static void let_go_of_files(struct request *request)
{
	struct files *files = &request->threads->files;

	if (request->file)
		iou__files_put(files, request->file);
	if (request->file_in)
		iou__files_put(files, request->file_in);
	request->file = request->file_in = NULL;
}

void iou__completions_end(struct request *request, int res)
{
	struct threads *threads = request->threads;

	let_go_of_files(request);
	if (request->has_begun && request->opcode->flags & WAITS_FOR_FUTEX)
		threads->n_futexes--;
	request->res = res;
	if (iou__queue_is_empty(&threads->done) && iou__completions_have_room(threads)) {
		post(threads, request, res, request->cqe_flags);
		request->place = AT_REST;
		return;
	}
	request->place = AT_DONE;
	iou__queue_push(&threads->done, &request->node);
}

/* Links. */

/* One that was found to be wrong before it began says so itself. */
static void fail_links(struct request *request)
{
	while (request) {
		struct request *next = request->next;

		iou__completions_end(request, request->is_failed ? request->res : -ECANCELED);
		request = next;
	}
}

/* The linked timeout of a request that has completed: armed, or not yet. */
static void end_limit(struct request *request, struct request **next)
{
	struct request *limit = request->limit;

	if (!limit && *next && (*next)->sqe.opcode == IORING_OP_LINK_TIMEOUT && !(*next)->is_failed) {
		limit = *next;
		*next = limit->next;
	} else if (limit) {
		iou__queue_remove(&limit->node);
	}
	if (limit)
		iou__completions_end(limit, -ECANCELED);
}

static bool has_file(const struct request *request)
{
	return request->file || (!(request->sqe.flags & IOSQE_FIXED_FILE) && iou__is_file(request->sqe.fd));
}

/* How much a buffer that was provided takes is known here alone. */
static bool is_success(const struct request *request, int res)
{
	return iou__sqe_succeeded(&request->sqe, res) && (res < 0 || (uint32_t)res >= request->least);
}

/* Some operations of the kernel fail without breaking their chain, but for what keeps them from beginning. */
static bool breaks_chain(const struct request *request, int res)
{
	if (is_success(request, res))
		return false;
	/* A socket has been made: that it found no slot Linux tells, and goes on. */
	if (request->is_unplaced && request->sqe.opcode == IORING_OP_SOCKET)
		return false;
	if (request->opcode->flags & GOES_ON && res == -ECANCELED && request->has_begun)
		return false;
	if (!(request->opcode->flags & KEEPS_CHAIN) || res == -ECANCELED || res == -ENOTSOCK)
		return true;
	return res == -EBADF && request->opcode->flags & TAKES_FILE && !has_file(request);
}

/* Nobody else gets the request while this lasts: that takes a callback. */
void iou__completions_complete(struct request *request, int res)
{
	struct request *next = request->next;
	bool is_failure = next && breaks_chain(request, res);
	bool is_hard = request->sqe.flags & IOSQE_IO_HARDLINK;

	if (request->buffer.is_taken)
		iou__groups_give_back(&request->threads->groups, request);
	iou__completions_end(request, notify(request, res));
	end_limit(request, &next);
	if (next && is_failure && !is_hard)
		fail_links(next);
	else if (next)
		iou__requests_make_ready(next);
}

void iou__completions_fail_chain(struct request *head)
{
	struct request *next = head->next;

	iou__completions_end(head, notify(head, head->is_failed ? head->res : -ECANCELED));
	fail_links(next);
}
