/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "play-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	N_ENTRIES = 16,
	N_TAKEN = 300, /* more than the pool's first chunk has */
	N_ALL = 1000,  /* more than it has after that */
	N_NOPS = 30,
	N_LONG = 40, /* a chain that does not fit into the ring */
	N_READS = 3,
	N_TURNS = 30,
	N_TIMERS = 70, /* more than there is room for at first */
	N_POSTS = 300, /* likewise */
	N_DUE = 8,
	N_MUCH = 20,      /* what is worth a system call of its own before a wait */
	N_MESSAGES = 200, /* many times as many as there is room for */
	GROUP = 2,
};

static struct play the_play;

/* Only the first one is of interest. */
void play_complain(struct play *play, const char *format, ...)
{
	va_list arguments;

	if (play->complaint[0])
		return;
	va_start(arguments, format);
	vsnprintf(play->complaint, sizeof(play->complaint), format, arguments);
	va_end(arguments);
}

/* What a call has returned is success, or one of the errors that iou.h names, which ends with 0. */
static int check(struct play *play, const char *call, int r, const int *documented)
{
	if (r >= 0)
		return r;
	play->n_told++;
	if (play->rules->is_strict || play->rules->is_operation)
		play_complain(play, "%s() was told of it: %s", call, strerror(-r));
	while (*documented && *documented != -r)
		documented++;
	if (!*documented)
		play_complain(play, "%s() returned %d: %s", call, r, strerror(-r));
	return r;
}

#define CHECK(play, call, r, ...) check(play, call, r, (const int[]){ __VA_ARGS__, 0 })

/* An engine that has failed says why: with the error that it was given, or that it was lost in a resize. */
static bool is_engines(const struct play *play, int r)
{
	return r == -play->rules->error || r == -play->rules->engine_error || r == -ENOTRECOVERABLE;
}

static int check_run(struct play *play, const char *call, int r)
{
	play->is_lost |= r < 0 && is_engines(play, r);
	return is_engines(play, r) ? CHECK(play, call, r, -r) : CHECK(play, call, r, 0);
}

/* Errno is the error, and no other. */
static iou_t *check_new(struct play *play, const char *call, iou_t *iou)
{
	int error = errno;

	if (iou)
		return iou;
	play->n_told++;
	if (play->rules->is_strict || error != play->rules->error)
		play_complain(play, "%s() failed: %s", call, strerror(error));
	return NULL;
}

iou_t *play_open(struct play *play, iou_config_t config)
{
	config.size = sizeof(config);
	return check_new(play, "iou_new_with", iou_new_with(&config));
}

/* Ops. */

static int finish(void *data)
{
	struct part *part = data;

	if (part->op) {
		part->result = part->op->result;
		part->flags = part->op->flags;
	}
	part->n_final += !part->op || !(part->op->flags & IORING_CQE_F_MORE);
	part->n_errors += part->result < 0 && part->result == -part->play->rules->error;
	return 0;
}

static int count(void *n)
{
	++*(int *)n;
	return 0;
}

static struct part *add_part(struct play *play, const char *name, int wanted)
{
	struct part *part = &play->parts[play->n_parts < N_PARTS ? play->n_parts++ : 0];

	if (play->n_parts == N_PARTS)
		play_complain(play, "there are too many parts");
	*part = (struct part){ .play = play, .name = name, .wanted = wanted, .also = wanted };
	return part;
}

static iou_op_t *take(struct play *play)
{
	iou_op_t *op = iou_op_new(play->iou);

	if (!op)
		CHECK(play, "iou_op_new", -errno, ENOMEM);
	return op;
}

struct part *play_take_part(struct play *play, const char *name, int wanted)
{
	iou_op_t *op = take(play);
	struct part *part = op ? add_part(play, name, wanted) : NULL;

	if (part)
		part->op = op;
	return part;
}

void play_queue(struct part *part, unsigned flags)
{
	part->op->sqe->flags = (__u8)flags;
	part->is_due = true;
	iou_op_queue(part->play->iou, part->op, finish, part);
}

static struct part *nop(struct play *play, const char *name, unsigned flags, int wanted)
{
	struct part *part = play_take_part(play, name, wanted);

	if (!part)
		return NULL;
	io_uring_prep_nop(part->op->sqe);
	play_queue(part, flags);
	return part;
}

static void fail(struct play *play, const char *name, unsigned flags)
{
	struct part *part = play_take_part(play, name, -EBADF);

	if (!part)
		return;
	io_uring_prep_read(part->op->sqe, -1, play->bytes, 1, 0);
	play_queue(part, flags);
}

