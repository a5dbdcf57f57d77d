/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What waits for something: a descriptor's readiness, a child, a futex. */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "completions.h"
#include "exec.h"
#include "flow.h"
#include "opcodes.h"
#include "peek.h"

/* As far as that goes: of an end it tells as of something to read. */
static int look_by_select(struct pollfd *pollfd)
{
	int fd = pollfd->fd;
	fd_set in, out, urgent;
	short revents = 0;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&urgent);
	FD_SET(fd, &in);
	FD_SET(fd, &out);
	FD_SET(fd, &urgent);
	if (select(fd + 1, &in, &out, &urgent, &(struct timeval){ 0 }) < 0)
		return -1;
	revents |= FD_ISSET(fd, &in) ? POLLIN | POLLRDNORM : 0;
	revents |= FD_ISSET(fd, &out) ? POLLOUT | POLLWRNORM : 0;
	revents |= FD_ISSET(fd, &urgent) ? POLLPRI : 0;
	pollfd->revents = (short)(revents & pollfd->events);
	return pollfd->revents != 0;
}

/* poll(2) of one descriptor. It refuses to look at more than may be opened, and with an RLIMIT_NOFILE of 0 at any. */
static int look_at(struct pollfd *pollfd)
{
	int n = poll(pollfd, 1, 0);
	bool is_refused = n < 0 && errno == EINVAL;

	return is_refused && pollfd->fd >= 0 && pollfd->fd < FD_SETSIZE ? look_by_select(pollfd) : n;
}

bool iou__is_ready(int fd, uint32_t events)
{
	struct pollfd pollfd = { .fd = fd, .events = (short)events };

	return look_at(&pollfd) != 0;
}

enum outcome iou__watch_or_again(struct request *request, uint32_t events)
{
	return iou__is_ready(request->sqe.fd, events) ? OUT_AGAIN : iou__watch(request, request->sqe.fd, events);
}

enum outcome iou__watch_or_begin(struct request *request, uint32_t events)
{
	request->has_waited = iou__is_ready(request->sqe.fd, events);
	return request->has_waited ? OUT_AGAIN : iou__watch(request, request->sqe.fd, events);
}

/* Polls. */

/* What comes also to who has not asked for it. */
#define ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP | EPOLLRDHUP))

int iou__check_poll(struct request *request)
{
	return request->sqe.len & ~IORING_POLL_ADD_MULTI ? -EINVAL : 0;
}

static uint32_t events_of(const struct request *request)
{
	return (iou__poll_events(request->sqe.poll32_events) & 0xffff) | ALWAYS;
}

/* What is there now, as far as can be told, or -errno. */
static int look(const struct request *request)
{
	struct pollfd pollfd = { .fd = request->sqe.fd, .events = (short)events_of(request) };
	int n;

	if (pollfd.fd < 0)
		return -EBADF;
	n = look_at(&pollfd);
	if (n < 0)
		return errno == EINVAL ? 0 : -errno;
	return pollfd.revents & POLLNVAL ? -EBADF : pollfd.revents;
}

static enum outcome poll_once(struct request *request)
{
	int r = look(request);

	return r != 0 ? iou__done_as(request, r) : iou__watch(request, request->sqe.fd, events_of(request));
}

/* What epoll cannot watch is what it is, and does not change: there is nothing to wait for. */
static enum outcome poll_unwatchable(struct request *request)
{
	int r = look(request);

	return iou__done_as(request, r != 0 ? r : -EINVAL);
}

/*
 * epoll tells of each change, and to begin with of what is. Where it has no memory, or no room, for this one, what is there
 * after the pause ends it, as the kernel may as well: who polls then begins anew.
 */
static enum outcome poll_again_and_again(struct request *request)
{
	int mask = request->is_unwatched ? look(request) : (int)(request->revents & events_of(request));

	if (mask > 0)
		iou__completions_post_more(request, mask, 0);
	request->revents = 0;
	if (request->span && poll_once(request) == OUT_DONE)
		return OUT_DONE;
	return iou__watch(request, request->sqe.fd, events_of(request) | EPOLLET);
}

enum outcome iou__exec_poll(struct request *request)
{
	if (request->is_unwatchable)
		return poll_unwatchable(request);
	if (request->sqe.len & IORING_POLL_ADD_MULTI && !(iou__poll_events(request->sqe.poll32_events) & EPOLLONESHOT))
		return poll_again_and_again(request);
	if (request->revents & events_of(request))
		return iou__done_as(request, (int)(request->revents & events_of(request)));
	return poll_once(request);
}

enum outcome iou__exec_epoll_wait(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int n = epoll_wait(sqe->fd, iou__pointer(sqe->addr), (int)sqe->len, 0);

	return n == 0 ? iou__watch(request, sqe->fd, EPOLLIN) : iou__done(request, n);
}

/* Children. */

