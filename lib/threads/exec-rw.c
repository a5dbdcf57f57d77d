/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing. First with RWF_NOWAIT: what is cached is there, and what is not says so. Then a file on a disk is
 * for a worker, and all else is waited for.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "completions.h"
#include "exec.h"
#include "nowait.h"
#include "opcodes.h"
#include "peek.h"
#include "requests.h"

#define MAX_MULTISHOT 32 /* the kernel's MULTISHOT_MAX_RETRY: as many in one turn */

#define FOR_DISKS (0x40 | 0x80) /* RWF_ATOMIC, RWF_DONTCACHE: nothing else knows them */

typedef ssize_t transfer_t(int fd, const struct iovec *iov, int n, off_t offset, int flags);

struct vector {
	struct iovec one;
	const struct iovec *iov;
	int n;
	struct iovec *copy; /* allocated */
};

/* Vectors. */

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Behind what has been transferred already, and not more than one request may transfer: the program's vector is its
 * own, so this is a copy. 0 or -errno.
 */
static int skip_done(const struct request *request, struct vector *vector)
{
	size_t skip = request->done, left = MAX_LENGTH - skip;
	int r;

	vector->copy = calloc((size_t)vector->n, sizeof(struct iovec));
	if (!vector->copy)
		return -ENOMEM;
	r = iou__peek((__u64)(uintptr_t)vector->iov, vector->copy, (size_t)vector->n * sizeof(struct iovec));
	for (int i = 0; r == 0 && i < vector->n; i++) {
		struct iovec *iov = &vector->copy[i];
		size_t part = smaller(skip, iov->iov_len);

		iov->iov_base = iou__pointer((uintptr_t)iov->iov_base + part);
		iov->iov_len = smaller(iov->iov_len - part, left);
		skip -= part;
		left -= iov->iov_len;
	}
	vector->iov = vector->copy;
	return r;
}

/* More than the kernel takes, so that it says so. */
static int number_of_iovecs(const struct request *request)
{
	return request->sqe.len > INT_MAX ? INT_MAX : (int)request->sqe.len;
}

/* The one buffer of a vector that was provided takes the place of the program's. */
static int select_for_vector(const struct request *request, struct vector *vector)
{
	int r = request->sqe.len == 1 ? iou__peek(request->sqe.addr, &vector->one, sizeof(vector->one)) : -EINVAL;

	if (r < 0)
		return r;
	vector->one.iov_base = iou__pointer(request->buffer.addr);
	vector->one.iov_len = (__u32)vector->one.iov_len; /* as far as the kernel looks */
	if (vector->one.iov_len > request->buffer.len || !vector->one.iov_len)
		vector->one.iov_len = request->buffer.len;
	return 0;
}

static int make_vector(const struct request *request, bool is_vectored, struct vector *vector)
{
	*vector = (struct vector){ .iov = &vector->one, .n = 1 };
	if (is_vectored && request->buffer.is_taken)
		return select_for_vector(request, vector);
	if (!is_vectored) {
		vector->one.iov_base = iou__exec_memory(request);
		vector->one.iov_len = iou__exec_length(request) - request->done;
		return 0;
	}
	vector->iov = iou__pointer(request->sqe.addr);
	vector->n = number_of_iovecs(request);
	return request->done ? skip_done(request, vector) : 0;
}

/* One transfer. */

static bool is_socket(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) == 0 && S_ISSOCK(stat.st_mode);
}

static int access_of(transfer_t *function)
{
	return function == preadv2 ? O_RDONLY : O_WRONLY;
}

/* An empty message is one, which pwritev2(2) does not send. */
static ssize_t call(transfer_t *function, int fd, const struct vector *vector, __u64 offset, int flags)
{
	ssize_t n = function(fd, vector->iov, vector->n, (off_t)offset, flags);

	return n == 0 && function == pwritev2 && is_socket(fd) ? send(fd, "", 0, MSG_DONTWAIT) : n;
}

/*
 * -1 is the file's own position. What has none takes any offset, but for sockets, which take 0: the SQE is changed, so as
 * to know it the next time.
 */
static ssize_t transfer(struct request *request, const struct vector *vector, transfer_t *function, int flags)
{
	__u64 offset = request->sqe.off == (__u64)-1 ? (__u64)-1 : request->sqe.off + request->done;
	ssize_t n = call(function, request->sqe.fd, vector, offset, flags);

	/* That it cannot be read or written at all comes first. */
	if (n < 0 && errno == EINVAL && (off_t)offset < -1 && !iou__is_open_for(request->sqe.fd, access_of(function)))
		errno = EBADF;
	if (n >= 0 || errno != ESPIPE || offset == (__u64)-1 || (offset && is_socket(request->sqe.fd)))
		return n;
	request->sqe.off = (__u64)-1;
	request->has_no_place = true;
	return call(function, request->sqe.fd, vector, (__u64)-1, flags);
}

