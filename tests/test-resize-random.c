/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G10: resizes at random under load, and every completion is accounted for. */
#include "resizing.h"

enum {
	MAX_ITEMS = 20000,
	MOST_READS = 2000, /* in flight: their bytes fit in the pipe */
};

enum item_kind { NOP, READ, TIMEOUT, JOB, CHAIN, POST, N_ITEM_KINDS };

struct load;

/* One op, job or post. */
struct item {
	struct load *load;
	iou_op_t *op;
	enum item_kind kind;
	int n_finals;
	int result;
};

struct load {
	struct scene scene;
	struct receiver receiver;
	struct item items[MAX_ITEMS];
	int n_items;
	unsigned random;
	int n_reading;
	int n_read;
	int n_written;
	int n_sent;
	int n_resized, n_busy;
	bool may_be_busy;
};

static struct __kernel_timespec soon = { .tv_nsec = 50000 };

static unsigned below(struct load *load, unsigned n)
{
	load->random = load->random * 1103515245 + 12345;
	return (load->random >> 16) % n;
}

static void resize_at_random(struct load *load)
{
	unsigned entries = 1U << below(load, 10);

	if (resize_in_use(load->scene.iou, entries, !load->may_be_busy))
		load->n_resized++;
	else
		load->n_busy++;
}

static int have_item(void *data)
{
	struct item *item = data;
	struct load *load = item->load;

	item->n_finals++;
	item->result = item->op ? item->op->result : 0;
	if (item->kind == READ) {
		load->n_reading--;
		load->n_read += item->result > 0 ? item->result : 0;
	}
	if (below(load, 16) == 0)
		resize_at_random(load);
	/* By the time it ends there are other things due: also of those in front of a resize. */
	if (item->kind == NOP && below(load, 8) == 0) {
		item->n_finals--;
		iou_op_queue(load->scene.iou, item->op, have_item, item);
	}
	return 0;
}

static struct item *new_item(struct load *load, enum item_kind kind)
{
	struct item *item = &load->items[load->n_items++];

	ck_assert_int_le(load->n_items, MAX_ITEMS);
	*item = (struct item){ .load = load, .kind = kind };
	if (kind == POST)
		return item;
	item->op = iou_op_new(load->scene.iou);
	ck_assert_ptr_nonnull(item->op);
	return item;
}

static void add_sqe(struct load *load, enum item_kind kind, unsigned flags)
{
	struct item *item = new_item(load, kind);
	struct io_uring_sqe *sqe = item->op->sqe;

	if (kind == READ)
		io_uring_prep_read(sqe, load->scene.pipe[0], load->scene.given + SLOT * N_BUFFERS, 4, (__u64)-1);
	else if (kind == TIMEOUT)
		io_uring_prep_timeout(sqe, &soon, 0, IORING_TIMEOUT_ETIME_SUCCESS);
	else
		io_uring_prep_nop(sqe);
	sqe->flags = (__u8)flags;
	iou_op_queue(load->scene.iou, item->op, have_item, item);
}

static void add_reads(struct load *load, unsigned n)
{
	for (; n && load->n_reading < MOST_READS; n--, load->n_reading++)
		add_sqe(load, READ, below(load, 4) ? 0 : IOSQE_ASYNC);
}

static void add_other(struct load *load, enum item_kind kind, unsigned n)
{
	static int zero;

	for (; n; n--) {
		struct item *item;

		switch (kind) {
		case POST:
			ck_assert_int_eq(iou_post(load->scene.iou, have_item, new_item(load, POST)), 0);
			break;
		case JOB:
			item = new_item(load, JOB);
			ck_assert_int_eq(iou_op_async(load->scene.iou, item->op, return_int, &zero, have_item, item),
					 0);
			break;
		default:
			add_sqe(load, kind, kind == CHAIN && n > 1 ? IOSQE_IO_LINK : 0);
		}
	}
}

static void feed_reads(struct load *load)
{
	static const char bytes[4 * MOST_READS];
	int n = load->n_reading ? 4 * (int)below(load, (unsigned)load->n_reading + 1) : 0;

	/* What cancelled reads have left there is read by others. */
	n -= n_readable(load->scene.pipe[0]);
	if (n <= 0)
		return;
	put_bytes(load->scene.pipe[1], bytes, (size_t)n);
	load->n_written += n;
}

/* One that is over has been recycled, and its pointer is not to be used. */
static void cancel_one(struct load *load)
{
	struct item *item = load->n_items ? &load->items[below(load, (unsigned)load->n_items)] : NULL;

	if (!item || item->n_finals || !item->op || item->kind == NOP)
		return;

	int r = iou_op_cancel(load->scene.iou, item->op);

	ck_assert_msg(r == 0 || r == -EALREADY, "result %d", r);
}

static void send_one(struct load *load)
{
	put_bytes(load->scene.sockets[1], "mmmmmmmm", 8);
	load->n_sent += 8;
}

