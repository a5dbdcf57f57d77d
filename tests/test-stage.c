/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "sqe.h"
#include "stage.h"

#include <errno.h>
#include <string.h>

/*
 * Ops are written as text, a character each: '.' stands alone or ends its chain, 's' is linked softly to the next, 'h'
 * hard; upper case (and ',' for '.') are the same with IOSQE_IO_DRAIN. 't' is a linked timeout, itself linked softly,
 * and 'e' is one at the end of its chain.
 */
#define MOST 8
#define RESULT (-EBADF)

static struct ops ops;
static struct stage stage;
static struct queue out;
static struct op *all[MOST];

static void set_up(void)
{
	iou__ops_init(&ops);
	iou__stage_init(&stage);
	iou__queue_init(&out);
}

static void tear_down(void)
{
	ck_assert(iou__ops_add_up(&ops));
	iou__ops_destroy(&ops);
}

static unsigned flags_of(char text)
{
	switch (text) {
	case 's':
	case 't':
		return IOSQE_IO_LINK;
	case 'h':
		return IOSQE_IO_HARDLINK;
	case 'S':
		return IOSQE_IO_LINK | IOSQE_IO_DRAIN;
	case 'H':
		return IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN;
	case ',':
		return IOSQE_IO_DRAIN;
	default:
		return 0;
	}
}

static char text_of(const struct op *op)
{
	for (const char *text = "shSH,"; *text; text++)
		if ((op->task.sqe_flags & ~OP_ODD) == flags_of(*text))
			return *text;
	ck_assert_uint_eq(op->task.sqe_flags & ~OP_ODD, 0);
	return '.';
}

/* Number i, with its number in its SQE. */
static void push(int i, unsigned flags)
{
	all[i] = iou__ops_take(&ops);
	all[i]->sqe.off = (__u64)i;
	all[i]->sqe.flags = (__u8)flags;
	all[i]->task.sqe_flags = (uint8_t)flags;
	iou__stage_push(&stage, &ops, all[i]);
}

static void push_text(const char *text)
{
	for (int i = 0; text[i]; i++) {
		push(i, flags_of(text[i]));
		all[i]->sqe.opcode = text[i] == 't' || text[i] == 'e' ? IORING_OP_LINK_TIMEOUT : IORING_OP_NOP;
	}
}

static char number_of(struct node *node)
{
	return (char)('0' + container_of(node, struct op, task.node)->sqe.off);
}

/* "0s2." is what is staged: numbers and flags. */
static const char *staged(void)
{
	static char text[2 * MOST + 1];
	char *end = text;

	for (struct node *node = iou__queue_first(&stage.queue); node; node = iou__queue_after(&stage.queue, node)) {
		struct op *op = container_of(node, struct op, task.node);

		ck_assert_int_eq(iou__op_state(op), OP_QUEUED);
		*end++ = number_of(node);
		*end++ = text_of(op);
	}
	*end = '\0';
	return text;
}

/* "12" are those that ended, in order; the first with the result that was asked for, the others with another. */
static const char *ended(int result, int others)
{
	static char text[MOST + 1];
	char *end = text;

	for (struct node *node = iou__queue_first(&out); node; node = iou__queue_after(&out, node)) {
		struct op *op = container_of(node, struct op, task.node);

		ck_assert_int_eq(iou__op_state(op), OP_COMPLETED);
		ck_assert_int_eq(op->pub.result, end == text ? result : others);
		ck_assert_uint_eq(op->pub.flags, 0);
		*end++ = number_of(node);
	}
	*end = '\0';
	return text;
}

/* The flags with which the next op goes. */
static unsigned pop_flags(int number)
{
	struct io_uring_sqe sqe = { 0 };
	struct op *op = iou__stage_pop(&stage, &ops, &sqe);

	ck_assert_ptr_eq(op, all[number]);
	ck_assert_uint_eq(sqe.off, (__u64)number);
	ck_assert_int_eq(iou__op_state(op), OP_SUBMITTED);
	return sqe.flags;
}

