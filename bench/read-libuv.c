/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "read.h"

#include <stdlib.h>
#include <uv.h>

/* libuv's threads, four of them unless UV_THREADPOOL_SIZE says otherwise, call pread(). */
struct request {
	uv_fs_t fs;
	struct block *block;
};

static void start(uv_loop_t *loop, struct request *request);

static void done(uv_fs_t *fs)
{
	struct request *request = (struct request *)fs;

	block_check(request->block, fs->result);
	uv_fs_req_cleanup(fs);
	if (request->block->blocks->n_left > 0)
		start(fs->loop, request);
}

static void start(uv_loop_t *loop, struct request *request)
{
	struct block *block = request->block;
	uv_buf_t buf = uv_buf_init((char *)block->words, BLOCK_BYTES);
	int64_t offset = (int64_t)block_choose(block);

	bench_try(uv_fs_read(loop, &request->fs, block->blocks->fd, &buf, 1, offset, done), "uv_fs_read");
}

void read_libuv(struct bench_run *run)
{
	struct request *requests = bench_try_ptr(calloc(run->param, sizeof(*requests)), "calloc");
	struct blocks blocks;
	struct block *block;
	uv_loop_t loop;

	blocks_open(&blocks, run);
	block = blocks_new(&blocks, run->param);
	bench_try(uv_loop_init(&loop), "uv_loop_init");
	bench_begin(run);
	for (unsigned i = 0; i < run->param && blocks.n_left > 0; i++) {
		requests[i].block = &block[i];
		start(&loop, &requests[i]);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	bench_end(run);
	bench_try(uv_loop_close(&loop), "uv_loop_close");
	blocks_free(block);
	blocks_close(&blocks);
	free(requests);
}
