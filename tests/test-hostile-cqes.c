/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completions that the program brings about itself, by SQEs through iou_ring() and by ring messages, with any
 * user_data: each is a foreign one unless it bears the identity of an op that is in flight.
 */
#include "promises.h"

/* What foreign_cqe has seen: in order, and nothing else. */
struct foreign {
	iou_t *iou;
	__u64 *wanted; /* NULL: just count */
	int n_wanted;
	int n_calls;
	int n_wrong;
};

static int see_foreign(const struct io_uring_cqe *cqe, void *data)
{
	struct foreign *foreign = data;

	if (foreign->wanted)
		foreign->n_wrong +=
			foreign->n_calls >= foreign->n_wanted || foreign->wanted[foreign->n_calls] != cqe->user_data;
	foreign->n_calls++;
	return 0;
}

enum { N_ENTRIES = 8 };

static iou_t *open_with_foreign(struct foreign *foreign)
{
	*foreign = (struct foreign){ .n_calls = 0 };
	foreign->iou = open_with(
		(iou_config_t){ .entries = N_ENTRIES, .foreign_cqe = see_foreign, .foreign_cqe_data = foreign });
	/* Before that nothing can be submitted. */
	ck_assert_int_eq(iou_flush(foreign->iou), 0);
	return foreign->iou;
}

/* The two ways to a CQE of one's own. */

static void submit_nop(iou_t *iou, __u64 user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(iou_ring(iou));

	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = user_data;
	ck_assert_int_eq(io_uring_submit(iou_ring(iou)), 1);
}

/* A message can have any result, and from Linux 6.3 on any flags as well. */
static void send_message(struct io_uring *from, iou_t *to, __u64 user_data, int result, unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(from);
	struct io_uring_cqe *cqe;

	io_uring_prep_msg_ring(sqe, iou_ring(to)->ring_fd, (unsigned)result, user_data, 0);
	if (flags) {
		sqe->msg_ring_flags = 1U << 1; /* IORING_MSG_RING_FLAGS_PASS */
		sqe->file_index = flags;
	}
	ck_assert_int_eq(io_uring_submit_and_wait(from, 1), 1);
	ck_assert_int_eq(io_uring_peek_cqe(from, &cqe), 0);
	ck_assert_int_eq(cqe->res, 0);
	io_uring_cqe_seen(from, cqe);
}

static void open_sender(struct io_uring *sender)
{
	ck_assert_int_eq(io_uring_queue_init(4, sender, 0), 0);
}

/* Posts, jobs, reads and cancellation still come through. */
static void check_is_alive(iou_t *iou)
{
	struct seen job, blocked, nop, post = { 0 };
	int five = 5, fds[2];
	char byte;

	open_pipe(fds);
	queue_job(iou, &job, return_int, &five);
	queue_nop(iou, &nop, 0);
	queue_read(iou, &blocked, fds[0], &byte, 1, 0);
	ck_assert_int_eq(iou_post(iou, see, &post), 0);
	ck_assert_int_ge(turn(iou), 0);
	ck_assert_int_eq(iou_op_cancel(iou, blocked.op), 0);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&job, 5);
	expect(&nop, 0);
	expect(&blocked, -ECANCELED);
	ck_assert_int_eq(post.n_calls, 1);
	close_pipe(fds);
}

/* Two lives of an op have ended, one is queued and held back, one is new. */
struct cast {
	struct seen ended, blocked, queued, drained, unqueued;
	__u64 ended_ids[2];
	int fds[2];
	char byte;
};

static int queue_once_more(void *data)
{
	struct cast *cast = data;

	see(&cast->ended);
	cast->ended_ids[cast->ended.n_calls - 1] = cast->ended.op->sqe->user_data;
	if (cast->ended.n_calls == 1)
		iou_op_queue(cast->ended.iou, cast->ended.op, queue_once_more, cast);
	return 0;
}

