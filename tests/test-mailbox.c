/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define N_POSTERS 4
#define N_POSTS 20000
#define N_ROUNDS 5000
/* Never waited for but by a loop that was not woken. */
#define FOR_EVER_MS 10000

struct letter {
	struct task task;
	int poster, number;
};

static struct mailbox mailbox;
static struct queue inbox;
static _Atomic bool has_to_quit; /* stands for what is no mail and is looked at before the loop sleeps */

static void set_up(void)
{
	ck_assert_int_eq(iou__mailbox_init(&mailbox), 0);
	iou__queue_init(&inbox);
}

static void tear_down(void)
{
	iou__mailbox_destroy(&mailbox);
}

static int rounds(int n)
{
	return support_slowness() > 1 ? n / 10 : n;
}

static bool is_readable(int timeout_ms)
{
	struct pollfd fd = { .fd = mailbox.fd, .events = POLLIN };

	return poll(&fd, 1, timeout_ms) == 1;
}

static uint64_t count_writes(void)
{
	uint64_t n = 0;

	return read(mailbox.fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* All mail goes to the inbox. */
static void take_all(void)
{
	struct mail mail;

	while (iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail)) {
		struct task *task = mail.cb_data;

		iou__queue_push(&inbox, &task->node);
	}
}

static struct letter *next_letter(void)
{
	struct node *node = iou__queue_pop(&inbox);

	return node ? container_of(node, struct letter, task.node) : NULL;
}

START_TEST(test_eventfd_is_close_on_exec_and_never_blocks)
{
	ck_assert(fcntl(mailbox.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(mailbox.fd, F_GETFL) & O_NONBLOCK);
	ck_assert(!is_readable(0));
}
END_TEST

START_TEST(test_half_built_and_destroyed_ones_can_be_destroyed)
{
	struct mailbox half = { .fd = -1 };
	int n = support_descriptors();

	iou__mailbox_destroy(&half);
	iou__mailbox_destroy(&mailbox);
	iou__mailbox_destroy(&mailbox);
	ck_assert_int_eq(support_descriptors(), n - 1);
}
END_TEST

START_TEST(test_no_descriptor_is_an_error)
{
	struct rlimit before, none;
	struct mailbox another;
	int r;

	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){ 0, before.rlim_max };
	setrlimit(RLIMIT_NOFILE, &none);
	r = iou__mailbox_init(&another);
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(r, -EMFILE);
	iou__mailbox_destroy(&another);
}
END_TEST

START_TEST(test_mail_is_taken_in_the_order_in_which_it_was_put)
{
	struct letter letters[5] = { 0 }, *letter;

	for (int i = 0; i < 5; i++) {
		letters[i].number = i;
		iou__mailbox_put(&mailbox, &letters[i].task);
		if (i == 2)
			take_all();
	}
	take_all();
	for (int i = 0; i < 5; i++) {
		letter = next_letter();
		ck_assert_ptr_eq(letter, &letters[i]);
	}
	ck_assert_ptr_null(next_letter());
}
END_TEST

START_TEST(test_mailbox_knows_whether_it_has_mail)
{
	struct letter letter = { 0 };

	ck_assert(!iou__mailbox_has_mail(&mailbox));
	iou__mailbox_put(&mailbox, &letter.task);
	ck_assert(iou__mailbox_has_mail(&mailbox));
	take_all();
	ck_assert(!iou__mailbox_has_mail(&mailbox));
	ck_assert(iou__mailbox_doze(&mailbox));
	ck_assert(!iou__mailbox_has_mail(&mailbox));
	take_all();
	ck_assert_ptr_eq(next_letter(), &letter);
	ck_assert_ptr_null(next_letter());
}
END_TEST

START_TEST(test_loop_that_is_awake_is_not_woken)
{
	struct letter letter = { 0 };

	iou__mailbox_put(&mailbox, &letter.task);
	iou__mailbox_wake(&mailbox);
	iou__mailbox_hold(&mailbox);
	iou__mailbox_release(&mailbox);
	ck_assert_uint_eq(count_writes(), 0);
}
END_TEST

START_TEST(test_loop_that_sleeps_is_woken_once)
{
	struct letter letters[3] = { 0 };

	ck_assert(iou__mailbox_doze(&mailbox));
	for (int i = 0; i < 3; i++)
		iou__mailbox_put(&mailbox, &letters[i].task);
	iou__mailbox_wake(&mailbox);
	ck_assert_uint_eq(count_writes(), 1);
	take_all();
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_eq(next_letter(), &letters[i]);
}
END_TEST

START_TEST(test_loop_with_mail_must_not_sleep)
{
	struct letter letter = { 0 };

	iou__mailbox_put(&mailbox, &letter.task);
	ck_assert(!iou__mailbox_doze(&mailbox));
	iou__mailbox_rouse(&mailbox);
	ck_assert(iou__mailbox_has_mail(&mailbox));
	take_all();
	ck_assert(iou__mailbox_doze(&mailbox));
}
END_TEST

START_TEST(test_falling_asleep_twice_is_fine)
{
	ck_assert(iou__mailbox_doze(&mailbox));
	ck_assert(iou__mailbox_doze(&mailbox));
	iou__mailbox_wake(&mailbox);
	ck_assert_uint_eq(count_writes(), 1);
}
END_TEST

START_TEST(test_loop_that_was_roused_is_not_woken)
{
	struct letter letter = { 0 };

	ck_assert(iou__mailbox_doze(&mailbox));
	iou__mailbox_rouse(&mailbox);
	iou__mailbox_wake(&mailbox);
	iou__mailbox_put(&mailbox, &letter.task);
	ck_assert_uint_eq(count_writes(), 0);
	iou__mailbox_rouse(&mailbox);
	ck_assert(iou__mailbox_has_mail(&mailbox));
}
END_TEST

START_TEST(test_last_release_wakes_and_no_other)
{
	ck_assert_int_eq(iou__mailbox_hold(&mailbox), 0);
	ck_assert_int_eq(iou__mailbox_hold(&mailbox), 0);
	ck_assert(iou__mailbox_doze(&mailbox));
	ck_assert_int_eq(iou__mailbox_release(&mailbox), 0);
	ck_assert_uint_eq(count_writes(), 0);
	ck_assert_int_eq(iou__mailbox_release(&mailbox), 0);
	ck_assert_uint_eq(count_writes(), 1);
	ck_assert_int_eq(atomic_load(&mailbox.n_held), 0);
}
END_TEST

START_TEST(test_holds_are_counted_and_bounded)
{
	ck_assert_int_eq(iou__mailbox_release(&mailbox), -EINVAL);
	atomic_store(&mailbox.n_held, INT_MAX - 1);
	ck_assert_int_eq(iou__mailbox_hold(&mailbox), 0);
	ck_assert_int_eq(iou__mailbox_hold(&mailbox), -EOVERFLOW);
	ck_assert_int_eq(atomic_load(&mailbox.n_held), INT_MAX);
	ck_assert_int_eq(iou__mailbox_release(&mailbox), 0);
	ck_assert_int_eq(atomic_load(&mailbox.n_held), INT_MAX - 1);
}
END_TEST

START_TEST(test_eventfd_is_raised_and_lowered)
{
	iou__mailbox_raise(&mailbox);
	iou__mailbox_raise(&mailbox);
	ck_assert(is_readable(0));
	iou__mailbox_lower(&mailbox);
	ck_assert(!is_readable(0));
	iou__mailbox_lower(&mailbox);
	ck_assert(!is_readable(0));
}
END_TEST

START_TEST(test_eventfd_that_is_full_is_readable_and_errno_is_kept)
{
	uint64_t most = UINT64_MAX - 1;

	ck_assert_int_eq(write(mailbox.fd, &most, sizeof(most)), sizeof(most));
	errno = ENOTTY;
	iou__mailbox_raise(&mailbox);
	ck_assert_int_eq(errno, ENOTTY);
	ck_assert(is_readable(0));
}
END_TEST

/* A full ring. */

#define N_LATE 100

static int n_posted;

static int be_posted(void *data)
{
	ck_assert_ptr_eq(data, &n_posted);
	return ++n_posted;
}

static void put_all(struct letter *letters, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		letters[i].number = (int)i;
		iou__mailbox_put(&mailbox, &letters[i].task);
	}
}

