/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"

#include "replace.h"

#define INDEX_END ((1U << OP_INDEX_BITS) - 1) /* one less, so that no identity is all ones: liburing uses that one */

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
	struct op **old = ops->chunks;
	struct op **chunks =
		iou__enlarged(old, ops->n_chunks * sizeof(struct op *), (ops->n_chunks + 1) * sizeof(struct op *));

	if (!chunks)
		return false;
	ops->chunks = chunks;
	iou__free_replaced(old);

	struct op *chunk = aligned_alloc(sizeof(struct op), OPS_IN_CHUNK * (sizeof(struct op) + ops->extra));

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
	if (ops->n_fresh >> OPS_CHUNK_SHIFT == ops->n_chunks && !grow(ops))
		return NULL;

	struct op *op = iou__ops_at(ops, ops->n_fresh);

	memset(op, 0, sizeof(*op));
	memset(iou__ops_extra(ops, ops->n_fresh), 0, ops->extra);
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
	return ops->n_chunks * (OPS_IN_CHUNK * (sizeof(struct op) + ops->extra) + sizeof(struct op *));
}

void iou__ops_add_tally(struct ops *ops, struct tally *tally)
{
	tally->next = ops->tallies;
	ops->tallies = tally;
}

static uint32_t n_begun(const struct ops *ops)
{
	uint32_t n = 0;

	for (const struct tally *tally = ops->tallies; tally; tally = tally->next)
		n += atomic_load_explicit(&tally->n_begun, memory_order_acquire);
	return n;
}

static uint32_t n_finished(const struct ops *ops)
{
	uint32_t n = 0;

	for (const struct tally *tally = ops->tallies; tally; tally = tally->next)
		n += atomic_load_explicit(&tally->n_finished, memory_order_acquire);
	return n;
}

uint32_t iou__ops_n_jobs(const struct ops *ops, enum op_state state)
{
	uint32_t n = ops->n[state];
	uint32_t finished = n_finished(ops); /* before: what is finished has begun */

	if (state == OP_FINISHED)
		return n + finished;
	return state == OP_WAITING ? n - n_begun(ops) : n + n_begun(ops) - finished;
}

uint32_t iou__ops_n_unfinished(const struct ops *ops)
{
	return ops->n[OP_WAITING] + ops->n[OP_WORKING] - n_finished(ops);
}

void iou__ops_end_tallies(struct ops *ops)
{
	uint32_t begun = n_begun(ops), finished = n_finished(ops);

	ops->n[OP_WAITING] -= begun;
	ops->n[OP_WORKING] += begun - finished;
	ops->n[OP_FINISHED] += finished;
	ops->tallies = NULL;
}

/* The tallies cancel each other out, and could not be read at the same time. */
bool iou__ops_add_up(const struct ops *ops)
{
	uint32_t sum = 0;

	for (int state = OP_FREE; state < N_OP_STATES; state++)
		sum += ops->n[state];
	return sum == 0;
}
