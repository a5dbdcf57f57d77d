/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_WALK_STEPS_H
#define IOU_TESTS_WALK_STEPS_H

#include "world.h"

/* steps-ops.c */
void ops_queue_one(struct world *world, struct source *source);
void ops_queue_nops(struct world *world, struct source *source);
void ops_queue_chain(struct world *world, struct source *source);
/** A submission ends it: what comes later is not linked to it, whatever becomes of it. */
void ops_flush_open_chain(struct world *world, struct source *source);
void ops_take_and_drop(struct world *world, struct source *source);
void ops_queue_old(struct world *world, struct source *source);
void ops_misuse(struct world *world, struct source *source);
void ops_cancel_one(struct world *world, struct source *source);
void ops_cancel_all(struct world *world);

/* steps.c */
void step_feed(struct world *world, struct source *source);

/* registry.c */
void step_registry(struct world *world, struct source *source);
void step_unregister_in_flight(struct world *world);

/* neighbour.c */
void step_neighbour(struct world *world, struct source *source);

#endif