/* Blocks until it is fed or cancelled. */
static struct part *read_byte(struct play *play, const char *name, int wanted)
{
	struct part *part = play_take_part(play, name, wanted);

	if (!part)
		return NULL;
	part->is_read = true;
	io_uring_prep_read(part->op->sqe, play->fds[0], &play->bytes[part - play->parts], 1, (__u64)-1);
	play_queue(part, 0);
	return part;
}

/* A byte for each read that is in flight, also those that an earlier act has left there, or a run might never end. */
static void feed(struct play *play)
{
	for (int i = 0; i < play->n_parts; i++) {
		const struct part *part = &play->parts[i];

		if (part->is_read && part->is_due && !part->n_final && syscall(SYS_write, play->fds[1], "x", 1) != 1)
			play_complain(play, "the pipe is full");
	}
}

int play_run(struct play *play)
{
	feed(play);
	return check_run(play, "iou_run", iou_run(play->iou));
}

void play_turn(struct play *play)
{
	check_run(play, "iou_run_once", iou_run_once(play->iou, &(struct timespec){ 0 }));
}

static bool is_pending(const struct part *part)
{
	return part->is_due && !part->n_final && !part->waits && !part->is_read && !part->may_be_silent;
}

static bool has_pending(const struct play *play)
{
	for (int i = 0; i < play->n_parts; i++)
		if (is_pending(&play->parts[i]))
			return true;
	return false;
}

void play_settle(struct play *play)
{
	const struct timespec long_enough = { .tv_sec = 5 };

	play_turn(play);
	while (!play->is_lost && has_pending(play))
		if (check_run(play, "iou_run_once", iou_run_once(play->iou, &long_enough)) == 0)
			break;
	if (!play->is_lost && has_pending(play))
		play_complain(play, "it takes too long");
}

/* The acts. */

static bool is_readable(int fd, int timeout_ms)
{
	struct timespec timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000000 };

	return syscall(SYS_ppoll, &(struct pollfd){ .fd = fd, .events = POLLIN }, 1, &timeout, NULL, 0) == 1;
}

static int open_fd(struct play *play)
{
	int fd = iou_fd(play->iou);

	return is_engines(play, fd) ? CHECK(play, "iou_fd", fd, -fd)
				    : CHECK(play, "iou_fd", fd, ENOMEM, EMFILE, ENFILE, ENOSPC, EBUSY);
}

/* Nothing is due, and so it is not readable: at the latest after a few turns, when what could not be sent before is sent. */
static void check_quiet(struct play *play, int fd)
{
	int n = 0;

	if (fd < 0)
		return;
	for (; is_readable(fd, 0) && n < N_TURNS; n++)
		play_turn(play);
	if (n == N_TURNS)
		play_complain(play, "iou_fd() is readable for nothing");
}

static void resize_to(struct play *play, unsigned entries)
{
	iou_info_t before = { .size = sizeof(before) }, info = { .size = sizeof(info) };
	int r = iou_info(play->iou, &before);

	if (r == 0)
		r = iou_resize(play->iou, entries);
	/* There are rings that cannot be resized in place, and that is no failure. */
	if (r != -EBUSY)
		CHECK(play, "iou_resize", r, ENOMEM, EMFILE, ENFILE, is_engines(play, r) ? -r : ENOMEM);
	if (iou_info(play->iou, &info) != 0 || (r == 0 && info.sq_entries != entries))
		play_complain(play, "the ring has %u entries instead of %u", info.sq_entries, entries);
	if (r < 0 && r != -ENOTRECOVERABLE &&
	    (info.sq_entries != before.sq_entries || info.cq_entries != before.cq_entries))
		play_complain(play, "a resize that failed has changed the ring");
}

/* Before there has been any work for the kernel, which would wipe away what a resize has left. */
static void resize_at_rest(struct play *play)
{
	int fd = open_fd(play);

	check_run(play, "iou_flush", iou_flush(play->iou));
	resize_to(play, 2 * play->n_entries);
	resize_to(play, play->n_entries);
	check_quiet(play, fd);
}

/* Where another ring is built they have to be copied: for the first time, so that it takes memory. */
static void resize_with_completions_due(struct play *play)
{
	for (int i = 0; i < N_DUE; i++)
		nop(play, "a nop that is due in a resized ring", 0, 0);
	check_run(play, "iou_flush", iou_flush(play->iou));
	resize_to(play, 2 * play->n_entries);
	play_run(play);
	resize_to(play, play->n_entries);
}

