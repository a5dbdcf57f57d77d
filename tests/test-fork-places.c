/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G14: fork, wherever it is called: in a callback, in a job, in another thread. */
#include "forks.h"

/*
 * In a callback that iou_free() or iou_drain() delivers: whichever comes first, so that the others are still due. The
 * child leaves by the same way.
 */

struct forking {
	struct family *family;
	bool is_to_free;
	bool has_forked;
	int n_descriptors; /* the child's */
};

static struct forking *forking_now;

static int fork_first(void *data)
{
	struct forking *forking = forking_now;
	struct family *family = forking->family;

	watch(data);
	if (forking->has_forked)
		return 0;
	forking->has_forked = true;
	family->child = fork();
	if (family->child)
		return 0;
	n_seen = 0;
	forking->n_descriptors = support_descriptors();
	find_all_refused(family->findings, family->scene->iou, family->spare);
	if (forking->is_to_free)
		FIND(family->findings, iou_free(family->scene->iou) == NULL);
	return 0;
}

static void start_forking_read(struct scene *scene, unsigned flags)
{
	struct io_uring_sqe *sqe = next(scene);
	struct watched *watched = &scene->ops[scene->n_ops - 1];

	io_uring_prep_read(sqe, scene->pipe[0], slot(scene), 4, (__u64)-1);
	sqe->flags = (__u8)flags;
	iou_op_queue(scene->iou, watched->seen.op, fork_first, watched);
}

static void end_free_in_child(const struct forking *forking, int r, bool is_drain)
{
	struct family *family = forking->family;

	FIND(family->findings, n_seen == 0);
	if (is_drain) {
		FIND(family->findings, r == (forking->is_to_free ? -ECANCELED : -EOWNERDEAD));
		if (!forking->is_to_free)
			FIND(family->findings, iou_free(family->scene->iou) == NULL);
	} else {
		FIND(family->findings, r == 0);
	}
	FIND(family->findings, support_descriptors() == forking->n_descriptors - family->n_own);
	find_own_works(family->findings, true);
	end_child(family->findings);
}

static void fork_in_delivery(bool is_drain, bool is_to_free)
{
	struct scene scene;
	struct family family;
	struct forking forking = { .is_to_free = is_to_free, .family = &family };
	int r;

	open_family(&family, &scene, (iou_config_t){ .entries = 8 }, true);
	forking_now = &forking;
	for (int i = 0; i < 10; i++)
		start_forking_read(&scene, i == 4 ? IOSQE_IO_LINK : i == 5 ? IOSQE_ASYNC : i == 8 ? IOSQE_IO_DRAIN : 0);
	ck_assert_int_eq(turn(scene.iou), 0);
	r = is_drain ? iou_drain(scene.iou, NULL) : iou_free(scene.iou) ? -EBUSY : 0;
	if (family.child == 0)
		end_free_in_child(&forking, r, is_drain);
	ck_assert_int_eq(r, 0);
	end_child_of(&family);
	ck_assert(forking.has_forked);
	expect_finals(&scene);
	if (is_drain)
		ck_assert_ptr_null(iou_free(scene.iou));
	close_scene(&scene);
}

PROMISE(14, fork_in_a_callback_of_free_or_drain)
{
	for (int i = 0; i < fewer(5, 1); i++)
		for (int j = 0; j < 4; j++)
			fork_in_delivery(j & 1, j & 2);
}
END_TEST

/* In a job: the child has only the worker, which does not return there. */

static int fork_in_job(void *data)
{
	struct family *family = data;

	family->child = fork();
	if (family->child)
		return 0;
	find_all_refused(family->findings, family->scene->iou, family->spare);
	find_freed(family->findings, family->scene->iou, family->n_own);
	find_own_works(family->findings, !support_sanitized());
	end_child(family->findings);
	return 0;
}

