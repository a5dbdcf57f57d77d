/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* G16: the threads engine keeps to the bounds of memory, time and counts that the kernel keeps to. */
#include "promises.h"

#include <sys/socket.h>

#define GROUP 6
#define N_BUFFERS 4
#define SIZE 64

static iou_t *open_engine(int engine)
{
	return open_with((iou_config_t){ .entries = 8, .engine = (uint32_t)engine });
}

static void turn_until_called(const struct seen *seen)
{
	while (!seen->n_calls)
		ck_assert_int_ge(iou_run_once(seen->iou, NULL), 0);
}

/* What a multishot receive puts ahead of the payload. */

static struct msghdr headers[] = {
	{ .msg_controllen = (size_t)1 << (sizeof(size_t) * 8 - 2) },
	{ .msg_controllen = (size_t)-16 },
	{ .msg_controllen = INT32_MAX - 15 },
	{ .msg_namelen = 0x80000000U },
	{ .msg_namelen = INT32_MAX },
	{ .msg_namelen = 40, .msg_controllen = (size_t)-56 },
};

/* It goes into one buffer, and not into the next. */
static void expect_no_overflow(int engine, struct msghdr *header)
{
	struct seen receive;
	iou_buffers_t *buffers;
	int fds[2], on = 1;
	iou_t *iou = open_engine(engine);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	ck_assert_int_eq(iou_buffers_new(iou, GROUP, N_BUFFERS, SIZE, &buffers), 0);
	memset(iou_buffers_at(buffers, 0), 0x55, (size_t)N_BUFFERS * SIZE);
	io_uring_prep_recvmsg_multishot(take(iou, &receive), fds[0], header, 0);
	receive.op->sqe->flags |= IOSQE_BUFFER_SELECT;
	receive.op->sqe->buf_group = GROUP;
	queue(&receive);
	put_bytes(fds[1], "hello", 5);
	turn_until_called(&receive);
	expect(&receive, -EOVERFLOW);
	for (unsigned i = 0; i < N_BUFFERS * SIZE; i++)
		ck_assert_int_eq(((const char *)iou_buffers_at(buffers, 0))[i], 0x55);
	ck_assert_ptr_null(iou_free(iou));
	iou_buffers_free(buffers);
	close_pipe(fds);
}

PROMISE(16, header_of_a_multishot_receive_does_not_overflow)
{
	for (int engine = IOU_ENGINE_URING; engine <= IOU_ENGINE_THREADS; engine++)
		expect_no_overflow(engine, &headers[_i]);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("threads-bounds");
	TCase *tcase = tcase_create("lengths");

	suite_add_tcase(s, tcase);
	tcase_add_loop_test(tcase, PROMISE_TEST(16, header_of_a_multishot_receive_does_not_overflow), 0,
			    (int)(sizeof(headers) / sizeof(headers[0])));
	return s;
}
