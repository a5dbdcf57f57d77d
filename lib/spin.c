/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "spin.h"

#include "deadline.h"
#include "relax.h"

/* Each look takes a cache line away from who is about to write it. */
#define PAUSES_PER_LOOK 4

/* The clock takes as long as one look. */
#define LOOKS_PER_CLOCK 4

/* What is waited for was there sooner than this before we were awake. */
#define WAKING_NS 50000

void iou__spin_begin(struct spin *spin)
{
	spin->since_ns = 0;
	spin->n_looks = 0;
	if (spin->max_ns && spin->is_in_vain)
		spin->since_ns = iou__clock_ns();
}

bool iou__spin_goes_on(struct spin *spin)
{
	if (!spin->max_ns || spin->is_in_vain)
		return false;
	for (unsigned i = 0; i < PAUSES_PER_LOOK; i++)
		iou__relax();
	if (++spin->n_looks % LOOKS_PER_CLOCK)
		return true;

	uint64_t now = iou__clock_ns();

	if (!spin->since_ns)
		spin->since_ns = now;
	return now - spin->since_ns < spin->max_ns;
}

void iou__spin_end(struct spin *spin, bool has_come)
{
	if (!spin->max_ns)
		return;
	spin->is_in_vain =
		!has_come || (spin->since_ns && iou__clock_ns() - spin->since_ns > (uint64_t)spin->max_ns + WAKING_NS);
}
