/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G9: requests of each kind in flight at iou_free(), and nothing is written, read or accepted afterwards. */
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/un.h>
#include <sys/vfs.h>

#include "teardown.h"

/* Reads. Bytes that come afterwards stay where they are. */

enum { N_LATE = 1024 };

static void begin_reads(struct scene *scene)
{
	for (int i = 0; i < 12; i++)
		start_read(scene, i % 4 < 2 ? scene->pipe[0] : scene->sockets[0], 64, i % 2 ? IOSQE_ASYNC : 0);
	for (int i = 0; i < 2; i++) {
		io_uring_prep_recv(next(scene), scene->sockets[0], slot(scene), SLOT, i ? MSG_WAITALL : 0);
		send_off(scene, i ? IOSQE_ASYNC : 0);
	}
}

static void write_late(struct scene *scene)
{
	static const char late[N_LATE];

	put_bytes(scene->pipe[1], late, N_LATE);
	put_bytes(scene->sockets[1], late, N_LATE);
}

static void find_all(struct scene *scene)
{
	ck_assert_int_eq(n_readable(scene->pipe[0]), N_LATE);
	ck_assert_int_eq(n_readable(scene->sockets[0]), N_LATE);
}

static const struct kind reads = { .begin = begin_reads, .provoke = write_late, .look = find_all };

PROMISE(09, nobody_reads_from_pipes_and_sockets_after_free)
{
	tear_down(&reads, 200);
	tear_down_after_owner(&reads);
}
END_TEST

/* On the other kinds of rings: those for any thread, and those that a thread of the kernel's submits for. */
PROMISE(09, nobody_reads_after_free_of_a_ring_for_any_thread_or_with_a_polling_one)
{
	static const unsigned flags[] = { IOU_ANY_THREAD, IOU_SQPOLL };

	for (int i = 0; i < 2; i++) {
		struct kind kind = reads;

		kind.config = (iou_config_t){ .entries = 8, .flags = flags[i] };
		kind.has_no_other_owner = true;
		tear_down(&kind, 60);
	}
}
END_TEST

/* A disk: what has begun cannot be cancelled, so it has to be waited for. */

enum { N_TRANSFERS = 7 };

