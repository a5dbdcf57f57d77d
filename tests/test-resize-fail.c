/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G10: a resize that fails leaves the ring as it was, whatever is under way. */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "resizing.h"

/*
 * What a failure must not harm: reads in flight, completions that are due, of which one was stopped at, and a
 * descriptor that tells of them.
 */

struct harmless {
	struct scene scene;
	struct seen nops[4];
	iou_info_t before;
	int fd;
};

static void begin(struct harmless *harmless, iou_config_t config)
{
	struct scene *scene = &harmless->scene;

	config.entries = 8;
	open_scene(scene, config);
	harmless->fd = iou_fd(scene->iou);
	for (int i = 0; i < N_SLOTS; i++)
		start_read(scene, scene->pipe[0], 4, i % 2 ? IOSQE_ASYNC : 0);
	for (int i = 0; i < 4; i++) {
		queue_nop(scene->iou, &harmless->nops[i], 0);
		harmless->nops[i].answer = i ? 0 : -EDOM;
	}
	ck_assert_int_eq(iou_run(scene->iou), -EDOM);
	harmless->before = info_of(scene->iou);
}

static bool is_readable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1;
}

static void expect_as_before(const struct harmless *harmless)
{
	iou_info_t now = info_of(harmless->scene.iou);

	ck_assert_mem_eq(&now, &harmless->before, sizeof(now));
	ck_assert_int_eq(iou_pending(harmless->scene.iou), N_SLOTS + 3);
	ck_assert_int_eq(iou_fd(harmless->scene.iou), harmless->fd);
	ck_assert(is_readable(harmless->fd));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(harmless->nops[i].n_calls, i == 0);
}

/* It all comes to its end, and then the ring can be resized. */
static void end(struct harmless *harmless)
{
	static const char bytes[4 * N_SLOTS];
	struct scene *scene = &harmless->scene;

	put_bytes(scene->pipe[1], bytes, sizeof(bytes));
	ck_assert_int_eq(iou_run(scene->iou), 0);
	expect_finals(scene);
	for (int i = 0; i < N_SLOTS; i++)
		ck_assert_int_eq(scene->ops[i].seen.result, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(harmless->nops[i].n_calls, 1);
	ck_assert_int_eq(iou_resize(scene->iou, 64), 0);
	ck_assert_uint_eq(info_of(scene->iou).sq_entries, 64);
	ck_assert_int_eq(iou_pending(scene->iou), 0);
	ck_assert_ptr_null(iou_free(scene->iou));
	close_scene(scene);
}

/* Arguments, and callers. */

static void *resize_elsewhere(void *iou)
{
	return (void *)(intptr_t)iou_resize(iou, 64);
}

PROMISE(10, sizes_out_of_range_and_other_threads_are_refused)
{
	struct harmless harmless;
	void *result;

	begin(&harmless, (iou_config_t){ .workers = 1 });
	ck_assert_int_eq(iou_resize(harmless.scene.iou, 0), -EINVAL);
	ck_assert_int_eq(iou_resize(harmless.scene.iou, 32769), -EINVAL);
	ck_assert_int_eq(iou_resize(harmless.scene.iou, (unsigned)-1), -EINVAL);
	ck_assert_int_eq(iou_resize(NULL, 8), -EINVAL);
	pthread_join(start_thread(resize_elsewhere, harmless.scene.iou), &result);
	ck_assert_int_eq((intptr_t)result, -EPERM);
	expect_as_before(&harmless);
	end(&harmless);
}
END_TEST

/* A ring for any thread is built anew, which ops in flight forbid; again and again. */
PROMISE(10, ring_that_would_be_rebuilt_is_busy)
{
	struct harmless harmless;
	int n_descriptors;

	begin(&harmless, (iou_config_t){ .flags = IOU_ANY_THREAD });
	n_descriptors = support_descriptors();
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(iou_resize(harmless.scene.iou, 1U << i % 16), -EBUSY);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	expect_as_before(&harmless);
	end(&harmless);
}
END_TEST

/* Locked memory: rings of those who may not lock what they like count. */

static void set_capability(int capability, bool is_on)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	ck_assert_int_eq(syscall(SYS_capget, &header, data), 0);
	if (is_on)
		data[CAP_TO_INDEX(capability)].effective |= CAP_TO_MASK(capability);
	else
		data[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
	data[CAP_TO_INDEX(capability)].effective &= data[CAP_TO_INDEX(capability)].permitted;
	ck_assert_int_eq(syscall(SYS_capset, &header, data), 0);
}

static struct rlimit limit(int resource, rlim_t n)
{
	struct rlimit old, new;

	ck_assert_int_eq(getrlimit(resource, &old), 0);
	new = old;
	new.rlim_cur = n;
	ck_assert_int_eq(setrlimit(resource, &new), 0);
	return old;
}

static int resize_with_limit(iou_t *iou, unsigned entries, int resource, rlim_t n)
{
	struct rlimit old = limit(resource, n);
	int r = iou_resize(iou, entries);

	setrlimit(resource, &old);
	return r;
}

PROMISE(10, resize_beyond_the_limit_of_locked_memory_fails)
{
	struct harmless harmless;
	bool is_in_place = can_resize_in_place();

	set_capability(CAP_IPC_LOCK, false);
	begin(&harmless, (iou_config_t){ .workers = 1 });
	for (unsigned entries = 1; entries <= 32768; entries *= 2)
		ck_assert_int_eq(resize_with_limit(harmless.scene.iou, entries, RLIMIT_MEMLOCK, 0),
				 is_in_place ? -ENOMEM : -EBUSY);
	expect_as_before(&harmless);
	end(&harmless);
	set_capability(CAP_IPC_LOCK, true);
}
END_TEST

/* Address space: the kernel has moved to the new queues already when they cannot be mapped. */

static rlim_t address_space(void)
{
	unsigned long long n_pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%llu", &n_pages), 1);
	fclose(file);
	return (rlim_t)n_pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

PROMISE(10, resize_beyond_the_address_space_goes_back)
{
	struct harmless harmless;
	bool is_in_place = can_resize_in_place();
	int n_mappings;

	begin(&harmless, (iou_config_t){ .workers = 1 });
	n_mappings = support_mappings();
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(resize_with_limit(harmless.scene.iou, 32768, RLIMIT_AS, address_space()),
				 is_in_place ? -ENOMEM : -EBUSY);
	ck_assert_int_le(support_mappings(), n_mappings + 2);
	expect_as_before(&harmless);
	end(&harmless);
}
END_TEST

PROMISE(10, rebuilding_beyond_the_address_space_leaves_the_old_ring)
{
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .flags = IOU_ANY_THREAD });
	struct seen nops[4];
	int n_descriptors = support_descriptors();

	for (int i = 0; i < 4; i++)
		queue_nop(iou, &nops[i], 0);
	ck_assert_int_eq(iou_flush(iou), 0);
	ck_assert_int_eq(resize_with_limit(iou, 32768, RLIMIT_AS, address_space()), -ENOMEM);
	ck_assert_uint_eq(info_of(iou).sq_entries, 8);
	ck_assert_int_eq(support_descriptors(), n_descriptors);
	run_and_free(iou);
	for (int i = 0; i < 4; i++)
		expect(&nops[i], 0);
}
END_TEST

