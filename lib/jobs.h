/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The jobs that wait for a worker: one thread puts them there, and may take them back; many take them, in order.
 *
 * # The protocol
 *
 * A ring of slots, which are used round and round. `turn` says whose a slot is: 2 * lap, the loop's, to put a job
 * there for this lap; 2 * lap + 1, there is a job. It belongs to whoever makes the latter the next lap's 2 * lap by a
 * compare-exchange: a worker that will run it, or the loop, which withdraws it. That is the one atomic operation that
 * a job costs its worker. What else is in a slot is read before, and is right if the compare-exchange succeeds.
 *
 * Each worker goes through the slots by itself and passes over those that others have taken. Everything before the
 * place where it is has been taken. As the loop fills a slot only once it is free, everything is taken too that is a
 * lap older than a job that has been there; so who comes from a job that took long can jump.
 *
 * Where the ring is full the loop goes on in another one of twice the size, and says so in `end` of the old one, once
 * the first job is in the new one. Old ones are kept until the end: in all they are smaller than the latest.
 *
 * `turn` and `end` are sequentially consistent where a job is put: who sleeps says so first and then looks for jobs,
 * who puts a job looks then for sleepers (see async.h), and so one of the two sees the other.
 */
#ifndef IOU_LIB_JOBS_H
#define IOU_LIB_JOBS_H

#include "ops.h"

#define JOBS_FIRST_SHIFT 7

struct job_slot {
	_Atomic uint64_t turn;
	_Atomic(struct op *) op;
	_Atomic(job_work *) work;
	_Atomic(void *) work_data;
};

struct job_ring {
	struct job_slot *slots;
	unsigned shift; /* there are 1 << shift of them */
	struct job_ring *next;
	_Atomic uint64_t end; /* the position after the last, as soon as there is a next ring */
};

/* The loop's. */
struct jobs {
	struct job_ring *first, *last;
	struct job_ring *spare; /* the next, not in use yet */
	uint64_t tail;          /* the next position in the last ring */
};

/* A worker's. */
struct job_reader {
	const struct job_ring *ring;
	uint64_t at;
};

struct claimed_job {
	struct op *op;
	job_work *work;
	void *work_data;
};

/* See to it that one more can be put. 0 or -ENOMEM. */
int iou__jobs_make_room(struct jobs *jobs);

/* After that. From now on the op may be somebody else's. */
void iou__jobs_put(struct jobs *jobs, struct op *op);

/* Take back an op that has been put. False: it is too late. */
bool iou__jobs_withdraw(struct op *op);

/* From the first job that has been put. There is room for one. */
struct job_reader iou__jobs_read(const struct jobs *jobs);

/* The oldest that nobody has taken. False: there is none. */
bool iou__jobs_take(struct job_reader *reader, struct claimed_job *job);

/* Nobody reads any more. */
void iou__jobs_destroy(struct jobs *jobs);

#endif
