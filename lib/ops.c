/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SHIFT 8
#define CHUNK_OPS (1U << CHUNK_SHIFT)
#define INDEX_END ((1U << OP_INDEX_BITS) - 1) /* one less, so that no identity is all ones: liburing uses that one */
#define INDEX_MASK ((1U << OP_INDEX_BITS) - 1)

void iou__ops_init(struct ops *ops)
{
	memset(ops, 0, sizeof(*ops));
	ops->n_fresh = 1;
}

void iou__ops_destroy(struct ops *ops)
{
	for (size_t i = 0; i < ops->n_chunks; i++)
		free(ops->chunks[i]);
	free(ops->chunks);
	iou__ops_init(ops);
}

/* One more chunk. The table of chunks may move, the ops never do. */
static bool grow(struct ops *ops)
{
	struct op **chunks = realloc(ops->chunks, (ops->n_chunks + 1) * sizeof(struct op *));

	if (!chunks)
		return false;
	ops->chunks = chunks;

	struct op *chunk = aligned_alloc(sizeof(struct op), CHUNK_OPS * sizeof(struct op));

	if (!chunk)
		return false;
	ops->chunks[ops->n_chunks++] = chunk;
	return true;
}

/* An op that never lived before. They are set up one by one: a new chunk's pages are touched as they are used. */
static struct op *take_fresh(struct ops *ops)
{
	if (ops->n_fresh == INDEX_END)
		return NULL;
	if (ops->n_fresh >> CHUNK_SHIFT == ops->n_chunks && !grow(ops))
		return NULL;

	struct op *op = iou__ops_at(ops, ops->n_fresh);

	memset(op, 0, sizeof(*op));
	op->identity = ops->n_fresh++;
	return op;
}

static struct op *take_used(struct ops *ops)
{
	struct op *op = container_of(ops->free, struct op, task.node);

	ops->free = op->task.node.next;
	return op;
}

struct op *iou__ops_take(struct ops *ops)
{
	struct op *op = ops->free ? take_used(ops) : take_fresh(ops);

	if (!op)
		return NULL;
	op->pub = (iou_op_t){ .sqe = &op->sqe };
	op->task.node.next = op->task.node.prev = NODE_POISON;
	memset(&op->sqe, 0, sizeof(op->sqe));
	iou__ops_move(ops, op, OP_FREE, OP_NEW);
	return op;
}

void iou__ops_give_back(struct ops *ops, struct op *op)
{
	iou__ops_move(ops, op, iou__op_state(op), OP_FREE);
	op->task.node.next = ops->free;
	ops->free = &op->task.node;
}

size_t iou__ops_bytes(const struct ops *ops)
{
	return ops->n_chunks * (CHUNK_OPS * sizeof(struct op) + sizeof(struct op *));
}

struct op *iou__ops_at(const struct ops *ops, uint32_t index)
{
	return &ops->chunks[index >> CHUNK_SHIFT][index & (CHUNK_OPS - 1)];
}

struct op *iou__ops_find(const struct ops *ops, __u64 identity, unsigned states)
{
	uint32_t index = identity & INDEX_MASK;

	if (!index || index >= ops->n_fresh)
		return NULL;

	struct op *op = iou__ops_at(ops, index);

	return op->identity == identity && iou__op_is(op, states) ? op : NULL;
}

void iou__ops_rename(struct op *op)
{
	op->identity += 1U << OP_INDEX_BITS;
	op->sqe.user_data = op->identity;
}

bool iou__ops_add_up(const struct ops *ops)
{
	uint32_t sum = 0;

	for (int state = OP_FREE; state < N_OP_STATES; state++)
		sum += iou__ops_n(ops, (enum op_state)state);
	return sum == 0;
}