START_TEST(test_new_stage_is_empty)
{
	struct io_uring_sqe sqe = { 0 };
	struct chain chain = iou__stage_first_chain(&stage);

	ck_assert_uint_eq(chain.n, 0);
	ck_assert(!chain.drains);
	ck_assert_ptr_null(iou__stage_pop(&stage, &ops, &sqe));
	iou__stage_fail_chain(&stage, &ops, RESULT, &out);
	ck_assert(iou__queue_is_empty(&out));
	ck_assert(iou__queue_is_empty(&stage.own));
}
END_TEST

START_TEST(test_ops_go_in_the_order_in_which_they_were_queued)
{
	push_text("...s.");
	ck_assert_uint_eq(iou__ops_n(&ops, OP_QUEUED), 5);
	for (int i = 0; i < 5; i++)
		pop_flags(i);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_QUEUED), 0);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_SUBMITTED), 5);
}
END_TEST

START_TEST(test_op_is_queued_again_from_its_callback)
{
	push(0, 0);
	pop_flags(0);
	iou__ops_move(&ops, all[0], OP_SUBMITTED, OP_COMPLETED);
	iou__stage_push(&stage, &ops, all[0]);
	ck_assert_str_eq(staged(), "0.");
}
END_TEST

static const struct first_chain {
	const char *text;
	unsigned n;
	bool drains;
} first_chains[] = {
	{ "", 0, false },    { ".", 1, false },      { "..", 1, false },   { "s.", 2, false },
	{ "s..", 2, false }, { "ssh.s.", 4, false }, { "ss", 2, false },   { "h", 1, false },
	{ ",", 1, true },    { ",.", 1, true },      { ".,", 1, false },   { "S..", 2, true },
	{ "s,.", 2, true },  { "sH.", 3, true },     { "s.S.", 2, false }, { "hhhhhhh.", 8, false },
};

START_TEST(test_first_chain_is_what_goes_together)
{
	const struct first_chain *expected = &first_chains[_i];
	struct chain chain;

	push_text(expected->text);
	chain = iou__stage_first_chain(&stage);
	ck_assert_uint_eq(chain.n, expected->n);
	ck_assert_int_eq(chain.drains, expected->drains);
}
END_TEST

/* Bits that the library does not know are the kernel's affair. */
START_TEST(test_engine_sees_all_flags_but_ours)
{
	for (unsigned flags = 0; flags < 256; flags++) {
		push(0, flags);
		push(1, 0);
		ck_assert_uint_eq(pop_flags(0), flags & ~(unsigned)(IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS));
		ck_assert_uint_eq(pop_flags(1), 0);
	}
}
END_TEST

/* As a submission begins; what the program sees of its SQE stays as it was. */
START_TEST(test_chain_that_is_open_when_a_submission_begins_ends_there)
{
	for (unsigned flags = 0; flags < 256; flags++) {
		push(0, flags);
		iou__stage_close_chain(&stage);
		push(1, 0);
		ck_assert_uint_eq(iou__stage_first_chain(&stage).n, 1);
		ck_assert_uint_eq(pop_flags(0), flags & ~(unsigned)(SQE_OURS | SQE_LINKS));
		ck_assert_uint_eq(all[0]->sqe.flags, flags);
		pop_flags(1);
	}
}
END_TEST

START_TEST(test_only_the_last_one_loses_its_link)
{
	iou__stage_close_chain(&stage);
	push_text("sH.ssS");
	iou__stage_close_chain(&stage);
	ck_assert_str_eq(staged(), "0s1H2.3s4s5,");
	iou__stage_close_chain(&stage);
	ck_assert_str_eq(staged(), "0s1H2.3s4s5,");
}
END_TEST

/* Its SQE says otherwise, so that it cannot be copied as it is. */
START_TEST(test_plain_ops_end_before_one_whose_link_was_cut)
{
	struct io_uring_sqe at[4];
	struct sqes sqes = { .at = at, .mask = 3 };

	push_text("..s");
	iou__stage_close_chain(&stage);
	ck_assert_uint_eq(iou__stage_pop_plain(&stage, &ops, &sqes, 4), 2);
	ck_assert_uint_eq(sqes.tail, 2);
	ck_assert_uint_eq(pop_flags(2), 0);
}
END_TEST

