/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* A program that knows a later config. */
struct longer {
	iou_config_t config;
	unsigned char tail[24];
};

static int read_it(iou_config_t config)
{
	iou_config_t checked;

	config.size = sizeof(config);
	return iou__config_read(&config, &checked);
}

START_TEST(test_no_config_is_an_error)
{
	iou_config_t checked;

	ck_assert_int_eq(iou__config_read(NULL, &checked), -EINVAL);
}
END_TEST

START_TEST(test_zeros_are_the_defaults)
{
	iou_config_t config = { .size = sizeof(config) }, checked, expected = config;

	memset(&checked, 0xff, sizeof(checked));
	expected.entries = 128;
	expected.spin_ns = SPIN_DEFAULT_NS;
	ck_assert_int_eq(iou__config_read(&config, &checked), 0);
	ck_assert_mem_eq(&checked, &expected, sizeof(expected));
}
END_TEST

static int no_foreign(const struct io_uring_cqe *cqe, void *data)
{
	(void)cqe;
	(void)data;
	return 0;
}

START_TEST(test_all_values_are_taken_over)
{
	iou_config_t config = {
		.size = sizeof(config),
		.stack_size = 1 << 20,
		.foreign_cqe = no_foreign,
		.foreign_cqe_data = &config,
		.entries = 5,
		.cq_entries = 77,
		.flags = IOU_ANY_THREAD | IOU_SQPOLL | IOU_SPIN,
		.engine = IOU_ENGINE_URING,
		.workers = 3,
		.iowq_bounded = 4,
		.iowq_unbounded = 6,
		.spin_ns = 7,
	};
	iou_config_t checked;

	ck_assert_int_eq(iou__config_read(&config, &checked), 0);
	ck_assert_mem_eq(&checked, &config, sizeof(config));
}
END_TEST

START_TEST(test_no_spinning_is_not_the_default)
{
	iou_config_t config = { .size = sizeof(config), .flags = IOU_SPIN }, checked;

	ck_assert_int_eq(iou__config_read(&config, &checked), 0);
	ck_assert_uint_eq(checked.spin_ns, 0);
}
END_TEST

START_TEST(test_shorter_than_1_0_is_an_error)
{
	iou_config_t checked, config = { .size = sizeof(config) - 1 };

	ck_assert_int_eq(iou__config_read(&config, &checked), -EINVAL);
	config.size = 0;
	ck_assert_int_eq(iou__config_read(&config, &checked), -EINVAL);
	config.size = sizeof(config.size);
	ck_assert_int_eq(iou__config_read(&config, &checked), -EINVAL);
}
END_TEST

START_TEST(test_longer_with_a_tail_of_zeros_is_fine)
{
	struct longer longer = { .config = { .size = sizeof(longer), .entries = 7 } };
	iou_config_t checked;

	ck_assert_int_eq(iou__config_read(&longer.config, &checked), 0);
	ck_assert_uint_eq(checked.entries, 7);
}
END_TEST

START_TEST(test_longer_with_anything_in_the_tail_is_too_big)
{
	for (size_t i = 0; i < sizeof(((struct longer *)0)->tail); i++) {
		struct longer longer = { .config = { .size = sizeof(longer) } };
		iou_config_t checked;

		longer.tail[i] = 0x80;
		ck_assert_int_eq(iou__config_read(&longer.config, &checked), -E2BIG);
		/* Only what the caller says is there is looked at. */
		longer.config.size = offsetof(struct longer, tail) + i;
		ck_assert_int_eq(iou__config_read(&longer.config, &checked), 0);
	}
}
END_TEST

/* A size that was never set is not taken for the length of anything. */
START_TEST(test_size_that_is_absurd_is_too_big)
{
	static union {
		iou_config_t config;
		char room[4096];
	} large;
	iou_config_t checked;

	large.config.size = sizeof(large);
	ck_assert_int_eq(iou__config_read(&large.config, &checked), 0);
	large.config.size = sizeof(large) + 1;
	ck_assert_int_eq(iou__config_read(&large.config, &checked), -E2BIG);
	large.config.size = SIZE_MAX;
	ck_assert_int_eq(iou__config_read(&large.config, &checked), -E2BIG);
}
END_TEST

START_TEST(test_unknown_flags_are_an_error)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		bool is_known = (1U << bit) & (IOU_ANY_THREAD | IOU_SQPOLL | IOU_SPIN);

		ck_assert_int_eq(read_it((iou_config_t){ .flags = 1U << bit }), is_known ? 0 : -EINVAL);
	}
}
END_TEST

START_TEST(test_reserved_fields_must_be_zero)
{
	for (size_t i = 0; i < N(((iou_config_t *)0)->reserved); i++) {
		iou_config_t config = { 0 };

		config.reserved[i] = 1;
		ck_assert_int_eq(read_it(config), -EINVAL);
		config.reserved[i] = 1U << 31;
		ck_assert_int_eq(read_it(config), -EINVAL);
	}
}
END_TEST