static void take_many_and_queue_some(struct play *play)
{
	iou_op_t *ops[N_TAKEN];

	for (int i = 0; i < N_TAKEN; i++)
		ops[i] = take(play);
	for (int i = 0; i < N_TAKEN; i++)
		iou_op_free(play->iou, ops[i]);
	for (int i = 0; i < N_NOPS; i++)
		nop(play, "a nop", 0, 0);
	check_run(play, "iou_flush", iou_flush(play->iou));
	nop(play, "a nop behind a flush", 0, 0);
	play_run(play);
}

static bool is_blank(const struct io_uring_sqe *sqe)
{
	static const struct io_uring_sqe blank;

	return memcmp(sqe, &blank, sizeof(blank)) == 0;
}

static void prepare_again(struct part *part)
{
	iou_op_reset(part->play->iou, part->op);
	if (!is_blank(part->op->sqe))
		play_complain(part->play, "iou_op_reset() has left something");
	io_uring_prep_nop(part->op->sqe);
}

/* In the final callback, which thereby is none, but where nothing new starts. */
static int repeat(void *data)
{
	struct part *part = data;

	if (part->op->result < 0 || part->play->is_ending)
		return finish(part);
	prepare_again(part);
	iou_op_queue(part->play->iou, part->op, finish, part);
	return 0;
}

static void queue_again(struct play *play)
{
	struct part *part = play_take_part(play, "a nop that is queued again", 0);

	if (!part)
		return;
	io_uring_prep_read(part->op->sqe, -1, play->bytes, 1, 0);
	prepare_again(part);
	part->is_due = true;
	iou_op_queue(play->iou, part->op, repeat, part);
	play_run(play);
}

static void link_and_drain(struct play *play)
{
	struct part *silent;

	nop(play, "the head of a chain", IOSQE_IO_LINK, 0);
	fail(play, "a failing middle", IOSQE_IO_LINK);
	nop(play, "the end of a broken chain", 0, -ECANCELED);
	fail(play, "a failing head of a hard chain", IOSQE_IO_HARDLINK);
	nop(play, "the end of a hard chain", 0, 0);
	nop(play, "behind a drain", IOSQE_IO_DRAIN, 0);
	silent = nop(play, "a silent success", IOSQE_CQE_SKIP_SUCCESS, 0);
	if (silent)
		silent->may_be_silent = true;
	play_run(play);
}

static void link_more_than_fits(struct play *play)
{
	for (int i = 0; i < N_LONG; i++) {
		struct part *part = nop(play, "in a long chain", i < N_LONG - 1 ? IOSQE_IO_LINK : 0, 0);

		/* Without the memory for a larger ring. */
		if (part && !play->rules->is_strict)
			part->also = -E2BIG;
	}
	play_run(play);
}

static void cancel(struct play *play)
{
	struct part *parts[N_READS];

	for (int i = 0; i < N_READS; i++)
		parts[i] = read_byte(play, "a cancelled read", -ECANCELED);
	play_turn(play);
	if (parts[0] && !parts[0]->n_final)
		CHECK(play, "iou_op_cancel", iou_op_cancel(play->iou, parts[0]->op), ENOMEM);
	if (parts[1] && !parts[1]->n_final)
		CHECK(play, "iou_cancel_id", iou_cancel_id(play->iou, parts[1]->op->sqe->user_data), ENOMEM, EALREADY);
	if (CHECK(play, "iou_cancel_all", iou_cancel_all(play->iou), 0) < 1 && play->rules->is_strict)
		play_complain(play, "iou_cancel_all() made no attempt");
	check_run(play, "iou_run_once", iou_run_once(play->iou, &(struct timespec){ .tv_sec = 1 }));
	/* Where there was no memory for the requests to cancel they are still there. */
	if (play->rules->is_strict)
		check_run(play, "iou_run", iou_run(play->iou));
	else
		play_run(play);
}

#define MULTISHOT (1U << 6) /* IORING_TIMEOUT_MULTISHOT, Linux 6.4 */

static struct part *timer(struct play *play, const char *name, struct __kernel_timespec *time, int wanted,
			  unsigned count, unsigned flags)
{
	struct part *part = play_take_part(play, name, wanted);

	if (!part)
		return NULL;
	io_uring_prep_timeout(part->op->sqe, time, count, flags);
	play_queue(part, 0);
	return part;
}

