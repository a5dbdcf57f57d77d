/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define N_TICKS 3
#define ENTRIES 64

/* Where the kernel cannot resize a ring that has something in flight, it is done later. */
static int resize(struct guest *guest)
{
	int r = iou_resize(guest->iou, ENTRIES);

	return r == -EBUSY ? 0 : r;
}

static int have_ended(void *data)
{
	struct guest *guest = data;
	iou_info_t info = { .size = sizeof(info) };
	int r = resize(guest);

	if (r == 0)
		r = iou_info(guest->iou, &info);
	printf("what was queued goes on, on a ring of %u entries\n", info.sq_entries);
	return r;
}

/* The error ends the turn, and the host is told. Nothing that is queued is lost by that. */
static int have_read(void *data)
{
	struct guest *guest = data;

	printf("read: %.*s\n", guest->reader->result, guest->text);
	guest->last = iou_op_new(guest->iou);
	if (!guest->last)
		return -errno;
	io_uring_prep_nop(guest->last->sqe);
	iou_op_queue(guest->iou, guest->last, have_ended, guest);
	return -EBADMSG;
}

static int have_written(void *data)
{
	struct guest *guest = data;

	return guest->writer->result < 0 ? guest->writer->result : 0;
}

static int have_worked(void *data)
{
	struct guest *guest = data;

	printf("the job has ended\n");
	guest->writer = iou_op_new(guest->iou);
	if (!guest->writer)
		return -errno;
	io_uring_prep_write(guest->writer->sqe, guest->pipe[1], "hello", 5, 0);
	iou_op_queue(guest->iou, guest->writer, have_written, guest);
	return 0;
}

static int hear(void *data)
{
	(void)data;
	printf("the job has posted\n");
	return 0;
}

/* On a worker: it is the wake-up from another thread that the host's loop has to notice. */
static int work(void *data)
{
	struct guest *guest = data;

	return iou_post(guest->iou, hear, guest);
}

/* The last tick finds a read in flight, which goes on while the ring gets its new size. */
static int tick(void *data)
{
	struct guest *guest = data;
	int r;

	if (guest->timer->result != -ETIME)
		return guest->timer->result;
	printf("tick %d\n", ++guest->n_ticks);
	if (guest->n_ticks < N_TICKS) {
		iou_op_queue(guest->iou, guest->timer, tick, guest);
		return 0;
	}
	r = resize(guest);
	return r < 0 ? r : iou_async(guest->iou, work, guest, have_worked, guest);
}

int guest_start(struct guest *guest, iou_t *iou)
{
	*guest = (struct guest){ .iou = iou, .interval.tv_nsec = 1000000, .pipe = { -1, -1 } };
	if (pipe(guest->pipe) < 0)
		return -errno;
	guest->timer = iou_op_new(iou);
	guest->reader = guest->timer ? iou_op_new(iou) : NULL;
	if (!guest->reader)
		return -errno;
	io_uring_prep_timeout(guest->timer->sqe, &guest->interval, 0, 0);
	iou_op_queue(iou, guest->timer, tick, guest);
	io_uring_prep_read(guest->reader->sqe, guest->pipe[0], guest->text, sizeof(guest->text), 0);
	iou_op_queue(iou, guest->reader, have_read, guest);
	return 0;
}

void guest_end(struct guest *guest)
{
	close(guest->pipe[0]);
	close(guest->pipe[1]);
}
