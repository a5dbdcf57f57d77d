/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Life cycle: create in order, destroy in reverse; resize. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define PF_EXITING 0x4 /* include/linux/sched.h */

/* The kernel needs whole pages; one word of it is used. */
#define PULSE_SIZE 4096

/* Creation. */

static int make_pulse(iou_t *iou)
{
	_Atomic unsigned *page = mmap(NULL, PULSE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, PULSE_SIZE, MADV_WIPEONFORK) < 0) {
		int r = -errno;

		munmap((void *)(uintptr_t)page, PULSE_SIZE);
		return r;
	}
	atomic_init(page, PULSE_ALIVE);
	iou->pulse = page;
	return 0;
}

static void init(iou_t *iou, const iou_config_t *config)
{
	iou->is_any_thread = config->flags & IOU_ANY_THREAD;
	iou->foreign_cqe = config->foreign_cqe;
	iou->foreign_cqe_data = config->foreign_cqe_data;
	iou__fd_init(iou);
	iou->mailbox.fd = -1;
	iou__ops_init(&iou->ops);
	iou__stage_init(&iou->stage);
	iou__queue_init(&iou->inbox);
	iou__queue_init(&iou->buffers);
	iou__timeouts_init(&iou->timeouts, &iou->ops, &iou->stage, &iou->inbox);
	iou->spin.max_ns = config->spin_ns;
	iou->spins_for_all = config->flags & IOU_SPIN && config->spin_ns && sysconf(_SC_NPROCESSORS_ONLN) > 1;
	iou__async_init(&iou->async, &iou->ops, &iou->mailbox, config->workers, config->stack_size, config->spin_ns);
}

static int create(iou_t *iou, const iou_config_t *config)
{
	int r = make_pulse(iou);

	if (r == 0)
		r = iou__mailbox_init(&iou->mailbox);
	if (r == 0)
		r = iou__choose_engine(iou, config);
	if (r == 0)
		r = iou__own_init(iou);
	return r;
}

static void destroy_engine(iou_t *iou, bool is_owner)
{
	if (iou->engine)
		iou->engine->verbs->free(iou->engine, is_owner);
	iou->engine = NULL;
}

/* Takes half-built instances. Threads and the engine are gone. */
static void destroy(iou_t *iou)
{
	iou__buffers_leave(iou);
	iou__fd_destroy(iou);
	iou__cq_destroy(&iou->cq);
	iou__timeouts_destroy(&iou->timeouts);
	iou__mailbox_destroy(&iou->mailbox);
	iou__ops_destroy(&iou->ops);
	if (iou->pulse)
		munmap((void *)(uintptr_t)iou->pulse, PULSE_SIZE);
	free(iou);
}

static iou_t *fail(int r)
{
	errno = -r;
	return NULL;
}

iou_t *iou_new_with(const iou_config_t *config)
{
	iou_config_t checked;
	int r = iou__config_read(config, &checked);
	iou_t *iou;

	if (r < 0)
		return fail(r);
	iou = aligned_alloc(_Alignof(iou_t), sizeof(*iou));
	if (!iou)
		return fail(-ENOMEM);
	memset(iou, 0, sizeof(*iou));
	init(iou, &checked);
	r = create(iou, &checked);
	if (r < 0) {
		iou__async_stop(&iou->async);
		destroy_engine(iou, false);
		destroy(iou);
		return fail(r);
	}
	return iou;
}

iou_t *iou_new(unsigned entries)
{
	iou_config_t config = { .size = sizeof(config), .entries = entries };

	return entries ? iou_new_with(&config) : fail(-EINVAL);
}

/* Destruction. */

/* In a forked child there are no threads to join, and nothing of the parent's to end. */
static void abandon(iou_t *iou)
{
	iou__async_abandon(&iou->async);
	iou->engine->verbs->abandon(iou->engine);
	destroy(iou);
}

/*
 * A thread that has been joined can be seen a little longer: what counts is the kernel's PF_EXITING, in field 9 of
 * its stat, see proc_pid_stat(5). Where /proc cannot be read it is alive as long as it can be seen.
 */