static void check_all(size_t first, size_t end)
{
	take_all();
	for (size_t i = first; i < end; i++) {
		struct letter *letter = next_letter();

		ck_assert_ptr_nonnull(letter);
		ck_assert_uint_eq((size_t)letter->number, i);
	}
	ck_assert_ptr_null(next_letter());
}

START_TEST(test_mail_that_finds_no_slot_comes_in_order_as_well)
{
	static struct letter letters[MAILBOX_SLOTS + N_LATE];

	put_all(letters, MAILBOX_SLOTS + N_LATE);
	ck_assert(!iou__mailbox_doze(&mailbox));
	check_all(0, MAILBOX_SLOTS + N_LATE);
	ck_assert(!iou__mailbox_has_mail(&mailbox));
	ck_assert(iou__mailbox_doze(&mailbox));
	ck_assert_uint_eq(count_writes(), 0);
}
END_TEST

/* The slots are free again, but what comes now is younger than what waits for them. */
START_TEST(test_nobody_overtakes_mail_that_is_late)
{
	static struct letter letters[MAILBOX_SLOTS + 2];
	struct mail mail;

	put_all(letters, MAILBOX_SLOTS + 1);
	for (size_t i = 0; i < MAILBOX_SLOTS; i++)
		ck_assert(iou__mailbox_take(&mailbox, &mail) && mail.cb_data == &letters[i].task);
	ck_assert(!iou__mailbox_take(&mailbox, &mail));
	ck_assert(!iou__mailbox_doze(&mailbox));
	letters[MAILBOX_SLOTS + 1].number = MAILBOX_SLOTS + 1;
	iou__mailbox_put(&mailbox, &letters[MAILBOX_SLOTS + 1].task);
	check_all(MAILBOX_SLOTS, MAILBOX_SLOTS + 2);
}
END_TEST

