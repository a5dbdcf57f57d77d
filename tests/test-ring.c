/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define SHORT_MS 20
/* The table of registered rings that each thread has. */
#define TABLE_SIZE 16

/* What an instance has: an engine, and what it works on. The loop is us. */
struct rig {
	struct ops ops;
	struct stage stage;
	struct timeouts timeouts;
	struct queue inbox;
	struct cq cq;
	struct engine *engine;
};

static struct rig rig;
static int pipe_fds[2];
static char buffer[16];

static int make_rig(struct rig *in, struct uring_config config)
{
	iou__ops_init(&in->ops);
	iou__stage_init(&in->stage);
	iou__queue_init(&in->inbox);
	iou__timeouts_init(&in->timeouts, &in->ops, &in->stage, &in->inbox);
	in->engine = NULL;
	return iou__ring_new(&config, &in->ops, &in->stage, &in->timeouts, &in->cq, &in->engine);
}

static void break_rig(struct rig *in, bool is_owner)
{
	if (in->engine)
		in->engine->verbs->free(in->engine, is_owner);
	in->engine = NULL;
	iou__cq_destroy(&in->cq);
	iou__timeouts_destroy(&in->timeouts);
	ck_assert(iou__ops_add_up(&in->ops));
	iou__ops_destroy(&in->ops);
}

static void set_up(void)
{
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	rig = (struct rig){ 0 };
}

static void tear_down(void)
{
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	if (rig.engine)
		break_rig(&rig, true);
}

static void make(struct uring_config config)
{
	ck_assert_int_eq(make_rig(&rig, config), 0);
}

static int bind_it(void)
{
	return rig.engine->verbs->bind(rig.engine);
}

static void make_bound(unsigned entries)
{
	make((struct uring_config){ .entries = entries });
	ck_assert_int_eq(bind_it(), 0);
}

static int enter(bool wait, const struct timespec *timeout)
{
	return rig.engine->verbs->enter(rig.engine, wait, timeout);
}

static int flush(void)
{
	return enter(false, NULL);
}

/* Nothing is in flight, as far as the loop can see. 0, 1, or -errno. */
static int resize(unsigned entries)
{
	return rig.engine->verbs->resize(rig.engine, entries, true);
}

/* With ops in flight. */
static int resize_busy(unsigned entries)
{
	return rig.engine->verbs->resize(rig.engine, entries, false);
}

static struct io_uring *uring(void)
{
	return rig.engine->verbs->uring(rig.engine);
}

static uint32_t n_in(enum op_state state)
{
	return iou__ops_n(&rig.ops, state);
}

static struct op *queue_in(struct rig *in, const struct io_uring_sqe *sqe, unsigned flags)
{
	struct op *op = iou__ops_take(&in->ops);

	op->sqe = *sqe;
	op->sqe.flags = (__u8)flags;
	op->task.sqe_flags = (uint8_t)flags;
	iou__ops_rename(op);
	iou__stage_push(&in->stage, &in->ops, op);
	return op;
}

static struct op *queue_nop(unsigned flags)
{
	const struct io_uring_sqe nop = { .opcode = IORING_OP_NOP };

	return queue_in(&rig, &nop, flags);
}

static void queue_nops(int n)
{
	for (; n; n--)
		queue_nop(0);
}

/* Ends as soon as something is written into the pipe. */
static struct op *queue_read(unsigned flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_read(&sqe, pipe_fds[0], buffer, 1, 0);
	return queue_in(&rig, &sqe, flags);
}

static void feed(void)
{
	ck_assert_int_eq(write(pipe_fds[1], "x", 1), 1);
}

/* The first completion is this op's; its result. */
static int reap_in(struct rig *in, struct op *op)
{
	ck_assert_uint_gt(iou__cq_ready(&in->cq), 0);

	struct cqe cqe = iou__cq_take(&in->cq);

	ck_assert_ptr_eq(iou__ops_find(&in->ops, cqe.user_data, 1U << OP_SUBMITTED), op);
	iou__ops_give_back(&in->ops, op);
	return cqe.res;
}

static int reap(struct op *op)
{
	return reap_in(&rig, op);
}

/* What is linked goes when what is before it has ended, which takes the kernel another turn. */
static void wait_for(unsigned n)
{
	while (iou__cq_ready(&rig.cq) < n)
		ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
}

/* All that are there; they have succeeded. */
static unsigned reap_all(void)
{
	unsigned n = 0;

	for (; iou__cq_ready(&rig.cq); n++) {
		struct cqe cqe = iou__cq_take(&rig.cq);
		struct op *op = iou__ops_find(&rig.ops, cqe.user_data, 1U << OP_SUBMITTED);

		ck_assert_ptr_nonnull(op);
		ck_assert_int_eq(cqe.res, 0);
		iou__ops_give_back(&rig.ops, op);
	}
	return n;
}

static void run_nops(unsigned n)
{
	queue_nops((int)n);
	for (int left = LEFT_MORE; n; n -= reap_all()) {
		left = enter(left == LEFT_NOTHING, NULL);
		ck_assert_int_ge(left, 0);
	}
}

/* Making one. */