/* By a chain, to which the library hands it on. */
static void remove_timer(struct play *play, const struct part *timer)
{
	struct part *removal;

	nop(play, "the head of a chain", IOSQE_IO_LINK, 0);
	removal = timer ? play_take_part(play, "a removal in a chain", 0) : NULL;
	if (!removal)
		return;
	removal->is_loose = true; /* it may have to do without the timer */
	io_uring_prep_timeout_remove(removal->op->sqe, timer->op->sqe->user_data, 0);
	play_queue(removal, 0);
}

/* One that is not waited for, however slow the machine is; but where something fails it may have to be. */
static struct part *far_timer(struct play *play, const char *name, unsigned count, unsigned flags)
{
	static struct __kernel_timespec far = { .tv_sec = 60 }, less_far = { .tv_nsec = 500000000 };
	bool is_strict = play->rules->is_strict;
	struct part *part = timer(play, name, is_strict ? &far : &less_far, -ECANCELED, count, flags);

	if (part && !is_strict)
		part->also = -ETIME;
	return part;
}

/* Where there is no memory to keep them, they are the kernel's. */
static void set_timers(struct play *play)
{
	static struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	struct part *handed_on = far_timer(play, "a timer that is removed by a chain", 0, 0);
	struct part *again = far_timer(play, "a multishot timer that is removed by a chain", 2, MULTISHOT);

	for (int i = 0; i < N_TIMERS; i++)
		timer(play, "a timer", &soon, -ETIME, 0, 0);
	check_run(play, "iou_flush", iou_flush(play->iou));
	remove_timer(play, handed_on);
	remove_timer(play, again);
	play_run(play);
}

/* Which goes before the wait, as it would take some of its time. A look that was in vain has the loop not look again. */
static void wait_with_much_to_submit(struct play *play)
{
	struct part *part = far_timer(play, "a timer that is cancelled", 0, 0);

	read_byte(play, "a read that nothing comes of at once", 1);
	play_turn(play);
	for (int i = 0; i < N_MUCH; i++)
		nop(play, "one of many before a wait", 0, 0);
	check_run(play, "iou_run_once", iou_run_once(play->iou, NULL));
	if (part && !part->n_final)
		CHECK(play, "iou_op_cancel", iou_op_cancel(play->iou, part->op), ENOMEM, EALREADY);
	play_run(play);
}

static void use_fd(struct play *play)
{
	int fd = open_fd(play);
	struct part *part = nop(play, "a nop that a foreign loop is told of", 0, 0);
	int r = check_run(play, "iou_flush", iou_flush(play->iou));

	if (part && fd >= 0 && r == 0 && !is_readable(fd, 5000))
		play_complain(play, "iou_fd() is not readable");
	if (fd >= 0 && iou_fd(play->iou) != fd)
		play_complain(play, "iou_fd() is another");
	if (play_run(play) == 0)
		check_quiet(play, fd);
}

static void resize_with_reads_in_flight(struct play *play)
{
	for (int i = 0; i < N_READS; i++)
		read_byte(play, "a read in a resized ring", 1);
	play_turn(play);
	resize_to(play, 128);
	nop(play, "a nop in a larger ring", 0, 0);
	play_turn(play);
	resize_to(play, 8);
	play_run(play);
	resize_to(play, 32);
	resize_to(play, play->n_entries);
	if (play_run(play) == 0)
		check_quiet(play, open_fd(play));
}

/* On threads the library does itself what the call is for, and what fails it the call is told of. */
static bool is_registered(struct play *play, const char *call, int r)
{
	if (play->is_on_threads && !play->rules->is_strict && r == -play->rules->error)
		return false;
	/* So says a madvise(2) that fails where another does not. */
	if (play->is_on_threads && !play->rules->is_strict && r == -EFAULT)
		return false;
	/* What could not be taken back is still there, and what could not be registered is not. */
	if (!play->rules->is_strict && (r == -EBUSY || r == -ENXIO))
		return false;
	return CHECK(play, call, r, ENOMEM, EMFILE, is_engines(play, r) ? -r : ENOMEM) >= 0;
}

static bool is_received(const struct part *part, const char *byte)
{
	return part->flags & IORING_CQE_F_BUFFER && byte && *byte == 'x';
}

/* What the read has brought is in one of them, which then is for others again. */
static void use_buffer(struct play *play, iou_buffers_t *buffers)
{
	struct part *part = buffers ? play_take_part(play, "a read into a provided buffer", 1) : NULL;
	unsigned id;

	if (!part)
		return;
	part->is_read = true;
	io_uring_prep_read(part->op->sqe, play->fds[0], NULL, 1, (__u64)-1);
	part->op->sqe->buf_group = GROUP;
	play_queue(part, IOSQE_BUFFER_SELECT);
	play_run(play);
	id = part->flags >> IORING_CQE_BUFFER_SHIFT;
	if (part->result == 1 && !is_received(part, iou_buffers_at(buffers, id)))
		play_complain(play, "a buffer does not have what was read");
	/* A read that has failed may have had one as well. */
	if (part->flags & IORING_CQE_F_BUFFER)
		CHECK(play, "iou_buffers_recycle", iou_buffers_recycle(buffers, id), 0);
}