static bool is_exiting(pid_t thread)
{
	char path[64], stat[512] = "";
	unsigned flags = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	file = fopen(path, "re");
	if (!file)
		return false;

	const char *after_name = fgets(stat, sizeof(stat), file) ? strrchr(stat, ')') : NULL;
	int n = after_name ? sscanf(after_name, ") %*c %*d %*d %*d %*d %*d %u", &flags) : 0;

	fclose(file);
	return n == 1 && (flags & PF_EXITING);
}

static bool can_be_seen(pid_t thread)
{
	return tgkill(getpid(), thread, 0) == 0 || errno != ESRCH;
}

/* Asked once more at the end, since /proc cannot be read of a thread that leaves while we look. */
static bool is_alive(pid_t thread)
{
	return thread && can_be_seen(thread) && !is_exiting(thread) && can_be_seen(thread);
}

/*
 * Whether a run is under way that will return: a thread may have left in the middle of one, and in a forked child the only
 * thread may be another one than that which runs.
 */
static bool has_run_to_return(const iou_t *iou, bool is_child)
{
	if (!iou->is_running)
		return false;
	return is_child ? pthread_equal(iou->runner, pthread_self()) : is_alive(iou->runner_id);
}

/* The loop thread has left in an op's final callback. */
static void give_back_current(iou_t *iou)
{
	if (iou->current)
		iou__ops_give_back(&iou->ops, iou->current);
	iou->current = NULL;
}

/* What others still hand over while they leave. */
static void deliver_the_last(iou_t *iou)
{
	iou->is_ending = true;
	iou__stir(iou);
	iou__mailbox_wait_until_left(&iou->mailbox);
	while (iou__has_deliverable(iou) && iou__check(iou) == 0)
		iou__deliver(iou);
}

static void end(iou_t *iou, bool can_enter)
{
	const struct deadline none = { .is_none = true };

	iou__mailbox_close(&iou->mailbox);
	give_back_current(iou);
	iou__begin_running(iou, gettid());
	/* The second time without an engine, should it fail on the way. */
	if (iou__end_all(iou, &none, can_enter && !iou->error) < 0 && iou__check(iou) == 0)
		iou__end_all(iou, &none, false);
	deliver_the_last(iou);
	/* One of the callbacks has forked, and this is the child. */
	if (iou__check(iou) < 0) {
		abandon(iou);
		return;
	}
	iou__async_stop(&iou->async);
	assert(iou__ops_add_up(&iou->ops));
	destroy_engine(iou, can_enter);
	destroy(iou);
}

/* The run that is under way does it, unless this is a callback of iou_free() itself. */
static void ask_to_free(iou_t *iou)
{
	iou->has_to_free = !iou__mailbox_is_closed(&iou->mailbox);
	iou__stir(iou);
}

iou_t *iou_free(iou_t *iou)
{
	if (!iou)
		return NULL;

	bool is_child = iou__check(iou) < 0;
	bool is_mine = is_child || iou__may_own(iou);

	if (!is_mine && is_alive(iou->owner) && (iou->is_running || iou->has_in_flight)) {
		errno = EBUSY;
		return iou;
	}
	if (is_mine && has_run_to_return(iou, is_child))
		ask_to_free(iou);
	else if (is_child)
		abandon(iou);
	else
		end(iou, is_mine && iou->is_bound);
	return NULL;
}

/* Change. */

int iou_resize(iou_t *iou, unsigned entries)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	if (!iou__config_entries_are_valid(entries))
		return -EINVAL;
	if (!iou__may_own(iou))
		return -EPERM;
	if (iou->is_ending)
		return -EBUSY;
	if (iou->error)
		return iou->error;
	/* To get at registered files a ring has to be in use. */
	r = iou->engine->has_files ? iou__take_ownership(iou) : 0;
	if (r < 0)
		return r;
	r = iou__resize_engine(iou, entries);
	iou__expose(iou);
	return r;
}

struct io_uring *iou_ring(iou_t *iou)
{
	int r = iou__check(iou);

	if (r < 0) {
		errno = -r;
		return NULL;
	}
	return iou->engine->verbs->uring(iou->engine);
}