START_TEST(test_open_chain_keeps_the_links_within_it)
{
	push_text("shs");
	iou__stage_close_chain(&stage);
	ck_assert_uint_eq(pop_flags(0), IOSQE_IO_LINK);
	ck_assert_uint_eq(pop_flags(1), IOSQE_IO_HARDLINK);
	ck_assert_uint_eq(pop_flags(2), 0);
}
END_TEST

/* What the flags were when it was queued counts, and a program may well look at its SQE later. */
START_TEST(test_flags_are_those_from_when_it_was_queued)
{
	push(0, IOSQE_ASYNC);
	push(1, 0);
	all[0]->sqe.flags = IOSQE_FIXED_FILE;
	ck_assert_uint_eq(pop_flags(0), IOSQE_ASYNC);
}
END_TEST

static const struct cancel {
	const char *text;
	int number;
	const char *staged;
	const char *ended;
} cancels[] = {
	/* Alone, first, in the middle, last. */
	{ ".", 0, "", "0" },
	{ "...", 0, "1.2.", "0" },
	{ "...", 1, "0.2.", "1" },
	{ "...", 2, "0.1.", "2" },
	/* Soft chains: what is behind goes as well, and nothing of the next chain. */
	{ "sss..", 0, "4.", "0123" },
	{ "sss..", 1, "0.4.", "123" },
	{ "sss..", 2, "0s1.4.", "23" },
	{ "sss..", 3, "0s1s2.4.", "3" },
	{ ".s..", 1, "0.3.", "12" },
	{ ".s.s.", 2, "0.1.3s4.", "2" },
	/* Hard chains: just this one. */
	{ "hhh..", 0, "1h2h3.4.", "0" },
	{ "hhh..", 1, "0h2h3.4.", "1" },
	{ "hhh..", 2, "0h1h3.4.", "2" },
	{ "hhh..", 3, "0h1h2.4.", "3" },
	/* Mixed: the link behind each decides whether the next one goes too; but the kernel never runs what is behind
	 * a cancelled soft link, hard links further on or not. */
	{ "shs..", 0, "4.", "0123" },
	{ "shs..", 1, "0s2s3.4.", "1" },
	{ "shs..", 2, "0s1.4.", "23" },
	{ "shs..", 3, "0s1h2.4.", "3" },
	{ "hsh..", 0, "1s2h3.4.", "0" },
	{ "hsh..", 1, "0.4.", "123" },
	/* A linked timeout goes with what it limits; for the rest of the chain it is as if neither had been there. */
	{ "se.", 0, "2.", "01" },
	{ "st..", 0, "3.", "012" },
	{ "he.", 0, "2.", "01" },
	{ "she.", 1, "0.3.", "12" },
	/* A drain stays with its chain. */
	{ "S.", 0, "", "01" },
	{ "Ss..", 1, "0,3.", "12" },
	{ "H..", 0, "1,2.", "0" },
	{ "h,.", 1, "0,2.", "1" },
	{ "hH..", 1, "0H2.3.", "1" },
	{ "s,.", 1, "0,2.", "1" },
	{ "ss,.", 1, "0,3.", "12" },
	{ "sS..", 1, "0,3.", "12" },
	{ "ssS..", 1, "0,4.", "123" },
	{ "Hh..", 0, "1H2.3.", "0" },
	{ ",.", 0, "1.", "0" },
	{ ".,", 0, "1,", "0" },
	{ "s.,", 1, "0.2,", "1" },
};

START_TEST(test_cancelled_op_takes_along_what_is_linked_softly_behind_it)
{
	const struct cancel *cancel = &cancels[_i];

	push_text(cancel->text);
	iou__stage_cancel(&stage, &ops, all[cancel->number], RESULT, &out);
	ck_assert_msg(strcmp(staged(), cancel->staged) == 0, "%s less %d is %s, not %s", cancel->text, cancel->number,
		      staged(), cancel->staged);
	ck_assert_str_eq(ended(RESULT, -ECANCELED), cancel->ended);
}
END_TEST