static void go_on(struct load *load)
{
	iou_t *iou = load->scene.iou;
	int r = 0;

	switch (below(load, 4)) {
	case 0:
		r = iou_flush(iou);
		break;
	case 1:
		r = turn(iou);
		break;
	case 2:
		r = iou_run_once(iou, &(struct timespec){ .tv_nsec = 20000 });
		break;
	default:
		if (load->n_items)
			io_uring_get_events(iou_ring(iou));
	}
	ck_assert_int_ge(r, 0);
}

static void step(struct load *load)
{
	switch (below(load, 10)) {
	case 0:
	case 1:
		add_other(load, NOP, 1 + below(load, 20));
		break;
	case 2:
		add_reads(load, 1 + below(load, 20));
		break;
	case 3:
		feed_reads(load);
		break;
	case 4:
		cancel_one(load);
		break;
	case 5:
		if (!load->may_be_busy)
			send_one(load);
		break;
	default:
		add_other(load, TIMEOUT + below(load, N_ITEM_KINDS - TIMEOUT), 1 + below(load, 4));
	}
}

/* It all comes to an end. */
static void finish(struct load *load)
{
	static const char bytes[4 * MOST_READS];
	int n = 4 * load->n_reading;

	put_bytes(load->scene.pipe[1], bytes, (size_t)n);
	load->n_written += n;
	ck_assert_int_eq(shutdown(load->scene.sockets[1], SHUT_WR), 0);
	ck_assert_int_eq(iou_run(load->scene.iou), 0);
	ck_assert_int_eq(iou_pending(load->scene.iou), 0);
	ck_assert_uint_eq(n_alive(load->scene.iou), 0);
}

/* A chain that is longer than the ring makes it grow, unless that is busy. */
static bool is_right(const struct item *item)
{
	int wanted = item->kind == READ ? 4 : item->kind == TIMEOUT ? -ETIME : 0;

	if (item->kind == CHAIN && item->result == -E2BIG)
		return item->load->may_be_busy;
	/* A cancelled one of the kernel's own threads. */
	if (item->kind == READ && item->result == -EINTR)
		return true;
	return item->result == wanted || (item->result == -ECANCELED && item->kind != POST && item->kind != NOP);
}

static void account(struct load *load)
{
	for (int i = 0; i < load->n_items; i++) {
		const struct item *item = &load->items[i];

		ck_assert_msg(item->n_finals == 1 && is_right(item), "item %d of kind %d: %d calls, result %d", i,
			      (int)item->kind, item->n_finals, item->result);
	}
	ck_assert_int_eq(load->n_reading, 0);
	ck_assert_int_eq(load->n_read + n_readable(load->scene.pipe[0]), load->n_written);
	ck_assert_int_eq(load->receiver.n_bytes, load->n_sent);
	ck_assert_int_eq(load->receiver.n_wrong, 0);
	ck_assert_int_eq(load->receiver.watched.n_finals, !load->may_be_busy);
}

static void resize_under_load(iou_config_t config, unsigned seed, bool has_fd)
{
	static struct load load;

	memset(&load, 0, sizeof(load));
	load.random = seed;
	load.may_be_busy = config.flags & IOU_ANY_THREAD || !can_resize_in_place();
	open_scene(&load.scene, config);
	if (has_fd)
		ck_assert_int_ge(iou_fd(load.scene.iou), 0);
	/* A ring that is built anew has no buffer rings. */
	if (!load.may_be_busy)
		start_receiver(&load.scene, &load.receiver);
	ck_assert_int_eq(iou_flush(load.scene.iou), 0);
	for (int i = 0; i < fewer(400, 60); i++) {
		step(&load);
		go_on(&load);
		resize_at_random(&load);
	}
	finish(&load);
	account(&load);
	ck_assert_int_ge(load.n_busy + load.n_resized, fewer(400, 60));
	ck_assert_int_eq(load.n_busy > 0, load.may_be_busy);
	ck_assert_ptr_null(iou_free(load.scene.iou));
	close_scene(&load.scene);
}

PROMISE(10, every_completion_is_accounted_for_over_hundreds_of_resizes)
{
	for (unsigned seed = 1; seed <= 6; seed++)
		resize_under_load((iou_config_t){ .entries = 8, .workers = 2 }, seed, seed % 2);
}
END_TEST

/* With a completion queue no larger than it has to be. */
PROMISE(10, every_completion_is_accounted_for_with_small_queues)
{
	for (unsigned seed = 11; seed <= 16; seed++)
		resize_under_load((iou_config_t){ .entries = 1, .cq_entries = 1, .workers = 1 }, seed, seed % 2);
}
END_TEST

/* Each of these takes another ring, and is refused but for when nothing is in flight. */
PROMISE(10, every_completion_is_accounted_for_where_rings_are_rebuilt)
{
	for (unsigned seed = 21; seed <= 23; seed++)
		resize_under_load((iou_config_t){ .entries = 8, .workers = 2, .flags = IOU_ANY_THREAD }, seed,
				  seed % 2);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("resize-random");

	ADD_CASE(s, "load", PROMISE_TEST(10, every_completion_is_accounted_for_over_hundreds_of_resizes),
		 PROMISE_TEST(10, every_completion_is_accounted_for_with_small_queues),
		 PROMISE_TEST(10, every_completion_is_accounted_for_where_rings_are_rebuilt));
	return s;
}