START_TEST(test_new_ring_tells_of_itself)
{
	make((struct uring_config){ .entries = 8 });
	ck_assert_uint_eq(rig.engine->sq_entries, 8);
	ck_assert_uint_eq(rig.engine->cq_entries, 16);
	ck_assert_uint_eq(rig.engine->setup_flags, uring()->flags);
	ck_assert_uint_eq(rig.engine->features, uring()->features);
	ck_assert(rig.engine->features & IORING_FEAT_NODROP);
	ck_assert(fcntl(uring()->ring_fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_uint_eq(rig.engine->n_submitted + rig.engine->n_enters, 0);
}
END_TEST

START_TEST(test_entries_are_rounded_up)
{
	make((struct uring_config){ .entries = 5, .cq_entries = 33 });
	ck_assert_uint_eq(rig.engine->sq_entries, 8);
	ck_assert_uint_eq(rig.engine->cq_entries, 64);
}
END_TEST

START_TEST(test_what_the_kernel_refuses_is_an_error_and_leaks_nothing)
{
	int n = support_descriptors();

	ck_assert_int_eq(make_rig(&rig, (struct uring_config){ .entries = 65536 }), -EINVAL);
	ck_assert_int_eq(make_rig(&rig, (struct uring_config){ .entries = 0 }), -EINVAL);
	/* The ring is there by then. */
	ck_assert_int_eq(make_rig(&rig, (struct uring_config){ .entries = 8, .iowq_max = { 1U << 31, 0 } }), -EINVAL);
	ck_assert_ptr_null(rig.engine);
	ck_assert_int_eq(support_descriptors(), n);
}
END_TEST

START_TEST(test_no_descriptor_is_an_error)
{
	struct rlimit before, none;
	int r;

	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){ 0, before.rlim_max };
	setrlimit(RLIMIT_NOFILE, &none);
	r = make_rig(&rig, (struct uring_config){ .entries = 8 });
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(r, -EMFILE);
}
END_TEST

START_TEST(test_limits_of_kernel_workers_are_set_and_survive_a_resize)
{
	unsigned max[2] = { 0 };

	make((struct uring_config){ .entries = 8, .iowq_max = { 3, 5 } });
	ck_assert_int_eq(bind_it(), 0);
	ck_assert_int_eq(io_uring_register_iowq_max_workers(uring(), max), 0);
	ck_assert_uint_eq(max[0], 3);
	ck_assert_uint_eq(max[1], 5);
	ck_assert_int_ge(resize(16), 0);
	max[0] = max[1] = 0;
	ck_assert_int_eq(io_uring_register_iowq_max_workers(uring(), max), 0);
	ck_assert_uint_eq(max[0], 3);
	ck_assert_uint_eq(max[1], 5);
}
END_TEST

/* Owners. */

START_TEST(test_ring_is_disabled_until_it_is_bound)
{
	make((struct uring_config){ .entries = 8 });
	if (!(rig.engine->setup_flags & IORING_SETUP_R_DISABLED))
		SKIP("the kernel has no disabled rings");
	queue_nops(1);
	ck_assert_int_eq(flush(), -EBADFD);
	ck_assert_int_eq(bind_it(), 0);
	/* What was refused goes now. */
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

static void *bind_and_run(void *data)
{
	(void)data;
	ck_assert_int_eq(bind_it(), 0);
	run_nops(20);
	return NULL;
}

static void *flush_there(void *data)
{
	*(int *)data = flush();
	return NULL;
}

static void in_thread(void *(*work)(void *), void *data)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, work, data), 0);
	pthread_join(thread, NULL);
}

START_TEST(test_ring_is_made_here_and_used_there)
{
	make((struct uring_config){ .entries = 8 });
	in_thread(bind_and_run, NULL);
	break_rig(&rig, false);
}
END_TEST