/* All queues of five that are closed, each cancelled at each place. */
#define N_EACH 5
#define N_KINDS 6
#define N_QUEUES (N_KINDS * N_KINDS * N_KINDS * N_KINDS * 2)

static const char kinds[N_KINDS] = { '.', 's', 'h', ',', 'S', 'H' };

static void write_queue(int number, char *text)
{
	for (int i = 0; i < N_EACH - 1; i++, number /= N_KINDS)
		text[i] = kinds[number % N_KINDS];
	text[N_EACH - 1] = number ? ',' : '.';
	text[N_EACH] = '\0';
}

static bool is_link(char text)
{
	return flags_of(text) & SQE_LINKS;
}

/* Which chain each is in. */
static void find_chains(const char *text, int *chains)
{
	for (int i = 0, chain = 0; text[i]; i++) {
		chains[i] = chain;
		chain += !is_link(text[i]);
	}
}

/* In words of its own: what goes, what stays, and that chains are as they were, less who went. */
static void expect(const char *text, int cancelled, char *left, char *gone)
{
	int chains[N_EACH] = { 0 };
	bool drains[N_EACH] = { false }, is_over[N_EACH] = { false };
	bool is_soft = !(flags_of(text[cancelled]) & IOSQE_IO_HARDLINK);

	find_chains(text, chains);
	for (int i = 0; i < N_EACH; i++)
		drains[chains[i]] = drains[chains[i]] || (flags_of(text[i]) & IOSQE_IO_DRAIN);
	for (int i = cancelled; i < N_EACH; i++)
		is_over[i] = i == cancelled || (is_soft && chains[i] == chains[cancelled]);
	for (int i = 0; i < N_EACH; i++) {
		int next = i + 1;

		while (next < N_EACH && is_over[next])
			next++;
		if (is_over[i]) {
			*gone++ = (char)('0' + i);
			continue;
		}
		*left++ = (char)('0' + i);
		*left++ = next < N_EACH && chains[next] == chains[i] ? (char)(text[i] | 0x20) : '.';
		*left++ = drains[chains[i]] ? 'd' : '-';
	}
	*left = *gone = '\0';
}

/* The same of what is: numbers, links, and whether the chain drains. */
static void describe(char *left)
{
	while (!iou__queue_is_empty(&stage.queue)) {
		struct chain chain = iou__stage_first_chain(&stage);

		for (; chain.n; chain.n--) {
			struct node *node = iou__queue_first(&stage.queue);
			struct op *op = container_of(node, struct op, task.node);
			struct io_uring_sqe sqe = { 0 };

			*left++ = number_of(node);
			iou__stage_pop(&stage, &ops, &sqe);
			*left++ = sqe.flags & IOSQE_IO_LINK ? 's' : sqe.flags & IOSQE_IO_HARDLINK ? 'h' : '.';
			*left++ = chain.drains ? 'd' : '-';
			iou__ops_give_back(&ops, op);
		}
	}
	*left = '\0';
}

static void check_cancel(const char *text, int number)
{
	char left[3 * N_EACH + 1], gone[N_EACH + 1], is_left[3 * N_EACH + 1];

	push_text(text);
	iou__stage_cancel(&stage, &ops, all[number], RESULT, &out);
	expect(text, number, left, gone);
	describe(is_left);
	ck_assert_msg(strcmp(left, is_left) == 0, "%s less %d is %s, not %s", text, number, is_left, left);
	ck_assert_str_eq(ended(RESULT, -ECANCELED), gone);
	while (!iou__queue_is_empty(&out))
		iou__ops_give_back(&ops, container_of(iou__queue_pop(&out), struct op, task.node));
}

START_TEST(test_all_cancellations_of_all_queues_of_five)
{
	char text[N_EACH + 1];

	for (int i = 0; i < N_QUEUES; i++) {
		write_queue(i, text);
		for (int number = 0; number < N_EACH; number++)
			check_cancel(text, number);
	}
}
END_TEST

