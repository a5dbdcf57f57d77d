/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * G12: resource limits that are exhausted at each step of a program that uses everything. A step works, or says why it
 * does not, in an errno that iou.h names; no op is lost, nothing leaks, nothing hangs, and the instance can be freed.
 */
#include "promises.h"

#include "children.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MS 1000000L

/* Which limit, before which step, and how much is left. */
struct shortage {
	__rlimit_resource_t resource;
	int step;
	long left;
	bool is_nobody; /* root may exceed some of them */
};

/* The program. */
enum { N_CHAIN = 100 };

struct program {
	struct findings *findings;
	iou_t *iou; /* NULL: it was not to be had */
	int n_queued, n_ended;
	int n_asyncs, n_asyncs_ended;
	int n_posts, n_posts_seen;
	int error; /* once the ring has failed for good */
	int fds[2];
	char bytes[4];
	bool has_registered;    /* buffers */
	bool locks;             /* what is registered */
	iou_buffers_t *buffers; /* NULL: they were not to be had */
};

struct counted {
	struct program *program;
	iou_op_t *op;
};

static int count_end(void *data)
{
	struct program *program = data;

	program->n_ended++;
	return 0;
}

static int count_async(void *data)
{
	struct program *program = data;

	program->n_asyncs_ended++;
	return 0;
}

static int count_post(void *data)
{
	struct program *program = data;

	program->n_posts_seen++;
	return 0;
}

static int work(void *data)
{
	(void)data;
	return 5;
}

static bool is_one_of(int r, const int *errors)
{
	for (; *errors; errors++)
		if (r == -*errors)
			return true;
	return false;
}

/* 0 or more, or one of the errnos; the list ends with 0. */
#define FIND_ERROR(findings, r, ...) find_error(findings, __LINE__, r, (const int[]){ __VA_ARGS__, 0 })

static void find_error(struct findings *findings, int line, int r, const int *errors)
{
	if (r >= 0)
		return;
	findings->n_noted++;
	if (is_one_of(r, errors) || findings->n == N_FINDINGS)
		return;
	findings->value = findings->n ? findings->value : r;
	findings->wrong_line[findings->n++] = line;
}

static iou_op_t *take_op(struct program *program)
{
	errno = 0;

	iou_op_t *op = iou_op_new(program->iou);

	if (!op)
		FIND_ERROR(program->findings, -errno, ENOMEM);
	return op;
}

static void queue_op(struct program *program, iou_op_t *op)
{
	iou_op_queue(program->iou, op, count_end, program);
	program->n_queued++;
}

/* Nothing of what is short here ends a run. */
static void run(struct program *program)
{
	FIND_EQ(program->findings, iou_run(program->iou), program->error);
	if (program->error == 0)
		FIND_EQ(program->findings, program->n_ended, program->n_queued);
}

/* The steps. */

static void make(struct program *program)
{
	iou_config_t config = { .size = sizeof(config), .entries = 8 };

	errno = 0;
	program->iou = iou_new_with(&config);
	if (!program->iou)
		FIND_ERROR(program->findings, -errno, ENOMEM, EMFILE);
}

static void flush(struct program *program)
{
	FIND_EQ(program->findings, iou_flush(program->iou), 0);
}

static void watch(struct program *program)
{
	FIND_ERROR(program->findings, iou_fd(program->iou), ENOMEM, EMFILE);
}

static void queue_many(struct program *program)
{
	for (int i = 0; i < fewer(3000, 600); i++) {
		iou_op_t *op = take_op(program);

		if (!op)
			break;
		io_uring_prep_nop(op->sqe);
		queue_op(program, op);
	}
	run(program);
}

static void start_work(struct program *program)
{
	for (int i = 0; i < 4; i++) {
		iou_op_t *op = take_op(program);
		int r = op ? iou_op_async(program->iou, op, work, NULL, count_end, program) : -ENOMEM;

		FIND_ERROR(program->findings, r, ENOMEM, EAGAIN);
		program->n_queued += r == 0;
		if (r < 0)
			iou_op_free(program->iou, op);
		r = iou_async(program->iou, work, NULL, count_async, program);
		FIND_ERROR(program->findings, r, ENOMEM, EAGAIN);
		program->n_asyncs += r == 0;
	}
}

static int queue_again(void *data)
{
	struct counted *counted = data;

	return iou_op_async(counted->program->iou, counted->op, work, NULL, count_end, counted->program) < 0
		       ? count_end(counted->program)
		       : 0;
}