START_TEST(test_ring_has_one_owner)
{
	int r = 0;

	make_bound(8);
	if (!(rig.engine->setup_flags & IORING_SETUP_SINGLE_ISSUER))
		SKIP("the kernel has no single-issuer rings");
	queue_nops(1);
	in_thread(flush_there, &r);
	/* -EEXIST, or -EINVAL: it has no such ring in its table. */
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

START_TEST(test_ring_for_any_thread_is_used_by_any)
{
	int r = -1;

	make((struct uring_config){ .entries = 8, .is_any_thread = true });
	ck_assert_int_eq(bind_it(), 0);
	ck_assert(!(rig.engine->setup_flags & (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)));
	run_nops(3);
	queue_nops(1);
	in_thread(flush_there, &r);
	ck_assert_int_eq(r, LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

static void check_works(struct rig *in)
{
	const struct io_uring_sqe nop = { .opcode = IORING_OP_NOP };
	struct op *op = queue_in(in, &nop, 0);

	ck_assert_int_eq(in->engine->verbs->enter(in->engine, true, NULL), LEFT_NOTHING);
	ck_assert_int_eq(reap_in(in, op), 0);
}

START_TEST(test_more_rings_than_a_thread_can_register_all_work)
{
	static struct rig rigs[TABLE_SIZE + 4];

	for (int i = 0; i < TABLE_SIZE + 4; i++) {
		ck_assert_int_eq(make_rig(&rigs[i], (struct uring_config){ .entries = 2 }), 0);
		ck_assert_int_eq(rigs[i].engine->verbs->bind(rigs[i].engine), 0);
	}
	for (int i = 0; i < TABLE_SIZE + 4; i++)
		check_works(&rigs[i]);
	for (int i = 0; i < TABLE_SIZE + 4; i += 2)
		break_rig(&rigs[i], true);
	for (int i = 1; i < TABLE_SIZE + 4; i += 2) {
		check_works(&rigs[i]);
		break_rig(&rigs[i], true);
	}
}
END_TEST

/* Both rings are the first in their owners' tables. */
static void *close_the_other_s(void *data)
{
	static struct rig mine;

	(void)data;
	ck_assert_int_eq(make_rig(&mine, (struct uring_config){ .entries = 2 }), 0);
	ck_assert_int_eq(mine.engine->verbs->bind(mine.engine), 0);
	break_rig(&rig, false);
	check_works(&mine);
	break_rig(&mine, true);
	return NULL;
}

START_TEST(test_closing_another_thread_s_ring_leaves_one_s_own_alone)
{
	make_bound(8);
	in_thread(close_the_other_s, NULL);
}
END_TEST

START_TEST(test_slots_of_closed_rings_can_be_used_again)
{
	for (int i = 0; i < 3 * TABLE_SIZE; i++) {
		make_bound(2);
		run_nops(1);
		break_rig(&rig, true);
	}
}
END_TEST

/* Submission. */

START_TEST(test_one_system_call_submits_what_fits)
{
	make_bound(8);
	queue_nops(8);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(rig.engine->n_submitted, 8);
	ck_assert_uint_eq(rig.engine->n_enters, 1);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 8);
	ck_assert_uint_eq(reap_all(), 8);
}
END_TEST

START_TEST(test_with_nothing_to_do_the_kernel_is_not_entered)
{
	make_bound(8);
	run_nops(1);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(rig.engine->n_enters, 1);
}
END_TEST

START_TEST(test_what_does_not_fit_is_left)
{
	make_bound(4);
	queue_nops(10);
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert_uint_eq(n_in(OP_QUEUED), 6);
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(n_in(OP_QUEUED), 0);
	/* The CQ has eight entries; the kernel has kept the others. */
	while (n_in(OP_SUBMITTED)) {
		reap_all();
		ck_assert_int_eq(flush(), LEFT_NOTHING);
	}
}
END_TEST

START_TEST(test_full_ring_does_not_wait)
{
	make_bound(4);
	for (int i = 0; i < 5; i++)
		queue_read(0);
	ck_assert_int_eq(enter(true, NULL), LEFT_MORE);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 4);
}
END_TEST

START_TEST(test_any_number_goes_through_a_ring_of_one)
{
	make_bound(1);
	run_nops(1000);
	ck_assert_uint_eq(rig.engine->n_submitted, 1000);
}
END_TEST

START_TEST(test_full_cq_loses_nothing)
{
	unsigned n_reaped = 0;

	make_bound(4);
	queue_nops(400);
	while (flush() == LEFT_MORE)
		;
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 400);
	while (n_in(OP_SUBMITTED)) {
		n_reaped += reap_all();
		ck_assert_int_eq(flush(), LEFT_NOTHING);
	}
	ck_assert_uint_eq(n_reaped, 400);
}
END_TEST

START_TEST(test_chain_is_not_split)
{
	struct op *chain[3];

	make_bound(4);
	queue_nops(3);
	for (int i = 0; i < 3; i++)
		chain[i] = queue_nop(i < 2 ? IOSQE_IO_LINK : 0);
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 3);
	ck_assert_uint_eq(reap_all(), 3);
	wait_for(3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(reap(chain[i]), 0);
}
END_TEST

START_TEST(test_failure_in_a_chain_cancels_what_is_behind)
{
	struct io_uring_sqe bad = { 0 };
	struct op *ops[2];

	make_bound(4);
	io_uring_prep_read(&bad, -1, buffer, 1, 0);
	ops[0] = queue_in(&rig, &bad, IOSQE_IO_LINK);
	ops[1] = queue_nop(0);
	wait_for(2);
	ck_assert_int_eq(reap(ops[0]), -EBADF);
	ck_assert_int_eq(reap(ops[1]), -ECANCELED);
}
END_TEST

START_TEST(test_chain_longer_than_the_ring_is_left_and_what_is_before_it_goes)
{
	make_bound(4);
	queue_nops(2);
	for (int i = 0; i < 5; i++)
		queue_nop(i < 4 ? IOSQE_IO_LINK : 0);
	ck_assert_int_eq(enter(true, NULL), LEFT_MORE);
	ck_assert_int_eq(enter(true, NULL), LEFT_TOO_LONG);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 2);
	ck_assert_uint_eq(n_in(OP_QUEUED), 5);
	ck_assert_uint_eq(reap_all(), 2);
	ck_assert_int_ge(resize(8), 0);
	wait_for(5);
	ck_assert_uint_eq(reap_all(), 5);
}
END_TEST

START_TEST(test_drain_and_all_behind_it_wait)
{
	struct op *read;

	make_bound(8);
	read = queue_read(0);
	queue_nop(IOSQE_IO_DRAIN);
	queue_nop(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 1);
	ck_assert_uint_eq(n_in(OP_QUEUED), 2);
	feed();
	ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
	ck_assert_uint_eq(n_in(OP_QUEUED), 2);
	ck_assert_int_eq(reap(read), 1);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 2);
}
END_TEST

