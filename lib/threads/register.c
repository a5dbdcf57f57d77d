/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "register.h"

static int update_files(struct threads *threads, const struct io_uring_files_update *update, unsigned n)
{
	return iou__files_update(&threads->files, update->offset, update->fds, n);
}

int iou__threads_register(struct threads *threads, unsigned opcode, const void *arg, unsigned n)
{
	switch (opcode) {
	case IORING_REGISTER_FILES:
		return iou__files_register(&threads->files, arg, n);
	case IORING_REGISTER_FILES_UPDATE:
		return update_files(threads, arg, n);
	case IORING_UNREGISTER_FILES:
		return iou__files_unregister(&threads->files);
	case IORING_REGISTER_BUFFERS:
		return iou__fixed_register(&threads->fixed, arg, n);
	case IORING_UNREGISTER_BUFFERS:
		return iou__fixed_unregister(&threads->fixed);
	case IORING_REGISTER_PBUF_RING:
		return iou__groups_add_ring(&threads->groups, arg);
	case IORING_UNREGISTER_PBUF_RING:
		return iou__groups_remove_ring(&threads->groups, ((const struct io_uring_buf_reg *)arg)->bgid);
	default:
		return -EINVAL;
	}
}
