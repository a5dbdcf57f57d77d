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
	int r = iou_resize(iou, entries);

	ck_assert_msg(r == 0 || (r == -EBUSY && !is_in_place), "iou_resize(%u): %s", entries, strerror(-r));
	ck_assert_uint_eq(info_of(iou).sq_entries, r ? before : power_of_2_from(entries));
	return r == 0;
}

#endif