static void start_work_in_a_callback(struct program *program)
{
	struct counted counted = { program, take_op(program) };

	if (!counted.op)
		return;
	io_uring_prep_nop(counted.op->sqe);
	iou_op_queue(program->iou, counted.op, queue_again, &counted);
	program->n_queued++;
	run(program);
}

static void post(struct program *program)
{
	for (int i = 0; i < 100; i++) {
		int r = iou_post(program->iou, count_post, program);

		FIND_ERROR(program->findings, r, ENOMEM);
		program->n_posts += r == 0;
	}
}

/* The threads engine has descriptors of its own for them. */
static void register_files(struct program *program)
{
	const int fds[] = { program->fds[0], -1, program->fds[1], program->fds[0] };

	FIND_ERROR(program->findings, iou_register_files(program->iou, fds, 4), EMFILE, ENOMEM);
}

static void register_memory(struct program *program)
{
	static char memory[2][4096];
	const struct iovec iovecs[] = { { memory[0], 4096 }, { memory[1], 4096 } };
	iou_info_t info = { .size = sizeof(info) };
	int r = iou_register_buffers(program->iou, iovecs, 2);

	FIND_ERROR(program->findings, r, ENOMEM);
	program->has_registered = r == 0;
	FIND_EQ(program->findings, iou_info(program->iou, &info), 0);
	program->locks = info.engine == IOU_ENGINE_URING;
	FIND_ERROR(program->findings, iou_buffers_new(program->iou, 1, 8, 512, &program->buffers), ENOMEM);
}

static void replace_files(struct program *program)
{
	const int fds[] = { program->fds[1], program->fds[0] };

	FIND_ERROR(program->findings, iou_register_files_update(program->iou, 1, fds, 2), EMFILE, ENOMEM, ENXIO);
}

/* There is nothing in these that could be short. */
static void hold_and_quit(struct program *program)
{
	FIND_EQ(program->findings, iou_hold(program->iou), 0);
	FIND_EQ(program->findings, iou_quit(program->iou), 0);
	FIND_EQ(program->findings, iou_run(program->iou), program->error);
	FIND_EQ(program->findings, iou_release(program->iou), 0);
}

/* With io-wq's threads, which the kernel may not get to start. */
static void read_in_the_kernel_s_threads(struct program *program)
{
	for (int i = 0; i < 4; i++) {
		iou_op_t *op = take_op(program);

		if (!op)
			break;
		io_uring_prep_read(op->sqe, program->fds[0], &program->bytes[i], 1, (__u64)-1);
		op->sqe->flags = i % 2 ? IOSQE_ASYNC : 0;
		queue_op(program, op);
	}
	flush(program);
}

static void resize(struct program *program, unsigned entries)
{
	int r = iou_resize(program->iou, entries);

	FIND_ERROR(program->findings, r, ENOMEM, EMFILE, EBUSY, ENOTRECOVERABLE);
	program->error = r == -ENOTRECOVERABLE || r == program->error ? r : program->error;
}

static void grow(struct program *program)
{
	resize(program, 512);
}

static void chain(struct program *program)
{
	for (int i = 0; i < N_CHAIN; i++) {
		iou_op_t *op = take_op(program);

		if (!op)
			break;
		io_uring_prep_nop(op->sqe);
		op->sqe->flags = IOSQE_IO_LINK;
		queue_op(program, op);
	}
}

static void chain_that_makes_the_ring_grow(struct program *program)
{
	iou_info_t info = { .size = sizeof(info) };
	int r;

	for (int i = 0; i < 7; i++)
		chain(program);
	r = iou_flush(program->iou);
	FIND_EQ(program->findings, iou_info(program->iou, &info), 0);
	/* It may be that there was no memory to go back to the old size. */
	if (r == -ENOTRECOVERABLE)
		program->error = r;
	FIND_EQ(program->findings, r, program->error);
}

static void open_files(struct program *program)
{
	for (int i = 0; i < 4; i++) {
		iou_op_t *op = take_op(program);

		if (!op)
			break;
		/* What comes of it is the op's own result; it opens nothing that would stay open. */
		io_uring_prep_openat(op->sqe, AT_FDCWD, "/", O_WRONLY, 0);
		queue_op(program, op);
	}
}

static void cancel(struct program *program)
{
	FIND_ERROR(program->findings, iou_cancel_all(program->iou), ENOMEM);
	FIND_ERROR(program->findings, iou_run_once(program->iou, &(struct timespec){ .tv_nsec = MS }), -program->error);
}

