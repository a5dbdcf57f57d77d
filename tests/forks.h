/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_FORKS_H
#define IOU_TESTS_FORKS_H

/* Fork. What the child finds goes to the parent. */

#include "children.h"
#include "scene.h"

static inline int never(void *data)
{
	++*(int *)data;
	return 0;
}

/* That this is a child counts before what is wrong with the arguments. */
static inline void find_bad_ones_refused(struct findings *findings, iou_t *iou)
{
	const struct timespec no_time = { .tv_nsec = -1 };

	FIND(findings, iou_run_once(iou, &no_time) == -EOWNERDEAD);
	FIND(findings, iou_drain(iou, &no_time) == -EOWNERDEAD);
	FIND(findings, iou_resize(iou, 0) == -EOWNERDEAD);
	FIND(findings, iou_op_cancel(iou, NULL) == -EOWNERDEAD);
	FIND(findings, iou_async(iou, NULL, NULL, NULL, NULL) == -EOWNERDEAD);
	FIND(findings, iou_op_async(iou, NULL, NULL, NULL, NULL, NULL) == -EOWNERDEAD);
	FIND(findings, iou_post(iou, NULL, NULL) == -EOWNERDEAD);
	FIND(findings, iou_info(iou, NULL) == -EOWNERDEAD);
	FIND(findings, iou_stats(iou, NULL) == -EOWNERDEAD);
	FIND(findings, iou_supports(iou, 1000) == -EOWNERDEAD);
	FIND(findings, iou_register_files_update(iou, 0, NULL, 0) == -EOWNERDEAD);
	FIND(findings, iou_register_buffers(iou, NULL, 0) == -EOWNERDEAD);
	FIND(findings, iou_buffers_new(iou, 1U << 20, 0, 0, NULL) == -EOWNERDEAD);
}

static inline void find_all_refused(struct findings *findings, iou_t *iou, iou_op_t *op)
{
	const struct io_uring_sqe sqe = *op->sqe;
	int n_calls = 0;
	iou_info_t info = { .size = sizeof(info) };
	iou_stats_t stats = { .size = sizeof(stats) };
	struct iovec iovec = { &n_calls, sizeof(n_calls) };
	iou_buffers_t *buffers = NULL;
	const int no_file = -1;

	FIND(findings, iou_flush(iou) == -EOWNERDEAD);
	FIND(findings, iou_run(iou) == -EOWNERDEAD);
	FIND(findings, iou_run_once(iou, NULL) == -EOWNERDEAD);
	FIND(findings, iou_drain(iou, NULL) == -EOWNERDEAD);
	FIND(findings, iou_resize(iou, 8) == -EOWNERDEAD);
	FIND(findings, iou_pending(iou) == -EOWNERDEAD);
	FIND(findings, iou_quit(iou) == -EOWNERDEAD);
	FIND(findings, iou_fd(iou) == -EOWNERDEAD);
	FIND(findings, iou_op_cancel(iou, op) == -EOWNERDEAD);
	FIND(findings, iou_cancel_id(iou, sqe.user_data) == -EOWNERDEAD);
	FIND(findings, iou_cancel_all(iou) == -EOWNERDEAD);
	FIND(findings, iou_async(iou, never, &n_calls, never, &n_calls) == -EOWNERDEAD);
	FIND(findings, iou_op_async(iou, op, never, &n_calls, never, &n_calls) == -EOWNERDEAD);
	FIND(findings, iou_post(iou, never, &n_calls) == -EOWNERDEAD);
	FIND(findings, iou_hold(iou) == -EOWNERDEAD);
	FIND(findings, iou_release(iou) == -EOWNERDEAD);
	FIND(findings, iou_info(iou, &info) == -EOWNERDEAD);
	FIND(findings, iou_stats(iou, &stats) == -EOWNERDEAD);
	FIND(findings, iou_supports(iou, IORING_OP_NOP) == -EOWNERDEAD);
	FIND(findings, iou_register_files(iou, NULL, 1) == -EOWNERDEAD);
	FIND(findings, iou_register_files_update(iou, 0, &no_file, 1) == -EOWNERDEAD);
	FIND(findings, iou_unregister_files(iou) == -EOWNERDEAD);
	FIND(findings, iou_register_buffers(iou, &iovec, 1) == -EOWNERDEAD);
	FIND(findings, iou_unregister_buffers(iou) == -EOWNERDEAD);
	FIND(findings, iou_buffers_new(iou, 0, 1, 1, &buffers) == -EOWNERDEAD);
	errno = 0;
	FIND(findings, iou_op_new(iou) == NULL && errno == EOWNERDEAD);
	errno = 0;
	FIND(findings, iou_ring(iou) == NULL && errno == EOWNERDEAD);
	iou_op_queue(iou, op, never, &n_calls);
	iou_op_reset(iou, op);
	iou_op_free(iou, op);
	find_bad_ones_refused(findings, iou);
	FIND(findings, memcmp(op->sqe, &sqe, sizeof(sqe)) == 0);
	FIND(findings, n_calls == 0);
}