static int open_direct_in(const char *directory)
{
	char path[4096];
	struct statfs fs;
	int fd;

	if (statfs(directory, &fs) < 0 || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		return -1;
	snprintf(path, sizeof(path), "%s/teardown-XXXXXX", directory);
	fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Where meson runs this, where the program is, or where temporary files are. */
static int open_direct(void)
{
	static const char *const usual[] = { ".", "/var/tmp", "/tmp" };
	char program[4096] = "";
	int fd = readlink("/proc/self/exe", program, sizeof(program) - 1) > 0 ? open_direct_in(dirname(program)) : -1;

	for (size_t i = 0; i < 3 && fd < 0; i++)
		fd = open_direct_in(usual[i]);
	return fd;
}

/* The first half of the file is read, the second half written. */
static void begin_transfers(struct scene *scene)
{
	scene->file = open_direct();
	ck_assert_int_ge(scene->file, 0);
	memset(scene->shown, 'f', MEMORY);
	ck_assert_int_eq(pwrite(scene->file, scene->given, MEMORY, 0), MEMORY);
	memset(scene->shown, 'p', MEMORY);
	for (int i = 0; i < 2 * N_TRANSFERS; i++) {
		struct io_uring_sqe *sqe = next(scene);
		char *memory = slot(scene);

		if (i < N_TRANSFERS)
			io_uring_prep_read(sqe, scene->file, memory, SLOT, (__u64)i * SLOT);
		else
			io_uring_prep_write(sqe, scene->file, memset(memory, 'w', SLOT), SLOT, (__u64)i * SLOT);
		send_off(scene, i % 2 ? IOSQE_ASYNC : 0);
	}
}

/* Whatever was reported to be written is; and of what the memory is now nothing has come to the disk. */
static void look_at_file(struct scene *scene)
{
	static char bytes[SLOT] __attribute__((aligned(4096)));

	for (int i = 0; i < 2 * N_TRANSFERS; i++) {
		int result = scene->ops[i].seen.result;

		ck_assert_msg(result == SLOT || result == -ECANCELED, "result %d", result);
		ck_assert_int_eq(pread(scene->file, bytes, SLOT, (off_t)i * SLOT), SLOT);
		ck_assert_ptr_null(memchr(bytes, 'k', SLOT));
		if (i >= N_TRANSFERS && result == SLOT)
			ck_assert(all_are(bytes, SLOT, 'w'));
	}
}

/* A turn leaves something in flight, so that there is an owner. */
static void begin_transfers_beside_a_read(struct scene *scene)
{
	begin_transfers(scene);
	start_read(scene, scene->pipe[0], 64, 0);
}

static const struct kind transfers = {
	.has_no_other_owner = true,
	.begin = begin_transfers,
	.look = look_at_file,
	.look_again = look_at_file,
};
static const struct kind owned_transfers = {
	.begin = begin_transfers_beside_a_read,
	.look = look_at_file,
	.look_again = look_at_file,
};

static bool has_direct(void)
{
	int fd = open_direct();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

PROMISE(09, disk_neither_writes_to_memory_nor_reads_it_after_free)
{
	if (!has_direct())
		SKIP("no file system here takes O_DIRECT to a disk");
	tear_down(&transfers, 200);
}
END_TEST

PROMISE(09, disk_lets_go_of_memory_when_another_thread_is_or_was_the_owner)
{
	if (!has_direct())
		SKIP("no file system here takes O_DIRECT to a disk");
	tear_down(&owned_transfers, 60);
	tear_down_after_owner(&owned_transfers);
}
END_TEST

/* Timeouts and polls. */

static void begin_waits(struct scene *scene)
{
	struct __kernel_timespec *hour = (void *)scene->given;

	*hour = (struct __kernel_timespec){ .tv_sec = 3600 };
	for (int i = 0; i < 4; i++) {
		io_uring_prep_timeout(next(scene), hour, i == 2 ? 100 : 0, i == 1 ? IORING_TIMEOUT_REALTIME : 0);
		send_off(scene, 0);
	}
	for (int i = 0; i < 8; i++) {
		int fd = i % 2 ? scene->pipe[0] : scene->sockets[0];

		if (i < 4)
			io_uring_prep_poll_add(next(scene), fd, POLLIN);
		else
			io_uring_prep_poll_multishot(next(scene), fd, POLLIN);
		send_off(scene, 0);
	}
}

static void expect_cancelled(struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++)
		ck_assert_int_eq(scene->ops[i].seen.result, -ECANCELED);
}

static const struct kind waits = { .begin = begin_waits, .provoke = write_late, .look = expect_cancelled };

PROMISE(09, timeouts_and_polls_end_with_ecanceled)
{
	tear_down(&waits, 200);
	tear_down_after_owner(&waits);
}
END_TEST

/* Accepts. Who connects afterwards is still to be accepted. */

enum { N_CLIENTS = 5 };

static void listen_anywhere(int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(listen(fd, N_CLIENTS), 0);
}

static void begin_accepts(struct scene *scene)
{
	scene->file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	listen_anywhere(scene->file);
	for (int i = 0; i < 6; i++) {
		struct io_uring_sqe *sqe = next(scene);
		char *memory = slot(scene);
		socklen_t *length = (void *)(memory + SLOT / 2);

		*length = sizeof(struct sockaddr_un);
		if (i < 4)
			io_uring_prep_accept(sqe, scene->file, (struct sockaddr *)memory, length, SOCK_CLOEXEC);
		else
			io_uring_prep_multishot_accept(sqe, scene->file, NULL, NULL, SOCK_CLOEXEC);
		send_off(scene, i % 2 && i < 4 ? IOSQE_ASYNC : 0)->is_accepting = true;
	}
}

static void connect_late(struct scene *scene)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	ck_assert_int_eq(getsockname(scene->file, (struct sockaddr *)&address, &length), 0);
	for (int i = 0; i < N_CLIENTS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, length), 0);
		close(fd);
	}
}

static void accept_all(struct scene *scene)
{
	for (int i = 0; i <= N_CLIENTS; i++) {
		int fd = accept4(scene->file, NULL, NULL, SOCK_CLOEXEC);

		if (i == N_CLIENTS)
			ck_assert_int_eq(fd, -1);
		else
			ck_assert_int_ge(fd, 0);
		if (fd >= 0)
			close(fd);
	}
}

static const struct kind accepts = { .begin = begin_accepts, .provoke = connect_late, .look = accept_all };

PROMISE(09, nobody_accepts_after_free)
{
	tear_down(&accepts, 200);
	tear_down_after_owner(&accepts);
}
END_TEST

/* Chains, half done: a nop, a read of the one byte that is there, and reads that block. */

