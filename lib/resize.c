/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another size for the kernel engine's ring: in place where the kernel can do that, else another ring. */
#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "deadline.h"
#include "ring-state.h"

/* By number: newer than the oldest liburing. */
#define OP_FIXED_FD_INSTALL 54

/* Registered files are the old ring's, until they have a descriptor each. */

/* No op's identity: the index is 0. */
#define TAKEN_OUT 0x66696c6573000000ULL
#define MOST_TRIES 10

static const struct timespec a_moment = { .tv_nsec = 1000000 };

/* The kernel has no memory for the moment. */
static bool is_passing(int r)
{
	if (r != -EAGAIN && r != -EBUSY && r != -ENOMEM)
		return false;
	iou__sleep(a_moment);
	return true;
}

/* To the program no memory for the moment is one more reason why a ring cannot be rebuilt now. */
static int or_busy(int r)
{
	return r == -EAGAIN || r == -ENOMEM ? -EBUSY : r;
}

/* What has not been submitted is taken back. */
static int submit_or_not(struct ring *ring)
{
	struct io_uring_sq *sq = &ring->uring.ring.sq;
	int r, n_tries = 0;

	do
		r = iou__ring_submit_and_wait(ring, NULL);
	while (r == -EINTR || (is_passing(r) && ++n_tries < MOST_TRIES));
	if (r < 0 && !ring->config.is_sqpoll && iou__ring_in_sq(ring)) {
		sq->sqe_head = --sq->sqe_tail;
		__atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
	}
	return or_busy(r);
}

/* Also for what the kernel keeps until there is room: should it be the last time that it can be entered. */
static int empty_cq(struct ring *ring)
{
	int n_tries = 0;

	do {
		int r = iou__ring_submit(ring, false);

		if (r < 0 && r != -EINTR && !(is_passing(r) && ++n_tries < MOST_TRIES))
			return or_busy(r);
		if (!iou__cq_empty_ring(ring->engine.cq))
			return -ENOMEM;
	} while (iou__ring_has_work(ring));
	return iou__cq_reserve(ring->engine.cq, ring->engine.cq_entries) ? 0 : -ENOMEM;
}

/*
 * Until the result is there, amid those of others, or the request has been taken back: the SQ ends where it did before.
 * Where the kernel cannot be entered any more, what it has taken comes to something all the same, and soon.
 */
static int wait_for_result(struct ring *ring, unsigned tail, int *res)
{
	struct cq *cq = ring->engine.cq;
	size_t n = cq->n;
	int r = 0;

	for (int n_tries = 0; n_tries < MOST_TRIES; n_tries += r < 0) {
		if (r < 0)
			iou__sleep(a_moment);
		else
			r = submit_or_not(ring);
		if (!iou__cq_empty_ring(cq))
			return -ENOMEM;
		if (iou__cq_take_out(cq, n, TAKEN_OUT, res))
			return 0;
		if (ring->uring.ring.sq.sqe_tail == tail)
			return r;
	}
	return r;
}

/* The file in a slot; -EBADF: it is empty; -EINVAL: before Linux 6.8. There is nothing in the SQ. */
static int take_out(struct ring *ring, unsigned slot)
{
	struct io_uring_sq *sq = &ring->uring.ring.sq;
	unsigned tail = sq->sqe_tail;
	int res, r = empty_cq(ring);

	if (r < 0)
		return r;
	sq->sqes[sq->sqe_tail++ & sq->ring_mask] = (struct io_uring_sqe){
		.opcode = OP_FIXED_FD_INSTALL,
		.flags = IOSQE_FIXED_FILE,
		.fd = (int)slot,
		.user_data = TAKEN_OUT,
	};
	iou__ring_publish(ring);
	r = wait_for_result(ring, tail, &res);
	if (r == 0)
		return res;
	ring->n_to_come += sq->sqe_tail != tail;
	return r;
}

bool iou__ring_takes(struct engine *engine, const struct cqe *cqe)
{
	struct ring *ring = iou__ring_of(engine);

	if (cqe->user_data != TAKEN_OUT || !ring->n_to_come)
		return false;
	ring->n_to_come--;
	if (cqe->res >= 0)
		close(cqe->res);
	return true;
}

