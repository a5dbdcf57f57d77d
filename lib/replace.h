/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory in the place of other memory. Another thread may fork at any moment, and the child frees what it finds: so the new
 * is stored before the old is freed, and the child has one of them whole and at worst loses the other. realloc(3) frees first.
 */
#ifndef IOU_LIB_REPLACE_H
#define IOU_LIB_REPLACE_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* So many bytes, with what the first of the old have, which stays, and else zero. NULL: there is no memory. */
static inline void *iou__enlarged(const void *old, size_t n_old, size_t n)
{
	void *memory = calloc(1, n);

	if (memory && old && n_old)
		memcpy(memory, old, n_old);
	return memory;
}

/* Something else has been stored where this was. */
static inline void iou__free_replaced(void *old)
{
	/* Or the compiler might store that later. */
	atomic_thread_fence(memory_order_seq_cst);
	free(old);
}

#endif
