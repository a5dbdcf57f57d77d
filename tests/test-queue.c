/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "queue.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_ITEMS 5

struct item {
	int number;
	struct node node;
};

static struct queue queue;
static struct item items[N_ITEMS];

/* All of them, in order. */
static void set_up(void)
{
	iou__queue_init(&queue);
	for (int i = 0; i < N_ITEMS; i++) {
		items[i].number = i;
		iou__queue_push(&queue, &items[i].node);
	}
}

static int number_of(struct node *node)
{
	return container_of(node, struct item, node)->number;
}

/* What is in the queue, as digits, read from either end. */
static const char *forwards(const struct queue *from)
{
	static char text[N_ITEMS + 1];
	char *end = text;

	for (struct node *node = iou__queue_first(from); node; node = iou__queue_after(from, node))
		*end++ = (char)('0' + number_of(node));
	*end = '\0';
	return text;
}

static const char *backwards(const struct queue *from)
{
	static char text[N_ITEMS + 1];
	char *end = text;

	for (struct node *node = iou__queue_last(from); node; node = iou__queue_before(from, node))
		*end++ = (char)('0' + number_of(node));
	*end = '\0';
	return text;
}

START_TEST(test_new_queue_is_empty)
{
	struct queue empty;

	iou__queue_init(&empty);
	ck_assert(iou__queue_is_empty(&empty));
	ck_assert_ptr_null(iou__queue_first(&empty));
	ck_assert_ptr_null(iou__queue_last(&empty));
	ck_assert_ptr_null(iou__queue_pop(&empty));
}
END_TEST

START_TEST(test_pops_come_in_order_of_pushes)
{
	for (int i = 0; i < N_ITEMS; i++) {
		ck_assert(!iou__queue_is_empty(&queue));
		ck_assert_int_eq(number_of(iou__queue_pop(&queue)), i);
	}
	ck_assert(iou__queue_is_empty(&queue));
	ck_assert_ptr_null(iou__queue_pop(&queue));
}
END_TEST

START_TEST(test_queue_is_walked_from_either_end)
{
	ck_assert_str_eq(forwards(&queue), "01234");
	ck_assert_str_eq(backwards(&queue), "43210");
}
END_TEST

START_TEST(test_one_leaves_from_any_place)
{
	static const char *const left[][2] = {
		{ "1234", "4321" }, { "0234", "4320" }, { "0134", "4310" }, { "0124", "4210" }, { "0123", "3210" },
	};

	iou__queue_remove(&items[_i].node);
	ck_assert_str_eq(forwards(&queue), left[_i][0]);
	ck_assert_str_eq(backwards(&queue), left[_i][1]);
}
END_TEST

START_TEST(test_all_leave_and_the_queue_is_empty)
{
	static const int order[] = { 2, 0, 4, 3, 1 };

	for (int i = 0; i < N_ITEMS; i++)
		iou__queue_remove(&items[order[i]].node);
	ck_assert(iou__queue_is_empty(&queue));
	ck_assert_ptr_null(iou__queue_last(&queue));
}
END_TEST

START_TEST(test_who_left_may_come_back_here_or_elsewhere)
{
	struct queue other;

	iou__queue_init(&other);
	iou__queue_remove(&items[1].node);
	iou__queue_push(&queue, &items[1].node);
	ck_assert_str_eq(forwards(&queue), "02341");
	iou__queue_remove(&items[3].node);
	iou__queue_push(&other, &items[3].node);
	ck_assert_str_eq(forwards(&queue), "0241");
	ck_assert_str_eq(backwards(&queue), "1420");
	ck_assert_str_eq(forwards(&other), "3");
}
END_TEST

START_TEST(test_links_of_who_left_are_poisoned)
{
	iou__queue_remove(&items[2].node);
	ck_assert_ptr_eq(items[2].node.next, NODE_POISON);
	ck_assert_ptr_eq(items[2].node.prev, NODE_POISON);
	iou__queue_pop(&queue);
	ck_assert_ptr_eq(items[0].node.next, NODE_POISON);
	ck_assert_ptr_eq(items[0].node.prev, NODE_POISON);
}
END_TEST

static _Noreturn void remove_twice(void)
{
	struct node *volatile node = &items[2].node;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDERR_FILENO);
	iou__queue_remove(node);
	iou__queue_remove(node);
	_exit(0);
}

/* By an assertion, or by the poison where those are off. */
START_TEST(test_leaving_twice_ends_the_process)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		remove_twice();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}
END_TEST

Suite *suite(void)
{
	Suite *queue_suite = suite_create("queue");
	TCase *tcase;

	ADD_CASE(queue_suite, "empty", test_new_queue_is_empty);
	tcase = ADD_CASE(queue_suite, "order", test_pops_come_in_order_of_pushes, test_queue_is_walked_from_either_end,
			 test_all_leave_and_the_queue_is_empty, test_who_left_may_come_back_here_or_elsewhere,
			 test_links_of_who_left_are_poisoned, test_leaving_twice_ends_the_process);
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_loop_test(tcase, test_one_leaves_from_any_place, 0, N_ITEMS);
	return queue_suite;
}
