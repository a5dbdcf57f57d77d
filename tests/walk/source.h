/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_WALK_SOURCE_H
#define IOU_TESTS_WALK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Where a walk's choices come from: a seed, or the bytes of a fuzzer. Each op has a source of its own for what its
 * callbacks do, so that the order in which completions happen to come changes nothing else.
 */
struct source {
	const uint8_t *bytes; /* NULL: from the state alone */
	size_t n_bytes;
	uint64_t state;
};

struct source source_of_seed(uint64_t seed);

/** The bytes are not copied. When they are used up the walk is over. */
struct source source_of_bytes(const uint8_t *bytes, size_t n_bytes);

/** A number below n; n is at most 256. */
unsigned source_pick(struct source *source, unsigned n);

/** True once in n times. */
bool source_one_in(struct source *source, unsigned n);

/** Another source, for a part of the walk. */
struct source source_split(struct source *source);

bool source_is_over(const struct source *source);

#endif
