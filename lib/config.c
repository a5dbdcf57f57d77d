/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The structs that callers pass, and how they grow: checked on the way in, cut to the caller's size on the way out. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* The kernel's limits: io_uring/io_uring.h, IORING_MAX_ENTRIES and IORING_MAX_CQ_ENTRIES. */
#define MAX_ENTRIES 32768
#define MAX_CQ_ENTRIES (2 * MAX_ENTRIES)
#define MAX_WORKERS 4096
#define MAX_SPIN_NS 1000000000U
#define DEFAULT_ENTRIES 128
#define MAX_CONFIG_SIZE 4096 /* no struct of ours will be larger: this is a size that nobody has set */

/* Where the structs ended in version 1.0. */
#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))
#define CONFIG_SIZE_1_0 END_OF(iou_config_t, reserved)

/* No padding, wherever size_t and pointers have the same size. */
_Static_assert(sizeof(iou_config_t) == 4 * sizeof(void *) + 10 * sizeof(uint32_t), "iou_config_t has no padding");
_Static_assert(sizeof(iou_info_t) == 2 * sizeof(void *) + 8 * sizeof(uint32_t), "iou_info_t has no padding");
_Static_assert(sizeof(iou_stats_t) == 2 * sizeof(void *) + 13 * sizeof(uint64_t), "iou_stats_t has no padding");

static bool is_zero(const void *from, const void *to)
{
	for (const unsigned char *byte = from; byte < (const unsigned char *)to; byte++)
		if (*byte)
			return false;
	return true;
}

/* Callers older or newer than this library: what they do not know is zero, what we do not know must be. */
static int copy_in(const iou_config_t *from, iou_config_t *to)
{
	size_t known = from->size < sizeof(*to) ? from->size : sizeof(*to);

	if (from->size < CONFIG_SIZE_1_0)
		return -EINVAL;
	if (from->size > MAX_CONFIG_SIZE)
		return -E2BIG;
	if (!is_zero((const char *)from + known, (const char *)from + from->size))
		return -E2BIG;
	memset(to, 0, sizeof(*to));
	memcpy(to, from, known);
	return 0;
}

bool iou__config_entries_are_valid(unsigned entries)
{
	return entries >= 1 && entries <= MAX_ENTRIES;
}

static bool is_valid(const iou_config_t *config)
{
	if (!iou__config_entries_are_valid(config->entries))
		return false;
	if (config->cq_entries && (config->cq_entries < config->entries || config->cq_entries > MAX_CQ_ENTRIES))
		return false;
	if (config->flags & ~(IOU_ANY_THREAD | IOU_SQPOLL | IOU_SPIN) || config->engine > IOU_ENGINE_THREADS)
		return false;
	if (config->spin_ns > (config->flags & IOU_SPIN ? MAX_SPIN_NS : 0))
		return false;
	if (config->workers > MAX_WORKERS || !iou__async_stack_size_is_valid(config->stack_size))
		return false;
	return is_zero(config->reserved, config->reserved + sizeof(config->reserved) / sizeof(config->reserved[0]));
}

int iou__config_read(const iou_config_t *config, iou_config_t *checked)
{
	int r = config ? copy_in(config, checked) : -EINVAL;

	if (r < 0)
		return r;
	if (!checked->entries)
		checked->entries = DEFAULT_ENTRIES;
	if (!is_valid(checked))
		return -EINVAL;
	if (!(checked->flags & IOU_SPIN))
		checked->spin_ns = SPIN_DEFAULT_NS;
	return 0;
}

int iou__config_write(void *to, const void *from, size_t size, size_t size_1_0)
{
	size_t *theirs = to; /* every such struct begins with it */

	if (!to || *theirs < size_1_0)
		return -EINVAL;
	if (*theirs < size)
		size = *theirs;
	memcpy(to, from, size);
	*theirs = size;
	return 0;
}