/* Not even room for the old queues: then the ring is lost, and what is in flight ends as in any ring that has failed. */
PROMISE(10, ring_that_cannot_be_mapped_again_has_failed_for_good)
{
	if (!can_resize_in_place())
		SKIP("this kernel does not resize in place");

	for (int i = 0; i < 2; i++) {
		struct harmless harmless;
		struct scene *scene = &harmless.scene;
		int n_descriptors = support_descriptors();

		begin(&harmless, (iou_config_t){ .workers = 1 });
		ck_assert_int_eq(resize_with_limit(scene->iou, 64, RLIMIT_AS, 4096), -ENOTRECOVERABLE);
		ck_assert_int_eq(iou_run(scene->iou), -ENOTRECOVERABLE);
		ck_assert_int_eq(iou_run_once(scene->iou, &(struct timespec){ 0 }), -ENOTRECOVERABLE);
		ck_assert_int_eq(iou_flush(scene->iou), -ENOTRECOVERABLE);
		ck_assert_int_eq(iou_resize(scene->iou, 8), -ENOTRECOVERABLE);
		ck_assert_int_eq(iou_pending(scene->iou), N_SLOTS + 3);
		ck_assert_ptr_null(iou_free(scene->iou));
		expect_finals(scene);
		for (int j = 0; j < N_SLOTS; j++)
			ck_assert_int_eq(scene->ops[j].seen.result, -ECANCELED);
		for (int j = 0; j < 4; j++)
			ck_assert_int_eq(harmless.nops[j].n_calls, 1);
		put_bytes(scene->pipe[1], "late", 4);
		nap_ms(1);
		ck_assert_int_eq(n_readable(scene->pipe[0]), 4);
		close_scene(scene);
		ck_assert_int_eq(support_descriptors(), n_descriptors);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("resize-fail");

	ADD_CASE(s, "refused", PROMISE_TEST(10, sizes_out_of_range_and_other_threads_are_refused),
		 PROMISE_TEST(10, ring_that_would_be_rebuilt_is_busy),
		 PROMISE_TEST(10, resize_beyond_the_limit_of_locked_memory_fails));
	/* Those that check memory have an address space of their own, which cannot be limited. */
	if (!support_sanitized() && !RUNNING_ON_VALGRIND)
		ADD_CASE(s, "address space", PROMISE_TEST(10, resize_beyond_the_address_space_goes_back),
			 PROMISE_TEST(10, rebuilding_beyond_the_address_space_leaves_the_old_ring),
			 PROMISE_TEST(10, ring_that_cannot_be_mapped_again_has_failed_for_good));
	return s;
}