static void set_stage(iou_t *iou, struct cast *cast)
{
	open_pipe(cast->fds);
	io_uring_prep_nop(take(iou, &cast->ended));
	iou_op_queue(iou, cast->ended.op, queue_once_more, cast);
	ck_assert_int_eq(iou_run(iou), 0);
	ck_assert_int_eq(cast->ended.n_calls, 2);
	io_uring_prep_nop(take(iou, &cast->unqueued));
	queue_read(iou, &cast->blocked, cast->fds[0], &cast->byte, 1, 0);
	queue_nop(iou, &cast->drained, IOSQE_IO_DRAIN);
	queue_nop(iou, &cast->queued, 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_uint_eq(stats_of(iou).ops_queued, 2);
}

static void clear_stage(iou_t *iou, struct cast *cast)
{
	ck_assert_int_eq(cast->blocked.n_calls + cast->drained.n_calls + cast->queued.n_calls, 0);
	iou_op_free(iou, cast->unqueued.op);
	put_bytes(cast->fds[1], "x", 1);
	ck_assert_int_eq(iou_run(iou), 0);
	expect(&cast->blocked, 1);
	expect(&cast->drained, 0);
	expect(&cast->queued, 0);
	close_pipe(cast->fds);
}

enum { N_ODD = 32 };

/* Whatever is no living op's. */
static int list_odd_ones(const struct cast *cast, __u64 odd[N_ODD])
{
	const __u64 identity = cast->blocked.op->sqe->user_data, life = 1ULL << 24;
	const __u64 list[] = {
		0,
		1,
		2,
		~0ULL,
		LIBURING_UDATA_TIMEOUT,
		cast->ended_ids[0],
		cast->ended_ids[1],
		cast->drained.op->sqe->user_data,
		cast->queued.op->sqe->user_data,
		cast->unqueued.op->sqe->user_data,
		identity + life,
		identity - life,
		identity & (life - 1),
		identity | 1ULL << 63,
		life,
		life - 1,
		0x7fffffffffffffff,
		(__u64)(uintptr_t)cast->blocked.op,
		/* The library's own two: other generations, and none. */
		1 + 2 * life,
		2 + 2 * life,
		1 + (1ULL << 63),
	};

	memcpy(odd, list, sizeof(list));
	return (int)(sizeof(list) / sizeof(list[0]));
}

PROMISE(01, sqe_with_odd_user_data_is_foreign)
{
	struct foreign foreign;
	iou_t *iou = open_with_foreign(&foreign);
	struct cast cast;
	__u64 odd[N_ODD];

	set_stage(iou, &cast);
	foreign.wanted = odd;
	foreign.n_wanted = list_odd_ones(&cast, odd);
	for (int i = 0; i < foreign.n_wanted; i++) {
		submit_nop(iou, odd[i]);
		ck_assert_int_eq(turn(iou), 1);
		ck_assert_int_eq(foreign.n_calls, i + 1);
	}
	ck_assert_int_eq(foreign.n_wrong, 0);
	clear_stage(iou, &cast);
	check_is_alive(iou);
	ck_assert_uint_eq(stats_of(iou).n_foreign, (uint64_t)foreign.n_wanted);
	run_and_free(iou);
}
END_TEST

PROMISE(01, message_with_odd_user_data_is_foreign)
{
	struct foreign foreign;
	iou_t *iou = open_with_foreign(&foreign);
	struct io_uring sender;
	struct cast cast;
	__u64 odd[N_ODD];

	open_sender(&sender);
	set_stage(iou, &cast);
	foreign.wanted = odd;
	foreign.n_wanted = list_odd_ones(&cast, odd);
	for (int i = 0; i < foreign.n_wanted; i++)
		send_message(&sender, iou, odd[i], i % 2 ? -EBADF : INT32_MAX, 0);
	/* One delivery takes no more than was there when it began. */
	while (foreign.n_calls < foreign.n_wanted)
		ck_assert_int_gt(turn(iou), 0);
	ck_assert_int_eq(turn(iou), 0);
	ck_assert_int_eq(foreign.n_wrong, 0);
	clear_stage(iou, &cast);
	check_is_alive(iou);
	run_and_free(iou);
	io_uring_queue_exit(&sender);
}
END_TEST

static __u64 random_user_data(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	/* Many of them in the neighbourhood of identities. */
	return *state >> (*state & 3 ? 0 : 36 + *state % 7);
}

/* Among ops of the program's; the identities of those in flight, and the library's own, are left out. */
static bool is_in_use(const struct cast *cast, __u64 user_data)
{
	return user_data == cast->blocked.op->sqe->user_data || user_data >> 24 == 1;
}

static void submit_random_ones(struct foreign *foreign, const struct cast *cast, uint64_t *state)
{
	foreign->n_calls = 0;
	for (foreign->n_wanted = 0; foreign->n_wanted < N_ENTRIES;) {
		__u64 user_data = random_user_data(state);

		if (is_in_use(cast, user_data))
			continue;
		foreign->wanted[foreign->n_wanted++] = user_data;

		struct io_uring_sqe *sqe = io_uring_get_sqe(iou_ring(foreign->iou));

		io_uring_prep_nop(sqe);
		sqe->user_data = user_data;
	}
	ck_assert_int_eq(io_uring_submit(iou_ring(foreign->iou)), N_ENTRIES);
}

PROMISE(01, random_user_data_100_000_times_is_foreign)
{
	__u64 wanted[N_ENTRIES];
	struct foreign foreign;
	iou_t *iou = open_with_foreign(&foreign);
	uint64_t state = 0x2545f4914f6cdd1d;
	int n_rounds = fewer(100000, 4000) / N_ENTRIES;
	struct cast cast;

	set_stage(iou, &cast);
	foreign.wanted = wanted;
	for (int i = 0; i < n_rounds; i++) {
		submit_random_ones(&foreign, &cast, &state);
		ck_assert_int_eq(turn(iou), N_ENTRIES);
		ck_assert_int_eq(foreign.n_calls, N_ENTRIES);
		ck_assert_int_eq(foreign.n_wrong, 0);
	}
	ck_assert_uint_eq(stats_of(iou).n_foreign, (uint64_t)n_rounds * N_ENTRIES);
	clear_stage(iou, &cast);
	check_is_alive(iou);
	run_and_free(iou);
}
END_TEST

PROMISE(01, foreign_completions_nobody_wants_are_counted)
{
	iou_t *iou = open_iou(N_ENTRIES);

	ck_assert_int_eq(iou_flush(iou), 0);
	for (__u64 i = 0; i < 100; i++) {
		submit_nop(iou, ~i);
		ck_assert_int_eq(turn(iou), 0);
	}
	ck_assert_uint_eq(stats_of(iou).n_foreign, 100);
	run_and_free(iou);
}
END_TEST

/* Forging the library's own: those that every instance has, and whatever else may live there. */

static const int forged_results[] = { 0, 1, -ECANCELED, -EINVAL, -ENOENT, -EBADF, INT32_MIN };

enum { N_FORGED_RESULTS = sizeof(forged_results) / sizeof(forged_results[0]) };

static void forge(struct io_uring *sender, iou_t *iou, int i)
{
	for (__u64 index = 1; index <= 4; index++)
		send_message(sender, iou, index | 1ULL << 24, forged_results[i], 0);
}

PROMISE(05, forged_completions_of_the_library_s_own_requests_lose_no_wakeup)
{
	struct foreign foreign;
	struct io_uring sender;

	open_sender(&sender);
	for (int i = 0; i < N_FORGED_RESULTS; i++) {
		iou_t *iou = open_with_foreign(&foreign);

		for (int round = 0; round < 5; round++) {
			forge(&sender, iou, i);
			ck_assert_int_ge(turn(iou), 0);
			check_is_alive(iou);
			/* And before it is armed for the first time, or again after a rebuild. */
			forge(&sender, iou, i);
			ck_assert_int_eq(iou_resize(iou, round % 2 ? 8 : 16), 0);
			check_is_alive(iou);
		}
		forge(&sender, iou, i);
		ck_assert_ptr_null(iou_free(iou));
	}
	io_uring_queue_exit(&sender);
}
END_TEST

/* While cancellations are under way, whose requests come and go. */
PROMISE(09, forged_completions_do_no_harm_while_everything_is_cancelled)
{
	struct foreign foreign;
	struct io_uring sender;
	int fds[2];

	open_sender(&sender);
	open_pipe(fds);
	for (int round = 0; round < fewer(200, 20); round++) {
		iou_t *iou = open_with_foreign(&foreign);
		struct seen reads[16];
		char bytes[16];

		for (int i = 0; i < 16; i++)
			queue_read(iou, &reads[i], fds[0], &bytes[i], 1, 0);
		ck_assert_int_eq(turn(iou), 0);
		for (int i = 0; i < 16; i++)
			ck_assert_int_eq(iou_op_cancel(iou, reads[i].op), 0);
		/* Theirs are behind those of the reads; they have not left yet. */
		for (__u64 index = 1; index <= 36; index++)
			if (index < 3 || index > 18)
				send_message(&sender, iou, index | 1ULL << 24, round % 2 ? 0 : -ENOENT, 0);
		ck_assert_int_ge(iou_run(iou), 0);
		for (int i = 0; i < 16; i++)
			expect(&reads[i], -ECANCELED);
		check_is_alive(iou);
		run_and_free(iou);
	}
	io_uring_queue_exit(&sender);
	close_pipe(fds);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("hostile-cqes");

	ADD_CASE(s, "foreign", test_g01_sqe_with_odd_user_data_is_foreign,
		 test_g01_message_with_odd_user_data_is_foreign, test_g01_random_user_data_100_000_times_is_foreign,
		 test_g01_foreign_completions_nobody_wants_are_counted);
	ADD_CASE(s, "forged", test_g05_forged_completions_of_the_library_s_own_requests_lose_no_wakeup,
		 test_g09_forged_completions_do_no_harm_while_everything_is_cancelled);
	return s;
}
