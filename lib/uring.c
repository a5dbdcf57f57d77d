/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring.h"
#include "deadline.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Without these completions can be lost, or an SQE's iovecs are read too late: Linux 5.5. */
#define FEATURES_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE)

#define DEFERRING (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
#define COOPERATIVE (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
#define ALWAYS (IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL)

/* From best to plain. Which of them a kernel takes is found out by trying: distributions backport. */
static const unsigned setups[] = {
	ALWAYS | DEFERRING,      /* Linux 6.1 */
	ALWAYS | COOPERATIVE,    /* 5.19 */
	ALWAYS,                  /* 5.18 */
	IORING_SETUP_R_DISABLED, /* 5.10 */
	0,
};

/* A quarter of a second in all. */
#define MOST_WAITS 8

#define N_SETUPS (sizeof(setups) / sizeof(setups[0]))
#define NOT_REGISTERED (-1)
/* An opcode has 8 bits. */
#define MAX_OPCODES 256
#define PROBE_SIZE (sizeof(struct io_uring_probe) + MAX_OPCODES * sizeof(struct io_uring_probe_op))

/* The i-th set-up as this configuration needs it; false: it is out of the question. */
static bool choose_flags(const struct uring_config *config, size_t i, unsigned *flags)
{
	*flags = setups[i];
	if (config->is_any_thread && (*flags & IORING_SETUP_SINGLE_ISSUER))
		return false;
	/* Who polls has no use for being told of work, and the kernel refuses to. */
	if (config->is_sqpoll)
		*flags = (*flags & (ALWAYS | IORING_SETUP_SINGLE_ISSUER)) | IORING_SETUP_SQPOLL;
	if (config->cq_entries)
		*flags |= IORING_SETUP_CQSIZE;
	return true;
}

static int set_up(const struct uring_config *config, struct io_uring *ring, unsigned *flags)
{
	int r = -EINVAL;

	for (size_t i = 0; i < N_SETUPS && r == -EINVAL; i++) {
		if (!choose_flags(config, i, flags))
			continue;
		struct io_uring_params params = { .flags = *flags, .cq_entries = config->cq_entries };

		r = io_uring_queue_init_params(config->entries, ring, &params);
	}
	return r;
}

static bool may_ever_be_locked(size_t size)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur >= size;
}

bool iou__uring_wait_for_memory(size_t size, int n_waits)
{
	const struct timespec a_while = { .tv_nsec = 1000000L << n_waits };

	if (n_waits == MOST_WAITS || !may_ever_be_locked(size))
		return false;
	iou__sleep(a_while);
	return true;
}

static size_t size_of(const struct uring_config *config)
{
	return config->entries * sizeof(struct io_uring_sqe) + config->cq_entries * sizeof(struct io_uring_cqe);
}

static int set_up_in_time(const struct uring_config *config, struct io_uring *ring, unsigned *flags)
{
	int r, n_waits = 0;

	do
		r = set_up(config, ring, flags);
	while (r == -ENOMEM && iou__uring_wait_for_memory(size_of(config), n_waits++));
	return r;
}

static int limit_iowq(const struct uring_config *config, struct io_uring *ring)
{
	unsigned max[2] = { config->iowq_max[0], config->iowq_max[1] };

	return max[0] || max[1] ? io_uring_register_iowq_max_workers(ring, max) : 0;
}

/* The SQ is used in order, so its array of indices is written once. */
static void number_sq(struct io_uring *ring)
{
	for (unsigned i = 0; ring->sq.array && i < ring->sq.ring_entries; i++)
		ring->sq.array[i] = i;
}

/* Everything but the descriptor. */
static void unmap(const struct io_uring *ring)
{
	munmap(ring->sq.sqes, ring->sq.ring_entries * sizeof(struct io_uring_sqe));
	if (ring->cq.ring_ptr != ring->sq.ring_ptr)
		munmap(ring->cq.ring_ptr, ring->cq.ring_sz);
	munmap(ring->sq.ring_ptr, ring->sq.ring_sz);
}

int iou__uring_create(const struct uring_config *config, struct uring *uring)
{
	int r = set_up_in_time(config, &uring->ring, &uring->setup_flags);

	uring->registered_fd = NOT_REGISTERED;
	if (r < 0)
		return r;
	r = (uring->ring.features & FEATURES_NEEDED) == FEATURES_NEEDED ? limit_iowq(config, &uring->ring) : -ENOSYS;
	if (r < 0) {
		io_uring_queue_exit(&uring->ring);
		return r;
	}
	number_sq(&uring->ring);
	return 0;
}