/* What has no place to be read or written at has been found out to be none. */
static bool may_be_disk(const struct request *request)
{
	return !request->has_no_place && iou__is_disk(request->sqe.fd);
}

/* One of a single buffer is to fill it; multishot ones take what there is. */
static uint32_t least(const struct request *request, const struct vector *vector)
{
	bool is_multishot = request->sqe.opcode == OP_READ_MULTISHOT;

	return request->buffer.is_taken && !is_multishot ? (uint32_t)vector->one.iov_len : 0;
}

static bool is_refused(const struct request *request)
{
	return errno == EOPNOTSUPP && !request->is_on_worker && !request->sqe.rw_flags;
}

/* Some files know RWF_NOWAIT and yet say that they do not, when they are written to. */
static bool knows_nowait(int fd)
{
	char byte;
	const struct iovec iov = { &byte, 1 };

	return iou__is_disk(fd) && (preadv2(fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN);
}

/* With IOSQE_ASYNC one that is not to wait may all the same, where the file knows what that is. */
static int flags_of(const struct request *request)
{
	int flags = (int)request->sqe.rw_flags;

	if (!request->is_on_worker)
		return flags | RWF_NOWAIT;
	return flags & RWF_NOWAIT && knows_nowait(request->sqe.fd) ? flags & ~RWF_NOWAIT : flags;
}

static ssize_t transfer_once(struct request *request, bool is_vectored, transfer_t *function)
{
	int flags = flags_of(request);
	struct vector vector;
	int r = make_vector(request, is_vectored, &vector);
	ssize_t n;

	request->least = least(request, &vector);
	errno = -r;
	n = r < 0 ? -1 : transfer(request, &vector, function, flags);
	if (n < 0 && is_refused(request))
		n = (function == preadv2 ? iou__nowait_read : iou__nowait_write)(request->sqe.fd, vector.iov, vector.n);
	r = errno;
	free(vector.copy);
	errno = r;
	return n;
}

/* One that may wait for ever is at this already: what is there may be all for that one. */
static bool has_rival(const struct request *request, uint32_t events)
{
	const struct request *other = NULL;

	while ((other = iou__requests_after(request->threads, other)))
		if (other->place == AT_WORKER && !other->is_bounded && other->sqe.fd == request->sqe.fd &&
		    other->events == events)
			return true;
	return false;
}

/* What it writes, if that is to an eventfd. */
static uint64_t number_of(const struct request *request, bool is_vectored)
{
	struct iovec iov = { iou__exec_memory(request), iou__exec_length(request) };
	uint64_t number = 0;

	if (is_vectored && iou__peek(request->sqe.addr, &iov, sizeof(iov)) < 0)
		return 0;
	if (iov.iov_len >= sizeof(number))
		(void)iou__peek((__u64)(uintptr_t)iov.iov_base, &number, sizeof(number));
	return number;
}

/*
 * What has no RWF_NOWAIT (a terminal, before Linux 6.10) is read by a worker, but only once it is ready, and by one at a
 * time. Should somebody else be faster that one waits until there is more, and iou_free() with it.
 */
static enum outcome read_or_write_blocking(struct request *request, bool is_vectored, uint32_t events)
{
	int fd = request->sqe.fd;

	if (events == EPOLLOUT && iou__nowait_overflows(fd, number_of(request, is_vectored)))
		return iou__watch(request, fd, EPOLLOUT | EPOLLET);
	if (has_rival(request, events))
		return OUT_PAUSE;
	request->events = events;
	return iou__to_worker(request, false);
}

/* It would block, or nobody can tell. Some files that seem to be a disk's, as in /proc, wait for somebody else. */
static enum outcome wait_for_it(struct request *request, bool is_vectored, uint32_t events)
{
	int error = errno;

	if (request->sqe.rw_flags & RWF_NOWAIT)
		return iou__done_as(request, knows_nowait(request->sqe.fd) ? -EAGAIN : -error);
	if (may_be_disk(request) && (error == EAGAIN || iou__is_ready(request->sqe.fd, events)))
		return iou__to_worker(request, true);
	if (error == EOPNOTSUPP && request->sqe.rw_flags & FOR_DISKS)
		return iou__done_as(request, -EOPNOTSUPP);
	if (request->is_unwatchable)
		return iou__to_worker(request, false);
	if (error == EOPNOTSUPP && iou__is_ready(request->sqe.fd, events))
		return read_or_write_blocking(request, is_vectored, events);
	return iou__watch_or_pause(request, request->sqe.fd, events);
}

/* After a transfer: the kernel has just read the vector, so it can be read. */
static size_t length_of_vector(const struct request *request)
{
	const struct iovec *iov = iou__pointer(request->sqe.addr);
	size_t length = 0;

	for (__u32 i = 0; i < request->sqe.len && length < MAX_LENGTH; i++)
		length += iov[i].iov_len;
	return smaller(length, MAX_LENGTH);
}

/* Whether a transfer that came out short goes on: as far as a file reaches, or a disk. */
static bool is_short(const struct request *request, bool is_vectored, ssize_t n)
{
	if (n <= 0 || request->buffer.is_taken)
		return false;

	size_t wanted = is_vectored ? length_of_vector(request) : iou__exec_length(request);

	return request->done + (size_t)n < wanted && may_be_disk(request);
}

static enum outcome finish(struct request *request, ssize_t n)
{
	if (n < 0 && (!request->done || errno == EINTR))
		return iou__done(request, -1);
	return iou__done_as(request, (int)(request->done + (n > 0 ? (uint32_t)n : 0)));
}

static enum outcome read_or_write(struct request *request, bool is_vectored, transfer_t *function, uint32_t events)
{
	ssize_t n;

	if (request->sqe.rw_flags & RWF_HIPRI)
		return iou__done_as(request, iou__is_open_for(request->sqe.fd, access_of(function)) ? -EINVAL : -EBADF);
	if (request->sqe.flags & IOSQE_ASYNC && !request->is_on_worker && iou__is_disk(request->sqe.fd) &&
	    iou__is_ready(request->sqe.fd, events))
		return iou__to_worker(request, true);
	for (;;) {
		n = transfer_once(request, is_vectored, function);
		if (n < 0 && !request->is_on_worker && (errno == EAGAIN || errno == EOPNOTSUPP))
			return wait_for_it(request, is_vectored, events);
		if (!is_short(request, is_vectored, n))
			return finish(request, n);
		request->done += (uint32_t)n;
	}
}

/*
 * A failed read has used up its buffer, unless there was no file in the first place: so does the kernel. One that was
 * interrupted is tried again. Groups are the loop's, so it is the loop that takes note of it.
 */
static enum outcome with_buffer(struct request *request, enum outcome outcome)
{
	request->uses_buffer = outcome == OUT_DONE && request->res != -EBADF && request->res != -EINTR;
	return outcome;
}

enum outcome iou__exec_read(struct request *request)
{
	return with_buffer(request, read_or_write(request, false, preadv2, EPOLLIN));
}

enum outcome iou__exec_readv(struct request *request)
{
	return with_buffer(request, read_or_write(request, true, preadv2, EPOLLIN));
}

enum outcome iou__exec_write(struct request *request)
{
	return read_or_write(request, false, pwritev2, EPOLLOUT);
}

enum outcome iou__exec_writev(struct request *request)
{
	return read_or_write(request, true, pwritev2, EPOLLOUT);
}

/* With registered buffers: that there is no file comes before that there is no buffer. */
static enum outcome fixed(struct request *request, bool is_vectored, attempt_t *attempt)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int r = is_vectored ? iou__exec_check_fixed_vector(request, sqe->addr, sqe->len)
			    : iou__exec_check_fixed(request);

	if (r < 0)
		return iou__done_as(request, iou__is_file(sqe->fd) ? r : -EBADF);
	return attempt(request);
}

