/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_WALK_KINDS_H
#define IOU_TESTS_WALK_KINDS_H

#include "world.h"

/** A table of them. */
struct kinds {
	const struct kind *first;
	unsigned n;
};

extern const struct kinds kinds_data, kinds_wait, kinds_registered, kinds_objects, kinds_files;

/** What the op reads into, or writes from. */
void kind_choose_memory(struct world *world, struct act *act, struct source *source);

/** The group that it takes its buffer from. */
void kind_choose_group(struct act *act, struct source *source);

/** An op that another one names: it may be cancelled by that (is_hit), or just changed. */
__u64 kind_choose_target(struct world *world, struct source *source, bool is_hit);

#endif
