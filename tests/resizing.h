/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_RESIZING_H
#define IOU_TESTS_RESIZING_H

/* A ring that is resized with all kinds of things under way. */

#include "scene.h"

static inline iou_info_t info_of(iou_t *iou)
{
	iou_info_t info = { .size = sizeof(info) };

	ck_assert_int_eq(iou_info(iou, &info), 0);
	return info;
}

/** Whether this kernel can do it with the ring in use: registered files are in the way if it cannot. */
static inline bool can_resize_in_place(void)
{
	iou_t *iou = iou_new(4);
	int r, zero = 0;

	ck_assert_ptr_nonnull(iou);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(io_uring_register_files(iou_ring(iou), &zero, 1), 0);
	r = iou_resize(iou, 8);
	ck_assert_msg(r == 0 || r == -EBUSY, "result %d", r);
	ck_assert_ptr_null(iou_free(iou));
	return r == 0;
}

static inline unsigned power_of_2_from(unsigned n)
{
	unsigned power = 1;

	while (power < n)
		power *= 2;
	return power;
}

/** Returns whether it was possible; it has to be where the kernel can do it in place. */
static inline bool resize_in_use(iou_t *iou, unsigned entries, bool is_in_place)
{
	unsigned before = info_of(iou).sq_entries;
	int n_descriptors = support_descriptors();
	int r = iou_resize(iou, entries);

	ck_assert_msg(r == 0 || (r == -EBUSY && !is_in_place), "iou_resize(%u): %s", entries, strerror(-r));
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	ck_assert_uint_eq(info_of(iou).sq_entries, r ? before : power_of_2_from(entries));
	return r == 0;
}

/* Multishot, with provided buffers, each of which goes back as soon as its message has been seen. */

enum { N_BUFFERS = 4, GROUP = 3, BUFFER = 64 };

struct receiver {
	struct watched watched;
	struct scene *scene;
	struct io_uring_buf_ring *buffers;
	int n_bytes;
	int n_wrong;
};

static inline void give_buffer(const struct receiver *receiver, unsigned id)
{
	io_uring_buf_ring_add(receiver->buffers, receiver->scene->given + (size_t)id * SLOT, BUFFER, (unsigned short)id,
			      N_BUFFERS - 1, 0);
	io_uring_buf_ring_advance(receiver->buffers, 1);
}

static inline int have_received(void *data)
{
	struct receiver *receiver = data;

	watch(&receiver->watched);
	/* The kernel ends it when there is no buffer left, or no room in the completion queue. */
	if (!(receiver->watched.seen.flags & IORING_CQE_F_MORE) &&
	    (receiver->watched.seen.result > 0 || receiver->watched.seen.result == -ENOBUFS)) {
		receiver->watched.n_finals--;
		iou_op_queue(receiver->watched.seen.iou, receiver->watched.seen.op, have_received, receiver);
	}
	if (receiver->watched.seen.result <= 0)
		return 0;

	unsigned id = receiver->watched.seen.flags >> IORING_CQE_BUFFER_SHIFT;

	receiver->n_bytes += receiver->watched.seen.result;
	receiver->n_wrong += id >= N_BUFFERS || !all_are(receiver->scene->shown + (size_t)id * SLOT,
							 (size_t)receiver->watched.seen.result, 'm');
	if (id < N_BUFFERS)
		give_buffer(receiver, id);
	return 0;
}

static inline void start_receiver(struct scene *scene, struct receiver *receiver)
{
	struct io_uring_buf_reg reg = { .ring_entries = N_BUFFERS, .bgid = GROUP };
	struct io_uring_sqe *sqe = take(scene->iou, &receiver->watched.seen);

	receiver->scene = scene;
	receiver->buffers = (void *)(scene->given + MEMORY - SLOT);
	reg.ring_addr = (__u64)(uintptr_t)receiver->buffers;
	ck_assert_int_eq(io_uring_register_buf_ring(iou_ring(scene->iou), &reg, 0), 0);
	io_uring_buf_ring_init(receiver->buffers);
	for (unsigned i = 0; i < N_BUFFERS; i++)
		give_buffer(receiver, i);
	io_uring_prep_recv_multishot(sqe, scene->sockets[0], NULL, 0, 0);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	iou_op_queue(scene->iou, receiver->watched.seen.op, have_received, receiver);
}

#endif
