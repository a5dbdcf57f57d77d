/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads: who may call what. Posts (G4), holds (G5), G9 right behind a release. */
#include "promises.h"

/* Posts from many threads: each thread's come in its order. */

enum { N_POSTERS = 4, N_POSTS = 5000 };

struct poster {
	iou_t *iou;
	int n_posts;
	int n_seen;
	int n_out_of_order;
	int n_failed;
	struct numbered {
		struct poster *poster;
		int number;
	} numbered[N_POSTS];
};

static int see_number(void *data)
{
	struct numbered *numbered = data;
	struct poster *poster = numbered->poster;

	poster->n_out_of_order += numbered->number != poster->n_seen++;
	return 0;
}

static void *post_numbers(void *data)
{
	struct poster *poster = data;

	for (int i = 0; i < poster->n_posts; i++) {
		poster->numbered[i] = (struct numbered){ poster, i };
		poster->n_failed += iou_post(poster->iou, see_number, &poster->numbered[i]) < 0;
	}
	poster->n_failed += iou_release(poster->iou) < 0;
	return NULL;
}

PROMISE(04, posts_of_many_threads_come_in_each_threads_order)
{
	static struct poster posters[N_POSTERS];
	iou_t *iou = open_iou(4);
	pthread_t threads[N_POSTERS];
	int n = fewer(N_POSTS, 200);

	memset(posters, 0, sizeof(posters));
	for (int i = 0; i < N_POSTERS; i++) {
		posters[i].iou = iou;
		posters[i].n_posts = n;
		ck_assert_int_eq(iou_hold(iou), 0);
		threads[i] = start_thread(post_numbers, &posters[i]);
	}
	run_and_free(iou);
	for (int i = 0; i < N_POSTERS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(posters[i].n_seen, n);
		ck_assert_int_eq(posters[i].n_out_of_order, 0);
		ck_assert_int_eq(posters[i].n_failed, 0);
	}
}
END_TEST

PROMISE(05, holds_are_counted)
{
	iou_t *iou = open_iou(4);

	ck_assert_int_eq(iou_release(iou), -EINVAL);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(iou_hold(iou), 0);
		ck_assert_int_eq(iou_pending(iou), i);
	}
	for (int i = 2; i >= 0; i--) {
		ck_assert_int_eq(turn(iou), 0);
		ck_assert_int_eq(iou_release(iou), 0);
		ck_assert_int_eq(iou_pending(iou), i);
	}
	ck_assert_int_eq(iou_release(iou), -EINVAL);
	run_and_free(iou);
}
END_TEST

/* The release may still be returning while the instance is freed. The post before it is delivered. */
struct releaser {
	sem_t go;
	iou_t *iou;
	int n;
	int n_failed;
	int n_posted;
};

static int count_post(void *data)
{
	++*(int *)data;
	return 0;
}

static void *release_each(void *data)
{
	struct releaser *releaser = data;

	for (int i = 0; i < releaser->n; i++) {
		wait_for_sem(&releaser->go);
		if (i % 2)
			releaser->n_failed += iou_post(releaser->iou, count_post, &releaser->n_posted) < 0;
		releaser->n_failed += iou_release(releaser->iou) < 0;
	}
	return NULL;
}

PROMISE(09, free_may_follow_while_a_release_is_still_returning)
{
	struct releaser releaser = { .n = fewer(10000, 200) };
	int n_descriptors = support_descriptors();

	sem_init(&releaser.go, 0, 0);

	pthread_t thread = start_thread(release_each, &releaser);

	for (int i = 0; i < releaser.n; i++) {
		iou_t *iou = open_iou(1);

		ck_assert_int_eq(iou_hold(iou), 0);
		releaser.iou = iou;
		sem_post(&releaser.go);
		ck_assert_int_eq(iou_run(iou), 0);
		ck_assert_ptr_null(iou_free(iou));
	}
	pthread_join(thread, NULL);
	ck_assert_int_eq(releaser.n_failed, 0);
	ck_assert_int_eq(releaser.n_posted, releaser.n / 2);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	sem_destroy(&releaser.go);
}
END_TEST

/* The loop thread and others. */

