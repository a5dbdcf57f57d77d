/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_TEARDOWN_H
#define IOU_TESTS_TEARDOWN_H

/*
 * What can be in flight, and the ways to free it. After each the kernel must have let go: bytes that come then are
 * nobody's, and memory stays as it is. That is looked at soon, and once more when many others have been freed.
 */

#include <sys/wait.h>

#include "scene.h"

struct kind {
	iou_config_t config;
	bool has_no_other_owner; /* begin() flushes, or a turn leaves nothing in flight */
	void (*begin)(struct scene *);
	/* After iou_free(): provoke what might still be in flight, and later see that it was not there. */
	void (*provoke)(struct scene *);
	void (*look)(struct scene *);
	void (*look_again)(struct scene *);
};

/* Those that were torn down last. */
enum { N_KEPT = 64 };

struct kept {
	struct scene scenes[N_KEPT];
	int n; /* of all */
};

/* How far it has come: staged, submitted, or completed as far as it can. */
static inline void advance(struct scene *scene, int round)
{
	if (round % 3)
		ck_assert_int_ge(round % 3 == 1 ? iou_flush(scene->iou) : turn(scene->iou), 0);
}

typedef void way_t(struct scene *scene, int round);

static inline void free_here(struct scene *scene, int round)
{
	advance(scene, round);
	ck_assert_ptr_null(iou_free(scene->iou));
}

static inline int free_it(void *iou)
{
	return iou_free(iou) ? -EBUSY : 0;
}

static inline void free_in_callback(struct scene *scene, int round)
{
	advance(scene, round);
	ck_assert_int_eq(iou_post(scene->iou, free_it, scene->iou), 0);
	ck_assert_int_eq(iou_run(scene->iou), -ECANCELED);
}

/* The child has all descriptors, the ring's too, so that closing it here does not close it. */
static inline void free_with_child(struct scene *scene, int round)
{
	advance(scene, round);
	scene->child = fork();
	if (scene->child == 0)
		for (;;)
			pause();
	ck_assert_int_gt(scene->child, 0);
	ck_assert_ptr_null(iou_free(scene->iou));
}

static inline void end_scene_child(struct scene *scene)
{
	if (!scene->child)
		return;
	kill(scene->child, SIGKILL);
	ck_assert_int_eq(waitpid(scene->child, NULL, 0), scene->child);
}

static inline void *turn_and_leave(void *iou)
{
	turn(iou);
	return NULL;
}

static inline void free_after_owner(struct scene *scene, int round)
{
	(void)round;
	pthread_join(start_thread(turn_and_leave, scene->iou), NULL);
	ck_assert_ptr_null(iou_free(scene->iou));
}

struct owner {
	iou_t *iou;
	sem_t has_turned, may_free;
};

static inline void *turn_and_free(void *data)
{
	struct owner *owner = data;

	turn(owner->iou);
	sem_post(&owner->has_turned);
	wait_for_sem(&owner->may_free);
	return iou_free(owner->iou);
}

/* Here it is refused, and then the owner does it. */
static inline void free_by_owner(struct scene *scene, int round)
{
	struct owner owner = { .iou = scene->iou };
	pthread_t thread;
	void *result;

	(void)round;
	sem_init(&owner.has_turned, 0, 0);
	sem_init(&owner.may_free, 0, 0);
	thread = start_thread(turn_and_free, &owner);
	wait_for_sem(&owner.has_turned);
	errno = 0;
	ck_assert_ptr_eq(iou_free(scene->iou), scene->iou);
	ck_assert_int_eq(errno, EBUSY);
	sem_post(&owner.may_free);
	pthread_join(thread, &result);
	ck_assert_ptr_null(result);
	sem_destroy(&owner.has_turned);
	sem_destroy(&owner.may_free);
}

static inline void note_what_is_left(struct scene *scene)
{
	scene->n_left[0] = n_readable(scene->pipe[0]);
	scene->n_left[1] = n_readable(scene->sockets[0]);
}

/* Nothing has come or gone since. */
static inline void look_again(const struct kind *kind, struct scene *scene)
{
	ck_assert(all_are(scene->shown, MEMORY, 'k'));
	ck_assert_int_eq(n_readable(scene->pipe[0]), scene->n_left[0]);
	ck_assert_int_eq(n_readable(scene->sockets[0]), scene->n_left[1]);
	if (kind->look_again)
		kind->look_again(scene);
	close_scene(scene);
}

static inline void look_at_kept(const struct kind *kind, struct kept *kept)
{
	for (int i = 0; i < kept->n && i < N_KEPT; i++)
		look_again(kind, &kept->scenes[i]);
	kept->n = 0;
}

static inline struct scene *next_kept(const struct kind *kind, struct kept *kept)
{
	struct scene *scene = &kept->scenes[kept->n % N_KEPT];

	if (kept->n++ >= N_KEPT)
		look_again(kind, scene);
	return scene;
}

static inline void tear_down_once(const struct kind *kind, way_t *way, int round, struct scene *scene)
{
	open_scene(scene, kind->config);
	memset(scene->shown, 'p', MEMORY);
	kind->begin(scene);
	way(scene, round);
	/* By turns, for what is copied to an address, and for what goes to pinned pages. */
	if (round % 2) {
		munmap(scene->given, MEMORY);
		scene->given = NULL;
	}
	memset(scene->shown, 'k', MEMORY);
	if (kind->provoke)
		kind->provoke(scene);
	nap_ms(1);
	expect_finals(scene);
	ck_assert(all_are(scene->shown, MEMORY, 'k'));
	if (kind->look)
		kind->look(scene);
	end_scene_child(scene);
	note_what_is_left(scene);
}

static inline void tear_down_by(const struct kind *kind, way_t *way, int n_rounds, struct kept *kept)
{
	for (int i = 0; i < n_rounds; i++)
		tear_down_once(kind, way, i, next_kept(kind, kept));
}

/* Threads of a sanitizer stay, and so do the C library's stacks: the first rounds are not counted. */
static inline void tear_down(const struct kind *kind, int n_rounds)
{
	static struct kept kept;
	int n_threads, n_descriptors, n_mappings;

	tear_down_by(kind, free_here, 3, &kept);
	if (!kind->has_no_other_owner)
		tear_down_by(kind, free_by_owner, 1, &kept);
	look_at_kept(kind, &kept);
	n_threads = support_steady(support_threads);
	n_descriptors = support_descriptors();
	n_mappings = support_steady(support_mappings);
	tear_down_by(kind, free_here, fewer(n_rounds, 12), &kept);
	tear_down_by(kind, free_in_callback, fewer(n_rounds / 4, 6), &kept);
	tear_down_by(kind, free_with_child, fewer(n_rounds / 8, 6), &kept);
	if (!kind->has_no_other_owner)
		tear_down_by(kind, free_by_owner, fewer(n_rounds / 8, 4), &kept);
	ck_assert_int_le(support_settle(support_threads, n_threads), n_threads);
	look_at_kept(kind, &kept);
	ck_assert_int_eq(support_settle(support_descriptors, n_descriptors), n_descriptors);
	/* The C library, too, maps memory now and then, and sanitizers do all the time. A leak would be there once per round. */
	if (!support_sanitized())
		ck_assert_int_le(support_settle(support_mappings, n_mappings + 4), n_mappings + 4);
}

/* Where no thread can end it any more the instance waits a tenth of a second each time. */
static inline void tear_down_after_owner(const struct kind *kind)
{
	static struct kept kept;

	tear_down_by(kind, free_after_owner, fewer(5, 2), &kept);
	look_at_kept(kind, &kept);
}

#endif