/* More than there are, should none come back. */
static void use_up_buffers(struct play *play, iou_buffers_t *buffers)
{
	for (int i = 0; i < 2; i++)
		use_buffer(play, buffers);
}

/* Messages from another ring, which find no room, so that the kernel keeps them for when there is. */

static int n_foreign(struct play *play)
{
	iou_stats_t stats = { .size = sizeof(stats) };

	CHECK(play, "iou_stats", iou_stats(play->iou, &stats), 0);
	return (int)stats.n_foreign;
}

static int queue_messages(struct play *play, iou_t *from, int *n_done)
{
	iou_op_t *op;
	int n = 0;

	for (; n < N_MESSAGES && (op = iou_op_new(from)); n++) {
		io_uring_prep_msg_ring(op->sqe, iou_ring(play->iou)->ring_fd, 0, 0, 0);
		iou_op_queue(from, op, count, n_done);
	}
	return n;
}

/* How many, at most. Threads have room for all. */
static int send_messages(struct play *play)
{
	int n, r, n_done = 0;
	iou_t *other;

	if (play->is_on_threads || iou_supports(play->iou, IORING_OP_MSG_RING) != 1)
		return 0;
	other = check_new(play, "iou_new", iou_new(N_MESSAGES));
	if (!other)
		return 0;
	n = queue_messages(play, other, &n_done);
	r = iou_run(other);
	CHECK(play, "iou_run", r, is_engines(play, r) ? -r : 0);
	if (iou_free(other) || n_done != n)
		play_complain(play, "%d messages were sent of %d", n_done, n);
	return n;
}

static void take_messages(struct play *play, int n_sent)
{
	for (int i = 0; i < N_TURNS && !play->is_lost && n_foreign(play) < n_sent; i++)
		play_turn(play);
	if (play->rules->is_strict && n_foreign(play) < n_sent)
		play_complain(play, "%d messages came of %d", n_foreign(play), n_sent);
}

/* A ring that is built anew is given all of it, at no time less. Of what cannot be taken back iou_free() lets go. */
static void register_and_resize(struct play *play)
{
	const struct iovec iovec = { play->bytes, sizeof(play->bytes) };
	iou_buffers_t *buffers = NULL;
	struct part *part;
	int r, n_sent;

	if (!is_registered(play, "iou_register_files", iou_register_files(play->iou, play->fds, 2)))
		return;
	is_registered(play, "iou_register_buffers", iou_register_buffers(play->iou, &iovec, 1));
	/* A kernel that says EINVAL to this does not know it. */
	r = iou_buffers_new(play->iou, GROUP, 2, 16, &buffers);
	is_registered(play, "iou_buffers_new", r == -EOPNOTSUPP ? -EINVAL : r);
	use_buffer(play, buffers);
	n_sent = send_messages(play);
	resize_to(play, 8);
	take_messages(play, n_sent);
	part = play_take_part(play, "a write to a registered file", 0);
	if (part) {
		io_uring_prep_write(part->op->sqe, 1, "", 0, (__u64)-1);
		play_queue(part, IOSQE_FIXED_FILE);
	}
	play_run(play);
	resize_to(play, play->n_entries);
	use_up_buffers(play, buffers);
	play->buffers = buffers;
	if (is_registered(play, "iou_buffers_free", iou_buffers_free(buffers)))
		play->buffers = NULL;
	is_registered(play, "iou_unregister_files", iou_unregister_files(play->iou));
}

/* A table that is empty, and is filled bit by bit; it and the buffers are there to the end. */
static void fill_table(struct play *play)
{
	const struct iovec iovec = { play->bytes, sizeof(play->bytes) };

	if (is_registered(play, "iou_unregister_buffers", iou_unregister_buffers(play->iou)))
		is_registered(play, "iou_register_buffers", iou_register_buffers(play->iou, &iovec, 1));
	if (!is_registered(play, "iou_register_files", iou_register_files(play->iou, NULL, PLAY_SLOTS)))
		return;
	is_registered(play, "iou_register_files_update", iou_register_files_update(play->iou, 1, play->fds, 2));
	if (play->is_on_threads)
		play_use_slots(play);
}

