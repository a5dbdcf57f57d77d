/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nop: what an operation costs. IORING_OP_NOP, of which param are kept in flight: each that completes is issued again.
 */
#include "bench.h"

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

static void run_libiou(struct bench_run *run)
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

/*
 * The ceiling: no allocation, no callbacks, all that is there is taken before the kernel is entered again. Each nop has a
 * number, by which its completion is known.
 */
static unsigned raw_take(struct io_uring *ring, struct bench_run *run, uint64_t *n_left)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe (ring, head, cqe) {
		bench_check(run, cqe->res == 0 && cqe->user_data < run->param, "result of a nop");
		n++;
		if (*n_left == 0)
			continue;
		sqe = io_uring_get_sqe(ring);
		io_uring_prep_nop(sqe);
		sqe->user_data = cqe->user_data;
		(*n_left)--;
	}
	io_uring_cq_advance(ring, n);
	return n;
}

static void run_raw(struct bench_run *run)
{
	uint64_t n_left = run->n, n_pending = 0;
	struct io_uring_sqe *sqe;
	struct io_uring ring;

	bench_ring_init(&ring, run->param);
	bench_begin(run);
	for (; n_pending < run->param && n_left > 0; n_pending++, n_left--) {
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_nop(sqe);
		sqe->user_data = n_pending;
	}
	for (uint64_t n_done = 0; n_done < run->n;) {
		bench_try(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
		n_done += raw_take(&ring, run, &n_left);
	}
	bench_end(run);
	io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 1, 1000000, run_libiou },
		{ "libiou", 32, 5000000, run_libiou },
		{ "libiou", 256, 5000000, run_libiou },
		{ "raw", 1, 2000000, run_raw },
		{ "raw", 32, 6000000, run_raw },
		{ "raw", 256, 6000000, run_raw },
		{ 0 },
	};

	return bench_main(argc, argv, "nop", cases);
}