/*
 * Where the kernel has the SQ's array of indices: behind the CQEs, at the next cache line (rings_size() in
 * io_uring/io_uring.c). It tells so when a ring is made, but not when one is resized.
 */
static unsigned array_offset(unsigned cqes_offset, unsigned cq_entries)
{
	return (cqes_offset + cq_entries * (unsigned)sizeof(struct io_uring_cqe) + 63) & ~63U;
}

static unsigned offset_in(const struct io_uring_sq *sq, const void *place)
{
	return (unsigned)((const char *)place - (const char *)sq->ring_ptr);
}

/* Whether that is so for this ring as it was made; who knows what a future kernel does. */
static bool has_known_layout(const struct io_uring *ring)
{
	unsigned cqes_offset = offset_in(&ring->sq, ring->cq.cqes);

	return ring->features & IORING_FEAT_SINGLE_MMAP && ring->sq.array &&
	       offset_in(&ring->sq, ring->sq.array) == array_offset(cqes_offset, ring->cq.ring_entries);
}

/* Have the kernel move to other queues, which keep what is in them. */
static int change_queues(const struct io_uring *ring, unsigned entries, unsigned cq_entries,
			 struct io_uring_params *params)
{
	*params = (struct io_uring_params){ .sq_entries = entries, .cq_entries = cq_entries };
	if (cq_entries)
		params->flags = IORING_SETUP_CQSIZE;

	int r = io_uring_register((unsigned)ring->ring_fd, URING_REGISTER_RESIZE_RINGS, params, 1);

	params->features = ring->features;
	params->sq_off.array = array_offset(params->cq_off.cqes, params->cq_entries);
	return r;
}

static int change_queues_in_time(const struct io_uring *ring, const struct uring_config *config,
				 struct io_uring_params *params)
{
	int r, n_waits = 0;

	do
		r = change_queues(ring, config->entries, config->cq_entries, params);
	while (r == -ENOMEM && iou__uring_wait_for_memory(size_of(config), n_waits++));
	return r;
}

static int map_queues(struct io_uring *ring, struct io_uring_params *params)
{
	struct io_uring mapped;
	int r = io_uring_queue_mmap(ring->ring_fd, params, &mapped);

	if (r < 0)
		return r;
	mapped.sq.sqe_head = mapped.sq.sqe_tail = *mapped.sq.ktail;
	mapped.flags = ring->flags;
	mapped.features = ring->features;
	*ring = mapped;
	number_sq(ring);
	return 0;
}

/*
 * The owner's own table of ring descriptors makes entering cheaper. It is small (16), so that failing is ordinary. An
 * index means another ring in another thread: liburing's own functions for this do not look who calls.
 */
static int register_fd(const struct io_uring *ring)
{
	struct io_uring_rsrc_update update = { .offset = -1U, .data = (__u64)ring->ring_fd };
	int r = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RING_FDS, &update, 1);

	return r == 1 ? (int)update.offset : NOT_REGISTERED;
}

/* By its index where the program has closed the descriptor: else the thread would keep the ring until it exits. */
static void unregister_fd(const struct io_uring *ring, int index)
{
	struct io_uring_rsrc_update update = { .offset = (__u32)index };

	if (index == NOT_REGISTERED ||
	    io_uring_register((unsigned)ring->ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1) == 1)
		return;
	io_uring_register((unsigned)index, IORING_UNREGISTER_RING_FDS | URING_REGISTER_USE_REGISTERED_RING, &update, 1);
}

