/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No loop at all, which can do nothing else nor sleep: a list that is looked at again and again. What is possible. */
#include "posts.h"

static void *open_list(struct posts *posts)
{
	return posts;
}

static void post(void *posts, struct post *one)
{
	posts_push(one);
}

static void turn(void *posts, bool may_wait)
{
	posts_take(posts);
}

static void close_list(void *posts)
{
}

void posts_list(struct bench_run *run)
{
	static const struct posts_loop loop = { open_list, post, turn, close_list };

	posts_measure(run, &loop);
}
