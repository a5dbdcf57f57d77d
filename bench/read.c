/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * read: 4 KiB at random places of a file in the page cache, of which param are kept in flight. The file is made in
 * TMPDIR, or /var/tmp.
 */
#include "read.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Each block begins, ends and is filled with words that belong to its number alone. */
static uint64_t word(uint64_t number, size_t i)
{
	return (number << 32 | i) * 0x9e3779b97f4a7c15;
}

static void write_blocks(int fd)
{
	uint64_t words[BLOCK_WORDS];

	for (uint64_t number = 0; number < N_BLOCKS; number++) {
		for (size_t i = 0; i < BLOCK_WORDS; i++)
			words[i] = word(number, i);
		if (write(fd, words, BLOCK_BYTES) != BLOCK_BYTES)
			bench_fail("the file could not be written");
	}
}

void blocks_open(struct blocks *blocks, struct bench_run *run)
{
	const char *directory = getenv("TMPDIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/libiou-bench-XXXXXX", directory ? directory : "/var/tmp");
	*blocks = (struct blocks){ run, bench_try_errno(mkostemp(path, O_CLOEXEC), path), 1, run->n };
	unlink(path);
	write_blocks(blocks->fd);
}

void blocks_close(struct blocks *blocks)
{
	close(blocks->fd);
}

struct block *blocks_new(struct blocks *blocks, unsigned n)
{
	struct block *block = bench_try_ptr(calloc(n, sizeof(*block)), "calloc");
	uint64_t *words = bench_try_ptr(aligned_alloc(BLOCK_BYTES, (size_t)n * BLOCK_BYTES), "aligned_alloc");

	for (unsigned i = 0; i < n; i++)
		block[i] = (struct block){ .blocks = blocks, .words = words + i * BLOCK_WORDS };
	return block;
}

void blocks_free(struct block *block)
{
	free(block->words);
	free(block);
}

uint64_t block_choose(struct block *block)
{
	block->number = bench_random(&block->blocks->random) % N_BLOCKS;
	block->blocks->n_left--;
	return block->number * BLOCK_BYTES;
}

static const char *fault(const struct block *block, int64_t result, size_t somewhere)
{
	if (result != BLOCK_BYTES)
		return "result of a read";
	if (block->words[0] != word(block->number, 0))
		return "first word of a block";
	if (block->words[BLOCK_WORDS - 1] != word(block->number, BLOCK_WORDS - 1))
		return "last word of a block";
	return block->words[somewhere] == word(block->number, somewhere) ? NULL : "word in a block";
}

/* Some words of each block, not all: this is to cost much less than reading does. */
void block_check(const struct block *block, int64_t result)
{
	struct bench_run *run = block->blocks->run;
	const char *what = fault(block, result, run->n_checks % BLOCK_WORDS);

	bench_check(run, !what, what);
}

static void read_pread(struct bench_run *run)
{
	struct blocks blocks;
	struct block *block;

	blocks_open(&blocks, run);
	block = blocks_new(&blocks, 1);
	bench_begin(run);
	while (blocks.n_left > 0) {
		off_t offset = (off_t)block_choose(block);

		block_check(block, pread(blocks.fd, block->words, BLOCK_BYTES, offset));
	}
	bench_end(run);
	blocks_free(block);
	blocks_close(&blocks);
}

struct libiou {
	struct blocks blocks;
	iou_t *iou;
};

/* The op is queued as it was, but for the place. */
static int again(void *data)
{
	struct block *block = data;
	struct libiou *libiou = (struct libiou *)block->blocks;

	block_check(block, block->op->result);
	if (libiou->blocks.n_left > 0) {
		block->op->sqe->off = block_choose(block);
		iou_op_queue(libiou->iou, block->op, again, block);
	}
	return 0;
}

static void start(struct libiou *libiou, struct block *block)
{
	block->op = bench_op_new(libiou->iou);
	io_uring_prep_read(block->op->sqe, 0, block->words, BLOCK_BYTES, block_choose(block));
	io_uring_sqe_set_flags(block->op->sqe, IOSQE_FIXED_FILE);
	iou_op_queue(libiou->iou, block->op, again, block);
}

static void read_with(struct bench_run *run, struct libiou libiou)
{
	struct block *block;

	blocks_open(&libiou.blocks, run);
	block = blocks_new(&libiou.blocks, run->param);
	bench_try(iou_register_files(libiou.iou, &libiou.blocks.fd, 1), "iou_register_files");
	bench_begin(run);
	for (unsigned i = 0; i < run->param && libiou.blocks.n_left > 0; i++)
		start(&libiou, &block[i]);
	bench_try(iou_run(libiou.iou), "iou_run");
	bench_end(run);
	iou_free(libiou.iou);
	blocks_free(block);
	blocks_close(&libiou.blocks);
}

static void read_libiou(struct bench_run *run)
{
	read_with(run, (struct libiou){ .iou = bench_iou_new(run->param) });
}

/* The other engine. */
static void read_threads(struct bench_run *run)
{
	const iou_config_t config = {
		.size = sizeof(config),
		.entries = run->param,
		.engine = IOU_ENGINE_THREADS,
	};

	read_with(run, (struct libiou){ .iou = bench_try_ptr(iou_new_with(&config), "iou_new_with") });
}

static void raw_issue(struct io_uring *ring, struct block *block)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, 0, block->words, BLOCK_BYTES, block_choose(block));
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, block);
}

static unsigned raw_take(struct io_uring *ring, const struct blocks *blocks)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe (ring, head, cqe) {
		struct block *block = io_uring_cqe_get_data(cqe);

		block_check(block, cqe->res);
		if (blocks->n_left > 0)
			raw_issue(ring, block);
		n++;
	}
	io_uring_cq_advance(ring, n);
	return n;
}

static void read_raw(struct bench_run *run)
{
	struct blocks blocks;
	struct block *block;
	struct io_uring ring;

	blocks_open(&blocks, run);
	block = blocks_new(&blocks, run->param);
	bench_ring_init(&ring, run->param);
	bench_try(io_uring_register_files(&ring, &blocks.fd, 1), "io_uring_register_files");
	bench_begin(run);
	for (unsigned i = 0; i < run->param && blocks.n_left > 0; i++)
		raw_issue(&ring, &block[i]);
	for (uint64_t n_done = 0; n_done < run->n; n_done += raw_take(&ring, &blocks))
		bench_ring_turn(&ring);
	bench_end(run);
	io_uring_queue_exit(&ring);
	blocks_free(block);
	blocks_close(&blocks);
}

int main(int argc, char **argv)
{
	static const struct bench_case cases[] = {
		{ "libiou", 1, 400000, read_libiou },
		{ "libiou", 32, 500000, read_libiou },
		{ "libiou", 128, 500000, read_libiou },
		{ "libiou-threads", 1, 400000, read_threads },
		{ "libiou-threads", 32, 500000, read_threads },
		{ "libiou-threads", 128, 500000, read_threads },
		{ "raw", 1, 400000, read_raw },
		{ "raw", 32, 500000, read_raw },
		{ "raw", 128, 500000, read_raw },
		{ "pread", 1, 500000, read_pread },
#ifdef HAVE_LIBUV
		{ "libuv", 1, 20000, read_libuv },
		{ "libuv", 32, 200000, read_libuv },
		{ "libuv", 128, 300000, read_libuv },
#endif
		{ 0 },
	};

	return bench_main(argc, argv, "read", cases);
}
