/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "source.h"

struct source source_of_seed(uint64_t seed)
{
	return (struct source){ .state = seed };
}

struct source source_of_bytes(const uint8_t *bytes, size_t n_bytes)
{
	return (struct source){ .bytes = bytes, .n_bytes = n_bytes };
}

/* splitmix64: small, and good enough for choices. */
static uint64_t next(struct source *source)
{
	uint64_t z = source->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned next_byte(struct source *source)
{
	if (!source->n_bytes)
		return 0;
	source->n_bytes--;
	return *source->bytes++;
}

unsigned source_pick(struct source *source, unsigned n)
{
	return source->bytes ? next_byte(source) % n : (unsigned)(next(source) % n);
}

bool source_one_in(struct source *source, unsigned n)
{
	return source_pick(source, n) == n - 1;
}

struct source source_split(struct source *source)
{
	uint64_t seed = source->bytes ? next_byte(source) : next(source);

	return source_of_seed(seed);
}

bool source_is_over(const struct source *source)
{
	return source->bytes && !source->n_bytes;
}
