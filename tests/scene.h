/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_SCENE_H
#define IOU_TESTS_SCENE_H

/*
 * A scene: an instance with ops in flight, and memory for the kernel of which there is a second view. A late write
 * through the first shows in the second, also when the first has been unmapped: pinned pages are written to all the
 * same.
 */

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "promises.h"

enum { N_SLOTS = 16, SLOT = 16384, MEMORY = N_SLOTS * SLOT };

struct watched {
	struct seen seen;
	int n_finals;
	bool is_rearming;
	bool is_accepting;
};

struct scene {
	iou_t *iou;
	char *given, *shown; /* the two views */
	struct watched ops[N_SLOTS];
	int n_ops;
	int pipe[2];
	int sockets[2];
	int file;
	pid_t child;
	sem_t gate;
	struct watched later[2]; /* posts, and jobs of iou_async() */
	int n_later;
	int n_left[2]; /* to be read from the pipe, and from the socket, when all was over */
};

static inline void map_twice(struct scene *scene)
{
	int fd = memfd_create("scene", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, MEMORY), 0);
	scene->given = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	scene->shown = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(scene->given != MAP_FAILED && scene->shown != MAP_FAILED);
	close(fd);
}

static inline void open_scene(struct scene *scene, iou_config_t config)
{
	memset(scene, 0, sizeof(*scene));
	scene->file = -1;
	sem_init(&scene->gate, 0, 0);
	map_twice(scene);
	open_pipe(scene->pipe);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, scene->sockets), 0);
	scene->iou = open_with(config);
}

static inline void close_scene(struct scene *scene)
{
	if (scene->given)
		munmap(scene->given, MEMORY);
	munmap(scene->shown, MEMORY);
	close_pipe(scene->pipe);
	close_pipe(scene->sockets);
	if (scene->file >= 0)
		close(scene->file);
	sem_destroy(&scene->gate);
}

static inline int watch(void *data)
{
	struct watched *watched = data;
	iou_op_t *op = watched->seen.op;

	see(&watched->seen);
	watched->n_finals += !(watched->seen.flags & IORING_CQE_F_MORE);
	if (watched->is_accepting && watched->seen.result >= 0)
		close(watched->seen.result);
	if (watched->is_rearming)
		iou_op_queue(watched->seen.iou, op, watch, watched);
	return 0;
}

/** The next op of the scene, to be prepared and then sent off. */
static inline struct io_uring_sqe *next(struct scene *scene)
{
	ck_assert_int_lt(scene->n_ops, N_SLOTS);

	struct watched *watched = &scene->ops[scene->n_ops++];

	*watched = (struct watched){ .n_finals = 0 };
	return take(scene->iou, &watched->seen);
}

static inline struct watched *send_off(struct scene *scene, unsigned flags)
{
	struct watched *watched = &scene->ops[scene->n_ops - 1];

	watched->seen.op->sqe->flags |= (__u8)flags;
	iou_op_queue(scene->iou, watched->seen.op, watch, watched);
	return watched;
}

/** The memory of the op that next() has given last. */
static inline char *slot(const struct scene *scene)
{
	return scene->given + (size_t)(scene->n_ops - 1) * SLOT;
}

static inline struct watched *start_read(struct scene *scene, int fd, unsigned n, unsigned flags)
{
	struct io_uring_sqe *sqe = next(scene);

	io_uring_prep_read(sqe, fd, slot(scene), n, (__u64)-1);
	return send_off(scene, flags);
}

static inline int n_readable(int fd)
{
	int n = -1;

	ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	return n;
}

static inline void nap_ms(int ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

static inline bool all_are(const char *bytes, size_t n, char byte)
{
	return n == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, n - 1) == 0);
}

/** Each op has had its final callback, and no more than one. */
static inline void expect_finals(const struct scene *scene)
{
	for (int i = 0; i < scene->n_ops; i++)
		ck_assert_msg(scene->ops[i].n_finals == 1, "op %d has had %d final callbacks", i,
			      scene->ops[i].n_finals);
	for (int i = 0; i < scene->n_later; i++)
		ck_assert_int_eq(scene->later[i].seen.n_calls, 1);
}

/** More completions at once than the queue has room for, which the kernel has been asked for before the loop looks. */
static inline void overflow(struct scene *scene)
{
	for (int i = 0; i < N_SLOTS; i++) {
		io_uring_prep_poll_add(next(scene), scene->pipe[0], POLLIN);
		send_off(scene, 0);
	}
	ck_assert_int_eq(iou_flush(scene->iou), 0);
	put_bytes(scene->pipe[1], "x", 1);
	io_uring_get_events(iou_ring(scene->iou));
}

#endif