static int wait_now(const struct request *request, siginfo_t *info)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	info->si_pid = 0;
	info->si_signo = 0;
	return (int)syscall(SYS_waitid, sqe->len, sqe->fd, info, (int)sqe->file_index | WNOHANG, NULL);
}

/* That a child has ended its descriptor tells. All else is looked for at growing intervals. */
static enum outcome wait_for_child(struct request *request)
{
	bool is_for_end = !(request->sqe.file_index & (WSTOPPED | WCONTINUED));

	return request->sqe.len == P_PIDFD && is_for_end ? iou__watch(request, request->sqe.fd, EPOLLIN) : OUT_PAUSE;
}

/* Nor for a descriptor that is not to block. */
static bool is_not_to_wait(const struct io_uring_sqe *sqe)
{
	return sqe->file_index & WNOHANG || (sqe->len == P_PIDFD && fcntl(sqe->fd, F_GETFL) & O_NONBLOCK);
}

/* As far as there is something about children in it; where there is none as well. */
static int tell_child(const struct request *request, const siginfo_t *info)
{
	size_t n = (size_t)((const char *)&info->si_status - (const char *)info) + sizeof(info->si_status);

	return request->sqe.addr2 ? iou__poke(request->sqe.addr2, info, n) : 0;
}

enum outcome iou__exec_waitid(struct request *request)
{
	siginfo_t info;
	int r, error;

	memset(&info, 0, sizeof(info));
	r = wait_now(request, &info);
	error = errno;
	if (r < 0)
		return iou__done_as(request, error == ECHILD && tell_child(request, &info) < 0 ? -EFAULT : -error);
	if (!info.si_pid && !is_not_to_wait(&request->sqe))
		return wait_for_child(request);
	return iou__done_as(request, tell_child(request, &info));
}

/*
 * Futexes. One that has to wait has a worker for itself, which waits for another futex, too: the request's own word, by
 * which it is cancelled, or woken where the kernel does not know of it yet.
 */

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32 0x02
#define FUTEX2_PRIVATE FUTEX_PRIVATE_FLAG
#endif
#define FUTEX2_SIZES 0x03
#define FUTEX2_KNOWN (FUTEX2_SIZES | 0x04 | 0x08 | FUTEX2_PRIVATE)
#define MAX_WAITERS 128 /* FUTEX_WAITV_MAX */

/* Linux 6.7, newer than some C libraries' headers; the same on every architecture but alpha. */
#define CALL_FUTEX_WAKE 454
#define CALL_FUTEX_WAIT 455

static const struct timespec no_time = { 0 };

int iou__check_futex(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;

	if ((unsigned)sqe->fd & ~(unsigned)FUTEX2_KNOWN || (sqe->fd & FUTEX2_SIZES) != FUTEX2_SIZE_U32)
		return -EINVAL;
	return sqe->off > UINT32_MAX || sqe->addr3 > UINT32_MAX ? -EINVAL : 0;
}

static bool is_same_futex(__u64 address, __u64 flags, const struct io_uring_sqe *wake)
{
	return address == wake->addr && !((flags ^ (__u64)wake->fd) & FUTEX2_PRIVATE);
}

/* Which of the futexes that it waits for this is; -1: none. */
static int number_of_futex(const struct request *request, const struct io_uring_sqe *wake)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct futex_waitv waiters[MAX_WAITERS];

	if (sqe->opcode == OP_FUTEX_WAIT)
		return is_same_futex(sqe->addr, (__u64)sqe->fd, wake) && sqe->addr3 & wake->addr3 ? 0 : -1;
	if (iou__peek(sqe->addr, waiters, sqe->len * sizeof(waiters[0])) < 0)
		return -1;
	for (unsigned i = 0; i < sqe->len; i++)
		if (is_same_futex(waiters[i].uaddr, waiters[i].flags, wake))
			return (int)i;
	return -1;
}

/* The first to have begun, from number on, of those that wait for this futex. */
static struct request *next_waiter(const struct request *wake, uint64_t from)
{
	struct request *next = NULL, *other = NULL;

	while ((other = iou__requests_after(wake->threads, other)))
		if (iou__flow_can_cancel(other) && other->opcode->flags & WAITS_FOR_FUTEX && other->target >= from &&
		    (!next || other->target < next->target) && number_of_futex(other, &wake->sqe) >= 0)
			next = other;
	return next;
}

/*
 * The kernel knows those of our waits for which a worker sleeps. The others, and those that have none, are woken here; who has
 * just been woken by the kernel says so. How many.
 */
static int wake_waiters(const struct request *wake, int n)
{
	struct request *waiter;
	int n_woken = 0;

	for (uint64_t from = 0; n_woken < n && wake->threads->n_futexes; from++) {
		waiter = next_waiter(wake, from);
		if (!waiter)
			break;
		from = waiter->target;
		n_woken += iou__flow_wake(waiter, (unsigned)number_of_futex(waiter, &wake->sqe));
	}
	return n_woken;
}

