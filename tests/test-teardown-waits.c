/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G9: what iou_free() has to wait for, and what waits for it. */
#include "teardown.h"

/* Zero-copy sends: the kernel reads the memory until the peer has it all, or has gone. */

/* What was sent, and then the end of it, can come in one go. */
static int have_sent(void *data)
{
	struct watched *watched = data;
	int sent = watched->seen.n_calls ? watched->seen.result : watched->seen.op->result;

	watch(watched);
	watched->seen.result = sent;
	return 0;
}

static void begin_sends(struct scene *scene, int fd)
{
	memset(scene->shown, 'z', MEMORY);
	for (int i = 0; i < 2; i++) {
		io_uring_prep_send_zc(next(scene), fd, scene->given, MEMORY, 0, 0);
		iou_op_queue(scene->iou, scene->ops[i].seen.op, have_sent, &scene->ops[i]);
	}
	ck_assert_int_ge(turn(scene->iou), 0);
}

struct peer {
	int fd;
	size_t n_read;
	size_t n_wrong;
};

static void *close_soon(void *data)
{
	struct peer *peer = data;

	nap_ms(20);
	close(peer->fd);
	return NULL;
}

/* For as long as the first send is not over drain and free have to wait, and both sleep. */
PROMISE(09, zero_copy_send_to_a_peer_that_never_reads_ends_when_the_peer_goes)
{
	for (int i = 0; i < fewer(20, 3); i++) {
		struct scene scene;
		int fds[2];

		open_scene(&scene, (iou_config_t){ .entries = 8 });
		support_connect_tcp(fds, 4096);
		begin_sends(&scene, fds[0]);

		uint64_t n_enters = stats_of(scene.iou).n_enters;
		int64_t began_us = support_now_us();

		ck_assert_int_eq(iou_drain(scene.iou, &(struct timespec){ .tv_nsec = 50000000 }), -ETIME);
		ck_assert_int_ge(support_now_us() - began_us, 50000);
		ck_assert_int_lt(support_now_us() - began_us, 10000000 * support_slowness());
		/* Under valgrind waiting comes in pieces, which the library does not count. */
		ck_assert_uint_lt(stats_of(scene.iou).n_enters - n_enters, 200);
		ck_assert_int_ge(iou_pending(scene.iou), 1);

		struct peer peer = { .fd = fds[1] };
		pthread_t thread = start_thread(close_soon, &peer);

		ck_assert_ptr_null(iou_free(scene.iou));
		pthread_join(thread, NULL);
		expect_finals(&scene);
		close(fds[0]);
		close_scene(&scene);
	}
}
END_TEST

static void *read_all(void *data)
{
	struct peer *peer = data;
	char bytes[SLOT];
	ssize_t n;

	while ((n = read(peer->fd, bytes, sizeof(bytes))) > 0) {
		peer->n_read += (size_t)n;
		for (ssize_t i = 0; i < n; i++)
			peer->n_wrong += bytes[i] != 'z';
	}
	return NULL;
}

PROMISE(09, zero_copy_send_reads_no_memory_after_free)
{
	for (int i = 0; i < fewer(50, 3); i++) {
		struct scene scene;
		int fds[2];

		open_scene(&scene, (iou_config_t){ .entries = 8 });
		support_connect_tcp(fds, 4096);
		begin_sends(&scene, fds[0]);

		struct peer peer = { .fd = fds[1] };
		pthread_t thread = start_thread(read_all, &peer);

		ck_assert_ptr_null(iou_free(scene.iou));
		memset(scene.shown, 'k', MEMORY);
		expect_finals(&scene);
		close(fds[0]);
		pthread_join(thread, NULL);
		ck_assert_uint_eq(peer.n_wrong, 0);

		size_t n_sent = 0;

		for (int j = 0; j < 2; j++)
			n_sent += scene.ops[j].seen.result > 0 ? (size_t)scene.ops[j].seen.result : 0;
		ck_assert_uint_eq(peer.n_read, n_sent);
		close(fds[1]);
		close_scene(&scene);
	}
}
END_TEST

/* The same for work. */
static int nap_200_ms(void *data)
{
	(void)data;
	nap_ms(200);
	return 0;
}

static int64_t cpu_us_of_waiting_for_a_job(void)
{
	struct scene scene;
	int64_t cpu_us;

	open_scene(&scene, (iou_config_t){ .entries = 8 });
	start_read(&scene, scene.pipe[0], 1, 0);
	ck_assert_int_eq(turn(scene.iou), 0);
	ck_assert_int_eq(iou_async(scene.iou, nap_200_ms, NULL, NULL, NULL), 0);
	cpu_us = support_thread_cpu_us();
	ck_assert_ptr_null(iou_free(scene.iou));
	cpu_us = support_thread_cpu_us() - cpu_us;
	expect_finals(&scene);
	close_scene(&scene);
	return cpu_us;
}

/* The best of three: others use this machine, too. */
PROMISE(09, waiting_for_a_job_beside_an_op_in_flight_costs_no_cpu)
{
	int64_t enough_us = 20000 * support_slowness(), cpu_us = enough_us;

	for (int i = 0; i < 3 && cpu_us >= enough_us; i++)
		cpu_us = cpu_us_of_waiting_for_a_job();
	ck_assert_int_lt(cpu_us, enough_us);
}
END_TEST

