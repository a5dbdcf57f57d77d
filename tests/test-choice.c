/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G16: which engine an instance gets, what it says of that, and what it can do. Each surrounding is a child's: a filter, a
 * switch, an old kernel. What is refused with which error, and what is no refusal, is in test-threads.c.
 */
#include "promises.h"

#include "children.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define SWITCH "/proc/sys/kernel/io_uring_disabled"

static int n_opcodes_on(uint32_t engine)
{
	iou_t *iou = open_with((iou_config_t){ .engine = engine });
	int n = 0;

	for (unsigned opcode = 0; opcode < 256; opcode++) {
		int r = iou_supports(iou, opcode);

		ck_assert(r == 0 || r == 1);
		n += r;
	}
	ck_assert_int_eq(iou_supports(iou, 256), 0);
	ck_assert_int_eq(iou_supports(iou, UINT_MAX), 0);
	ck_assert_ptr_null(iou_free(iou));
	return n;
}

/* By the filter's word, or by the machine's (blocked-host.sh). */
static bool is_explained(const char *reason, const char *error)
{
	if (strcmp(error, "ENOMEM") == 0)
		return strstr(reason, "no memory for a ring");
	return strstr(reason, error) || (strcmp(error, "EPERM") == 0 && strstr(reason, "io_uring_disabled"));
}

/* Under blocked.c for good; the program has not asked for anything. */
PROMISE(16, engine_is_what_the_surroundings_allow)
{
	const char *name = getenv("IOU_BLOCKED");
	iou_info_t info = { .size = sizeof(info) };
	iou_t *iou = open_iou(8);

	ck_assert_int_eq(iou_info(iou, &info), 0);
	ck_assert_uint_eq(info.engine, support_has_ring() ? IOU_ENGINE_URING : IOU_ENGINE_THREADS);
	ck_assert_int_eq(info.engine_error != 0, name != NULL);
	if (name) {
		ck_assert_str_eq(strerrorname_np(info.engine_error), name);
		ck_assert_int_eq(syscall(__NR_io_uring_setup, 8, &(struct io_uring_params){ 0 }), -1);
		ck_assert_int_eq(errno, info.engine_error);
		ck_assert_msg(is_explained(info.reason, name), "%s", info.reason);
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* What is asked for in earnest is had, or else nothing. */
PROMISE(16, engine_that_is_asked_for_is_not_replaced)
{
	iou_config_t config = { .size = sizeof(config), .engine = IOU_ENGINE_URING };

	if (!getenv("IOU_BLOCKED")) {
		ck_assert_int_gt(n_opcodes_on(IOU_ENGINE_URING), 30);
		return;
	}
	ck_assert_ptr_null(iou_new_with(&config));
	ck_assert_str_eq(strerrorname_np(errno), getenv("IOU_BLOCKED"));
	setenv("LIBIOU_ENGINE", "uring", 1);
	ck_assert_ptr_null(iou_new(8));
	ck_assert_str_eq(strerrorname_np(errno), getenv("IOU_BLOCKED"));
}
END_TEST

/* Opcodes. */

static int result_of(iou_t *iou, unsigned opcode)
{
	struct seen seen;

	take(iou, &seen)->opcode = (__u8)opcode;
	queue(&seen);
	ck_assert_int_eq(iou_run(iou), 0);
	return seen.result;
}

/* Opcodes that nobody has yet; and those that threads have no means for. */
PROMISE(16, what_is_not_supported_ends_with_an_error)
{
	iou_t *iou = open_with((iou_config_t){ .engine = IOU_ENGINE_THREADS });

	ck_assert_int_gt(n_opcodes_on(IOU_ENGINE_THREADS), 50);
	ck_assert_int_eq(iou_supports(iou, IORING_OP_NOP), 1);
	ck_assert_int_eq(iou_supports(iou, IORING_OP_LINK_TIMEOUT), 1);
	ck_assert_int_eq(iou_supports(iou, IORING_OP_URING_CMD), 0);
	ck_assert_int_eq(iou_supports(iou, 200), 0);
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		if (iou_supports(iou, opcode))
			continue;

		int r = result_of(iou, opcode);

		ck_assert_msg(r == -EOPNOTSUPP || r == -EINVAL, "%u: %d", opcode, r);
	}
	run_and_free(iou);
}
END_TEST

PROMISE(16, ring_supports_what_the_kernel_says)
{
	iou_t *iou = open_iou(8);
	struct io_uring_probe *probe = io_uring_get_probe();

	ck_assert_ptr_nonnull(probe);
	for (int opcode = 0; opcode < 256; opcode++)
		ck_assert_int_eq(iou_supports(iou, (unsigned)opcode), io_uring_opcode_supported(probe, opcode));
	ck_assert_int_eq(result_of(iou, IORING_OP_NOP), 0);
	ck_assert_int_eq(iou_supports(iou, IORING_OP_NOP), 1);
	io_uring_free_probe(probe);
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

/* Surroundings. */

struct surrounding {
	int error;           /* what a filter answers to io_uring_setup() */
	const char *disable; /* what the switch says */
	const char *reason;
};

static int forbid_rings(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* The library sees another switch than the machine has. */
static int show_switch(const char *text)
{
	char path[] = "/tmp/iou-switch-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC), r;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	close(fd);
	r = unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS);
	if (r == 0)
		r = mount(NULL, "/", "none", MS_REC | MS_PRIVATE, NULL);
	if (r == 0)
		r = mount(path, SWITCH, "none", MS_BIND, NULL);
	unlink(path);
	return r;
}

static void be_in(struct findings *findings, const void *data)
{
	const struct surrounding *surrounding = data;
	iou_info_t info = { .size = sizeof(info) };
	iou_t *iou;

	if (surrounding->disable && show_switch(surrounding->disable) < 0) {
		findings->n_noted = 1;
		return;
	}
	FIND_EQ(findings, setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0, 0 }), 0);
	FIND_EQ(findings, forbid_rings(surrounding->error), 0);
	iou = iou_new(8);
	FIND(findings, iou != NULL);
	if (!iou)
		return;
	FIND_EQ(findings, iou_info(iou, &info), 0);
	FIND_EQ(findings, info.engine, IOU_ENGINE_THREADS);
	FIND_EQ(findings, info.engine_error, surrounding->error);
	FIND_EQ(findings, strcmp(info.reason, surrounding->reason), 0);
	iou_free(iou);
}