static const struct range {
	iou_config_t config;
	int result;
} ranges[] = {
	{ { .entries = 1 }, 0 },
	{ { .entries = 32768 }, 0 },
	{ { .entries = 32769 }, -EINVAL },
	{ { .entries = UINT_MAX }, -EINVAL },
	{ { .entries = 8, .cq_entries = 8 }, 0 },
	{ { .spin_ns = 1 }, -EINVAL },
	{ { .flags = IOU_SPIN, .spin_ns = 1000000000 }, 0 },
	{ { .flags = IOU_SPIN, .spin_ns = 1000000001 }, -EINVAL },
	{ { .entries = 8, .cq_entries = 7 }, -EINVAL },
	{ { .cq_entries = 128 }, 0 },
	{ { .cq_entries = 127 }, -EINVAL },
	{ { .cq_entries = 65536 }, 0 },
	{ { .cq_entries = 65537 }, -EINVAL },
	{ { .entries = 32768, .cq_entries = 65536 }, 0 },
	{ { .engine = IOU_ENGINE_AUTO }, 0 },
	{ { .engine = IOU_ENGINE_URING }, 0 },
	{ { .engine = IOU_ENGINE_THREADS }, 0 },
	{ { .engine = IOU_ENGINE_THREADS + 1 }, -EINVAL },
	{ { .engine = UINT_MAX }, -EINVAL },
	{ { .workers = 1 }, 0 },
	{ { .workers = 4096 }, 0 },
	{ { .workers = 4097 }, -EINVAL },
	{ { .stack_size = 1 }, -EINVAL },
	{ { .iowq_bounded = 1, .iowq_unbounded = 1 }, 0 },
};

START_TEST(test_values_have_ranges)
{
	ck_assert_int_eq(read_it(ranges[_i].config), ranges[_i].result);
}
END_TEST

START_TEST(test_stack_size_is_what_pthreads_take)
{
	size_t least = (size_t)PTHREAD_STACK_MIN;

	ck_assert_int_eq(read_it((iou_config_t){ .stack_size = least }), 0);
	ck_assert_int_eq(read_it((iou_config_t){ .stack_size = least - 1 }), -EINVAL);
}
END_TEST

START_TEST(test_entries_have_a_range_of_their_own)
{
	ck_assert(!iou__config_entries_are_valid(0));
	ck_assert(iou__config_entries_are_valid(1));
	ck_assert(iou__config_entries_are_valid(32768));
	ck_assert(!iou__config_entries_are_valid(32769));
	ck_assert(!iou__config_entries_are_valid(UINT_MAX));
}
END_TEST

/* A struct that has grown since 1.0, as this library fills it in, and a longer one of a caller. */
struct told {
	size_t size;
	uint32_t first[4];
	uint32_t later[2];
};

#define TOLD_1_0 offsetof(struct told, later)

static const struct told full = { .first = { 1, 2, 3, 4 }, .later = { 5, 6 } };

struct asked {
	struct told told;
	unsigned char tail[16];
};

static struct asked ask(size_t size)
{
	struct asked asked;

	memset(&asked, 0xee, sizeof(asked));
	asked.told.size = size;
	return asked;
}

static int write_to(struct asked *asked)
{
	return iou__config_write(&asked->told, &full, sizeof(full), TOLD_1_0);
}

START_TEST(test_answer_to_nobody_is_an_error)
{
	ck_assert_int_eq(iou__config_write(NULL, &full, sizeof(full), TOLD_1_0), -EINVAL);
}
END_TEST

START_TEST(test_answer_to_one_shorter_than_1_0_is_an_error)
{
	struct asked asked = ask(TOLD_1_0 - 1), before = asked;

	ck_assert_int_eq(write_to(&asked), -EINVAL);
	ck_assert_mem_eq(&asked, &before, sizeof(asked));
}
END_TEST

START_TEST(test_answer_is_cut_to_what_the_caller_knows)
{
	struct asked asked = ask(TOLD_1_0), before = asked;

	ck_assert_int_eq(write_to(&asked), 0);
	ck_assert_uint_eq(asked.told.size, TOLD_1_0);
	ck_assert_mem_eq(asked.told.first, full.first, sizeof(full.first));
	ck_assert_mem_eq(asked.told.later, before.told.later, sizeof(full.later));
	ck_assert_mem_eq(asked.tail, before.tail, sizeof(asked.tail));
}
END_TEST

START_TEST(test_answer_says_how_much_was_filled_in_and_leaves_the_tail)
{
	struct asked asked = ask(sizeof(asked)), before = asked;

	ck_assert_int_eq(write_to(&asked), 0);
	ck_assert_uint_eq(asked.told.size, sizeof(full));
	ck_assert_mem_eq(asked.told.first, full.first, sizeof(full.first));
	ck_assert_mem_eq(asked.told.later, full.later, sizeof(full.later));
	ck_assert_mem_eq(asked.tail, before.tail, sizeof(asked.tail));
}
END_TEST

Suite *suite(void)
{
	Suite *config_suite = suite_create("config");
	TCase *tcase;

	ADD_CASE(config_suite, "size", test_no_config_is_an_error, test_shorter_than_1_0_is_an_error,
		 test_longer_with_a_tail_of_zeros_is_fine, test_longer_with_anything_in_the_tail_is_too_big,
		 test_size_that_is_absurd_is_too_big);
	tcase = ADD_CASE(config_suite, "values", test_zeros_are_the_defaults, test_all_values_are_taken_over,
			 test_no_spinning_is_not_the_default, test_unknown_flags_are_an_error,
			 test_reserved_fields_must_be_zero, test_stack_size_is_what_pthreads_take,
			 test_entries_have_a_range_of_their_own);
	tcase_add_loop_test(tcase, test_values_have_ranges, 0, (int)N(ranges));
	ADD_CASE(config_suite, "answers", test_answer_to_nobody_is_an_error,
		 test_answer_to_one_shorter_than_1_0_is_an_error, test_answer_is_cut_to_what_the_caller_knows,
		 test_answer_says_how_much_was_filled_in_and_leaves_the_tail);
	return config_suite;
}