static void shrink(struct program *program)
{
	resize(program, 1);
}

static void drain(struct program *program)
{
	FIND_EQ(program->findings, iou_drain(program->iou, NULL), program->error);
}

typedef void step_t(struct program *program);

static step_t *const steps[] = {
	make,
	flush,
	queue_many,
	watch,
	start_work,
	start_work_in_a_callback,
	post,
	register_files,
	register_memory,
	replace_files,
	hold_and_quit,
	read_in_the_kernel_s_threads,
	grow,
	chain_that_makes_the_ring_grow,
	open_files,
	cancel,
	shrink,
	hold_and_quit,
	drain,
	queue_many,
	start_work,
	replace_files,
};

enum { N_STEPS = sizeof(steps) / sizeof(steps[0]) };

static int step_of(step_t *step)
{
	for (int i = 0; i < N_STEPS; i++)
		if (steps[i] == step)
			return i;
	return -1;
}

/* The limits. */

static long pages_in_use(void)
{
	char line[128] = "";
	long n = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file && fgets(line, sizeof(line), file))
		n = atol(line);
	if (file)
		fclose(file);
	return n;
}

/* The next descriptor would be this. */
static long next_descriptor(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static rlim_t amount(const struct shortage *shortage)
{
	switch (shortage->resource) {
	case RLIMIT_AS:
		return (rlim_t)(pages_in_use() + shortage->left) * (rlim_t)sysconf(_SC_PAGESIZE);
	case RLIMIT_NOFILE:
		return (rlim_t)(next_descriptor() + shortage->left);
	default:
		return (rlim_t)shortage->left;
	}
}

/*
 * The stack grows as it is used, and that it cannot is a crash, and nobody's fault. Not inlined: what is called later
 * has to be in the place of this array, not below it.
 */
__attribute__((noinline)) static void grow_stack(void)
{
	volatile char deep[256 * 1024];

	for (size_t i = 0; i < sizeof(deep); i += 1024)
		deep[i] = 0;
}

static void lower(const struct shortage *shortage)
{
	struct rlimit limit;

	grow_stack();
	getrlimit(shortage->resource, &limit);
	limit.rlim_cur = amount(shortage);
	setrlimit(shortage->resource, &limit);
}

/* Root's real and effective user is one whom limits count for, who is left then. Others are that, and stay who they are. */
static bool become_nobody(struct findings *findings)
{
	const uid_t nobody = 65534;
	bool was_root = getuid() == 0;

	if (was_root)
		FIND_EQ(findings, setresuid(nobody, nobody, 0), 0);
	prctl(PR_SET_DUMPABLE, 1);
	return was_root;
}

static void take_steps(struct program *program, const struct shortage *shortage)
{
	for (int i = 0; i < N_STEPS && (i == 0 || program->iou); i++) {
		if (i == shortage->step)
			lower(shortage);
		steps[i](program);
	}
	FIND(program->findings, iou_free(program->iou) == NULL);
	iou_buffers_free(program->buffers);
}

static void use_with_shortage(struct findings *findings, const void *data)
{
	static struct program program;
	const struct shortage *shortage = data;
	struct rlimit before;
	int n_descriptors, n_threads = support_threads() + support_sanitized();
	bool was_root = false;

	program = (struct program){ .findings = findings };
	FIND_EQ(findings, pipe(program.fds), 0);
	if (shortage->is_nobody)
		was_root = become_nobody(findings);
	n_descriptors = support_descriptors();
	getrlimit(shortage->resource, &before);
	take_steps(&program, shortage);
	setrlimit(shortage->resource, &before);
	/* The kernel does; threads lock nothing, nor can they be short. */
	if (shortage->resource == RLIMIT_MEMLOCK && program.iou)
		FIND_EQ(findings, program.has_registered, !program.locks || shortage->step > step_of(register_memory));
	FIND_EQ(findings, program.n_ended, program.n_queued);
	FIND_EQ(findings, program.n_asyncs_ended, program.n_asyncs);
	FIND_EQ(findings, program.n_posts_seen, program.n_posts);
	FIND_EQ(findings, support_descriptors(), n_descriptors);
	/* A sanitizer may have started a thread of its own with the first. */
	FIND(findings, support_settle(support_threads, n_threads) <= n_threads);
	if (was_root)
		FIND_EQ(findings, setresuid(0, 0, 0), 0);
	find_no_leak(findings);
}

/* Before each step. The children are two at a time. Returns how much was refused. */
static int run_short_of(__rlimit_resource_t resource, long left, bool is_nobody)
{
	struct shortage shortages[2];
	struct child children[2];
	int n_refused = 0;

	for (int step = 0; step < N_STEPS; step += 2) {
		for (int i = 0; i < 2; i++) {
			shortages[i] = (struct shortage){ resource, step + i, left, is_nobody };
			children[i] = start_child(use_with_shortage, &shortages[i]);
		}
		for (int i = 0; i < 2; i++)
			n_refused += end_of_child(children[i]);
	}
	return n_refused;
}

_Static_assert(N_STEPS % 2 == 0, "they are taken in pairs");

/* _i descriptors more, from none to more than are needed. */
START_TEST(test_g12_descriptors_run_out_before_each_step)
{
	int n_refused = run_short_of(RLIMIT_NOFILE, _i, false);

	ck_assert(_i ? n_refused >= 0 : n_refused >= 4);
}
END_TEST

PROMISE(12, processes_run_out_before_each_step)
{
	ck_assert_int_ge(run_short_of(RLIMIT_NPROC, 0, true), N_STEPS / 2);
}
END_TEST

/* Some kernels count rings as well, and are not asked for another then. */
PROMISE(12, locked_memory_runs_out_before_each_step)
{
	int n_refused = run_short_of(RLIMIT_MEMLOCK, 0, true);

	if (support_has_ring())
		ck_assert_int_ge(n_refused, step_of(register_memory));
	else
		ck_assert_int_eq(n_refused, 0);
}
END_TEST

/*
 * The memory of a ring, and registered buffers, count until the kernel has let go of them, which it does later: here most
 * have to wait for that. Notes how often it was in vain: a busy machine may need longer than the library waits.
 */
static void make_one_after_another(struct findings *findings, const void *data)
{
	static char memory[1 << 20];
	const struct iovec iovec = { memory, sizeof(memory) };
	const uid_t somebody = 54321; /* what he locks counts for him alone */
	const rlim_t half = 4 << 20;  /* of the usual, so that other tests have theirs */
	const iou_config_t config = { .size = sizeof(config), .entries = 8, .engine = IOU_ENGINE_URING };
	struct rlimit limit;

	if (getuid() == 0)
		FIND_EQ(findings, setresuid(somebody, somebody, somebody), 0);
	FIND_EQ(findings, getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	limit.rlim_cur = limit.rlim_cur < half ? limit.rlim_cur : half;
	FIND_EQ(findings, setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	for (int i = 0; i < *(const int *)data && findings->n == 0; i++) {
		iou_t *iou = iou_new_with(&config);

		if (!iou) {
			FIND_ERROR(findings, -errno, ENOMEM);
			continue;
		}
		FIND_ERROR(findings, iou_register_buffers(iou, &iovec, 1), ENOMEM);
		FIND_EQ(findings, i % 2 ? iou_run(iou) : 0, 0);
		FIND(findings, iou_free(iou) == NULL);
	}
}

PROMISE(12, what_was_freed_does_not_count_as_locked_for_long)
{
	const int n = fewer(200, 100);
	int n_in_vain = end_of_child(start_child(make_one_after_another, &n));

	ck_assert_int_lt(n_in_vain, n / 2);
}
END_TEST

/* 0, 1, 2, 4, ... pages more, up to some threads' stacks. */
START_TEST(test_g12_memory_runs_out_before_each_step)
{
	int n_refused = run_short_of(RLIMIT_AS, _i ? 1L << (_i - 1) : 0, false);

	ck_assert(_i ? n_refused >= 0 : n_refused >= N_STEPS / 2);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-limits");
	TCase *tcase = ADD_CASE(s, "limits", test_g12_processes_run_out_before_each_step,
				test_g12_locked_memory_runs_out_before_each_step);

	tcase_set_timeout(tcase, CHILD_LIMIT_S);
	ADD_RING_CASE(s, "memory of rings", test_g12_what_was_freed_does_not_count_as_locked_for_long);
	tcase_add_loop_test(tcase, test_g12_descriptors_run_out_before_each_step, 0, support_slowness() == 1 ? 5 : 2);
	/* The address space of these is not the program's alone, and what they do without any is to abort. */
	if (!support_sanitized() && !RUNNING_ON_VALGRIND)
		tcase_add_loop_test(tcase, test_g12_memory_runs_out_before_each_step, 0, 15);
	return s;
}