/* The next one to be queued is linked to what is left, as it would have been. */
START_TEST(test_open_chain_stays_open_when_its_hard_tail_is_cancelled)
{
	push_text("sh");
	iou__stage_cancel(&stage, &ops, all[1], RESULT, &out);
	push(2, 0);
	ck_assert_str_eq(ended(RESULT, -ECANCELED), "1");
	ck_assert_str_eq(staged(), "0s2.");
}
END_TEST

START_TEST(test_open_chain_stays_open_when_its_middle_is_cancelled)
{
	push_text("shs");
	iou__stage_cancel(&stage, &ops, all[1], RESULT, &out);
	push(3, 0);
	ck_assert_str_eq(staged(), "0s2s3.");
}
END_TEST

/* The kernel cancels the linked timeout of a request that is cancelled, and goes on behind a hard link. */
START_TEST(test_hard_link_holds_over_a_linked_timeout)
{
	push_text("sht.");
	iou__stage_cancel(&stage, &ops, all[1], RESULT, &out);
	ck_assert_str_eq(ended(RESULT, -ECANCELED), "12");
	ck_assert_str_eq(staged(), "0s3.");
}
END_TEST

START_TEST(test_what_ended_goes_behind_what_is_there)
{
	push_text("....");
	iou__stage_cancel(&stage, &ops, all[2], RESULT, &out);
	iou__stage_cancel(&stage, &ops, all[0], RESULT, &out);
	ck_assert_str_eq(ended(RESULT, RESULT), "20");
	ck_assert_uint_eq(iou__ops_n(&ops, OP_COMPLETED), 2);
	ck_assert_uint_eq(iou__ops_n(&ops, OP_QUEUED), 2);
}
END_TEST

START_TEST(test_failing_a_chain_ends_all_of_it_with_the_result)
{
	push_text("sh.s.");
	iou__stage_fail_chain(&stage, &ops, -E2BIG, &out);
	ck_assert_str_eq(ended(-E2BIG, -E2BIG), "012");
	ck_assert_str_eq(staged(), "3s4.");
	iou__stage_fail_chain(&stage, &ops, -E2BIG, &out);
	ck_assert_str_eq(ended(-E2BIG, -E2BIG), "01234");
	ck_assert_str_eq(staged(), "");
}
END_TEST

START_TEST(test_failing_an_open_chain_ends_it_too)
{
	push_text("ss");
	iou__stage_fail_chain(&stage, &ops, RESULT, &out);
	ck_assert_str_eq(ended(RESULT, RESULT), "01");
	ck_assert_str_eq(staged(), "");
}
END_TEST

Suite *suite(void)
{
	Suite *stage_suite = suite_create("stage");
	TCase *tcase;

	tcase = ADD_CASE(stage_suite, "order", test_new_stage_is_empty,
			 test_ops_go_in_the_order_in_which_they_were_queued, test_op_is_queued_again_from_its_callback,
			 test_engine_sees_all_flags_but_ours,
			 test_chain_that_is_open_when_a_submission_begins_ends_there,
			 test_only_the_last_one_loses_its_link, test_plain_ops_end_before_one_whose_link_was_cut,
			 test_open_chain_keeps_the_links_within_it, test_flags_are_those_from_when_it_was_queued);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_first_chain_is_what_goes_together, 0,
			    (int)(sizeof(first_chains) / sizeof(first_chains[0])));
	tcase = ADD_CASE(stage_suite, "cancel", test_all_cancellations_of_all_queues_of_five,
			 test_open_chain_stays_open_when_its_hard_tail_is_cancelled,
			 test_open_chain_stays_open_when_its_middle_is_cancelled,
			 test_hard_link_holds_over_a_linked_timeout, test_what_ended_goes_behind_what_is_there,
			 test_failing_a_chain_ends_all_of_it_with_the_result, test_failing_an_open_chain_ends_it_too);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_cancelled_op_takes_along_what_is_linked_softly_behind_it, 0,
			    (int)(sizeof(cancels) / sizeof(cancels[0])));
	return stage_suite;
}