START_TEST(test_drain_in_a_chain_holds_all_of_it)
{
	struct op *read;

	make_bound(8);
	read = queue_read(0);
	queue_nop(IOSQE_IO_LINK);
	queue_nop(IOSQE_IO_DRAIN);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(n_in(OP_QUEUED), 2);
	feed();
	ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
	ck_assert_int_eq(reap(read), 1);
	wait_for(2);
	ck_assert_uint_eq(reap_all(), 2);
}
END_TEST

/* The library's own requests. */

static struct op *queue_own(void)
{
	struct op *op = iou__ops_take(&rig.ops);

	iou__ops_rename(op);
	iou__ops_move(&rig.ops, op, OP_NEW, OP_OWN);
	io_uring_prep_nop(&op->sqe);
	op->sqe.user_data = op->identity;
	iou__queue_push(&rig.stage.own, &op->task.node);
	return op;
}

START_TEST(test_own_requests_go_first)
{
	struct op *own;

	make_bound(4);
	queue_nops(4);
	own = queue_own();
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert_uint_eq(iou__cq_take(&rig.cq).user_data, own->identity);
	ck_assert_uint_eq(reap_all(), 3);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

START_TEST(test_own_requests_that_do_not_fit_are_left)
{
	make_bound(2);
	for (int i = 0; i < 3; i++)
		queue_own();
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert(!iou__queue_is_empty(&rig.stage.own));
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert(iou__queue_is_empty(&rig.stage.own));
}
END_TEST

START_TEST(test_drain_does_not_wait_for_own_requests)
{
	struct op *own;

	make_bound(4);
	own = queue_own();
	io_uring_prep_poll_add(&own->sqe, pipe_fds[0], POLLIN);
	own->sqe.user_data = own->identity;
	queue_nop(IOSQE_IO_DRAIN);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

START_TEST(test_sqe_of_the_program_s_is_submitted_too)
{
	struct io_uring_sqe *sqe;

	make_bound(4);
	sqe = io_uring_get_sqe(uring());
	io_uring_prep_nop(sqe);
	sqe->user_data = 42;
	queue_nops(4);
	ck_assert_int_eq(flush(), LEFT_MORE);
	ck_assert_uint_eq(rig.engine->n_submitted, 4);
	ck_assert_uint_eq(iou__cq_take(&rig.cq).user_data, 42);
	ck_assert_uint_eq(reap_all(), 3);
}
END_TEST

START_TEST(test_update_of_an_identity_is_refused_and_ends_its_chain)
{
	struct io_uring_sqe update = { 0 };
	struct op *poll_op, *ops[2];

	make_bound(8);
	poll_op = queue_read(0);
	io_uring_prep_poll_update(&update, poll_op->identity, 42, 0, IORING_POLL_UPDATE_USER_DATA);
	ops[0] = queue_in(&rig, &update, IOSQE_IO_LINK);
	ops[1] = queue_nop(0);
	wait_for(2);
	ck_assert_int_eq(reap(ops[0]), -EINVAL);
	ck_assert_int_eq(reap(ops[1]), -ECANCELED);
	feed();
	ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
	ck_assert_int_eq(reap(poll_op), 1);
}
END_TEST

/* Waiting. */

static const struct timespec short_time = { .tv_nsec = SHORT_MS * 1000000L };

static void check_times_out(void)
{
	int64_t before;

	/* A call that submits has succeeded, whatever becomes of the waiting. */
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	before = support_now_ms();
	ck_assert_int_eq(enter(true, &short_time), -ETIME);
	ck_assert_int_ge(support_now_ms() - before, SHORT_MS - 1);
	ck_assert_int_lt(support_now_ms() - before, 5000);
}

START_TEST(test_waiting_ends_when_the_time_is_over)
{
	make_bound(4);
	queue_read(0);
	check_times_out();
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 1);
}
END_TEST

static void *feed_there(void *data)
{
	(void)data;
	feed();
	return NULL;
}

static void check_completion_ends_waiting(const struct timespec *timeout)
{
	struct op *read = queue_read(0);
	pthread_t thread;
	int r = LEFT_NOTHING;

	pthread_create(&thread, NULL, feed_there, NULL);
	/* Some wake-ups are for work that the kernel still has to do. */
	while (r == LEFT_NOTHING && !iou__cq_ready(&rig.cq))
		r = enter(true, timeout);
	pthread_join(thread, NULL);
	ck_assert_int_eq(r, LEFT_NOTHING);
	ck_assert_int_eq(reap(read), 1);
}

START_TEST(test_waiting_ends_with_a_completion)
{
	const struct timespec long_time = { .tv_sec = 20 };

	make_bound(4);
	check_completion_ends_waiting(NULL);
	check_completion_ends_waiting(&long_time);
}
END_TEST

/* They have no rings that defer work either. */
START_TEST(test_kernels_without_timeouts_are_polled)
{
	const struct timespec long_time = { .tv_sec = 20 };
	uint64_t n_enters;

	make((struct uring_config){ .entries = 4, .is_any_thread = true });
	ck_assert_int_eq(bind_it(), 0);
	rig.engine->features &= ~IORING_FEAT_EXT_ARG;
	queue_read(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	n_enters = rig.engine->n_enters;
	check_times_out();
	ck_assert_uint_eq(rig.engine->n_enters, n_enters);
	feed();
	while (!iou__cq_ready(&rig.cq))
		ck_assert_int_eq(enter(true, &long_time), LEFT_NOTHING);
	iou__cq_take(&rig.cq);
	check_completion_ends_waiting(&long_time);
	check_completion_ends_waiting(NULL);
}
END_TEST

static void on_alarm(int number)
{
	(void)number;
}

START_TEST(test_signal_interrupts_waiting)
{
	const struct itimerval often = { { 0, 10000 }, { 0, 10000 } }, never = { { 0, 0 }, { 0, 0 } };
	const struct sigaction action = { .sa_handler = on_alarm }, ignore = { .sa_handler = SIG_IGN };
	int r;

	make_bound(4);
	queue_read(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	r = enter(true, NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	/* One may be on its way still, and for Check an alarm means to kill the process group. */
	sigaction(SIGALRM, &ignore, NULL);
	ck_assert_int_eq(r, -EINTR);
	ck_assert_uint_eq(n_in(OP_SUBMITTED), 1);
}
END_TEST

/* A polling thread of the kernel's. */

static void make_sqpoll(unsigned entries)
{
	make((struct uring_config){ .entries = entries, .is_sqpoll = true });
	ck_assert_int_eq(bind_it(), 0);
	ck_assert(rig.engine->setup_flags & IORING_SETUP_SQPOLL);
}

START_TEST(test_polling_thread_takes_any_number)
{
	make_sqpoll(4);
	run_nops(300);
	ck_assert_uint_eq(rig.engine->n_submitted, 300);
}
END_TEST

START_TEST(test_polling_thread_that_sleeps_is_woken)
{
	struct io_uring_sq *sq;
	int64_t deadline;

	make_sqpoll(4);
	sq = &uring()->sq;
	for (int i = 0; i < 2; i++) {
		run_nops(1);
		deadline = support_now_ms() + 20000;
		while (!(__atomic_load_n(sq->kflags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP) &&
		       support_now_ms() < deadline)
			poll(NULL, 0, 1);
		ck_assert(__atomic_load_n(sq->kflags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP);
	}
	/* Without waiting. */
	queue_nops(1);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	deadline = support_now_ms() + 20000;
	while (!iou__cq_ready(&rig.cq) && support_now_ms() < deadline)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

START_TEST(test_polling_thread_s_ring_times_out)
{
	make_sqpoll(4);
	queue_read(0);
	check_times_out();
}
END_TEST

/*
 * Another size. The engine is resized in place, or, where the kernel cannot do that (it never can for any thread),
 * built again.
 */

static void make_for_any_thread(unsigned entries)
{
	make((struct uring_config){ .entries = entries, .is_any_thread = true });
	ck_assert_int_eq(bind_it(), 0);
}

static const struct size {
	unsigned from, to;
	bool is_any_thread;
} sizes[] = {
	{ 4, 64, false }, { 64, 2, false }, { 8, 8, false }, { 1, 1024, false }, { 16, 1, false },
	{ 4, 64, true },  { 64, 2, true },  { 8, 8, true },  { 1, 1024, true },  { 16, 1, true },
};

START_TEST(test_resize_keeps_completions_that_nobody_has_read)
{
	const struct size *size = &sizes[_i];
	struct op *ops[3] = { NULL };
	int n_fds, n = size->from < 3 ? 1 : 3;

	make((struct uring_config){ .entries = size->from, .is_any_thread = size->is_any_thread });
	ck_assert_int_eq(bind_it(), 0);
	n_fds = support_descriptors();
	run_nops(5);
	for (int i = 0; i < n; i++)
		ops[i] = queue_nop(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_int_ge(resize(size->to), size->is_any_thread);
	ck_assert_uint_eq(rig.engine->sq_entries, size->to);
	ck_assert_uint_eq(rig.engine->cq_entries, 2 * size->to);
	ck_assert_int_eq(support_descriptors(), n_fds);
	queue_nop(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(reap(ops[i]), 0);
	ck_assert_uint_eq(reap_all(), 1);
	run_nops(100);
}
END_TEST

START_TEST(test_resize_keeps_completions_that_overflowed)
{
	unsigned n = 0;

	make_bound(2);
	queue_nops(20);
	while (flush() == LEFT_MORE)
		;
	if (resize_busy(64) == -EBUSY)
		SKIP("the kernel cannot resize in place");
	while (n_in(OP_SUBMITTED)) {
		n += reap_all();
		ck_assert_int_eq(flush(), LEFT_NOTHING);
	}
	ck_assert_uint_eq(n, 20);
}
END_TEST

START_TEST(test_resize_keeps_what_is_queued)
{
	make_bound(2);
	queue_nops(5);
	ck_assert_int_ge(resize(8), 0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(reap_all(), 5);
}
END_TEST

START_TEST(test_resize_in_place_keeps_what_is_in_flight)
{
	struct op *read;

	make_bound(4);
	read = queue_read(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	if (resize_busy(16) == -EBUSY)
		SKIP("the kernel cannot resize in place");
	ck_assert_uint_eq(rig.engine->sq_entries, 16);
	feed();
	ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
	ck_assert_int_eq(reap(read), 1);
}
END_TEST

START_TEST(test_resize_refuses_to_lose_what_is_in_flight)
{
	struct op *read;

	make_for_any_thread(4);
	read = queue_read(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_int_eq(resize_busy(16), -EBUSY);
	ck_assert_uint_eq(rig.engine->sq_entries, 4);
	feed();
	ck_assert_int_eq(enter(true, NULL), LEFT_NOTHING);
	ck_assert_int_eq(reap(read), 1);
	ck_assert_int_eq(resize(16), 1);
}
END_TEST

START_TEST(test_resize_before_binding_leaves_that_to_the_owner)
{
	make((struct uring_config){ .entries = 4 });
	ck_assert_int_eq(resize(8), 1);
	in_thread(bind_and_run, NULL);
	break_rig(&rig, false);
}
END_TEST

START_TEST(test_resize_keeps_a_cq_s_size_that_was_asked_for)
{
	make((struct uring_config){ .entries = 4, .cq_entries = 64, .is_any_thread = _i });
	ck_assert_int_eq(bind_it(), 0);
	ck_assert_int_ge(resize(8), 0);
	ck_assert_uint_eq(rig.engine->cq_entries, 64);
	ck_assert_int_ge(resize(128), 0);
	ck_assert_uint_ge(rig.engine->cq_entries, 128);
}
END_TEST

START_TEST(test_resize_that_fails_leaves_the_ring_as_it_was)
{
	int fd, n;

	make((struct uring_config){ .entries = 4, .is_any_thread = _i });
	ck_assert_int_eq(bind_it(), 0);
	fd = uring()->ring_fd;
	n = support_descriptors();
	ck_assert_int_eq(resize(65536), -EINVAL);
	ck_assert_int_eq(uring()->ring_fd, fd);
	ck_assert_uint_eq(rig.engine->sq_entries, 4);
	ck_assert_int_eq(support_descriptors(), n);
	run_nops(10);
}
END_TEST

START_TEST(test_resize_refuses_to_lose_registered_files)
{
	make_for_any_thread(4);
	ck_assert_int_eq(io_uring_register_files(uring(), pipe_fds, 2), 0);
	ck_assert_int_eq(resize(8), -EBUSY);
	run_nops(10);
	ck_assert_int_eq(io_uring_unregister_files(uring()), 0);
	ck_assert_int_eq(resize(8), 1);
	run_nops(10);
}
END_TEST

START_TEST(test_resize_refuses_to_lose_registered_buffers)
{
	const struct iovec iov = { buffer, sizeof(buffer) };

	make_for_any_thread(4);
	ck_assert_int_eq(io_uring_register_buffers(uring(), &iov, 1), 0);
	ck_assert_int_eq(resize(8), -EBUSY);
	ck_assert_int_eq(io_uring_unregister_buffers(uring()), 0);
	ck_assert_int_eq(resize(8), 1);
}
END_TEST

/* While a kernel thread holds it, fdinfo says nothing. */
START_TEST(test_registrations_are_seen_although_the_ring_is_locked)
{
	const struct uring_config config = { .entries = 1024, .is_sqpoll = true };
	struct uring polled;

	ck_assert_int_eq(iou__uring_create(&config, &polled), 0);
	ck_assert_int_eq(io_uring_register_files(&polled.ring, pipe_fds, 1), 0);
	ck_assert_int_eq(iou__uring_bind(&polled), 0);
	for (int i = 0; i < 50; i++) {
		struct io_uring_sqe *sqe;

		while ((sqe = io_uring_get_sqe(&polled.ring)))
			io_uring_prep_nop(sqe);
		io_uring_submit(&polled.ring);
		ck_assert(iou__uring_has_others(&polled, 0));
		io_uring_cq_advance(&polled.ring, io_uring_cq_ready(&polled.ring));
	}
	iou__uring_close(&polled, true);
}
END_TEST

START_TEST(test_resize_in_place_keeps_registered_files)
{
	struct io_uring_sqe sqe = { 0 };
	struct op *op;
	int r;

	make_bound(4);
	ck_assert_int_eq(io_uring_register_files(uring(), pipe_fds, 2), 0);
	r = resize(8);
	if (r == -EBUSY)
		SKIP("the kernel cannot resize in place");
	ck_assert_int_eq(r, 0);
	io_uring_prep_write(&sqe, 1, "x", 1, 0);
	op = queue_in(&rig, &sqe, IOSQE_FIXED_FILE);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_int_eq(reap(op), 1);
}
END_TEST

/* Taken with io_uring_get_sqe(), and not submitted yet. */
START_TEST(test_resize_does_not_lose_the_program_s_sqes)
{
	struct io_uring_sqe *sqe;
	int r;

	make((struct uring_config){ .entries = 4, .is_any_thread = _i });
	ck_assert_int_eq(bind_it(), 0);
	sqe = io_uring_get_sqe(uring());
	io_uring_prep_nop(sqe);
	sqe->user_data = 42;
	r = resize(8);
	ck_assert_msg(r == 0 || r == -EBUSY, "%d", r);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert_uint_eq(iou__cq_ready(&rig.cq), 1);
	ck_assert_uint_eq(iou__cq_take(&rig.cq).user_data, 42);
	ck_assert_int_ge(resize(8), 0);
}
END_TEST

/* Watching. */

static int watch(void)
{
	return rig.engine->verbs->watch(rig.engine);
}

static bool look(void)
{
	return rig.engine->verbs->look(rig.engine);
}

static bool is_readable(int timeout_ms)
{
	struct pollfd fd = { .fd = watch(), .events = POLLIN };
	int r;

	ck_assert_int_ge(fd.fd, 0);
	do
		r = poll(&fd, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	return r == 1;
}

START_TEST(test_there_is_one_descriptor_to_watch)
{
	int n, fd;

	make_bound(4);
	n = support_descriptors();
	fd = watch();
	ck_assert_int_ge(fd, 0);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(watch(), fd);
	ck_assert_int_eq(support_descriptors(), n + 1);
}
END_TEST

START_TEST(test_watching_without_a_descriptor_is_an_error)
{
	struct rlimit before, none;
	int r;

	make_bound(4);
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){ 0, before.rlim_max };
	setrlimit(RLIMIT_NOFILE, &none);
	r = watch();
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(r, -EMFILE);
	/* And nothing to be carried over. */
	ck_assert_int_ge(resize(8), 0);
	ck_assert_int_ge(watch(), 0);
}
END_TEST

START_TEST(test_watching_beside_the_program_s_own_eventfd_is_ebusy)
{
	int n, fd = eventfd(0, EFD_CLOEXEC);

	make_bound(4);
	ck_assert_int_eq(io_uring_register_eventfd(uring(), fd), 0);
	n = support_descriptors();
	ck_assert_int_eq(watch(), -EBUSY);
	ck_assert_int_eq(support_descriptors(), n);
	ck_assert_int_eq(io_uring_unregister_eventfd(uring()), 0);
	ck_assert_int_ge(watch(), 0);
	close(fd);
}
END_TEST

/* Somebody has closed what is to be carried over. */
START_TEST(test_rebuild_that_cannot_catch_up_leaves_the_ring_as_it_was)
{
	int fd, event_fd;

	make((struct uring_config){ .entries = 4, .is_any_thread = true });
	ck_assert_int_eq(bind_it(), 0);
	fd = uring()->ring_fd;
	event_fd = watch();
	close(event_fd);
	ck_assert_int_lt(resize(8), 0);
	ck_assert_int_eq(uring()->ring_fd, fd);
	ck_assert_uint_eq(rig.engine->sq_entries, 4);
	run_nops(10);
	/* Its number is to be closed with the ring. */
	ck_assert_int_eq(dup2(pipe_fds[0], event_fd), event_fd);
}
END_TEST

START_TEST(test_completions_can_be_watched_across_a_resize)
{
	int fd;

	make((struct uring_config){ .entries = 4, .is_any_thread = _i });
	ck_assert_int_eq(bind_it(), 0);
	fd = watch();
	for (unsigned entries = 8; entries <= 32; entries *= 2) {
		/* After a resize the kernel asks to be entered, to be on the safe side. */
		ck_assert_int_eq(flush(), LEFT_NOTHING);
		ck_assert(!look());
		ck_assert(!is_readable(0));
		queue_nops(1);
		ck_assert_int_eq(flush(), LEFT_NOTHING);
		ck_assert(is_readable(0));
		ck_assert(look());
		ck_assert(!is_readable(0));
		ck_assert_uint_eq(reap_all(), 1);
		ck_assert(!look());
		ck_assert_int_ge(resize(entries), 0);
		ck_assert_int_eq(watch(), fd);
	}
}
END_TEST

START_TEST(test_ring_can_be_watched_before_it_is_bound)
{
	make((struct uring_config){ .entries = 4, .is_any_thread = _i });
	ck_assert(!is_readable(0));
	ck_assert_int_eq(bind_it(), 0);
	queue_nops(1);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	ck_assert(is_readable(0));
	ck_assert_uint_eq(reap_all(), 1);
}
END_TEST

/* The kernel completes it while nobody is in a call of this ring. */
START_TEST(test_who_watches_is_told_of_what_was_in_flight)
{
	make((struct uring_config){ .entries = 4, .is_any_thread = _i });
	ck_assert_int_eq(bind_it(), 0);
	for (int i = 0; i < 3; i++) {
		struct op *read = queue_read(0);

		ck_assert_int_eq(flush(), LEFT_NOTHING);
		look();
		/* Nothing to be told of yet, nor left over from before. */
		ck_assert(!is_readable(0));
		feed();
		ck_assert(is_readable(5000));
		ck_assert(look());
		ck_assert_int_eq(flush(), LEFT_NOTHING);
		ck_assert_int_eq(reap(read), 1);
	}
}
END_TEST

/* The end. */

START_TEST(test_letting_go_keeps_completions_and_leaves_a_dummy)
{
	struct op *op;
	int n = support_descriptors();

	make_bound(4);
	queue_read(0);
	op = queue_nop(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	rig.engine->verbs->let_go(rig.engine, true);
	ck_assert_int_eq(support_descriptors(), n);
	ck_assert_int_eq(reap(op), 0);
	ck_assert_uint_eq(iou__cq_ready(&rig.cq), 0);
	ck_assert_int_eq(uring()->ring_fd, -1);
	ck_assert_ptr_null(io_uring_get_sqe(uring()));
	ck_assert_int_lt(io_uring_register_files(uring(), pipe_fds, 2), 0);
	ck_assert_int_lt(io_uring_submit(uring()), 1);
	/* A second time, and by somebody else: nothing is left to be done. */
	rig.engine->verbs->let_go(rig.engine, false);
}
END_TEST

START_TEST(test_freeing_closes_everything)
{
	int n = support_descriptors();

	make_bound(4);
	queue_read(0);
	ck_assert_int_eq(flush(), LEFT_NOTHING);
	break_rig(&rig, true);
	ck_assert_int_eq(support_descriptors(), n);
}
END_TEST

START_TEST(test_without_io_uring_there_is_no_ring)
{
	ck_assert_int_lt(make_rig(&rig, (struct uring_config){ .entries = 4 }), 0);
	ck_assert_ptr_null(rig.engine);
	SKIP("no io_uring");
}
END_TEST

static bool has_io_uring(void)
{
	struct io_uring ring;
	bool has = io_uring_queue_init(2, &ring, 0) == 0;

	if (has)
		io_uring_queue_exit(&ring);
	return has;
}

static void add_submission(Suite *to)
{
	TCase *tcase;

	tcase = ADD_CASE(to, "submission", test_one_system_call_submits_what_fits,
			 test_with_nothing_to_do_the_kernel_is_not_entered, test_what_does_not_fit_is_left,
			 test_full_ring_does_not_wait, test_any_number_goes_through_a_ring_of_one,
			 test_full_cq_loses_nothing, test_chain_is_not_split,
			 test_failure_in_a_chain_cancels_what_is_behind,
			 test_chain_longer_than_the_ring_is_left_and_what_is_before_it_goes,
			 test_drain_and_all_behind_it_wait, test_drain_in_a_chain_holds_all_of_it,
			 test_own_requests_go_first, test_own_requests_that_do_not_fit_are_left,
			 test_drain_does_not_wait_for_own_requests, test_sqe_of_the_program_s_is_submitted_too,
			 test_update_of_an_identity_is_refused_and_ends_its_chain);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(to, "waiting", test_waiting_ends_when_the_time_is_over, test_waiting_ends_with_a_completion,
			 test_kernels_without_timeouts_are_polled);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	/* Valgrind keeps signals from io_uring_enter(). */
	if (!RUNNING_ON_VALGRIND)
		tcase_add_test(tcase, test_signal_interrupts_waiting);
	tcase = ADD_CASE(to, "polling thread", test_polling_thread_takes_any_number,
			 test_polling_thread_that_sleeps_is_woken, test_polling_thread_s_ring_times_out);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
}

static void add_resize(Suite *to)
{
	TCase *tcase;

	tcase = ADD_CASE(to, "resize", test_resize_keeps_completions_that_overflowed, test_resize_keeps_what_is_queued,
			 test_resize_in_place_keeps_what_is_in_flight, test_resize_refuses_to_lose_what_is_in_flight,
			 test_resize_before_binding_leaves_that_to_the_owner,
			 test_resize_refuses_to_lose_registered_files, test_resize_refuses_to_lose_registered_buffers,
			 test_registrations_are_seen_although_the_ring_is_locked,
			 test_resize_in_place_keeps_registered_files);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_resize_keeps_completions_that_nobody_has_read, 0,
			    (int)(sizeof(sizes) / sizeof(sizes[0])));
	tcase_add_loop_test(tcase, test_resize_keeps_a_cq_s_size_that_was_asked_for, 0, 2);
	tcase_add_loop_test(tcase, test_resize_that_fails_leaves_the_ring_as_it_was, 0, 2);
	tcase_add_loop_test(tcase, test_resize_does_not_lose_the_program_s_sqes, 0, 2);
	tcase = ADD_CASE(to, "watching", test_there_is_one_descriptor_to_watch,
			 test_watching_without_a_descriptor_is_an_error,
			 test_watching_beside_the_program_s_own_eventfd_is_ebusy,
			 test_rebuild_that_cannot_catch_up_leaves_the_ring_as_it_was);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_ring_can_be_watched_before_it_is_bound, 0, 2);
	tcase_add_loop_test(tcase, test_completions_can_be_watched_across_a_resize, 0, 2);
	tcase_add_loop_test(tcase, test_who_watches_is_told_of_what_was_in_flight, 0, 2);
	tcase = ADD_CASE(to, "end", test_letting_go_keeps_completions_and_leaves_a_dummy,
			 test_freeing_closes_everything);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
}

Suite *suite(void)
{
	Suite *ring_suite = suite_create("ring");
	TCase *tcase;

	if (!has_io_uring()) {
		ADD_CASE(ring_suite, "none", test_without_io_uring_there_is_no_ring);
		return ring_suite;
	}
	tcase = ADD_CASE(ring_suite, "making", test_new_ring_tells_of_itself, test_entries_are_rounded_up,
			 test_what_the_kernel_refuses_is_an_error_and_leaks_nothing, test_no_descriptor_is_an_error,
			 test_limits_of_kernel_workers_are_set_and_survive_a_resize);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase = ADD_CASE(ring_suite, "owners", test_ring_is_disabled_until_it_is_bound,
			 test_ring_is_made_here_and_used_there, test_ring_has_one_owner,
			 test_ring_for_any_thread_is_used_by_any, test_more_rings_than_a_thread_can_register_all_work,
			 test_closing_another_thread_s_ring_leaves_one_s_own_alone,
			 test_slots_of_closed_rings_can_be_used_again);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	add_submission(ring_suite);
	add_resize(ring_suite);
	return ring_suite;
}
