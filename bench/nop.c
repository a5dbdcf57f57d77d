/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nop: what an operation costs where the kernel does nothing. param is how many are kept in flight. */
#include "nops.h"

#include <stdlib.h>

/* What one writes at first: a plain ring, a request allocated for each operation, and a submission each turn. */
struct naive {
	struct bench_run *run;
	struct io_uring ring;
	uint64_t n_left;
};

struct request {
	void (*cb)(struct naive *naive, int result);
};

static void naive_start(struct naive *naive, void (*cb)(struct naive *naive, int result))
{
	struct request *request = bench_try_ptr(malloc(sizeof(*request)), "malloc");
	struct io_uring_sqe *sqe = bench_try_ptr(io_uring_get_sqe(&naive->ring), "io_uring_get_sqe");

	request->cb = cb;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, request);
	naive->n_left--;
}

static void naive_again(struct naive *naive, int result)
{
	bench_check(naive->run, result == 0, "result of a nop");
	if (naive->n_left > 0)
		naive_start(naive, naive_again);
}

static unsigned naive_turn(struct naive *naive)
{
	struct io_uring_cqe *cqe;
	struct request *request;
	unsigned n = 0;

	bench_try(io_uring_submit(&naive->ring), "io_uring_submit");
	bench_try(io_uring_wait_cqe(&naive->ring, &cqe), "io_uring_wait_cqe");
	do {
		int result = cqe->res;

		request = io_uring_cqe_get_data(cqe);
		io_uring_cqe_seen(&naive->ring, cqe);
		request->cb(naive, result);
		free(request);
		n++;
	} while (io_uring_peek_cqe(&naive->ring, &cqe) == 0);
	return n;
}

static void nops_naive(struct bench_run *run)
{
	struct naive naive = { .run = run, .n_left = run->n };

	bench_try(io_uring_queue_init(run->param, &naive.ring, 0), "io_uring_queue_init");
	bench_begin(run);
	for (unsigned i = 0; i < run->param && naive.n_left > 0; i++)
		naive_start(&naive, naive_again);
	for (uint64_t n_done = 0; n_done < run->n;)
		n_done += naive_turn(&naive);
	bench_end(run);
	io_uring_queue_exit(&naive.ring);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 1, 1000000, nops_libiou },   { "libiou", 32, 4000000, nops_libiou },
		{ "libiou", 256, 4000000, nops_libiou }, { "raw", 1, 1500000, nops_raw },
		{ "raw", 32, 5000000, nops_raw },        { "raw", 256, 5000000, nops_raw },
		{ "naive", 1, 1000000, nops_naive },     { "naive", 32, 4000000, nops_naive },
		{ "naive", 256, 4000000, nops_naive },   { 0 },
	};

	return bench_main(argc, argv, "nop", cases);
}