/* io_uring_enable_rings() is declared by liburing 2.3 and missing from its symbols. */
static int enable(const struct io_uring *ring)
{
	return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int iou__uring_bind(struct uring *uring)
{
	int r = uring->setup_flags & IORING_SETUP_R_DISABLED ? enable(&uring->ring) : 0;

	if (r == 0 && (uring->setup_flags & IORING_SETUP_SINGLE_ISSUER))
		uring->registered_fd = register_fd(&uring->ring);
	return r;
}

void iou__uring_make_dummy(struct uring *uring)
{
	unsigned *zero = &uring->zero;

	*uring = (struct uring){
		.registered_fd = NOT_REGISTERED,
		.ring = {
			.ring_fd = -1,
			.enter_ring_fd = -1,
			.sq = { .khead = zero, .ktail = zero, .kflags = zero, .kdropped = zero },
			.cq = { .khead = zero, .ktail = zero, .kflags = zero, .koverflow = zero },
		},
	};
}

/* What is not mapped any more. */
static void close_fd(struct uring *uring, bool is_owner)
{
	if (is_owner)
		unregister_fd(&uring->ring, uring->registered_fd);
	close(uring->ring.ring_fd);
	iou__uring_make_dummy(uring);
}

void iou__uring_close(struct uring *uring, bool is_owner)
{
	if (uring->ring.ring_fd < 0)
		return;
	unmap(&uring->ring);
	close_fd(uring, is_owner);
}

/*
 * The old queues are gone as soon as the kernel has moved, so they are unmapped first: should there be no memory to
 * map the new ones, there is for some of the old size.
 */
int iou__uring_resize(struct uring *uring, const struct uring_config *config)
{
	struct io_uring *ring = &uring->ring;
	unsigned old_entries = ring->sq.ring_entries, old_cq_entries = ring->cq.ring_entries;
	struct io_uring_params params;
	int r = has_known_layout(ring) ? change_queues_in_time(ring, config, &params) : -EINVAL;

	if (r < 0)
		return r;
	unmap(ring);
	r = map_queues(ring, &params);
	if (r == 0)
		return 0;
	if (change_queues(ring, old_entries, old_cq_entries, &params) == 0 && map_queues(ring, &params) == 0)
		return r;
	close_fd(uring, true);
	return -ENOTRECOVERABLE;
}

int iou__uring_enter(struct uring *uring, unsigned n, unsigned n_wanted, unsigned flags, const struct timespec *timeout)
{
	bool is_registered = uring->registered_fd != NOT_REGISTERED;
	unsigned fd = (unsigned)(is_registered ? uring->registered_fd : uring->ring.ring_fd);

	if (is_registered)
		flags |= IORING_ENTER_REGISTERED_RING;
	if (!timeout)
		return io_uring_enter2(fd, n, n_wanted, flags, NULL, 0);

	struct __kernel_timespec ts = { .tv_sec = timeout->tv_sec, .tv_nsec = timeout->tv_nsec };
	struct io_uring_getevents_arg arg = { .ts = (__u64)(uintptr_t)&ts };

	return io_uring_enter2(fd, n, n_wanted, flags | IORING_ENTER_EXT_ARG, (sigset_t *)(void *)&arg, sizeof(arg));
}

int iou__uring_register(const struct uring *uring, unsigned opcode, const void *arg, unsigned n)
{
	return io_uring_register((unsigned)uring->ring.ring_fd, opcode, arg, n);
}

int iou__uring_signal(struct uring *uring, int event_fd)
{
	return io_uring_register_eventfd(&uring->ring, event_fd);
}

int iou__uring_supports(const struct uring *uring, unsigned opcode)
{
	_Alignas(struct io_uring_probe) char memory[PROBE_SIZE] = { 0 };
	const struct io_uring_probe *probe = (const void *)memory;
	int r = io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_PROBE, memory, MAX_OPCODES);

	if (r < 0)
		return r;
	return opcode < probe->ops_len && probe->ops[opcode].flags & IO_URING_OP_SUPPORTED;
}

int iou__uring_poll(const struct uring *uring, const struct timespec *timeout)
{
	struct pollfd fd = { .fd = uring->ring.ring_fd, .events = POLLIN };
	int r = ppoll(&fd, 1, timeout, NULL);

	return r < 0 ? -errno : r ? 0 : -ETIME;
}

/* What fdinfo says: how many files and buffers there are; -1: nothing, since somebody holds the ring's lock. */
static int count_registrations(FILE *file)
{
	char line[128];
	unsigned n, n_found = 0;
	bool has_told = false;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "UserFiles: %u", &n) != 1 && sscanf(line, "UserBufs: %u", &n) != 1)
			continue;
		n_found += n;
		has_told = true;
	}
	return has_told ? (int)n_found : -1;
}

bool iou__uring_has_others(const struct uring *uring, unsigned n_known)
{
	char path[64];
	int n = -1;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", uring->ring.ring_fd);
	/* The kernel's threads hold the lock for moments. */
	for (int i = 0; n < 0 && i < 1000; i++) {
		FILE *file = fopen(path, "re");

		if (!file)
			return false;
		n = count_registrations(file);
		fclose(file);
		if (n < 0)
			sched_yield();
	}
	return n != (int)n_known;
}
