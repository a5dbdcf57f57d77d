/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G16: on the threads engine chains break, and cancellations hit, where they do in the kernel. */
#include "promises.h"

#include <sys/socket.h>

#define GROUP 5

/* Nobody provides fewer bytes than these hold. */
static char buffers[2][16];

static void provide(iou_t *iou, struct seen *seen)
{
	io_uring_prep_provide_buffers(take(iou, seen), buffers, sizeof(buffers[0]), 2, GROUP, 0);
	queue(seen);
}

static void select_buffer(struct seen *seen, unsigned flags)
{
	seen->op->sqe->flags = (__u8)(IOSQE_BUFFER_SELECT | flags);
	seen->op->sqe->buf_group = GROUP;
}

/* A buffer takes n bytes of what it has room for: whether what is linked behind goes on. */
static int behind_read_of(int engine, bool is_vectored, size_t n)
{
	struct iovec iov = { NULL, sizeof(buffers[0]) };
	struct seen provided, read, next;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });

	open_pipe(fds);
	put_bytes(fds[1], "0123456789abcdef", n);
	provide(iou, &provided);
	if (is_vectored)
		io_uring_prep_readv(take(iou, &read), fds[0], &iov, 1, (__u64)-1);
	else
		io_uring_prep_read(take(iou, &read), fds[0], NULL, sizeof(buffers[0]), (__u64)-1);
	select_buffer(&read, IOSQE_IO_LINK);
	queue(&read);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&read, (int)n);
	close_pipe(fds);
	return next.result;
}

/* Likewise of a receive that is to wait for all, and gets what there is as the other end closes. */
static int behind_receive_of(int engine, size_t n)
{
	struct seen provided, receive, next;
	int fds[2];
	iou_t *iou = open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	put_bytes(fds[1], "0123456789abcdef", n);
	ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
	provide(iou, &provided);
	io_uring_prep_recv(take(iou, &receive), fds[0], NULL, sizeof(buffers[0]), MSG_WAITALL);
	select_buffer(&receive, IOSQE_IO_LINK);
	queue(&receive);
	queue_nop(iou, &next, 0);
	run_and_free(iou);
	expect(&receive, (int)n);
	close_pipe(fds);
	return next.result;
}

PROMISE(16, read_that_does_not_fill_its_buffer_breaks_the_chain)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++) {
		for (int is_vectored = 0; is_vectored < 2; is_vectored++) {
			ck_assert_int_eq(behind_read_of(engine, is_vectored, 16), 0);
			ck_assert_int_eq(behind_read_of(engine, is_vectored, 10), -ECANCELED);
		}
		ck_assert_int_eq(behind_receive_of(engine, 16), 0);
		ck_assert_int_eq(behind_receive_of(engine, 10), -ECANCELED);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("threads-links");

	ADD_CASE(s, "short", test_g16_read_that_does_not_fill_its_buffer_breaks_the_chain);
	return s;
}