static int return_seven(void *data)
{
	(void)data;
	return 7;
}

/* Without another worker a job waits for the one that there is. */
static int check_job(struct play *play, const char *call, int r)
{
	iou_info_t info = { .size = sizeof(info) };

	CHECK(play, "iou_info", iou_info(play->iou, &info), 0);
	return info.workers_started ? CHECK(play, call, r, ENOMEM) : CHECK(play, call, r, ENOMEM, EAGAIN);
}

static void start_async(struct play *play, int (*work)(void *), void *work_data)
{
	struct part *part = add_part(play, "a job of iou_async()", 0);

	part->is_due = check_job(play, "iou_async", iou_async(play->iou, work, work_data, finish, part)) == 0;
}

static struct part *start_job_of(struct part *part, int (*work)(void *), void *work_data)
{
	struct play *play = part->play;
	int r = iou_op_async(play->iou, part->op, work, work_data, finish, part);

	part->is_due = check_job(play, "iou_op_async", r) == 0;
	if (!part->is_due)
		iou_op_free(play->iou, part->op);
	return part->is_due ? part : NULL;
}

static struct part *start_job(struct play *play, const char *name, int (*work)(void *), void *work_data)
{
	struct part *part = play_take_part(play, name, 7);

	return part ? start_job_of(part, work, work_data) : NULL;
}

static int wait_for_sem(void *data)
{
	while (sem_wait(data) < 0)
		;
	return 7;
}

static void do_jobs(struct play *play)
{
	struct part *waiting;

	start_async(play, return_seven, NULL);
	for (int i = 0; i < 2; i++)
		start_job(play, "a job that waits", wait_for_sem, &play->gate);
	waiting = start_job(play, "a job that is cancelled", return_seven, NULL);
	if (waiting) {
		int r = iou_op_cancel(play->iou, waiting->op);

		/* A worker may have been quicker. */
		waiting->also = -ECANCELED;
		if (r != -EALREADY)
			CHECK(play, "iou_op_cancel", r, 0);
	}
	for (int i = 0; i < 2; i++)
		sem_post(&play->gate);
	play_run(play);
}

/* Work, on another thread: its post keeps the run going, and so does the hold that it gives back. */
static int post_and_release(void *data)
{
	struct part *part = data;

	part->is_due = iou_post(part->play->iou, finish, part) == 0;
	iou_release(part->play->iou);
	return 0;
}

static void post_and_hold(struct play *play)
{
	struct part *own = add_part(play, "a post", 0), *foreign = add_part(play, "a worker's post", 0);
	int r;

	own->is_due = CHECK(play, "iou_post", iou_post(play->iou, finish, own), ENOMEM) == 0;
	CHECK(play, "iou_hold", iou_hold(play->iou), 0);
	r = iou_async(play->iou, post_and_release, foreign, NULL, NULL);
	if (check_job(play, "iou_async", r) < 0)
		CHECK(play, "iou_release", iou_release(play->iou), 0);
	play_run(play);
}

/* More than the mailbox has room for. */
static void post_many(struct play *play)
{
	static int n; /* if a run fails they come later */
	int n_posted = 0;

	n = 0;
	for (int i = 0; i < N_POSTS; i++)
		n_posted += CHECK(play, "iou_post", iou_post(play->iou, count, &n), ENOMEM) == 0;
	for (int i = 0; i < N_POSTS && n < n_posted && !play->is_lost; i++)
		play_turn(play);
	if (n != n_posted && !play->is_lost)
		play_complain(play, "%d posts came of %d", n, n_posted);
}

static int quit_elsewhere(void *data)
{
	return iou_quit(data);
}

static void quit(struct play *play)
{
	nop(play, "a nop behind a quit", 0, 0);
	CHECK(play, "iou_quit", iou_quit(play->iou), 0);
	play_run(play);
	play_run(play);
	/* A loop that waits for nothing but this; a hold keeps it waiting. */
	CHECK(play, "iou_hold", iou_hold(play->iou), 0);
	if (check_job(play, "iou_async", iou_async(play->iou, quit_elsewhere, play->iou, NULL, NULL)) == 0)
		play_run(play);
	CHECK(play, "iou_release", iou_release(play->iou), 0);
	play_run(play);
}

static void wait_a_little(struct play *play)
{
	read_byte(play, "a read that outlasts a time-out", 1);
	check_run(play, "iou_run_once", iou_run_once(play->iou, &(struct timespec){ .tv_nsec = 1000000 }));
	play_run(play);
}