/* Jobs: one is being worked at, the others wait. Those of iou_async() run to the end, and use their memory until then. */

static int work_slowly(void *memory)
{
	nap_ms(1);
	memset(memory, 'j', 64);
	return 0;
}

static int see_later(void *data)
{
	return see(&((struct watched *)data)->seen);
}

static void begin_jobs(struct scene *scene)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(iou_async(scene->iou, work_slowly, scene->given, see_later,
					   &scene->later[scene->n_later++]),
				 0);
		for (int j = 0; j < 3; j++) {
			next(scene);

			struct watched *watched = &scene->ops[scene->n_ops - 1];

			ck_assert_int_eq(iou_op_async(scene->iou, watched->seen.op, work_slowly, slot(scene), watch,
						      watched),
					 0);
		}
	}
	start_read(scene, scene->pipe[0], 64, 0);
}

static void look_at_jobs(struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++) {
		int result = scene->ops[i].seen.result;

		ck_assert_msg(result == 0 || result == -ECANCELED, "result %d", result);
	}
}

static const struct kind jobs = {
	.config.workers = 1,
	.begin = begin_jobs,
	.look = look_at_jobs,
};

PROMISE(09, jobs_use_no_memory_after_free)
{
	tear_down(&jobs, 200);
	tear_down_after_owner(&jobs);
}
END_TEST

/* Posts, of this thread and of another. */

static void *post_elsewhere(void *data)
{
	struct scene *scene = data;

	return (void *)(intptr_t)iou_post(scene->iou, see_later, &scene->later[1]);
}

static void begin_posts_alone(struct scene *scene)
{
	void *result;

	ck_assert_int_eq(iou_post(scene->iou, see_later, &scene->later[0]), 0);
	pthread_join(start_thread(post_elsewhere, scene), &result);
	ck_assert_ptr_null(result);
	scene->n_later = 2;
}

static void begin_posts(struct scene *scene)
{
	begin_posts_alone(scene);
	start_read(scene, scene->pipe[0], 64, 0);
}

static const struct kind posts = { .begin = begin_posts };
static const struct kind posts_alone = { .begin = begin_posts_alone, .has_no_other_owner = true };

PROMISE(09, posts_are_delivered_once)
{
	tear_down(&posts, 100);
	tear_down(&posts_alone, 100);
	tear_down_after_owner(&posts);
}
END_TEST

/* Completions that nobody has seen: their callbacks get what became of them, not a cancellation. */

static void begin_undelivered(struct scene *scene)
{
	scene->file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(scene->file, 0);
	for (int i = 0; i < N_SLOTS; i++)
		start_read(scene, scene->file, 64, 0);
	ck_assert_int_eq(iou_flush(scene->iou), 0);
}

static void expect_64(struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++)
		ck_assert_int_eq(scene->ops[i].seen.result, 64);
}

/* The first is large enough for all of them, from the second they are copied on the way. */
static const struct kind undelivered[] = {
	{ .config.entries = 16, .has_no_other_owner = true, .begin = begin_undelivered, .look = expect_64 },
	{ .config.entries = 1, .has_no_other_owner = true, .begin = begin_undelivered, .look = expect_64 },
};

PROMISE(09, completions_that_are_due_are_delivered_with_their_results)
{
	tear_down(&undelivered[0], 150);
	tear_down(&undelivered[1], 150);
}
END_TEST

/* All polls complete at once on a queue for two, and the program looks after the kernel before the loop does. */
static void begin_overflow(struct scene *scene)
{
	overflow(scene);
	ck_assert_uint_ne(*iou_ring(scene->iou)->sq.kflags & IORING_SQ_CQ_OVERFLOW, 0);
}

static void expect_polled(struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++)
		ck_assert_int_eq(scene->ops[i].seen.result & POLLIN, POLLIN);
}

static const struct kind overflown = {
	.config = { .entries = 1, .cq_entries = 2 },
	.has_no_other_owner = true,
	.begin = begin_overflow,
	.look = expect_polled,
};

PROMISE(09, completions_that_have_overflown_are_delivered_with_their_results)
{
	tear_down(&overflown, 200);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("teardown-waits");

	ADD_RING_CASE(s, "zero copy",
		      PROMISE_TEST(09, zero_copy_send_to_a_peer_that_never_reads_ends_when_the_peer_goes));
	ADD_CASE(s, "send", PROMISE_TEST(09, zero_copy_send_reads_no_memory_after_free));
	ADD_CASE(s, "work", PROMISE_TEST(09, waiting_for_a_job_beside_an_op_in_flight_costs_no_cpu),
		 PROMISE_TEST(09, jobs_use_no_memory_after_free), PROMISE_TEST(09, posts_are_delivered_once));
	ADD_CASE(s, "due", PROMISE_TEST(09, completions_that_are_due_are_delivered_with_their_results));
	ADD_RING_CASE(s, "ring", PROMISE_TEST(09, completions_that_have_overflown_are_delivered_with_their_results));
	return s;
}
