/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <iou.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/*
 * What an op costs: IORING_OP_NOP through libiou, and through a ring that does nothing else. Rounds of the two alternate;
 * of each the median is printed, and their ratio. Absolute times depend on the machine, the ratio hardly does.
 */

#define DEPTH 128
#define N_NOPS (DEPTH * 4000)
#define N_ROUNDS 5

struct nops {
	iou_t *iou;
	unsigned n_left;
};

struct nop {
	struct nops *nops;
	iou_op_t *op;
};

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int again(void *data)
{
	struct nop *nop = data;

	if (nop->op->result < 0)
		return nop->op->result;
	if (nop->nops->n_left > 0) {
		nop->nops->n_left--;
		iou_op_queue(nop->nops->iou, nop->op, again, nop);
	}
	return 0;
}

/* Each returns the time of one op in ns, or -1. */
static double libiou_round(void)
{
	struct nops nops = { .iou = iou_new(DEPTH), .n_left = N_NOPS - DEPTH };
	struct nop nop[DEPTH];
	double begin = now_ns();
	int error;

	for (int i = 0; i < DEPTH; i++) {
		nop[i] = (struct nop){ &nops, iou_op_new(nops.iou) };
		if (!nop[i].op)
			return -1;
		io_uring_prep_nop(nop[i].op->sqe);
		iou_op_queue(nops.iou, nop[i].op, again, &nop[i]);
	}
	error = iou_run(nops.iou);
	begin = now_ns() - begin;
	iou_free(nops.iou);
	return error ? -1 : begin / N_NOPS;
}

static int raw_turn(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	for (int i = 0; i < DEPTH; i++)
		io_uring_prep_nop(io_uring_get_sqe(ring));
	if (io_uring_submit_and_wait(ring, DEPTH) != DEPTH)
		return -1;
	io_uring_for_each_cqe (ring, head, cqe)
		n++;
	io_uring_cq_advance(ring, n);
	return n == DEPTH ? 0 : -1;
}

static double raw_round(void)
{
	unsigned best = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	struct io_uring ring;
	double begin;
	int error = 0;

	if (io_uring_queue_init(DEPTH, &ring, best) && io_uring_queue_init(DEPTH, &ring, 0))
		return -1;
	begin = now_ns();
	for (int i = 0; i < N_NOPS / DEPTH && !error; i++)
		error = raw_turn(&ring);
	begin = now_ns() - begin;
	io_uring_queue_exit(&ring);
	return error ? -1 : begin / N_NOPS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *times)
{
	qsort(times, N_ROUNDS, sizeof(*times), compare);
	return times[N_ROUNDS / 2];
}

int main(void)
{
	double ours[N_ROUNDS], raw[N_ROUNDS];

	for (int i = 0; i < N_ROUNDS; i++) {
		ours[i] = libiou_round();
		raw[i] = raw_round();
		if (ours[i] < 0 || raw[i] < 0) {
			fprintf(stderr, "a round failed\n");
			return EXIT_FAILURE;
		}
	}
	printf("libiou %.1f ns, raw ring %.1f ns, ratio %.2f\n", median(ours), median(raw), median(ours) / median(raw));
	return EXIT_SUCCESS;
}