static void watch_pipe(struct play *play)
{
	struct part *part = play_take_part(play, "a multishot poll", -ECANCELED);

	if (!part)
		return;
	/* Where there is no memory to watch the pipe it may end sooner. */
	if (!play->rules->is_strict)
		part->also = POLLOUT;
	io_uring_prep_poll_multishot(part->op->sqe, play->fds[1], POLLOUT);
	play_queue(part, 0);
}

static size_t pool_bytes(struct play *play)
{
	iou_stats_t stats = { .size = sizeof(stats) };

	CHECK(play, "iou_stats", iou_stats(play->iou, &stats), 0);
	return stats.pool_bytes;
}

/* Until the pool grows; or cannot, and then nothing is left for the library's own requests. */
static int take_all(struct play *play, iou_op_t **ops)
{
	size_t before = pool_bytes(play);
	int n = 0;

	while (n < N_ALL && pool_bytes(play) == before && (ops[n] = take(play)))
		n++;
	return n;
}

/* But the one that there may be. */
static void start_jobs_without_ops(struct play *play, iou_op_t *op)
{
	struct part *part;

	start_async(play, return_seven, NULL);
	if (!op)
		return;
	part = add_part(play, "a job before a drain", 7);
	part->op = op;
	part->also = -ECANCELED; /* it may not have begun */
	start_job_of(part, return_seven, NULL);
}

static void drain(struct play *play)
{
	iou_op_t *ops[N_ALL];
	int n;

	for (int i = 0; i < N_READS; i++)
		read_byte(play, "a read before a drain", -ECANCELED);
	watch_pipe(play);
	if (play->is_on_threads)
		play_leave_operations(play);
	play_turn(play);
	n = take_all(play, ops);
	start_jobs_without_ops(play, n ? ops[--n] : NULL);
	play->is_ending = true;
	check_run(play, "iou_drain", iou_drain(play->iou, NULL));
	play->is_ending = false;
	while (n--)
		iou_op_free(play->iou, ops[n]);
}

static void ask_for_version(struct play *play)
{
	char version[32];

	snprintf(version, sizeof(version), "%d.%d.%d", IOU_VERSION_MAJOR, IOU_VERSION_MINOR, IOU_VERSION_MICRO);
	if (strcmp(iou_version(), version) != 0)
		play_complain(play, "iou_version() is %s instead of %s", iou_version(), version);
}

static void ask_for_support(struct play *play)
{
	int r = iou_supports(play->iou, IORING_OP_READ);

	if (r == 0)
		play_complain(play, "reads are not supported");
	else
		CHECK(play, "iou_supports", r, is_engines(play, r) ? -r : 0);
}

static void ask(struct play *play)
{
	iou_stats_t stats = { .size = sizeof(stats) };

	CHECK(play, "iou_stats", iou_stats(play->iou, &stats), 0);
	if (stats.ops_new)
		play_complain(play, "%d ops are still new", (int)stats.ops_new);
	if (play_run(play) == 0 && iou_pending(play->iou) != 0)
		play_complain(play, "%d are pending after a run", iou_pending(play->iou));
	if (!iou_ring(play->iou))
		play_complain(play, "iou_ring() is NULL");
	ask_for_version(play);
	ask_for_support(play);
}

/* For iou_free(). */
static void leave_everything(struct play *play)
{
	struct part *post = add_part(play, "a post that is left", 0);

	for (int i = 0; i < N_READS; i++)
		read_byte(play, "a read in flight", -ECANCELED);
	watch_pipe(play);
	if (play->is_on_threads)
		play_leave_operations(play);
	play_turn(play);
	nop(play, "a nop that is left", 0, -ECANCELED);
	take(play);
	start_async(play, return_seven, NULL);
	post->is_due = CHECK(play, "iou_post", iou_post(play->iou, finish, post), ENOMEM) == 0;
	iou_hold(play->iou);
}

static void (*const acts[])(struct play *) = {
	resize_at_rest,
	resize_with_completions_due,
	take_many_and_queue_some,
	queue_again,
	link_and_drain,
	link_more_than_fits,
	cancel,
	set_timers,
	wait_with_much_to_submit,
	use_fd,
	resize_with_reads_in_flight,
	register_and_resize,
	fill_table,
	do_jobs,
	post_and_hold,
	post_many,
	quit,
	wait_a_little,
	drain,
	ask,
	leave_everything,
};

/* The kernel is trusted with these. */
static void (*const operations[])(struct play *) = {
	play_use_files, play_use_paths,       play_send_and_receive, play_use_sockets,  play_connect,
	play_use_pipes, play_wait_for_things, play_use_buffers,      play_send_message,
};

