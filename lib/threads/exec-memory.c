/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What requests point to: files, and memory, also of registered and of provided buffers. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "exec.h"
#include "peek.h"
#include "requests.h"

bool iou__is_file(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? errno != EBADF : !(flags & O_PATH);
}

bool iou__is_open_for(int fd, int access)
{
	int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE;

	return flags >= 0 && !(flags & O_PATH) && (mode == O_RDWR || mode == access);
}

bool iou__is_disk(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISBLK(stat.st_mode) || S_ISDIR(stat.st_mode));
}

void *iou__exec_memory(const struct request *request)
{
	return iou__pointer((request->buffer.is_taken ? request->buffer.addr : request->sqe.addr) + request->done);
}

size_t iou__exec_length(const struct request *request)
{
	__u32 length = request->sqe.len;

	/* What is sent is all of the buffer. */
	if (request->buffer.is_taken && request->sqe.opcode == IORING_OP_SEND)
		return request->buffer.len;
	if (request->buffer.is_taken && (!length || length > request->buffer.len))
		length = request->buffer.len;
	return length < MAX_LENGTH ? length : MAX_LENGTH;
}

#define MAX_ALLOCATED ((4U << 20) / sizeof(struct iovec)) /* more than that the kernel does not allocate */

static bool is_of_program(const struct iovec *iov)
{
	return iou__peek_can((__u64)(uintptr_t)iov->iov_base, iov->iov_len);
}

static bool is_one_of_program(void *base, size_t length)
{
	return is_of_program(&(struct iovec){ base, length < MAX_LENGTH ? length : MAX_LENGTH });
}

static int check_lengths(const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((ssize_t)iov[i].iov_len < 0)
			return -EINVAL;
	return 0;
}

static int check_iovecs(const struct iovec *iov, size_t n)
{
	if (check_lengths(iov, n) < 0)
		return -EINVAL;
	if (n == 1)
		return is_one_of_program(iov->iov_base, iov->iov_len) ? 0 : -EFAULT;
	for (size_t i = 0; i < n; i++)
		if (!is_of_program(&iov[i]))
			return -EFAULT;
	return 0;
}

static int check_iovecs_at(__u64 address, size_t n, int (*check)(const struct iovec *iov, size_t n))
{
	struct iovec iov[64] = { 0 };

	for (size_t part; n; n -= part, address += part * sizeof(iov[0])) {
		part = n < 64 ? n : 64;

		int r = iou__peek(address, iov, part * sizeof(iov[0]));

		r = r < 0 ? r : check(iov, part);
		if (r < 0)
			return r;
	}
	return 0;
}

int iou__check_iovecs(__u64 address, size_t n, int too_many)
{
	return n > IOV_MAX ? too_many : check_iovecs_at(address, n, check_iovecs);
}

int iou__check_selection(__u64 address)
{
	struct iovec iov = { 0 };

	return iou__peek(address, &iov, sizeof(iov));
}

/* The kernel has them read and counted before the request begins, and looks where they are later. */
int iou__check_fixed_iovecs(__u64 address, size_t n)
{
	if (n > MAX_ALLOCATED)
		return -ENOMEM;
	return n > IOV_MAX ? -EINVAL : check_iovecs_at(address, n, check_lengths);
}

/*
 * In the request's own words: a class and a level. Who may have the one that goes before all is the kernel's to say, which
 * it does before it finds that there is no such process.
 */
static int check_priority(unsigned ioprio)
{
	enum { NONE, REAL_TIME, N_CLASSES = 4, A_PROCESS = 1 };
	unsigned class = ioprio >> 13, level = ioprio & 7;

	if (class >= N_CLASSES || (class == NONE && level))
		return -EINVAL;
	if (class == REAL_TIME && syscall(SYS_ioprio_set, A_PROCESS, INT_MAX, (int)ioprio) < 0 && errno == EPERM)
		return -EPERM;
	return 0;
}

int iou__check_range(const struct io_uring_sqe *sqe)
{
	bool selects = sqe->flags & IOSQE_BUFFER_SELECT;

	return selects || is_one_of_program(iou__pointer(sqe->addr), sqe->len) ? 0 : -EFAULT;
}

int iou__check_fixed(struct request *request)
{
	return check_priority(request->sqe.ioprio);
}

int iou__check_transfer(struct request *request)
{
	int r = check_priority(request->sqe.ioprio);

	return r < 0 ? r : iou__check_range(&request->sqe);
}

/*
 * The kernel reads a vector before the request begins, and if it cannot a whole chain fails. Elsewhere that makes no
 * difference, and reading it twice would take time.
 */
int iou__check_vector(struct request *request)
{
	int r = check_priority(request->sqe.ioprio);

	if (r < 0)
		return r;
	if (request->sqe.flags & IOSQE_BUFFER_SELECT)
		return request->sqe.len == 1 ? iou__check_selection(request->sqe.addr) : -EINVAL;
	return request->is_read_first ? iou__check_iovecs(request->sqe.addr, request->sqe.len, -EINVAL) : 0;
}

int iou__check_fixed_vector(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int r = check_priority(sqe->ioprio);

	if (r < 0)
		return r;
	if (sqe->flags & IOSQE_BUFFER_SELECT)
		return iou__check_vector(request);
	return request->is_read_first || sqe->len > IOV_MAX ? iou__check_fixed_iovecs(sqe->addr, sqe->len) : 0;
}

/* Registered buffers. */

int iou__exec_check_fixed(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if (!request->has_fixed)
		request->has_fixed = iou__fixed_has(&request->threads->fixed, sqe->buf_index, sqe->addr, sqe->len);
	return request->has_fixed ? 0 : -EFAULT;
}

/* As many pages as the kernel counts, before it looks where they are: 0 or -errno. */
static int count_pages(const struct iovec *iov, size_t n)
{
	size_t n_pages = 0;

	for (size_t i = 0; i < n; i++) {
		n_pages += iov[i].iov_len / 4096 + 2;
		if (n_pages > INT_MAX)
			return -EOVERFLOW;
	}
	return 0;
}

static int check_fixed_iovecs(const struct request *request, const struct iovec *iov, size_t n)
{
	int r = count_pages(iov, n);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!iov[i].iov_len || !iou__fixed_has(&request->threads->fixed, request->sqe.buf_index,
						       (uintptr_t)iov[i].iov_base, iov[i].iov_len))
			r = -EFAULT;
	return r;
}

int iou__exec_check_fixed_vector(struct request *request, __u64 address, size_t n)
{
	struct iovec *iov;
	int r;

	if (request->has_fixed)
		return 0;
	if (!iou__fixed_names(&request->threads->fixed, request->sqe.buf_index))
		return -EFAULT;
	if (n > IOV_MAX)
		return -EINVAL;
	iov = calloc(n ? n : 1, sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	r = n ? iou__peek(address, iov, n * sizeof(*iov)) : 0;
	if (r == 0)
		r = check_fixed_iovecs(request, iov, n);
	free(iov);
	request->has_fixed = r == 0;
	return r;
}
