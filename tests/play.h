/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_PLAY_H
#define IOU_TESTS_PLAY_H

/*
 * One life of an instance in which the whole API has a part: made, used, and freed with reads in flight. It is played
 * again and again while a call that the library makes fails, and watches that each op still gets its one final
 * callback and that calls return what iou.h says. It asserts nothing itself, because Check allocates, but writes down
 * what was wrong.
 */

#include <iou.h>
#include <stdbool.h>

struct play_rules {
	/* With these fields and play's own entries. */
	iou_config_t config;
	/* The errno that a call of the library's is given, which the library may hand on; 0: none. */
	int error;
	/* What ends the engine in any case; 0: nothing. */
	int engine_error;
	/* The error is one of an operation: ops get it as their result, and no call is told. */
	bool is_operation;
	/* It is one that must not be noticed: everything comes out as if nothing had failed. */
	bool is_strict;
};

/**
 * Open what play() needs on threads, where that has to be before some calls fail; else it does so itself, and it closes
 * everything in any case. Whether that worked.
 */
bool play_open_stage(void);

/** Returns NULL, or what was wrong (static storage). */
const char *play(const struct play_rules *rules);

/** The first of what has not had its final callback yet, in words. */
const char *play_waits_for(void);

/** How many ops have had the error as their result, the last time. */
int play_n_errors(void);

/** How often the play's own calls have been told of a failure, the last time. */
int play_n_told(void);

/** Which calls are made to fail, in one play each. */
struct play_choice {
	/* Each so many-th, from the environment's IOU_FAULTS_STRIDE; 0: that is up to the test. */
	unsigned stride;
	/* Where to begin, but for what is added for each function: IOU_FAULTS_OFFSET, or another one each time. */
	unsigned offset;
	/* How to have it again. */
	char words[64];
};

/** What the environment says. To be asked once, before anything forks. */
struct play_choice play_choose(void);

#endif