static void begin_chain(struct scene *scene, unsigned link)
{
	io_uring_prep_nop(next(scene));
	send_off(scene, link);
	for (int i = 0; i < 4; i++)
		start_read(scene, scene->pipe[0], 1, link | (i % 2 ? IOSQE_ASYNC : 0));
	/* A hard link would have it written. */
	if (link == IOSQE_IO_LINK)
		io_uring_prep_write(next(scene), scene->sockets[1], slot(scene), 64, (__u64)-1);
	else
		io_uring_prep_nop(next(scene));
	send_off(scene, 0);
}

static void begin_chains(struct scene *scene)
{
	put_bytes(scene->pipe[1], "x", 1);
	begin_chain(scene, IOSQE_IO_LINK);
	begin_chain(scene, IOSQE_IO_HARDLINK);
}

static void find_what_no_chain_has_read(struct scene *scene)
{
	int n_read = 0;

	for (int i = 0; i < scene->n_ops; i++)
		n_read += scene->ops[i].seen.result > 0 ? scene->ops[i].seen.result : 0;
	ck_assert_int_le(n_read, 1);
	ck_assert_int_eq(n_readable(scene->pipe[0]), N_LATE + 1 - n_read);
	ck_assert_int_eq(n_readable(scene->sockets[0]), N_LATE);
}

static const struct kind chains = { .begin = begin_chains, .provoke = write_late, .look = find_what_no_chain_has_read };

PROMISE(09, chains_that_are_half_done_do_not_go_on_after_free)
{
	tear_down(&chains, 200);
	tear_down_after_owner(&chains);
}
END_TEST

/* Behind a drain: staged for as long as the first read blocks. */

static void begin_drained(struct scene *scene)
{
	start_read(scene, scene->pipe[0], 64, 0);
	start_read(scene, scene->sockets[0], 64, IOSQE_IO_DRAIN);
	for (int i = 0; i < 4; i++)
		start_read(scene, scene->pipe[0], 64, i < 2 ? IOSQE_IO_LINK : i == 3 ? IOSQE_IO_DRAIN : 0);
}

static void find_all_and_cancelled(struct scene *scene)
{
	find_all(scene);
	for (int i = 1; i < scene->n_ops; i++)
		ck_assert_int_eq(scene->ops[i].seen.result, -ECANCELED);
}

static const struct kind drained = { .begin = begin_drained, .provoke = write_late, .look = find_all_and_cancelled };

PROMISE(09, drained_ops_end_without_having_begun)
{
	tear_down(&drained, 200);
	tear_down_after_owner(&drained);
}
END_TEST

/* Callbacks that queue their op again, whatever comes of it; half of them have something to read at any time. */

static void begin_rearming(struct scene *scene)
{
	scene->file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(scene->file, 0);
	for (int i = 0; i < 12; i++)
		start_read(scene, i % 2 ? scene->pipe[0] : scene->file, i % 2 ? 64 : SLOT, i % 4 > 1 ? IOSQE_ASYNC : 0)
			->is_rearming = true;
}

/* Those that had something to read have had many final callbacks, as often as they were queued. */
static void expect_last_final(struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++) {
		ck_assert_int_ge(scene->ops[i].n_finals, 1);
		scene->ops[i].n_finals = i % 2 ? scene->ops[i].n_finals : 1;
	}
}

static void write_late_to_rearming(struct scene *scene)
{
	expect_last_final(scene);
	write_late(scene);
}

static const struct kind rearming = { .begin = begin_rearming, .provoke = write_late_to_rearming, .look = find_all };

PROMISE(09, ops_that_rearm_themselves_end_once)
{
	tear_down(&rearming, 200);
	tear_down_after_owner(&rearming);
}
END_TEST

/* Multishot, with buffers that were provided. */

enum { N_BUFFERS = 4, GROUP = 7, BUFFER = 512 };

/* Where there is no ring of buffers they are provided by requests, ahead of those that take them. */
static void provide_by_request(struct scene *scene)
{
	static struct seen provides[N_BUFFERS];

	for (int i = 0; i < N_BUFFERS; i++) {
		char *buffer = scene->given + (size_t)i * SLOT;

		io_uring_prep_provide_buffers(take(scene->iou, &provides[i]), buffer, BUFFER, 1, GROUP, i);
		queue(&provides[i]);
	}
}

