/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registered files and buffers, on either engine. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MAX_FILES (1U << 20) /* the kernel's IORING_MAX_FIXED_FILES */

int iou__may_unregister(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	return iou__may_own(iou) ? iou->error : -EPERM;
}

int iou__may_register(iou_t *iou)
{
	int r = iou__may_unregister(iou);

	return r == 0 && iou->is_ending ? -ESHUTDOWN : r;
}

static int do_register(iou_t *iou, unsigned opcode, const void *arg, unsigned n)
{
	return iou->engine->verbs->do_register(iou->engine, opcode, arg, n);
}

/* Files. */

static int register_empty(iou_t *iou, unsigned n)
{
	int *none, r;

	if (!n || n > MAX_FILES)
		return n ? -EMFILE : -EINVAL;
	none = calloc(n, sizeof(*none));
	if (!none)
		return -ENOMEM;
	memset(none, -1, n * sizeof(*none));
	r = do_register(iou, IORING_REGISTER_FILES, none, n);
	free(none);
	return r;
}

int iou_register_files(iou_t *iou, const int *fds, unsigned n)
{
	int r = iou__may_register(iou);

	if (r < 0)
		return r;
	return fds ? do_register(iou, IORING_REGISTER_FILES, fds, n) : register_empty(iou, n);
}

/* One after the other is replaced, so what can be wrong is looked for before. */
static bool are_files(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] != -1 && fds[i] != IORING_REGISTER_FILES_SKIP && fcntl(fds[i], F_GETFD) < 0)
			return false;
	return true;
}

int iou_register_files_update(iou_t *iou, unsigned offset, const int *fds, unsigned n)
{
	struct io_uring_files_update update = { .offset = offset, .fds = (__u64)(uintptr_t)fds };
	int r = iou__may_register(iou);

	if (r < 0)
		return r;
	if (!fds || !n)
		return -EINVAL;
	return are_files(fds, n) ? do_register(iou, IORING_REGISTER_FILES_UPDATE, &update, n) : -EBADF;
}

int iou_unregister_files(iou_t *iou)
{
	int r = iou__may_unregister(iou);

	return r < 0 ? r : do_register(iou, IORING_UNREGISTER_FILES, NULL, 0);
}

/* Buffers. */

int iou_register_buffers(iou_t *iou, const struct iovec *iovecs, unsigned n)
{
	int r = iou__may_register(iou);

	if (r < 0)
		return r;
	return iovecs ? do_register(iou, IORING_REGISTER_BUFFERS, iovecs, n) : -EINVAL;
}

int iou_unregister_buffers(iou_t *iou)
{
	int r = iou__may_unregister(iou);

	return r < 0 ? r : do_register(iou, IORING_UNREGISTER_BUFFERS, NULL, 0);
}
