/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_WALK_ACTS_H
#define IOU_TESTS_WALK_ACTS_H

#include "world.h"

/** CHECK() for an op: with what it is, and what it came to. */
#define CHECK_ACT(condition, act)                                        \
	do {                                                             \
		if (!(condition))                                        \
			act_fail(__FILE__, __LINE__, #condition, (act)); \
	} while (0)
_Noreturn void act_fail(const char *file, int line, const char *condition, const struct act *act);

/** What has come back may be. */
void act_check(struct act *act, int result, unsigned flags);

/** It is in a chain for which the ring cannot be made larger. */
bool act_is_too_long(const struct act *act, int result);

#endif
