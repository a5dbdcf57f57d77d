/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G12: io_uring is taken away while it is in use, by a seccomp filter that a callback installs. The run says so, and
 * each op still gets its final callback. In children, since a filter is there to stay.
 */
#include "promises.h"

#include "children.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MS 1000000L

struct forbidden {
	int error;
	bool is_all; /* of io_uring's calls, or just io_uring_enter() */
	unsigned flags;
	bool has_drain;
	bool is_in_free; /* from the delivery of iou_free() on */
};

static int forbid(const struct forbidden *forbidden)
{
	const unsigned deny = SECCOMP_RET_ERRNO | (unsigned)forbidden->error;
	const unsigned others = forbidden->is_all ? deny : SECCOMP_RET_ALLOW;
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, others),
		BPF_STMT(BPF_RET | BPF_K, deny),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/* Everything is under way: in flight, staged, being worked at, waiting for a worker, posted. */
enum {
	N_READS = 8,
	N_TIMEOUTS = 4,
	N_NOPS = 40,
	N_JOBS = 6,
	N_OPS = N_READS + N_TIMEOUTS + N_NOPS + N_JOBS,
	N_POSTS = 5
};

struct counted {
	struct program *program;
	iou_op_t *op;
	int n_calls;
	int result;
};

struct program {
	struct findings *findings;
	const struct forbidden *forbidden;
	iou_t *iou;
	struct counted ops[N_OPS];
	struct counted asyncs[2];
	int n_ops;
	int n_posts_seen;
	sem_t gate;
	int fds[2];
	char bytes[N_READS];
	bool is_forbidden;
};

static int note_call(void *data)
{
	struct counted *counted = data;

	counted->n_calls++;
	if (counted->op)
		counted->result = counted->op->result;
	return 0;
}

static struct counted *take_counted(struct program *program)
{
	struct counted *counted = &program->ops[program->n_ops++];

	*counted = (struct counted){ .program = program, .op = iou_op_new(program->iou) };
	return counted;
}

static void queue_nops(struct program *program, int n)
{
	for (int i = 0; i < n; i++) {
		struct counted *nop = take_counted(program);

		io_uring_prep_nop(nop->op->sqe);
		iou_op_queue(program->iou, nop->op, note_call, nop);
	}
}

static int count_post(void *data)
{
	struct program *program = data;

	program->n_posts_seen++;
	return 0;
}

/* The callback after which nothing can be submitted. What it queues never reaches the kernel. */
static int take_io_uring_away(void *data)
{
	struct program *program = data;

	program->is_forbidden = true;
	FIND_EQ(program->findings, forbid(program->forbidden), 0);
	if (program->forbidden->is_in_free)
		return 0;
	queue_nops(program, N_NOPS);
	for (int i = 0; i < N_POSTS; i++)
		FIND_EQ(program->findings, iou_post(program->iou, count_post, program), 0);
	return 0;
}

static void queue_what_blocks(struct program *program)
{
	static struct __kernel_timespec late = { .tv_sec = 1000 };

	for (int i = 0; i < N_READS; i++) {
		struct counted *read = take_counted(program);

		/* With io-wq's threads only where the ring is sure to be closed: they would read on. */
		io_uring_prep_read(read->op->sqe, program->fds[0], &program->bytes[i], 1, (__u64)-1);
		read->op->sqe->flags = i % 2 && !program->forbidden->is_all ? IOSQE_ASYNC : 0;
		iou_op_queue(program->iou, read->op, note_call, read);
	}
	for (int i = 0; i < N_TIMEOUTS; i++) {
		struct counted *timeout = take_counted(program);

		io_uring_prep_timeout(timeout->op->sqe, &late, 0, 0);
		iou_op_queue(program->iou, timeout->op, note_call, timeout);
	}
}

static void start_work(struct program *program)
{
	for (int i = 0; i < 2; i++)
		FIND_EQ(program->findings,
			iou_async(program->iou, wait_for_sem, &program->gate, note_call, &program->asyncs[i]), 0);
	for (int i = 0; i < N_JOBS; i++) {
		struct counted *job = take_counted(program);

		FIND_EQ(program->findings,
			iou_op_async(program->iou, job->op, wait_for_sem, &program->gate, note_call, job), 0);
	}
}

static void open_gate(struct program *program)
{
	for (int i = 0; i < N_JOBS + 2; i++)
		sem_post(&program->gate);
}

