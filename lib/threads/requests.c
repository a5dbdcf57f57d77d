/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "requests.h"

#include <string.h>

#define INDEX_OF(user_data) ((uint32_t)((user_data) & ((1U << OP_INDEX_BITS) - 1)))

/* A request lives where its op does, so that none is ever wanting. */
static struct request *request_at(const struct threads *threads, uint32_t index)
{
	return iou__ops_extra(threads->engine.ops, index);
}

struct request *iou__requests_new(struct threads *threads, __u64 identity)
{
	struct request *request = request_at(threads, INDEX_OF(identity));

	assert(request->place == AT_REST);
	memset(request, 0, sizeof(*request));
	request->place = AT_HAND;
	request->threads = threads;
	return request;
}

struct request *iou__requests_find(const struct threads *threads, __u64 user_data)
{
	uint32_t index = INDEX_OF(user_data);
	struct request *request = index && index < threads->engine.ops->n_fresh ? request_at(threads, index) : NULL;

	return request && request->place != AT_REST && request->sqe.user_data == user_data ? request : NULL;
}

struct request *iou__requests_after(const struct threads *threads, const struct request *request)
{
	uint32_t index = request ? INDEX_OF(request->sqe.user_data) : 0;

	while (++index < threads->engine.ops->n_fresh)
		if (request_at(threads, index)->place != AT_REST)
			return request_at(threads, index);
	return NULL;
}

void iou__requests_make_ready(struct request *request)
{
	request->place = AT_READY;
	iou__queue_push(&request->threads->ready, &request->node);
}