struct stranger {
	iou_t *iou;
	int results[4];
	struct seen post;
};

static void *try_to_run(void *data)
{
	struct stranger *stranger = data;

	stranger->results[0] = iou_flush(stranger->iou);
	stranger->results[1] = iou_run(stranger->iou);
	stranger->results[2] = iou_run_once(stranger->iou, &(struct timespec){ 0 });
	stranger->results[3] = iou_drain(stranger->iou, NULL);
	iou_post(stranger->iou, see, &stranger->post);
	iou_quit(stranger->iou);
	return NULL;
}

PROMISE(13, only_the_loop_thread_may_flush_and_run)
{
	iou_t *iou = open_iou(4);
	struct stranger stranger = { .iou = iou };
	struct seen nop;

	queue_nop(iou, &nop, 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	pthread_join(start_thread(try_to_run, &stranger), NULL);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(stranger.results[i], -EPERM);
	ck_assert_int_eq(n_seen, 0);
	/* The quit was welcome. */
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(n_seen, 0);
	run_and_free(iou);
	expect(&nop, 0);
	ck_assert_int_eq(stranger.post.n_calls, 1);
}
END_TEST

/* pthread_t and kernel ids of threads that have ended come again: none of the later ones is the owner. */
static void *flush_it(void *data)
{
	return (void *)(intptr_t)iou_flush(data);
}

static void *run_and_leave(void *data)
{
	return (void *)(intptr_t)iou_run(data);
}

PROMISE(13, create_here_and_run_there)
{
	iou_t *iou = open_iou(4);
	struct seen nops[20], job, post = { 0 };
	int five = 5, fds[2];
	void *result;

	open_pipe(fds);
	if (support_has_ring())
		ck_assert_int_eq(io_uring_register_files(iou_ring(iou), fds, 2), 0);
	for (int i = 0; i < 20; i++)
		queue_nop(iou, &nops[i], 0);
	queue_job(iou, &job, return_int, &five);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	pthread_join(start_thread(run_and_leave, iou), &result);
	ck_assert_int_eq((intptr_t)result, 0);
	for (int i = 0; i < 20; i++)
		expect(&nops[i], 0);
	expect(&job, 5);
	ck_assert_int_eq(post.n_calls, 1);
	/* Its owner has gone: it can only be freed. */
	ck_assert_int_eq(iou_flush(iou), -EPERM);
	for (int i = 0; i < 20; i++) {
		pthread_join(start_thread(flush_it, iou), &result);
		ck_assert_int_eq((intptr_t)result, -EPERM);
	}
	ck_assert_ptr_null(iou_free(iou));
	close_pipe(fds);
}
END_TEST

/* The kernel has ended what the thread had submitted. */
static void *submit_and_leave(void *data)
{
	turn(data);
	return NULL;
}

PROMISE(09, instance_whose_owner_has_gone_is_freed_with_all_callbacks)
{
	iou_t *iou = open_iou(4);
	struct seen blocked[4], staged, job;
	int fds[2], five = 5;
	char bytes[4];

	open_pipe(fds);
	for (int i = 0; i < 4; i++)
		queue_read(iou, &blocked[i], fds[0], &bytes[i], 1, 0);
	pthread_join(start_thread(submit_and_leave, iou), NULL);
	queue_nop(iou, &staged, 0);
	queue_job(iou, &job, return_int, &five);
	ck_assert_ptr_null(iou_free(iou));
	for (int i = 0; i < 4; i++)
		expect(&blocked[i], -ECANCELED);
	expect(&staged, -ECANCELED);
	ck_assert_int_eq(job.n_calls, 1);
	put_bytes(fds[1], "x", 1);
	ck_assert_int_eq(read(fds[0], bytes, 1), 1);
	close_pipe(fds);
}
END_TEST

/* IOU_ANY_THREAD. */

struct turns {
	iou_t *iou;
	sem_t *mine, *yours;
	int n;
	int n_failed;
	int n_called;
	int zero;
};

static int count_turn(void *data)
{
	struct turns *turns = data;

	turns->n_called++;
	return 0;
}

/* An op, and a job to sleep for, so that whoever runs has the wake-up armed. */
static void *run_in_turn(void *data)
{
	struct turns *turns = data;

	for (int i = 0; i < turns->n; i++) {
		wait_for_sem(turns->mine);

		iou_op_t *op = iou_op_new(turns->iou);

		io_uring_prep_nop(op->sqe);
		iou_op_queue(turns->iou, op, count_turn, turns);
		turns->n_failed += iou_async(turns->iou, return_int, &turns->zero, count_turn, turns) < 0;
		turns->n_failed += iou_run(turns->iou) != 0;
		sem_post(turns->yours);
	}
	return NULL;
}

PROMISE(13, any_thread_may_run_in_turn)
{
	iou_t *iou = open_with((iou_config_t){ .flags = IOU_ANY_THREAD });
	sem_t sems[2];
	int n = fewer(2000, 100);
	struct turns turns[2] = { { iou, &sems[0], &sems[1], n, 0, 0, 0 }, { iou, &sems[1], &sems[0], n, 0, 0, 0 } };
	pthread_t threads[2];

	/* Both before the first thread begins: it posts to the other's. */
	for (int i = 0; i < 2; i++)
		sem_init(&sems[i], 0, i == 0);
	for (int i = 0; i < 2; i++)
		threads[i] = start_thread(run_in_turn, &turns[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(turns[i].n_failed, 0);
		ck_assert_int_eq(turns[i].n_called, 2 * n);
		sem_destroy(&sems[i]);
	}
	run_and_free(iou);
}
END_TEST

/* The one that armed the wake-up is gone; whoever runs next is woken all the same. */
static void *sleep_and_leave(void *data)
{
	iou_run_once(data, &(struct timespec){ .tv_nsec = 1000000 });
	return NULL;
}

static void *release_it(void *data)
{
	iou_release(data);
	return NULL;
}

PROMISE(05, wakeup_is_armed_again_when_its_thread_has_gone)
{
	iou_t *iou = open_with((iou_config_t){ .flags = IOU_ANY_THREAD });

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(iou_hold(iou), 0);
		pthread_join(start_thread(sleep_and_leave, iou), NULL);

		pthread_t thread = start_thread(release_it, iou);

		ck_assert_int_eq(iou_run(iou), 0);
		pthread_join(thread, NULL);
	}
	run_and_free(iou);
}
END_TEST

static int release_then(void *data)
{
	struct seen *seen = data;

	see(seen);
	return iou_release(seen->iou);
}

/* write(3) would be where a thread that is to be cancelled leaves. */
static void *post_though_cancelled(void *data)
{
	struct seen *seen = data;

	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL); /* so that the loop is likely to sleep */
	pthread_cancel(pthread_self());
	seen->answer = iou_post(seen->iou, release_then, seen);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return NULL;
}