enum outcome iou__exec_read_fixed(struct request *request)
{
	return fixed(request, false, iou__exec_read);
}

enum outcome iou__exec_readv_fixed(struct request *request)
{
	return fixed(request, true, iou__exec_readv);
}

enum outcome iou__exec_write_fixed(struct request *request)
{
	return fixed(request, false, iou__exec_write);
}

enum outcome iou__exec_writev_fixed(struct request *request)
{
	return fixed(request, true, iou__exec_writev);
}

/* Multishot reads. */

int iou__check_read_multishot(struct request *request)
{
	if (!(request->sqe.flags & IOSQE_BUFFER_SELECT) || request->sqe.addr || request->sqe.len)
		return -EINVAL;
	return 0;
}

/* For what can be waited for alone. That there is no buffer ends it when there is something to read. */
enum outcome iou__exec_read_multishot(struct request *request)
{
	if (iou__is_disk(request->sqe.fd))
		return iou__done_as(request, -EBADFD);
	if (iou__waits_first(request))
		return iou__watch_or_begin(request, EPOLLIN);
	for (int i = 0; i < MAX_MULTISHOT; i++) {
		enum outcome outcome = read_or_write(request, false, preadv2, EPOLLIN);

		if (outcome != OUT_DONE || request->is_on_worker)
			return outcome == OUT_WORKER ? iou__done_as(request, -EBADFD) : outcome;
		if (request->res <= 0)
			return outcome;
		iou__completions_post_more(request, request->res, iou__groups_use(request));
		if (!iou__is_ready(request->sqe.fd, EPOLLIN))
			return iou__watch(request, request->sqe.fd, EPOLLIN);
		if (iou__groups_take(&request->threads->groups, request) < 0)
			return iou__watch_or_again(request, EPOLLIN);
		if (!iou__completions_have_room(request->threads))
			break;
	}
	return OUT_AGAIN;
}
