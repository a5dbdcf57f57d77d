/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nops.h"

#include <stdlib.h>

struct nops {
	struct bench_run *run;
	iou_t *iou;
	uint64_t n_left;
};

struct nop {
	struct nops *nops;
	iou_op_t *op;
};

static int again(void *data)
{
	const struct nop *nop = data;
	struct nops *nops = nop->nops;

	bench_check(nops->run, nop->op->result == 0, "result of a nop");
	if (nops->n_left > 0) {
		nops->n_left--;
		iou_op_queue(nops->iou, nop->op, again, data);
	}
	return 0;
}

void nops_libiou(struct bench_run *run)
{
	struct nops nops = { run, bench_iou_new(run->param), run->n };
	struct nop *nop = bench_try_ptr(calloc(run->param, sizeof(*nop)), "calloc");

	bench_begin(run);
	for (unsigned i = 0; i < run->param && nops.n_left > 0; i++, nops.n_left--) {
		nop[i] = (struct nop){ &nops, bench_op_new(nops.iou) };
		io_uring_prep_nop(nop[i].op->sqe);
		iou_op_queue(nops.iou, nop[i].op, again, &nop[i]);
	}
	bench_try(iou_run(nops.iou), "iou_run");
	bench_end(run);
	iou_free(nops.iou);
	free(nop);
}

static void raw_issue(struct io_uring *ring, uint64_t number)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_nop(sqe);
	sqe->user_data = number;
}

/* Take all that is there, and issue it again. Each nop has a number, by which its completion is known. */
static unsigned raw_take(struct io_uring *ring, struct bench_run *run, uint64_t *n_left)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe (ring, head, cqe) {
		bench_check(run, cqe->res == 0 && cqe->user_data < run->param, "result of a nop");
		n++;
		if (*n_left > 0) {
			(*n_left)--;
			raw_issue(ring, cqe->user_data);
		}
	}
	io_uring_cq_advance(ring, n);
	return n;
}

/* The ceiling: no allocation and no callbacks. */
void nops_raw(struct bench_run *run)
{
	uint64_t n_left = run->n;
	struct io_uring ring;

	bench_ring_init(&ring, run->param);
	bench_begin(run);
	for (unsigned i = 0; i < run->param && n_left > 0; i++, n_left--)
		raw_issue(&ring, i);
	for (uint64_t n_done = 0; n_done < run->n; n_done += raw_take(&ring, run, &n_left))
		bench_ring_turn(&ring);
	bench_end(run);
	io_uring_queue_exit(&ring);
}