PROMISE(05, post_of_a_thread_that_is_cancelled_wakes_the_loop)
{
	iou_t *iou = open_iou(4);
	struct seen post = { .iou = iou, .answer = -1 };
	int64_t begin = support_now_ms();
	pthread_t thread;
	void *end;

	ck_assert_int_eq(iou_hold(iou), 0);
	thread = start_thread(post_though_cancelled, &post);
	ck_assert_int_eq(iou_run(iou), 0);
	pthread_join(thread, &end);
	ck_assert_ptr_null(end);
	ck_assert_int_eq(post.n_calls, 1);
	/* By itself the loop looks after five seconds. */
	ck_assert_int_lt(support_now_ms() - begin, 4000);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("promises-threads");

	ADD_CASE(s, "other threads", test_g04_posts_of_many_threads_come_in_each_threads_order,
		 test_g05_holds_are_counted, test_g09_free_may_follow_while_a_release_is_still_returning,
		 test_g05_post_of_a_thread_that_is_cancelled_wakes_the_loop);
	ADD_CASE(s, "owner", test_g13_only_the_loop_thread_may_flush_and_run, test_g13_create_here_and_run_there,
		 test_g09_instance_whose_owner_has_gone_is_freed_with_all_callbacks);
	ADD_CASE(s, "any thread", test_g13_any_thread_may_run_in_turn,
		 test_g05_wakeup_is_armed_again_when_its_thread_has_gone);
	return s;
}