/* What is taken at once is a part: of the rest, the late mail is the older. */
START_TEST(test_late_mail_that_is_not_taken_at_once_comes_first)
{
	static struct letter letters[MAILBOX_SLOTS + 3];
	struct mail mail;

	put_all(letters, MAILBOX_SLOTS + 2);
	for (size_t i = 0; i <= MAILBOX_SLOTS; i++)
		ck_assert(iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail));
	ck_assert(iou__mailbox_has_mail(&mailbox));
	ck_assert(!iou__mailbox_doze(&mailbox));
	letters[MAILBOX_SLOTS + 2].number = MAILBOX_SLOTS + 2;
	iou__mailbox_put(&mailbox, &letters[MAILBOX_SLOTS + 2].task);
	check_all(MAILBOX_SLOTS + 1, MAILBOX_SLOTS + 3);
}
END_TEST

START_TEST(test_ring_grows_with_what_was_outstanding_and_no_more)
{
	static struct letter letters[4 * MAILBOX_SLOTS];

	for (int i = 0; i < 3; i++) {
		put_all(letters, MAILBOX_SLOTS);
		check_all(0, MAILBOX_SLOTS);
	}
	ck_assert_uint_eq(atomic_load(&mailbox.n_slots), MAILBOX_SLOTS);
	put_all(letters, 3 * MAILBOX_SLOTS);
	check_all(0, 3 * MAILBOX_SLOTS);
	for (int i = 0; i < 3; i++) {
		put_all(letters, 4 * MAILBOX_SLOTS);
		ck_assert(!atomic_load(&mailbox.has_late));
		check_all(0, 4 * MAILBOX_SLOTS);
	}
	ck_assert_uint_le(atomic_load(&mailbox.n_slots), 8 * MAILBOX_SLOTS);
}
END_TEST

START_TEST(test_posts_are_counted_and_taken_in_order_with_tasks)
{
	static struct letter letters[2 * MAILBOX_SLOTS];
	struct mail mail;

	n_posted = 0;
	for (size_t i = 0; i < 2 * MAILBOX_SLOTS; i++) {
		iou__mailbox_put(&mailbox, &letters[i].task);
		ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), 0);
	}
	for (size_t i = 0; i < 2 * MAILBOX_SLOTS; i++) {
		ck_assert_uint_eq(iou__mailbox_posts(&mailbox), 2 * MAILBOX_SLOTS - i);
		ck_assert(iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail));
		ck_assert(mail.cb == iou__mailbox_task && mail.cb_data == &letters[i].task);
		ck_assert(iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail));
		ck_assert_int_eq(mail.cb(mail.cb_data), (int)i + 1);
	}
	ck_assert_uint_eq(iou__mailbox_posts(&mailbox), 0);
	ck_assert_uint_eq(iou__mailbox_ready(&mailbox), 0);
}
END_TEST

