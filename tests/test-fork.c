/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G14: fork, whatever the instance is at. */
#include <malloc.h>

#include "forks.h"

/* How a scene came to its end; the same with a child on the way and without. */

struct outcome {
	int n_seen;
	int runs[2];
	int n_pending[2];
	struct {
		int n_calls, result;
	} ops[N_SLOTS], later[2];
};

struct state {
	iou_config_t config;
	void (*reach)(struct scene *);
	bool is_held;
};

static struct outcome outcome_of(const struct scene *scene)
{
	struct outcome outcome = { .n_seen = n_seen };

	for (int i = 0; i < scene->n_ops; i++) {
		outcome.ops[i].n_calls = scene->ops[i].seen.n_calls;
		outcome.ops[i].result = scene->ops[i].seen.result;
	}
	for (int i = 0; i < 2; i++)
		outcome.later[i].n_calls = scene->later[i].seen.n_calls;
	return outcome;
}

/* What malloc() has given out. Sanitizers and valgrind have their own. */
static size_t heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void be_child(struct family *family)
{
	struct outcome before = outcome_of(family->scene), after;
	size_t heap_before;

	find_all_refused(family->findings, family->scene->iou, family->spare);
	heap_before = heap();
	find_freed(family->findings, family->scene->iou, family->n_own);
	if (!support_sanitized() && !RUNNING_ON_VALGRIND)
		FIND(family->findings, heap_before - heap() >= family->pool_bytes);
	after = outcome_of(family->scene);
	FIND(family->findings, memcmp(&before, &after, sizeof(before)) == 0);
	find_own_works(family->findings, !support_sanitized() || !family->has_threads);
	end_child(family->findings);
}

static void start_child_of(struct family *family)
{
	family->has_threads = support_threads() > 1;
	family->pool_bytes = stats_of(family->scene->iou).pool_bytes;
	family->child = fork();
	if (family->child == 0)
		be_child(family);
}

/* What blocks goes on, and everything comes to its end. */
static struct outcome finish(struct scene *scene)
{
	struct outcome outcome;
	int runs[2], n_pending[2];

	put_bytes(scene->pipe[1], "0123456789abcdef", 16);
	put_bytes(scene->sockets[1], "0123456789abcdef", 16);
	for (int i = 0; i < 8; i++)
		sem_post(&scene->gate);
	for (int i = 0; i < 2; i++) {
		runs[i] = iou_run(scene->iou);
		n_pending[i] = iou_pending(scene->iou);
	}
	ck_assert_uint_eq(n_alive(scene->iou), 1);
	ck_assert_ptr_null(iou_free(scene->iou));
	outcome = outcome_of(scene);
	memcpy(outcome.runs, runs, sizeof(runs));
	memcpy(outcome.n_pending, n_pending, sizeof(n_pending));
	return outcome;
}

enum mode { NO_CHILD, CHILD_BEFORE, CHILD_MEANWHILE, N_MODES };

static struct outcome live(const struct state *state, enum mode mode, bool has_fd)
{
	struct scene scene;
	struct family family;
	struct outcome outcome;

	open_family(&family, &scene, state->config, has_fd);
	state->reach(&scene);
	if (mode != NO_CHILD)
		start_child_of(&family);
	if (mode == CHILD_BEFORE)
		end_child_of(&family);
	if (state->is_held)
		ck_assert_int_eq(iou_release(scene.iou), 0);
	outcome = finish(&scene);
	if (mode != CHILD_BEFORE)
		end_child_of(&family);
	close_scene(&scene);
	return outcome;
}

static void live_with_children(const struct state *state)
{
	for (int i = 0; i < fewer(12, 2); i++) {
		bool has_fd = i % 2;
		struct outcome alone = live(state, NO_CHILD, has_fd);

		for (enum mode mode = CHILD_BEFORE; mode < N_MODES; mode++) {
			struct outcome outcome = live(state, mode, has_fd);

			ck_assert_mem_eq(&alone, &outcome, sizeof(alone));
		}
	}
}

/* The states. */

static void reach_nothing(struct scene *scene)
{
	(void)scene;
}

static void reach_idle(struct scene *scene)
{
	io_uring_prep_nop(next(scene));
	send_off(scene, 0);
	ck_assert_int_eq(iou_run(scene->iou), 0);
}

PROMISE(14, fork_of_an_instance_that_is_idle)
{
	live_with_children(&(struct state){ .reach = reach_nothing });
	live_with_children(&(struct state){ .reach = reach_idle });
}
END_TEST

