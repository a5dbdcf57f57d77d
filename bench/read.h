/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_READ_H
#define BENCH_READ_H

#include "bench.h"

#define BLOCK_BYTES 4096
#define BLOCK_WORDS (BLOCK_BYTES / sizeof(uint64_t))
/* 64 MiB: more than a CPU's caches, and small enough to stay in the page cache. */
#define N_BLOCKS 16384

/* A file of numbered blocks, and which of them to read next. */
struct blocks {
	struct bench_run *run;
	int fd;
	uint64_t random;
	uint64_t n_left;
};

/* Where a block is read to, and which one. */
struct block {
	struct blocks *blocks;
	uint64_t number;
	uint64_t *words;
	iou_op_t *op;
};

void blocks_open(struct blocks *blocks, struct bench_run *run);
void blocks_close(struct blocks *blocks);

/* Room for so many blocks. */
struct block *blocks_new(struct blocks *blocks, unsigned n);
void blocks_free(struct block *block);

/* Choose a block at random. Returns its offset in the file. */
uint64_t block_choose(struct block *block);

/* result: what the read came to, a number of bytes or a negative errno. */
void block_check(const struct block *block, int64_t result);

#ifdef HAVE_LIBUV
void read_libuv(struct bench_run *run);
#endif

#endif