START_TEST(test_late_mail_is_ready_as_a_whole_each_time)
{
	static struct letter letters[8 * MAILBOX_SLOTS];
	struct mail mail;

	for (size_t n_late = 5; n_late > 3; n_late--) {
		size_t n_slots = atomic_load(&mailbox.n_slots);

		ck_assert_uint_le(n_slots + n_late, 8 * MAILBOX_SLOTS);
		put_all(letters, n_slots + n_late);
		for (size_t i = 0; i < n_slots; i++)
			ck_assert(iou__mailbox_take(&mailbox, &mail));
		ck_assert_uint_eq(iou__mailbox_ready(&mailbox), n_late);
		for (size_t i = 0; i < n_late; i++)
			ck_assert(iou__mailbox_take(&mailbox, &mail));
		ck_assert_uint_eq(iou__mailbox_ready(&mailbox), 0);
	}
}
END_TEST

START_TEST(test_what_is_closed_takes_tasks_and_no_posts)
{
	static struct letter letters[MAILBOX_SLOTS + 1];

	ck_assert(!iou__mailbox_is_closed(&mailbox));
	iou__mailbox_close(&mailbox);
	ck_assert(iou__mailbox_is_closed(&mailbox));
	ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), -ESHUTDOWN);
	put_all(letters, MAILBOX_SLOTS + 1);
	ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), -ESHUTDOWN);
	check_all(0, MAILBOX_SLOTS + 1);
	ck_assert(iou__mailbox_doze(&mailbox));
	ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), -ESHUTDOWN);
	ck_assert_uint_eq(count_writes(), 0);
	ck_assert(iou__mailbox_is_asleep(&mailbox));
}
END_TEST

/* For the leak checkers: late posts come from the heap, on whichever list they are. */
START_TEST(test_posts_that_nobody_takes_are_freed)
{
	struct mail mail;

	for (size_t i = 0; i < MAILBOX_SLOTS + 10; i++)
		ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), 0);
	for (size_t i = 0; i <= MAILBOX_SLOTS; i++)
		ck_assert(iou__mailbox_ready(&mailbox) && iou__mailbox_take(&mailbox, &mail));
	for (size_t i = 0; !atomic_load(&mailbox.has_late); i++)
		ck_assert_int_eq(iou__mailbox_post(&mailbox, be_posted, &n_posted), 0);
	iou__mailbox_destroy(&mailbox);
}
END_TEST

/* Threads. */

/* One that has reserved a slot and was preempted before it could fill it. */
static void *fill_late(void *data)
{
	for (int i = 0; i < 1000; i++)
		sched_yield();
	atomic_store((atomic_bool *)data, true);
	atomic_store(&mailbox.slots[0].cb, be_posted);
	return NULL;
}

static pthread_t begin_to_fill(atomic_bool *is_filled)
{
	pthread_t thread;

	atomic_init(is_filled, false);
	atomic_fetch_add(&mailbox.state, MAILBOX_ONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, fill_late, is_filled), 0);
	return thread;
}

