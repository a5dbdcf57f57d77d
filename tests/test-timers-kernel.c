/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random programs of timers, run both ways: once the library keeps them, once the kernel does. All that the callbacks
 * see must be the same.
 *
 * A program is rounds, each one submission. What a request finds must not hang on how fast the machine is: so timers
 * are either far away or due at once, and no request of a round is after one that the same round makes due.
 */
#include <sched.h>
#include <stdio.h>

#include "promises.h"

#define MULTISHOT (1U << 6) /* IORING_TIMEOUT_MULTISHOT, Linux 6.4 */
#define CANCEL_USERDATA (1U << 4)
#define CANCEL_OP (1U << 5)

/* The upper half of a count is nothing to the kernel, but a timeout that has some there is its own. */
#define FOR_THE_KERNEL (1ULL << 32)

#define N_ROUNDS 40
#define N_ACTS 12
#define N_ALL (N_ROUNDS * N_ACTS * 2)
#define N_EVENTS (N_ALL * 6)

enum what { TIMER, REQUEST, FILLER };

struct act {
	struct program *program;
	iou_op_t *op;
	enum what what;
	__u64 identity;
	struct __kernel_timespec time;
	int number;
	int target; /* of a request: a timer's number */
	char text[80];
	bool is_over;
	bool is_touched; /* by this round */
	bool is_due;     /* it was armed like that, and is not multishot */
	int n_calls;
	int result;
};

struct event {
	int number;
	int result;
	unsigned flags;
};

struct program {
	iou_t *iou;
	bool is_kernels;
	bool has_chains; /* and what else makes the library hand timers on to the kernel */
	uint64_t seed;
	struct act acts[N_ALL];
	int n_acts;
	int n_others;
	int n_events, n_owed; /* of timers: callbacks seen, and those that are sure to come */
	struct event events[N_EVENTS];
	int n_due;
	int due[N_ALL]; /* those that were armed to be due at once, as they came */
};

static unsigned pick(struct program *program, unsigned n)
{
	program->seed = program->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(program->seed >> 33) % n;
}

/* How many timers a request that has ended with this result has ended. */
static int n_ended_by(const struct act *act)
{
	const struct io_uring_sqe *sqe = act->op->sqe;

	if (act->result < 0)
		return 0;
	if (sqe->opcode == IORING_OP_TIMEOUT_REMOVE)
		return !(sqe->timeout_flags & IORING_TIMEOUT_UPDATE) || (act->time.tv_sec == 0);
	return sqe->cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY) ? act->result : 1;
}

static int has_come(void *data)
{
	struct act *act = data;
	struct program *program = act->program;

	act->result = act->op->result;
	act->n_calls++;
	act->is_over = !(act->op->flags & IORING_CQE_F_MORE);
	ck_assert_int_lt(program->n_events, N_EVENTS);
	program->events[program->n_events++] = (struct event){ act->number, act->result, act->op->flags };
	if (act->what == TIMER)
		program->n_owed--;
	if (act->what != TIMER)
		program->n_others--;
	if (act->what == REQUEST)
		program->n_owed += n_ended_by(act);
	if (act->is_due)
		program->due[program->n_due++] = act->number;
	return 0;
}

static struct act *take_act(struct program *program, enum what what)
{
	struct act *act = &program->acts[program->n_acts];

	ck_assert_int_lt(program->n_acts, N_ALL);
	*act = (struct act){ .program = program, .what = what, .number = program->n_acts++ };
	act->op = iou_op_new(program->iou);
	ck_assert_ptr_nonnull(act->op);
	program->n_others += what != TIMER;
	return act;
}

static void queue_act(struct act *act, unsigned flags)
{
	act->op->sqe->flags |= (__u8)flags;
	snprintf(act->text, sizeof(act->text), "opcode %d flags %x/%x length %u target %d", act->op->sqe->opcode,
		 act->op->sqe->timeout_flags, act->op->sqe->flags, act->op->sqe->len, act->target);
	iou_op_queue(act->program->iou, act->op, has_come, act);
	act->identity = act->op->sqe->user_data;
}

static const unsigned clocks[] = { 0, 0, 0, IORING_TIMEOUT_REALTIME };

