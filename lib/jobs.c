/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>

#include "relax.h"

#define NOT_YET UINT64_MAX
#define LOOK_AHEAD 2
/* Two cache lines, which some processors fetch together. */
#define LINE 128
#define SLOTS_IN_LINE_SHIFT 2

_Static_assert(sizeof(struct job_slot) << SLOTS_IN_LINE_SHIFT == LINE, "so many slots are in a line");

/* A slot that is all zero is free for the first lap: so the pages of a large ring are touched as they are used. */
static struct job_ring *new_ring(unsigned shift)
{
	size_t size = sizeof(struct job_slot) << shift;
	struct job_ring *ring = calloc(1, sizeof(*ring) + LINE - 1 + size);

	if (!ring)
		return NULL;
	ring->slots = (struct job_slot *)(((uintptr_t)(ring + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
	ring->shift = shift;
	atomic_init(&ring->end, NOT_YET);
	return ring;
}

/* One after the other on another line, so that who fills a slot does not disturb who takes the one before. */
static struct job_slot *slot_at(const struct job_ring *ring, uint64_t position)
{
	unsigned shift = ring->shift - SLOTS_IN_LINE_SHIFT;
	uint64_t line = position & (((uint64_t)1 << shift) - 1);

	return &ring->slots[line << SLOTS_IN_LINE_SHIFT | (position >> shift & ((1U << SLOTS_IN_LINE_SHIFT) - 1))];
}

static uint64_t lap_of(const struct job_ring *ring, uint64_t position)
{
	return position >> ring->shift;
}

static bool has_room(const struct jobs *jobs)
{
	const struct job_ring *ring = jobs->last;
	uint64_t turn = atomic_load_explicit(&slot_at(ring, jobs->tail)->turn, memory_order_acquire);

	return turn == 2 * lap_of(ring, jobs->tail);
}

int iou__jobs_make_room(struct jobs *jobs)
{
	if (!jobs->last)
		jobs->first = jobs->last = new_ring(JOBS_FIRST_SHIFT);
	if (!jobs->last)
		return -ENOMEM;
	if (!jobs->spare && !has_room(jobs))
		jobs->spare = new_ring(jobs->last->shift + 1);
	return jobs->spare || has_room(jobs) ? 0 : -ENOMEM;
}

static struct job_slot *fill(const struct job_ring *ring, uint64_t position, struct op *op)
{
	struct job_slot *slot = slot_at(ring, position);

	atomic_store_explicit(&slot->op, op, memory_order_relaxed);
	atomic_store_explicit(&slot->work, op->job.work, memory_order_relaxed);
	atomic_store_explicit(&slot->work_data, op->job.work_data, memory_order_relaxed);
	op->job.slot = slot;
	return slot;
}

static void put_in_next_ring(struct jobs *jobs, struct op *op)
{
	struct job_ring *old = jobs->last, *ring = jobs->spare;
	uint64_t end = jobs->tail;

	/* In this order: a child that is forked here by another thread must not free it twice. */
	jobs->spare = NULL;
	atomic_signal_fence(memory_order_seq_cst);
	jobs->last = old->next = ring;
	jobs->tail = 1;
	atomic_store_explicit(&fill(ring, 0, op)->turn, 1, memory_order_release);
	atomic_store(&old->end, end);
}

void iou__jobs_put(struct jobs *jobs, struct op *op)
{
	struct job_ring *ring = jobs->last;
	uint64_t at = jobs->tail;

	if (!has_room(jobs)) {
		put_in_next_ring(jobs, op);
		return;
	}
	jobs->tail++;
	atomic_store(&fill(ring, at, op)->turn, 2 * lap_of(ring, at) + 1);
	iou__fetch_to_write(slot_at(ring, at + 4));
}

/* The loop alone fills slots. One that it has filled for another op since has been taken before. */
bool iou__jobs_withdraw(struct op *op)
{
	struct job_slot *slot = op->job.slot;
	uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_relaxed);

	return turn % 2 && atomic_load_explicit(&slot->op, memory_order_relaxed) == op &&
	       atomic_compare_exchange_strong(&slot->turn, &turn, turn + 1);
}

struct job_reader iou__jobs_read(const struct jobs *jobs)
{
	return (struct job_reader){ .ring = jobs->first };
}

/* This slot was used in later laps than ours: what is older by a lap than its last job has been taken. */
static uint64_t position_after(const struct job_reader *reader, uint64_t turn)
{
	const struct job_ring *ring = reader->ring;
	uint64_t n = (uint64_t)1 << ring->shift;
	uint64_t last_lap = (turn - 1) / 2;
	uint64_t taken = (last_lap << ring->shift) + (reader->at & (n - 1)) - n;

	return last_lap && taken > reader->at ? taken + 1 : reader->at + 1;
}

static bool claim(struct job_slot *slot, uint64_t turn, struct claimed_job *job)
{
	job->op = atomic_load_explicit(&slot->op, memory_order_relaxed);
	job->work = atomic_load_explicit(&slot->work, memory_order_relaxed);
	job->work_data = atomic_load_explicit(&slot->work_data, memory_order_relaxed);
	return atomic_compare_exchange_strong(&slot->turn, &turn, turn + 1);
}

/* What the next jobs write: a worker that has to wait for it in the middle of each takes several times as long. */
static void fetch_ahead(const struct job_reader *reader)
{
	struct job_slot *slot = slot_at(reader->ring, reader->at + LOOK_AHEAD);

	iou__fetch_to_write(slot);
	if (atomic_load_explicit(&slot->turn, memory_order_relaxed) % 2)
		iou__fetch_to_write(atomic_load_explicit(&slot->work_data, memory_order_relaxed));
}

bool iou__jobs_take(struct job_reader *reader, struct claimed_job *job)
{
	for (;;) {
		struct job_slot *slot = slot_at(reader->ring, reader->at);
		uint64_t turn = atomic_load(&slot->turn);
		uint64_t lap = lap_of(reader->ring, reader->at);

		if (turn == 2 * lap + 1) {
			reader->at++;
			if (claim(slot, turn, job)) {
				fetch_ahead(reader);
				return true;
			}
		} else if (turn > 2 * lap + 1) {
			reader->at = position_after(reader, turn);
		} else if (atomic_load(&reader->ring->end) == reader->at) {
			*reader = (struct job_reader){ .ring = reader->ring->next };
		} else {
			return false;
		}
	}
}

void iou__jobs_destroy(struct jobs *jobs)
{
	for (struct job_ring *ring = jobs->first, *next; ring; ring = next) {
		next = ring->next;
		free(ring);
	}
	free(jobs->spare);
	*jobs = (struct jobs){ 0 };
}