/* The error stays, and what needs no kernel still works. */
static void find_it_failed(struct program *program)
{
	const int error = -program->forbidden->error;
	struct findings *findings = program->findings;
	iou_t *iou = program->iou;
	iou_op_t *op;

	FIND_EQ(findings, iou_run(iou), error);
	FIND_EQ(findings, iou_run(iou), error);
	FIND_EQ(findings, iou_run_once(iou, NULL), error);
	FIND_EQ(findings, iou_flush(iou), error);
	FIND_EQ(findings, iou_resize(iou, 16), error);
	if (program->forbidden->has_drain)
		FIND_EQ(findings, iou_drain(iou, NULL), error);
	FIND(findings, iou_pending(iou) > 0);
	FIND(findings, iou_cancel_all(iou) >= 0);
	op = iou_op_new(iou);
	FIND(findings, op != NULL);
	iou_op_free(iou, op);
}

static void find_all_ended(const struct program *program)
{
	struct findings *findings = program->findings;

	FIND(findings, program->is_forbidden);
	for (int i = 0; i < program->n_ops; i++) {
		FIND_EQ(findings, program->ops[i].n_calls, 1);
		FIND(findings, program->ops[i].result == 0 || program->ops[i].result == -ECANCELED);
	}
	for (int i = 0; i < N_READS; i++)
		FIND_EQ(findings, program->ops[i].result, -ECANCELED);
	for (int i = 0; i < 2; i++)
		FIND_EQ(findings, program->asyncs[i].n_calls, 1);
	FIND_EQ(findings, program->n_posts_seen, program->forbidden->is_in_free ? 0 : N_POSTS);
}

/* Nobody reads from the pipe any more. */
static void find_nobody_reads(struct program *program)
{
	char bytes[N_READS];

	memset(program->bytes, 'p', N_READS);
	FIND_EQ(program->findings, write(program->fds[1], "kkkkkkkk", N_READS), N_READS);
	nanosleep(&(struct timespec){ .tv_nsec = 10 * MS }, NULL);
	FIND_EQ(program->findings, read(program->fds[0], bytes, N_READS), N_READS);
	for (int i = 0; i < N_READS; i++)
		FIND_EQ(program->findings, program->bytes[i], 'p');
}

static void use_without_io_uring(struct findings *findings, const void *data)
{
	static struct program program;
	const struct forbidden *forbidden = data;
	iou_config_t config = { .size = sizeof(config), .entries = 8, .workers = 1, .flags = forbidden->flags };
	int n_descriptors;

	program = (struct program){ .findings = findings, .forbidden = forbidden };
	sem_init(&program.gate, 0, 0);
	FIND_EQ(findings, pipe(program.fds), 0);
	n_descriptors = support_descriptors();
	program.iou = iou_new_with(&config);
	queue_what_blocks(&program);
	FIND_EQ(findings, iou_run_once(program.iou, &(struct timespec){ .tv_nsec = 10 * MS }), 0);
	start_work(&program);
	FIND_EQ(findings, iou_post(program.iou, take_io_uring_away, &program), 0);
	if (!forbidden->is_in_free)
		find_it_failed(&program);
	open_gate(&program);
	FIND(findings, iou_free(program.iou) == NULL);
	find_all_ended(&program);
	FIND_EQ(findings, support_descriptors(), n_descriptors);
	if (!forbidden->is_all)
		find_nobody_reads(&program);
	find_no_leak(findings);
}

static const int errors[] = { EPERM, ENOSYS, EACCES };
static const unsigned kinds[] = { 0, IOU_ANY_THREAD, IOU_SQPOLL };

/* All kinds of instances at once: they mostly sleep. */
static void take_away(struct forbidden forbidden)
{
	struct forbidden cases[3];
	struct child children[3];

	for (int i = 0; i < 3; i++) {
		cases[i] = forbidden;
		cases[i].flags = kinds[i];
		children[i] = start_child(use_without_io_uring, &cases[i]);
	}
	for (int i = 0; i < 3; i++)
		end_of_child(children[i]);
}

START_TEST(test_g12_enter_that_is_forbidden_ends_the_run_and_loses_no_op)
{
	take_away((struct forbidden){ .error = errors[_i / 2], .has_drain = _i % 2 });
}
END_TEST

START_TEST(test_g12_io_uring_that_is_forbidden_ends_the_run_and_loses_no_op)
{
	take_away((struct forbidden){ .error = errors[_i / 2], .is_all = true, .has_drain = _i % 2 });
}
END_TEST

START_TEST(test_g12_enter_that_is_forbidden_in_free_loses_no_op)
{
	take_away((struct forbidden){ .error = errors[_i], .is_in_free = true });
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-seccomp");
	TCase *tcase = tcase_create("forbidden");

	suite_add_tcase(s, tcase);
	tcase_add_loop_test(tcase, test_g12_enter_that_is_forbidden_ends_the_run_and_loses_no_op, 0, 6);
	tcase_add_loop_test(tcase, test_g12_io_uring_that_is_forbidden_ends_the_run_and_loses_no_op, 0, 6);
	tcase_add_loop_test(tcase, test_g12_enter_that_is_forbidden_in_free_loses_no_op, 0, 3);
	return s;
}