static void reach_queued(struct scene *scene)
{
	for (int i = 0; i < 4; i++)
		start_read(scene, scene->pipe[0], 4, i == 1 ? IOSQE_IO_LINK : i == 2 ? IOSQE_IO_DRAIN : 0);
	io_uring_prep_nop(next(scene));
	send_off(scene, 0);
}

PROMISE(14, fork_with_ops_queued)
{
	live_with_children(&(struct state){ .reach = reach_queued });
}
END_TEST

static void reach_reads(struct scene *scene)
{
	for (int i = 0; i < 8; i++)
		start_read(scene, i % 2 ? scene->pipe[0] : scene->sockets[0], 4, i > 3 ? IOSQE_ASYNC : 0);
	ck_assert_int_eq(turn(scene->iou), 0);
}

static void reach_in_flight(struct scene *scene)
{
	struct __kernel_timespec *soon = (void *)(scene->given + MEMORY - SLOT);

	*soon = (struct __kernel_timespec){ .tv_nsec = 5000000 };
	reach_reads(scene);
	io_uring_prep_timeout(next(scene), soon, 0, 0);
	send_off(scene, 0);
	ck_assert_int_ge(turn(scene->iou), 0);
}

PROMISE(14, fork_with_ops_in_flight)
{
	live_with_children(&(struct state){ .reach = reach_in_flight });
}
END_TEST

static int see_later(void *data)
{
	return see(&((struct watched *)data)->seen);
}

static void reach_busy(struct scene *scene)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(iou_async(scene->iou, wait_for_sem, &scene->gate, see_later, &scene->later[i]), 0);
	for (int i = 0; i < 3; i++) {
		next(scene);
		ck_assert_int_eq(iou_op_async(scene->iou, scene->ops[i].seen.op, wait_for_sem, &scene->gate, watch,
					      &scene->ops[i]),
				 0);
	}
	start_read(scene, scene->pipe[0], 4, 0);
	ck_assert_int_eq(turn(scene->iou), 0);
}

PROMISE(14, fork_with_workers_busy)
{
	live_with_children(&(struct state){ .config.workers = 1, .reach = reach_busy });
	live_with_children(&(struct state){ .config.workers = 2, .reach = reach_busy });
}
END_TEST

static void reach_due(struct scene *scene)
{
	for (int i = 0; i < N_SLOTS; i++) {
		io_uring_prep_nop(next(scene));
		send_off(scene, 0);
	}
	ck_assert_int_eq(iou_flush(scene->iou), 0);
}

/* In the ring, and copied out of one that is too small. */
PROMISE(14, fork_with_completions_undelivered)
{
	live_with_children(&(struct state){ .config.entries = 32, .reach = reach_due });
	live_with_children(&(struct state){ .config.entries = 1, .reach = reach_due });
}
END_TEST

static int answer(void *data)
{
	struct watched *watched = data;

	watch(watched);
	return watched->seen.answer;
}

static void reach_stopped(struct scene *scene)
{
	for (int i = 0; i < N_SLOTS; i++) {
		io_uring_prep_nop(next(scene));
		iou_op_queue(scene->iou, scene->ops[i].seen.op, answer, &scene->ops[i]);
	}
	scene->ops[3].seen.answer = scene->ops[12].seen.answer = -EDOM;
	ck_assert_int_eq(iou_run(scene->iou), -EDOM);
}

PROMISE(14, fork_after_a_callback_has_ended_the_run)
{
	live_with_children(&(struct state){ .reach = reach_stopped });
}
END_TEST

static void reach_posted(struct scene *scene)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(iou_post(scene->iou, see_later, &scene->later[i]), 0);
	ck_assert_int_eq(iou_hold(scene->iou), 0);
}

PROMISE(14, fork_with_posts_pending_and_a_hold)
{
	live_with_children(&(struct state){ .reach = reach_posted, .is_held = true });
}
END_TEST

static void reach_quit(struct scene *scene)
{
	reach_reads(scene);
	ck_assert_int_eq(iou_quit(scene->iou), 0);
}

PROMISE(14, fork_after_a_quit)
{
	live_with_children(&(struct state){ .reach = reach_quit });
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("fork");

	ADD_CASE(s, "state", PROMISE_TEST(14, fork_of_an_instance_that_is_idle), PROMISE_TEST(14, fork_with_ops_queued),
		 PROMISE_TEST(14, fork_with_ops_in_flight), PROMISE_TEST(14, fork_with_workers_busy),
		 PROMISE_TEST(14, fork_with_completions_undelivered),
		 PROMISE_TEST(14, fork_after_a_callback_has_ended_the_run),
		 PROMISE_TEST(14, fork_with_posts_pending_and_a_hold), PROMISE_TEST(14, fork_after_a_quit));
	return s;
}
