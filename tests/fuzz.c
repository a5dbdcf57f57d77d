/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The walk of tests/soak.c, led by libFuzzer's bytes. Built with -Dfuzz=true by clang. */
#include <stdio.h>

#include "walk/world.h"

/* What an input is good for at most, so that none takes long. */
#define MAX_STEPS 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source source = source_of_bytes(data, size);

	if (!size)
		return 0;
	snprintf(walk_name, sizeof(walk_name), "fuzz");
	walk(&source, source_pick(&source, 2) ? IOU_ENGINE_THREADS : IOU_ENGINE_URING, MAX_STEPS);
	return 0;
}
