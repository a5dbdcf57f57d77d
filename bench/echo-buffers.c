/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "echo.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void give(const struct echo_buffers *buffers, unsigned id)
{
	io_uring_buf_ring_add(buffers->ring, buffers->messages[id], ECHO_SIZE, (unsigned short)id,
			      io_uring_buf_ring_mask(buffers->n), 0);
	io_uring_buf_ring_advance(buffers->ring, 1);
}

void echo_buffers_init(struct echo_buffers *buffers, struct io_uring *ring, unsigned n)
{
	struct io_uring_buf_reg reg = { 0 };
	void *ring_memory;

	for (buffers->n = 1; buffers->n < n; buffers->n *= 2)
		continue;
	bench_try(-posix_memalign(&ring_memory, (size_t)sysconf(_SC_PAGESIZE),
				  buffers->n * sizeof(struct io_uring_buf)),
		  "posix_memalign");
	buffers->ring = ring_memory;
	buffers->messages = bench_try_ptr(calloc(buffers->n, ECHO_SIZE), "calloc");
	reg.ring_addr = (uintptr_t)buffers->ring;
	reg.ring_entries = buffers->n;
	bench_try(io_uring_register_buf_ring(ring, &reg, 0), "io_uring_register_buf_ring");
	io_uring_buf_ring_init(buffers->ring);
	for (unsigned id = 0; id < buffers->n; id++)
		give(buffers, id);
}

void echo_buffers_free(struct echo_buffers *buffers)
{
	free(buffers->messages);
	free(buffers->ring);
}

void echo_buffers_take(struct echo_buffers *buffers, unsigned cqe_flags, char *message)
{
	unsigned id = cqe_flags >> IORING_CQE_BUFFER_SHIFT;

	if (!(cqe_flags & IORING_CQE_F_BUFFER) || id >= buffers->n)
		bench_fail("a message without a buffer");
	memcpy(message, buffers->messages[id], ECHO_SIZE);
	give(buffers, id);
}