enum outcome iou__exec_futex_wake(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int n = (int)sqe->off < 0 ? 1 : (int)sqe->off;

	void *word = iou__pointer(sqe->addr);
	long r = syscall(CALL_FUTEX_WAKE, word, (unsigned long)sqe->addr3, (int)sqe->off, (unsigned)sqe->fd);

	if (r == -1 && errno == ENOSYS)
		r = syscall(SYS_futex, word, FUTEX_WAKE_BITSET | (sqe->fd & FUTEX_PRIVATE_FLAG), (int)sqe->off, NULL,
			    NULL, (uint32_t)sqe->addr3);
	return iou__done(request, r < 0 ? r : r + wake_waiters(request, n - (int)r));
}

/* The loop changes it to end this: whoever waits for it as well wakes up then. */
static struct futex_waitv own_word(const struct request *request)
{
	return (struct futex_waitv){
		.uaddr = (__u64)(uintptr_t)&request->word,
		.flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE,
	};
}

/* Whether it would have to wait: a wait without time says so, or what is wrong. */
static bool would_wait(struct request *request, long r)
{
	if (r == -1 && errno == ETIMEDOUT)
		return true;
	iou__done(request, r);
	return false;
}

/* The kernel tells the last of those that have been woken: that is not its own unless it alone has. */
static enum outcome wait_on_worker(struct request *request, struct futex_waitv *waiters, unsigned n)
{
	uint32_t told;
	long r;

	memmove(&waiters[1], &waiters[0], n * sizeof(waiters[0]));
	waiters[0] = own_word(request);
	do
		r = syscall(SYS_futex_waitv, waiters, n + 1, 0, NULL, 0);
	while (r == -1 && errno == EINTR);
	if (r > 0)
		return iou__done(request, r - 1);
	told = iou__iopool_leave_off(request);
	if (told == WORD_NONE)
		return iou__done(request, r);
	return iou__done_as(request, told == WORD_CANCEL ? -ECANCELED : (int)(told - WORD_WOKEN));
}

/* While there is no worker for it, it looks from time to time. */
static enum outcome wait_for_any(struct request *request, struct futex_waitv *waiters, unsigned n)
{
	if (request->is_on_worker)
		return wait_on_worker(request, waiters, n);

	long r = syscall(SYS_futex_waitv, waiters, n, 0, &no_time, CLOCK_MONOTONIC);

	request->listens = true;
	return would_wait(request, r) ? iou__to_worker(request, false) : OUT_DONE;
}

/*
 * A mask other than all has no place among several futexes. Who waits with one is woken by our own requests alone, and looks
 * from time to time whether the word has changed.
 */
static enum outcome wait_with_mask(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	long r = syscall(CALL_FUTEX_WAIT, iou__pointer(sqe->addr), (unsigned long)sqe->off, (unsigned long)sqe->addr3,
			 (unsigned)sqe->fd, &no_time, CLOCK_MONOTONIC);

	return would_wait(request, r) ? OUT_PAUSE : OUT_DONE;
}

enum outcome iou__exec_futex_wait(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct futex_waitv waiters[2] = { { .val = sqe->off, .uaddr = sqe->addr, .flags = (__u32)sqe->fd } };

	if ((__u32)sqe->addr3 != FUTEX_BITSET_MATCH_ANY)
		return wait_with_mask(request);
	return wait_for_any(request, waiters, 1);
}

static bool is_waiter(const struct futex_waitv *waiter)
{
	return !(waiter->flags & ~(unsigned)FUTEX2_KNOWN) && (waiter->flags & FUTEX2_SIZES) == FUTEX2_SIZE_U32 &&
	       !waiter->__reserved && waiter->val <= UINT32_MAX;
}

/* They are read before a chain begins, as vectors are. */
int iou__check_futex_waitv(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct futex_waitv waiters[MAX_WAITERS] = { 0 };
	int r;

	if (!sqe->len || sqe->len > MAX_WAITERS || !sqe->addr)
		return -EINVAL;
	r = request->is_read_first ? iou__peek(sqe->addr, waiters, sqe->len * sizeof(waiters[0])) : 0;
	for (unsigned i = 0; r == 0 && request->is_read_first && i < sqe->len; i++)
		r = is_waiter(&waiters[i]) ? 0 : -EINVAL;
	return r;
}

enum outcome iou__exec_futex_waitv(struct request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct futex_waitv waiters[MAX_WAITERS] = { 0 };
	int r;

	r = iou__peek(sqe->addr, waiters, sqe->len * sizeof(waiters[0]));
	if (r < 0)
		return iou__done_as(request, r);
	if (sqe->len == MAX_WAITERS)
		return iou__done_as(request, -EOPNOTSUPP); /* there is no room for the one that cancels */
	return wait_for_any(request, waiters, sqe->len);
}