/* The end. */

static bool is_as_wanted(const struct part *part)
{
	if (part->result == part->wanted || part->result == part->also || (part->opens && part->result >= 0))
		return true;
	if (part->play->rules->is_strict)
		return false;
	if (part->is_loose || (part->play->is_on_threads && part->result == -part->play->rules->error))
		return true;
	/* It went down with the engine; or could not be cancelled, and was fed. */
	return part->result == -ECANCELED || (part->is_read && part->result == 1);
}

static void check_part(const struct part *part)
{
	if (part->n_final != part->is_due && !(part->may_be_silent && part->n_final == 0))
		play_complain(part->play, "%s got %d final callbacks instead of %d", part->name, part->n_final,
			      part->is_due);
	else if (part->n_final && part->op && !is_as_wanted(part))
		play_complain(part->play, "%s got %d instead of %d", part->name, part->result, part->wanted);
}

/* Where it could not be closed by an op. */
static void close_what_is_left(const struct part *part)
{
	bool is_open = part->opens && part->n_final && part->result >= 0;

	if (is_open && (!part->closer || part->closer->result == -ECANCELED))
		close(part->result);
}

static void open_iou(struct play *play)
{
	iou_config_t config = play->rules->config;
	iou_info_t info = { .size = sizeof(info) };

	play->n_entries = config.entries ? config.entries : N_ENTRIES;
	config.entries = play->n_entries;
	play->iou = play_open(play, config);
	if (!play->iou)
		return;
	CHECK(play, "iou_info", iou_info(play->iou, &info), 0);
	play->is_on_threads = info.engine == IOU_ENGINE_THREADS;
}

static void operate(struct play *play)
{
	if (!play_open_stage())
		play_complain(play, "no stage");
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		operations[i](play);
}

static void perform(struct play *play)
{
	open_iou(play);
	if (!play->iou)
		return;
	if (play->is_on_threads)
		operate(play);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		acts[i](play);
	play->is_ending = true;
	if (iou_free(play->iou))
		play_complain(play, "iou_free() failed: %s", strerror(errno));
	if (iou_buffers_free(play->buffers) < 0)
		play_complain(play, "iou_buffers_free() failed after iou_free()");
	for (int i = 0; i < play->n_parts; i++) {
		check_part(&play->parts[i]);
		close_what_is_left(&play->parts[i]);
	}
}

/* System calls of the test's own are made without the functions that may have been told to fail. */
const char *play(const struct play_rules *rules)
{
	struct play *play = &the_play;

	memset(play, 0, sizeof(*play));
	play->rules = rules;
	if (syscall(SYS_pipe2, play->fds, O_CLOEXEC) < 0)
		return "no pipe";
	sem_init(&play->gate, 0, 0);
	perform(play);
	sem_destroy(&play->gate);
	play_close_stage();
	for (int i = 0; i < 2; i++)
		syscall(SYS_close, play->fds[i]);
	return play->complaint[0] ? play->complaint : NULL;
}

const char *play_waits_for(void)
{
	for (int i = 0; i < the_play.n_parts; i++)
		if (the_play.parts[i].is_due && !the_play.parts[i].n_final && !the_play.parts[i].may_be_silent)
			return the_play.parts[i].name;
	return "nothing";
}

int play_n_errors(void)
{
	int n = 0;

	for (int i = 0; i < the_play.n_parts; i++)
		n += the_play.parts[i].n_errors;
	return n;
}

int play_n_told(void)
{
	return the_play.n_told;
}

static unsigned number_of(const char *variable)
{
	const char *value = getenv(variable);

	return value ? (unsigned)strtoul(value, NULL, 10) : 0;
}

struct play_choice play_choose(void)
{
	struct play_choice choice = { .stride = number_of("IOU_FAULTS_STRIDE") };
	unsigned any = 0;

	if (getenv("IOU_FAULTS_OFFSET"))
		any = number_of("IOU_FAULTS_OFFSET");
	else if (syscall(SYS_getrandom, &any, sizeof(any), 0) == (long)sizeof(any))
		any %= 1000;
	choice.offset = any;
	snprintf(choice.words, sizeof(choice.words), "IOU_FAULTS_OFFSET=%u", choice.offset);
	if (choice.stride)
		snprintf(choice.words, sizeof(choice.words), "IOU_FAULTS_STRIDE=%u IOU_FAULTS_OFFSET=%u", choice.stride,
			 choice.offset);
	return choice;
}