static int put_in(const struct uring *uring, unsigned slot, int fd)
{
	struct io_uring_files_update update = { .offset = slot, .fds = (__u64)(uintptr_t)&fd };

	return iou__uring_register(uring, IORING_REGISTER_FILES_UPDATE, &update, 1);
}

static int copy_file(struct ring *ring, const struct uring *to, unsigned slot)
{
	int fd = take_out(ring, slot), r;

	if (fd == -EBADF)
		return 0;
	if (fd < 0)
		return fd == -EINVAL ? -EBUSY : fd;
	r = put_in(to, slot, fd);
	close(fd);
	return r < 0 ? r : 0;
}

static int copy_registered(struct ring *ring, const struct uring *to)
{
	int r = iou__registered_copy(&ring->registered, &ring->uring, to);

	for (unsigned i = 0; r == 0 && i < ring->registered.n_files; i++)
		r = copy_file(ring, to, i);
	return r;
}

/* Bring a new ring to where the old one is. */
static int catch_up(struct ring *ring, struct uring *uring)
{
	int r = ring->event_fd < 0 ? 0 : iou__uring_signal(uring, ring->event_fd);

	if (r == 0 && ring->is_bound)
		r = iou__uring_bind(uring);
	if (r == 0)
		r = copy_registered(ring, uring);
	if (r == 0 && !iou__cq_empty_ring(ring->engine.cq))
		r = -ENOMEM;
	return r;
}

/* The polling thread takes what is there without our help, and soon. */
static void wait_for_sqpoll(struct ring *ring)
{
	while (ring->is_bound && ring->config.is_sqpoll && iou__ring_in_sq(ring) && iou__ring_submit(ring, false) >= 0)
		sched_yield();
}

/* Build another ring, then swap. Nothing may be in flight. */
static int rebuild(struct ring *ring, const struct uring_config *config)
{
	struct uring new_one;

	if (iou__uring_has_others(&ring->uring, ring->registered.n_files + ring->registered.n_iovecs))
		return -EBUSY;

	int r = iou__uring_create(config, &new_one);

	if (r < 0)
		return r;
	r = catch_up(ring, &new_one);
	if (r < 0) {
		iou__uring_close(&new_one, ring->is_bound);
		return r;
	}
	iou__uring_close(&ring->uring, ring->is_bound);
	iou__ring_adopt(ring, &new_one, config);
	iou__registered_settle(&ring->registered);
	return 1;
}

/*
 * The kernel leaves it to a resized ring's first work to take back that there might be some. So take it back here,
 * and then have it do what there is.
 */
static void do_kernels_work(struct ring *ring)
{
	__atomic_fetch_and(ring->uring.ring.sq.kflags, ~IORING_SQ_TASKRUN, __ATOMIC_RELAXED);
	ring->may_have_work = true;
	iou__ring_submit(ring, false);
}

/* The same ring with other queues: not on every kernel, nor for every ring. */
static int resize_in_place(struct ring *ring, const struct uring_config *config)
{
	int r;

	/* The new queue may be smaller. What has overflown the kernel keeps, and moves later. */
	if (!iou__cq_empty_ring(ring->engine.cq))
		return -ENOMEM;
	/* Or SQEs that the program has got from liburing and not yet submitted would stay behind. */
	iou__ring_publish(ring);
	r = iou__uring_resize(&ring->uring, config);
	/* Also after a failure the queues may have moved. */
	iou__ring_adopt(ring, &ring->uring, r < 0 ? &ring->config : config);
	do_kernels_work(ring);
	return r == -EOVERFLOW ? -EBUSY : r;
}

int iou__ring_resize(struct engine *engine, unsigned entries, bool is_idle)
{
	struct ring *ring = iou__ring_of(engine);
	struct uring_config config = ring->config;
	int r = -EINVAL;

	wait_for_sqpoll(ring);
	config.entries = entries;
	if (config.cq_entries && config.cq_entries < entries)
		config.cq_entries = entries;
	if (ring->is_bound && engine->setup_flags & IORING_SETUP_DEFER_TASKRUN)
		r = resize_in_place(ring, &config);
	if (r != -EINVAL && r != -ENOSYS)
		return r;
	/* SQEs that the kernel has not consumed, the program's through iou_ring() among them, would be lost. */
	return is_idle && !iou__ring_in_sq(ring) ? rebuild(ring, &config) : -EBUSY;
}