START_TEST(test_loop_makes_way_for_one_who_has_yet_to_fill_a_slot)
{
	atomic_bool is_filled;
	pthread_t thread = begin_to_fill(&is_filled);

	ck_assert(!iou__mailbox_doze(&mailbox));
	ck_assert(atomic_load(&is_filled));
	ck_assert_uint_eq(iou__mailbox_ready(&mailbox), 1);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(test_one_who_has_yet_to_fill_a_slot_has_not_left)
{
	atomic_bool is_filled;
	pthread_t thread = begin_to_fill(&is_filled);

	iou__mailbox_wait_until_left(&mailbox);
	ck_assert(atomic_load(&is_filled));
	pthread_join(thread, NULL);
}
END_TEST

struct visit {
	sem_t is_inside, may_leave;
	atomic_bool has_left;
};

static void *visit(void *data)
{
	struct visit *it = data;

	iou__mailbox_enter(&mailbox);
	sem_post(&it->is_inside);
	sem_wait(&it->may_leave);
	/* Whoever does not wait has every opportunity to overtake. */
	for (int i = 0; i < 1000; i++)
		sched_yield();
	atomic_store(&it->has_left, true);
	iou__mailbox_leave(&mailbox);
	return NULL;
}

START_TEST(test_loop_waits_until_everybody_has_left)
{
	struct visit visits[N_POSTERS];
	pthread_t threads[N_POSTERS];

	for (int i = 0; i < N_POSTERS; i++) {
		sem_init(&visits[i].is_inside, 0, 0);
		sem_init(&visits[i].may_leave, 0, 0);
		atomic_init(&visits[i].has_left, false);
		pthread_create(&threads[i], NULL, visit, &visits[i]);
		sem_wait(&visits[i].is_inside);
	}
	ck_assert_int_eq(atomic_load(&mailbox.n_inside), N_POSTERS);
	for (int i = 0; i < N_POSTERS; i++)
		sem_post(&visits[i].may_leave);
	iou__mailbox_wait_until_left(&mailbox);
	for (int i = 0; i < N_POSTERS; i++)
		ck_assert(atomic_load(&visits[i].has_left));
	for (int i = 0; i < N_POSTERS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* Posts, numbered; now and then the loop is given the time to fall asleep. */
struct poster {
	pthread_t thread;
	int id, n;
	struct letter *letters;
};

static void *post(void *data)
{
	struct poster *poster = data;

	for (int i = 0; i < poster->n; i++) {
		struct letter *letter = &poster->letters[i];

		letter->poster = poster->id;
		letter->number = i;
		iou__mailbox_put(&mailbox, &letter->task);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void start(struct poster *poster, int id, int n)
{
	*poster = (struct poster){ .id = id, .n = n, .letters = calloc((size_t)n, sizeof(struct letter)) };
	ck_assert_ptr_nonnull(poster->letters);
	ck_assert_int_eq(pthread_create(&poster->thread, NULL, post, poster), 0);
}

static void finish(struct poster *poster)
{
	pthread_join(poster->thread, NULL);
	free(poster->letters);
}

/* As the loop parks. False: it was not woken. */
static bool park(void)
{
	bool is_woken = true;

	if (!iou__mailbox_doze(&mailbox))
		return true;
	if (!atomic_load(&has_to_quit))
		is_woken = is_readable(FOR_EVER_MS);
	iou__mailbox_rouse(&mailbox);
	iou__mailbox_lower(&mailbox);
	return is_woken;
}

/* Check the order of each poster's letters, and count them. */
static int read_inbox(int *n_read)
{
	struct letter *letter;
	int n = 0;

	for (; (letter = next_letter()); n++)
		ck_assert_int_eq(letter->number, n_read[letter->poster]++);
	return n;
}

START_TEST(test_every_post_comes_once_and_in_its_poster_s_order)
{
	struct poster posters[N_POSTERS];
	int n_read[N_POSTERS] = { 0 }, n = rounds(N_POSTS), n_left = N_POSTERS * n;

	for (int i = 0; i < N_POSTERS; i++)
		start(&posters[i], i, n);
	while (n_left) {
		ck_assert_msg(park(), "the loop was not woken, %d posts are left", n_left);
		take_all();
		n_left -= read_inbox(n_read);
	}
	for (int i = 0; i < N_POSTERS; i++)
		finish(&posters[i]);
	ck_assert(!iou__mailbox_has_mail(&mailbox));
	for (int i = 0; i < N_POSTERS; i++)
		ck_assert_int_eq(n_read[i], n);
}
END_TEST

/*
 * One round is one thing that happens while the loop is about to park: if it is missed, nothing else ever wakes the
 * loop. The loop answers, and then the other side goes on.
 */
struct duel {
	void (*act)(void);
	int n;
	sem_t answer;
};

static void *act_again_and_again(void *data)
{
	struct duel *duel = data;

	for (int i = 0; i < duel->n; i++) {
		duel->act();
		sem_wait(&duel->answer);
		/* A different moment each time. */
		for (volatile int j = 0; j < i % 512; j++)
			;
	}
	return NULL;
}

static void fight(void (*act)(void), bool (*has_happened)(void))
{
	struct duel duel = { .act = act, .n = rounds(N_ROUNDS) };
	pthread_t thread;

	sem_init(&duel.answer, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, act_again_and_again, &duel), 0);
	for (int i = 0; i < duel.n; i++) {
		while (!has_happened())
			ck_assert_msg(park(), "the loop was not woken in round %d", i);
		sem_post(&duel.answer);
	}
	pthread_join(thread, NULL);
	sem_destroy(&duel.answer);
}

static void quit(void)
{
	atomic_store(&has_to_quit, true);
	iou__mailbox_wake(&mailbox);
}

static bool has_quit(void)
{
	return atomic_exchange(&has_to_quit, false);
}

START_TEST(test_no_quit_is_missed)
{
	fight(quit, has_quit);
}
END_TEST

static struct letter only_letter;

static void put(void)
{
	iou__mailbox_put(&mailbox, &only_letter.task);
}

static bool has_mail(void)
{
	take_all();
	return next_letter();
}

START_TEST(test_no_post_is_missed)
{
	fight(put, has_mail);
}
END_TEST

/* The loop holds for the other side, which then releases, twice: just the last one may end it. */
static void *release_again_and_again(void *data)
{
	struct duel *duel = data;

	for (int i = 0; i < duel->n; i++) {
		sem_wait(&duel->answer);
		iou__mailbox_release(&mailbox);
		for (volatile int j = 0; j < i % 512; j++)
			;
		iou__mailbox_release(&mailbox);
	}
	return NULL;
}

static bool park_while_held(void)
{
	bool is_woken = true;

	if (!iou__mailbox_doze(&mailbox))
		return true;
	if (atomic_load(&mailbox.n_held))
		is_woken = is_readable(FOR_EVER_MS);
	iou__mailbox_rouse(&mailbox);
	iou__mailbox_lower(&mailbox);
	return is_woken;
}

START_TEST(test_no_last_release_is_missed)
{
	struct duel duel = { .n = rounds(N_ROUNDS) };
	pthread_t thread;

	sem_init(&duel.answer, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, release_again_and_again, &duel), 0);
	for (int i = 0; i < duel.n; i++) {
		ck_assert_int_eq(iou__mailbox_hold(&mailbox), 0);
		ck_assert_int_eq(iou__mailbox_hold(&mailbox), 0);
		sem_post(&duel.answer);
		while (atomic_load(&mailbox.n_held))
			ck_assert_msg(park_while_held(), "the loop was not woken in round %d", i);
	}
	pthread_join(thread, NULL);
	sem_destroy(&duel.answer);
}
END_TEST

Suite *suite(void)
{
	Suite *mailbox_suite = suite_create("mailbox");
	TCase *tcase;

	tcase = ADD_CASE(mailbox_suite, "mail", test_eventfd_is_close_on_exec_and_never_blocks,
			 test_half_built_and_destroyed_ones_can_be_destroyed, test_no_descriptor_is_an_error,
			 test_mail_is_taken_in_the_order_in_which_it_was_put, test_mailbox_knows_whether_it_has_mail,
			 test_holds_are_counted_and_bounded);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(mailbox_suite, "sleep", test_loop_that_is_awake_is_not_woken,
			 test_loop_that_sleeps_is_woken_once, test_loop_with_mail_must_not_sleep,
			 test_falling_asleep_twice_is_fine, test_loop_that_was_roused_is_not_woken,
			 test_last_release_wakes_and_no_other, test_eventfd_is_raised_and_lowered,
			 test_eventfd_that_is_full_is_readable_and_errno_is_kept);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(mailbox_suite, "full", test_mail_that_finds_no_slot_comes_in_order_as_well,
			 test_nobody_overtakes_mail_that_is_late, test_late_mail_that_is_not_taken_at_once_comes_first,
			 test_ring_grows_with_what_was_outstanding_and_no_more,
			 test_posts_are_counted_and_taken_in_order_with_tasks,
			 test_late_mail_is_ready_as_a_whole_each_time, test_what_is_closed_takes_tasks_and_no_posts,
			 test_posts_that_nobody_takes_are_freed);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(mailbox_suite, "threads", test_loop_makes_way_for_one_who_has_yet_to_fill_a_slot,
			 test_one_who_has_yet_to_fill_a_slot_has_not_left, test_loop_waits_until_everybody_has_left,
			 test_every_post_comes_once_and_in_its_poster_s_order, test_no_quit_is_missed,
			 test_no_post_is_missed, test_no_last_release_is_missed);
	/* More of them spin than there may be CPUs, and others may want those as well. */
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return mailbox_suite;
}