PROMISE(14, fork_in_a_job)
{
	for (int i = 0; i < fewer(10, 2); i++) {
		struct scene scene;
		struct family family;
		struct seen job;

		open_family(&family, &scene, (iou_config_t){ .workers = 1 }, i % 2);
		queue_job(scene.iou, &job, fork_in_job, &family);
		start_read(&scene, scene.pipe[0], 4, 0);
		ck_assert_int_ge(turn(scene.iou), 0);
		put_bytes(scene.pipe[1], "abcd", 4);
		ck_assert_int_eq(iou_run(scene.iou), 0);
		ck_assert_ptr_null(iou_free(scene.iou));
		expect(&job, 0);
		ck_assert_int_eq(scene.ops[0].seen.result, 4);
		end_child_of(&family);
		close_scene(&scene);
	}
}
END_TEST

/* In another thread, again and again, while the loop is at work: the child has only that one. */

struct forker {
	struct scene *scene;
	struct family families[8];
	int n;
};

static void *fork_often(void *data)
{
	struct forker *forker = data;

	for (int i = 0; i < forker->n; i++) {
		struct family *family = &forker->families[i];

		nap_ms(1);
		family->child = fork();
		if (family->child == 0) {
			find_all_refused(family->findings, family->scene->iou, family->spare);
			find_freed(family->findings, family->scene->iou, family->n_own);
			find_own_works(family->findings, !support_sanitized());
			end_child(family->findings);
		}
	}
	iou_release(forker->scene->iou);
	return NULL;
}

struct busy {
	struct seen seen;
	sem_t *is_over;
	int n_jobs;
	int n_queued;
};

/* By turns a nop and a job, until nobody forks any more. */
static int keep_busy(void *data)
{
	struct busy *busy = data;
	iou_op_t *op = busy->seen.op;
	iou_t *iou = busy->seen.iou;

	see(&busy->seen);
	if (sem_trywait(busy->is_over) == 0)
		return 0;
	if (busy->n_queued++ % 8)
		iou_op_queue(iou, op, keep_busy, busy);
	else
		return iou_op_async(iou, op, return_int, &busy->n_jobs, keep_busy, busy);
	return 0;
}

static void *fork_and_end(void *data)
{
	struct forker *forker = data;

	fork_often(forker);
	sem_post(&forker->scene->gate);
	return NULL;
}

PROMISE(14, fork_in_another_thread_while_the_loop_is_at_work)
{
	struct scene scene;
	struct forker forker = { .scene = &scene, .n = fewer(8, 2) };
	struct busy busy = { .n_jobs = 0 };
	pthread_t thread;

	open_family(&forker.families[0], &scene, (iou_config_t){ .entries = 8 }, true);
	for (int i = 1; i < forker.n; i++) {
		forker.families[i] = forker.families[0];
		forker.families[i].findings = open_findings();
	}
	io_uring_prep_nop(take(scene.iou, &busy.seen));
	busy.is_over = &scene.gate;
	iou_op_queue(scene.iou, busy.seen.op, keep_busy, &busy);
	start_read(&scene, scene.pipe[0], 4, 0);
	ck_assert_int_eq(iou_hold(scene.iou), 0);
	thread = start_thread(fork_and_end, &forker);
	put_bytes(scene.pipe[1], "abcd", 4);
	ck_assert_int_eq(iou_run(scene.iou), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(busy.seen.n_calls, busy.n_queued + 1);
	ck_assert_int_eq(scene.ops[0].seen.result, 4);
	ck_assert_ptr_null(iou_free(scene.iou));
	expect_finals(&scene);
	for (int i = 0; i < forker.n; i++)
		end_child_of(&forker.families[i]);
	close_scene(&scene);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("fork-places");

	ADD_CASE(s, "place", PROMISE_TEST(14, fork_in_a_callback_of_free_or_drain), PROMISE_TEST(14, fork_in_a_job),
		 PROMISE_TEST(14, fork_in_another_thread_while_the_loop_is_at_work));
	return s;
}