/* Its memory and descriptors go. */
static inline void find_freed(struct findings *findings, iou_t *iou, int n_own)
{
	int n_descriptors = support_descriptors(), n_mappings = support_mappings();

	FIND(findings, iou_free(iou) == NULL);
	FIND(findings, support_descriptors() == n_descriptors - n_own);
	/* Where it has no ring that is one page, and a sanitizer or valgrind maps more. */
	FIND(findings, support_mappings() < n_mappings || (support_slowness() > 1 && !support_has_ring()));
}

/* An instance of its own, for all that there is. */

static inline int set_7(void *data)
{
	*(int *)data = 7;
	return 7;
}

/* A sanitizer cannot have threads in the child of a process that had some. */
static inline void find_own_works(struct findings *findings, bool has_threads)
{
	iou_t *iou = iou_new(4);
	iou_op_t *nop = iou_op_new(iou), *reader = iou_op_new(iou), *job = iou_op_new(iou);
	struct seen seens[3] = { { .op = nop }, { .op = reader }, { .op = job } };
	int fds[2], seven = 0;
	char byte = 0;

	FIND(findings, nop && reader && job && pipe2(fds, O_CLOEXEC) == 0 && write(fds[1], "c", 1) == 1);
	io_uring_prep_nop(nop->sqe);
	iou_op_queue(iou, nop, see, &seens[0]);
	io_uring_prep_read(reader->sqe, fds[0], &byte, 1, (__u64)-1);
	iou_op_queue(iou, reader, see, &seens[1]);
	if (has_threads)
		FIND(findings, iou_op_async(iou, job, set_7, &seven, see, &seens[2]) == 0);
	FIND(findings, iou_run(iou) == 0);
	FIND(findings, seens[0].n_calls == 1 && seens[0].result == 0);
	FIND(findings, seens[1].n_calls == 1 && seens[1].result == 1 && byte == 'c');
	FIND(findings, !has_threads || (seens[2].n_calls == 1 && seens[2].result == 7 && seven == 7));
	FIND(findings, iou_free(iou) == NULL);
	close_pipe(fds);
}

struct family {
	struct scene *scene;
	struct findings *findings;
	iou_op_t *spare; /* allocated, never queued */
	int n_own;       /* descriptors of the instance */
	size_t pool_bytes;
	bool has_threads;
	pid_t child;
};

static inline void open_family(struct family *family, struct scene *scene, iou_config_t config, bool has_fd)
{
	int n_before = support_descriptors();

	open_scene(scene, config);
	*family = (struct family){ .scene = scene, .findings = open_findings() };
	if (has_fd)
		ck_assert_int_ge(iou_fd(scene->iou), 0);
	family->n_own = support_descriptors() - n_before - 4; /* the scene's own pipe and sockets */
	family->spare = iou_op_new(scene->iou);
	ck_assert_ptr_nonnull(family->spare);
	io_uring_prep_nop(family->spare->sqe);
}

static inline void end_child_of(struct family *family)
{
	if (family->child)
		close_findings(family->findings, family->child);
	else
		munmap(family->findings, sizeof(*family->findings));
}

#endif