static void arm(struct program *program, bool is_due)
{
	struct act *act = take_act(program, TIMER);
	unsigned flags = clocks[pick(program, 4)] | (pick(program, 3) ? 0 : IORING_TIMEOUT_ETIME_SUCCESS);
	unsigned count = 0;

	if (!is_due)
		act->time.tv_sec = 1000 + pick(program, 100);
	if (!pick(program, 3)) {
		flags |= MULTISHOT;
		count = is_due ? 1 + pick(program, 4) : pick(program, 4);
	}
	if (!is_due && !(flags & (MULTISHOT | IORING_TIMEOUT_REALTIME)) && pick(program, 2)) {
		flags |= IORING_TIMEOUT_ABS;
		act->time.tv_sec += support_now_ms() / 1000;
	}
	io_uring_prep_timeout(act->op->sqe, &act->time, count, flags);
	if (program->is_kernels)
		act->op->sqe->off |= FOR_THE_KERNEL;
	act->is_touched = is_due;
	act->is_due = is_due && !(flags & (MULTISHOT | IORING_TIMEOUT_REALTIME));
	program->n_owed += is_due ? (count ? (int)count : 1) : 0;
	queue_act(act, 0);
}

/* One of those that no request of this round is after yet; or the name of one that is no more, or never was. */
static struct act *pick_target(struct program *program)
{
	struct act *act = program->n_acts ? &program->acts[pick(program, (unsigned)program->n_acts)] : NULL;

	if (!act || act->what != TIMER || act->is_touched)
		return NULL;
	act->is_touched = !act->is_over;
	return act;
}

static void chain(struct program *program, unsigned link)
{
	struct act *act = take_act(program, FILLER);

	io_uring_prep_nop(act->op->sqe);
	queue_act(act, link);
}

static void update(struct program *program, struct act *act, struct act *target, __u64 identity)
{
	bool is_multishot = target && target->op->sqe->timeout_flags & MULTISHOT;
	unsigned kind = pick(program, 3);
	unsigned flags = 0;

	act->time = (struct __kernel_timespec){ 2000 + pick(program, 100), 0 };
	/* One that is multishot would never end. */
	if (kind == 0 && !is_multishot)
		act->time.tv_sec = 0;
	if (kind == 1) {
		flags = IORING_TIMEOUT_ABS;
		act->time.tv_sec += support_now_ms() / 1000;
		if (target && target->op->sqe->timeout_flags & IORING_TIMEOUT_REALTIME)
			act->time.tv_sec += 10LL * 365 * 86400 + time(NULL);
	}
	if (program->has_chains && pick(program, 20) == 0)
		flags |= IORING_TIMEOUT_BOOTTIME; /* -EINVAL */
	if (program->has_chains && pick(program, 20) == 0)
		act->time.tv_nsec = -1; /* likewise */
	io_uring_prep_timeout_update(act->op->sqe, &act->time, identity, flags);
}

static void name_one(struct program *program, struct act *act)
{
	struct act *target = pick_target(program);
	__u64 identity = target ? target->identity : 4711;

	act->target = target ? target->number : -1;

	if (target && target->is_over)
		target = NULL;
	switch (pick(program, 6)) {
	case 0:
	case 1:
		update(program, act, target, identity);
		break;
	case 2:
	case 3:
		io_uring_prep_timeout_remove(act->op->sqe, identity,
					     program->has_chains && !pick(program, 15) ? IORING_TIMEOUT_ABS : 0);
		break;
	case 4:
		io_uring_prep_cancel64(act->op->sqe, identity, pick(program, 2) ? IORING_ASYNC_CANCEL_ALL : 0);
		break;
	default:
		io_uring_prep_cancel64(act->op->sqe, identity, CANCEL_OP | CANCEL_USERDATA);
		act->op->sqe->len = pick(program, 3) ? IORING_OP_TIMEOUT : IORING_OP_NOP;
	}
	if (program->has_chains && pick(program, 15) == 0)
		act->op->sqe->ioprio = 1; /* -EINVAL */
}

/* By opcode alone the first one found is cancelled: of those that are kept if there are any. */
static void name_many(struct program *program, struct act *act)
{
	static const unsigned flags[] = { IORING_ASYNC_CANCEL_ANY, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
					  CANCEL_OP | IORING_ASYNC_CANCEL_ALL, CANCEL_OP | IORING_ASYNC_CANCEL_ANY,
					  CANCEL_OP };
	unsigned i = pick(program, 4);
	unsigned which = flags[i < 3 || program->has_chains ? i : 4];

	io_uring_prep_cancel64(act->op->sqe, 0, which);
	if (which & CANCEL_OP)
		act->op->sqe->len = pick(program, 4) ? IORING_OP_TIMEOUT : IORING_OP_READ;
}

static void request(struct program *program, bool is_sweep)
{
	static const unsigned links[] = { 0, 0, 0, IOSQE_IO_LINK, IOSQE_IO_HARDLINK };
	unsigned before = program->has_chains ? links[pick(program, 5)] : 0;
	unsigned behind = program->has_chains ? links[pick(program, 5)] : 0;
	struct act *act;

	if (before)
		chain(program, before);
	act = take_act(program, REQUEST);
	if (is_sweep)
		name_many(program, act);
	else
		name_one(program, act);
	queue_act(act, behind);
	if (behind)
		chain(program, 0);
}

