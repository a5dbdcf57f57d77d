/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

struct source *source_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data)
{
	return sum->options->check ? list_new(sum, wake, wake_data) : args_new(sum, wake, wake_data);
}

struct source *source_free(struct source *source)
{
	if (source)
		source->free(source);
	return NULL;
}