static const struct surrounding surroundings[] = {
	{ EPERM, "0", "seccomp: EPERM" },
	{ EPERM, "1", "kernel.io_uring_disabled=1, or seccomp: EPERM" },
	{ EPERM, "2", "kernel.io_uring_disabled=2" },
	{ ENOSYS, "2", "seccomp: ENOSYS" },
	{ EACCES, NULL, "seccomp: EACCES" },
	{ EOPNOTSUPP, NULL, "seccomp: EOPNOTSUPP" },
	{ ENOMEM, NULL, "no memory for a ring: RLIMIT_MEMLOCK 0 KiB" },
};

enum { N_SURROUNDINGS = sizeof(surroundings) / sizeof(surroundings[0]) };

START_TEST(test_g16_reason_is_told_in_words)
{
	unsetenv("LIBIOU_ENGINE");
	if (end_of_child(start_child(be_in, &surroundings[_i])))
		SKIP("no mount namespace, or no switch, here");
}
END_TEST

/* auto, and what is no engine, is as if it were not set: nothing is said of it. */
PROMISE(16, environment_that_names_no_engine_changes_nothing)
{
	static const char *const names[] = { "auto", "", "URING", "threads ", "no such engine" };
	iou_info_t wanted = { .size = sizeof(wanted) }, info = wanted;
	iou_t *iou;

	unsetenv("LIBIOU_ENGINE");
	iou = open_iou(8);
	ck_assert_int_eq(iou_info(iou, &wanted), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		setenv("LIBIOU_ENGINE", names[i], 1);

		iou_t *other = open_iou(8);

		ck_assert_int_eq(iou_info(other, &info), 0);
		ck_assert_uint_eq(info.engine, wanted.engine);
		ck_assert_int_eq(info.engine_error, wanted.engine_error);
		ck_assert_str_eq(info.reason, wanted.reason);
		ck_assert_ptr_null(iou_free(other));
	}
	ck_assert_ptr_null(iou_free(iou));
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("choice");
	TCase *tcase = ADD_CASE(s, "choice", PROMISE_TEST(16, engine_is_what_the_surroundings_allow),
				PROMISE_TEST(16, engine_that_is_asked_for_is_not_replaced),
				PROMISE_TEST(16, environment_that_names_no_engine_changes_nothing),
				PROMISE_TEST(16, what_is_not_supported_ends_with_an_error));

	tcase_add_loop_test(tcase, test_g16_reason_is_told_in_words, 0, N_SURROUNDINGS);
	ADD_RING_CASE(s, "ring", PROMISE_TEST(16, ring_supports_what_the_kernel_says));
	return s;
}