/* What is due at once is, and all that was asked for has been done. The loop does not park: it would have a request of its own. */
static void settle(struct program *program)
{
	int64_t until = support_now_ms() + 60000;

	ck_assert_int_ge(iou_flush(program->iou), 0);
	while (program->n_others || program->n_owed > 0) {
		ck_assert_int_ge(turn(program->iou), 0);
		ck_assert_msg(support_now_ms() < until, "%s: %d requests, %d events are missing",
			      program->is_kernels ? "kernel" : "library", program->n_others, program->n_owed);
	}
	ck_assert_int_eq(program->n_owed, 0);
}

static void play_round(struct program *program)
{
	bool is_sweep = pick(program, 4) == 0;
	unsigned n = 1 + pick(program, N_ACTS);

	for (int i = 0; i < program->n_acts; i++)
		program->acts[i].is_touched = false;
	for (unsigned i = 0; i < n && program->n_acts + 3 < N_ALL; i++) {
		if (pick(program, 2))
			arm(program, !is_sweep && pick(program, 3) == 0);
		else
			request(program, is_sweep);
	}
	settle(program);
}

static void play(struct program *program, uint64_t seed, bool is_kernels)
{
	const struct event no_event = { 0 };

	program->has_chains = seed % 2;
	/* What is linked takes its turn when all has been submitted, so that it is to be submitted in one go. */
	program->iou = open_with((iou_config_t){ .entries = program->has_chains ? 1024 : 8, .cq_entries = 2048 });
	program->seed = seed;
	program->is_kernels = is_kernels;
	program->n_acts = program->n_events = program->n_owed = program->n_others = program->n_due = 0;
	for (int i = 0; i < N_EVENTS; i++)
		program->events[i] = no_event;
	for (int i = 0; i < N_ROUNDS; i++)
		play_round(program);
}

static void finish(struct program *program)
{
	int n_left = iou_pending(program->iou), n_before = program->n_events;

	program->n_owed = n_left;
	ck_assert_int_eq(iou_cancel_all(program->iou), n_left);
	ck_assert_int_eq(iou_run(program->iou), 0);
	ck_assert_int_eq(program->n_events - n_before, n_left);
	for (int i = n_before; i < program->n_events; i++)
		ck_assert_int_eq(program->events[i].result, -ECANCELED);
	iou_free(program->iou);
}

/* What one act has seen, in its order. */
static void write_down(const struct program *program, int number, char *text, size_t size)
{
	size_t n = (size_t)snprintf(text, size, "%s:", program->acts[number].text);

	for (int i = 0; i < program->n_events; i++)
		if (program->events[i].number == number && n < size)
			n += (size_t)snprintf(text + n, size - n, " %d/%x", program->events[i].result,
					      program->events[i].flags);
}

static struct program ours, kernels;

static void compare(uint64_t seed)
{
	ck_assert_int_eq(ours.n_acts, kernels.n_acts);
	for (int i = 0; i < ours.n_acts; i++) {
		char mine[512], its[512];

		write_down(&ours, i, mine, sizeof(mine));
		write_down(&kernels, i, its, sizeof(its));
		ck_assert_msg(strcmp(mine, its) == 0, "seed %d, act %d of %d: kept\n%s\nkernel's\n%s", (int)seed, i,
			      ours.n_acts, mine, its);
	}
	ck_assert_int_eq(ours.n_due, kernels.n_due);
	for (int i = 0; i < ours.n_due; i++)
		ck_assert_int_eq(ours.due[i], kernels.due[i]);
}

START_TEST(test_random_programs_see_the_same_as_from_the_kernel)
{
	int n = fewer(60, 6);

	for (uint64_t seed = (uint64_t)_i * 1000; seed < (uint64_t)(_i * 1000 + n); seed++) {
		play(&ours, seed, false);
		play(&kernels, seed, true);
		compare(seed);
		ck_assert_uint_lt(stats_of(ours.iou).n_submitted, stats_of(kernels.iou).n_submitted);
		finish(&ours);
		finish(&kernels);
	}
}
END_TEST

/* The kernel's timers of two CPUs are in no order. */
static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

Suite *suite(void)
{
	Suite *s = suite_create("timers-kernel");
	TCase *tcase = tcase_create("programs");

	tcase_add_unchecked_fixture(tcase, pin, NULL);
	tcase_add_loop_test(tcase, test_random_programs_see_the_same_as_from_the_kernel, 0, 4);
	tcase_set_timeout(tcase, 120);
	suite_add_tcase(s, tcase);
	return s;
}