static void provide_by_ring(struct scene *scene)
{
	struct io_uring_buf_ring *buffers = (void *)(scene->given + MEMORY - SLOT);
	struct io_uring_buf_reg reg = { .ring_addr = (__u64)(uintptr_t)buffers,
					.ring_entries = N_BUFFERS,
					.bgid = GROUP };

	ck_assert_int_eq(io_uring_register_buf_ring(iou_ring(scene->iou), &reg, 0), 0);
	io_uring_buf_ring_init(buffers);
	for (unsigned short i = 0; i < N_BUFFERS; i++)
		io_uring_buf_ring_add(buffers, scene->given + (size_t)i * SLOT, BUFFER, i, N_BUFFERS - 1, i);
	io_uring_buf_ring_advance(buffers, N_BUFFERS);
}

static void begin_recv(struct scene *scene)
{
	if (support_has_ring())
		provide_by_ring(scene);
	else
		provide_by_request(scene);
	put_bytes(scene->sockets[1], "one", 3);
	for (int i = 0; i < 3; i++) {
		struct io_uring_sqe *sqe = next(scene);

		io_uring_prep_recv_multishot(sqe, scene->sockets[0], NULL, 0, 0);
		sqe->buf_group = GROUP;
		send_off(scene, IOSQE_BUFFER_SELECT);
	}
}

static void find_what_nobody_has_received(struct scene *scene)
{
	int n_had = scene->ops[0].seen.n_calls + scene->ops[1].seen.n_calls + scene->ops[2].seen.n_calls - 3;

	ck_assert_int_le(n_had, 1);
	ck_assert_int_eq(n_readable(scene->sockets[0]), N_LATE + 3 - 3 * n_had);
}

static const struct kind recvs = { .begin = begin_recv, .provoke = write_late, .look = find_what_nobody_has_received };

PROMISE(09, multishot_recv_fills_no_buffer_after_free)
{
	tear_down(&recvs, 200);
	tear_down_after_owner(&recvs);
}
END_TEST

/* The same with the library's own, which are unmapped as soon as it is gone; and into a registered buffer. */

static iou_buffers_t *own_buffers;

static void begin_own(struct scene *scene)
{
	const struct iovec iovec = { scene->given, MEMORY };

	ck_assert_int_eq(iou_buffers_new(scene->iou, GROUP, N_BUFFERS, BUFFER, &own_buffers), 0);
	ck_assert_int_eq(iou_register_buffers(scene->iou, &iovec, 1), 0);
	for (int i = 0; i < 3; i++) {
		struct io_uring_sqe *sqe = next(scene);

		io_uring_prep_recv_multishot(sqe, scene->sockets[0], NULL, 0, 0);
		sqe->buf_group = GROUP;
		send_off(scene, IOSQE_BUFFER_SELECT);
	}
	for (int i = 0; i < 4; i++) {
		io_uring_prep_read_fixed(next(scene), scene->pipe[0], slot(scene), SLOT, 0, 0);
		send_off(scene, i % 2 ? IOSQE_ASYNC : 0);
	}
}

static void unmap_and_write_late(struct scene *scene)
{
	ck_assert_int_eq(iou_buffers_free(own_buffers), 0);
	write_late(scene);
}

static const struct kind own = { .begin = begin_own, .provoke = unmap_and_write_late, .look = find_all };

PROMISE(09, nobody_fills_what_was_registered_after_free)
{
	tear_down(&own, 100);
	tear_down_after_owner(&own);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("teardown");
	TCase *tcase;

	/* All that is to be waited for is others' disk, and CPUs. */
	tcase = ADD_CASE(s, "in flight", PROMISE_TEST(09, nobody_reads_from_pipes_and_sockets_after_free),
			 PROMISE_TEST(09, disk_neither_writes_to_memory_nor_reads_it_after_free),
			 PROMISE_TEST(09, disk_lets_go_of_memory_when_another_thread_is_or_was_the_owner),
			 PROMISE_TEST(09, timeouts_and_polls_end_with_ecanceled),
			 PROMISE_TEST(09, nobody_accepts_after_free),
			 PROMISE_TEST(09, chains_that_are_half_done_do_not_go_on_after_free),
			 PROMISE_TEST(09, drained_ops_end_without_having_begun),
			 PROMISE_TEST(09, multishot_recv_fills_no_buffer_after_free),
			 PROMISE_TEST(09, nobody_fills_what_was_registered_after_free));
	tcase_set_timeout(tcase, 120);
	ADD_CASE(s, "rings", PROMISE_TEST(09, nobody_reads_after_free_of_a_ring_for_any_thread_or_with_a_polling_one));
	ADD_CASE(s, "rearming", PROMISE_TEST(09, ops_that_rearm_themselves_end_once));
	return s;
}
