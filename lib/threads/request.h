/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request: an SQE that the threads engine has taken from the stage, and how far it has come. It lives beside its op,
 * in the pool. Belongs to the loop thread, but while a worker is at it.
 *
 * The files of the threads engine, all in this directory, are, from the bottom up:
 *
 *	peek.c         reads the program's memory without a crash
 *	nowait.c       reads and writes where RWF_NOWAIT is not to be had
 *	request.h      this
 *	iopool.c       workers for system calls that may be slow
 *	watches.c      readiness, by epoll
 *	messages.c     what other instances send
 *	timeline.c     points in time
 *	groups.c       provided buffers
 *	files.c        registered files
 *	fixed.c        registered buffers
 *	requests.c     the engine's state, and the requests in it
 *	completions.c  CQEs, and what is linked behind
 *	exec-*.c       what the opcodes do: system calls; exec-timeout.c also what time does to requests
 *	opcodes.c      the table of opcodes, and what the kernel checks before it begins
 *	flow.c         from an attempt to the next, and to the completion
 *	register.c     io_uring_register(2)
 *	turn.c         what a turn does, and how it waits
 *	threads.c      the engine
 */
#ifndef IOU_LIB_THREADS_REQUEST_H
#define IOU_LIB_THREADS_REQUEST_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <liburing.h>
#include <sys/epoll.h>

#include "../queue.h"

struct file;
struct opcode;
struct threads;

/* Where a request is; it is in at most one list, by its node. */
enum place {
	AT_REST,   /* not in flight */
	AT_HAND,   /* being tried */
	AT_LINK,   /* behind another one */
	AT_READY,  /* to be tried (again) in this turn or the next */
	AT_WATCH,  /* a descriptor's */
	AT_TIME,   /* in the timeline */
	AT_WORKER, /* waits for a worker, or one is at it */
	AT_DONE,   /* completed, and there was no memory for its CQE */
};

/* What an attempt at a request came to. */
enum outcome {
	OUT_DONE,   /* res and cqe_flags are its completion */
	OUT_WATCH,  /* again when watch_fd is ready for events */
	OUT_WORKER, /* a worker has to do it */
	OUT_PAUSE,  /* again after some time: nothing will tell */
	OUT_TIME,   /* again when the time is at */
	OUT_AGAIN,  /* again in the next turn: it has had its share of this one */
};

/*
 * A word between the loop and a worker that listens: it waits, and the loop can end that. Each side makes up its mind once:
 * who is told when it has nothing yet leaves off, and says so before the loop goes on.
 */
enum {
	WORD_NONE,
	WORD_KEPT,   /* the worker's: what it came to counts */
	WORD_LEFT,   /* the worker's: it has left off, and comes to what it was told */
	WORD_CANCEL, /* the loop's: -ECANCELED */
	WORD_WOKEN,  /* the loop's: this or more says which of its futexes has been woken */
};

/* A buffer as it was provided, or none: the address of an SQE. */
struct buffer {
	__u64 addr;
	__u32 len;
	__u16 id;
	bool is_taken;
	__u32 ring; /* the number of the ring it comes from; 0: a list */
};

struct request {
	struct node node;
	struct io_uring_sqe sqe; /* a copy: the program's may change once it is submitted */
	const struct opcode *opcode;
	struct threads *threads;
	struct request *next;        /* what is linked behind it */
	struct request *limit;       /* the linked timeout that limits it; and for that one, what it limits */
	struct file *file, *file_in; /* registered ones that it has; sqe has their descriptors then */
	uint8_t place;               /* enum place */
	uint8_t outcome;             /* a worker's attempt came to this */
	bool is_on_worker;           /* the attempt may block */
	bool is_read_first;          /* what it points to is read before it begins, as the kernel does */
	bool is_unplaced;            /* the file it has made found no slot among the registered ones */
	bool is_over;                /* a multishot one has come to its end, and this is its last completion */
	bool is_again;               /* a multishot one has completed before */
	bool has_notice;             /* a second completion will tell that its memory is free */
	bool has_fixed;              /* its memory was in a registered buffer when it began */
	bool is_failed;              /* found to be wrong before it began */
	bool has_waited;             /* this is not the first attempt */
	bool was_watched;            /* epoll has been told of it, since it waits for watch_fd */
	bool has_given;              /* it has had a completion, not its last, since it was woken */
	bool has_no_place;           /* its file has no offsets */
	bool is_unwatchable;         /* epoll does not take its descriptor */
	bool is_unwatched;           /* epoll has no memory for it: what comes is looked for from time to time */
	bool has_begun;              /* it has been tried, and is not over: its limit runs, and others find it */
	bool is_bounded;             /* what the worker does is sure to end soon */
	bool uses_buffer;            /* with this completion the provided buffer, if it has one, is used up */
	bool listens;                /* to its word, while a worker is at it */
	_Atomic uint32_t word;       /* WORD_*, a futex */
	int res;
	unsigned cqe_flags;
	uint32_t done;  /* bytes that earlier attempts have transferred */
	uint32_t least; /* what is less is a failure for what is linked behind, where a buffer was provided */
	int watch_fd;
	uint32_t events;  /* EPOLL*: what it waits for */
	uint32_t revents; /* what came */
	uint8_t n_vain;   /* attempts in a row that found nothing where what it waits for was there */
	bool is_in_vain;  /* that was nothing of what it waits for, but an error or an end, which may stay */
	uint32_t n_left;  /* multishot timeouts: so many more times; receives: bytes; 0: for ever */
	bool is_counting; /* a timeout that also waits until so many CQEs have been posted */
	uint64_t target;  /* of the count; of one that waits for futexes: how many others had begun to before */
	uint64_t number;  /* of its arming, if it is a timeout */
	uint64_t at;      /* ns, CLOCK_MONOTONIC */
	uint64_t span;    /* ns: of a timeout, or of a pause */
	struct buffer buffer;
};

/* It waits, or comes from there to be tried again: others may take it away. What is linked may be ready to begin. */
static inline bool iou__is_waiting(const struct request *request)
{
	return request->place == AT_WATCH || request->place == AT_TIME ||
	       (request->place == AT_READY && request->has_begun);
}

/* An attempt's end. A result of -1 stands for errno, as with system calls. */
static inline enum outcome iou__done(struct request *request, long result)
{
	request->res = result == -1 ? -errno : (int)result;
	return OUT_DONE;
}

/* For results that are -errno already; -EPERM is -1. */
static inline enum outcome iou__done_as(struct request *request, int result)
{
	request->res = result;
	return OUT_DONE;
}

static inline enum outcome iou__watch(struct request *request, int fd, uint32_t events)
{
	request->is_in_vain = request->is_in_vain && request->watch_fd == fd;
	request->was_watched = request->was_watched && request->watch_fd == fd;
	request->watch_fd = fd;
	request->events = events;
	return OUT_WATCH;
}

/*
 * The same after an attempt that found nothing. What has completed in part since it was woken may do so many times more:
 * from then on epoll tells of each change, and need not be asked again. Who was woken in vain asks anew.
 */
static inline enum outcome iou__watch_on(struct request *request, int fd, uint32_t events)
{
	return iou__watch(request, fd, request->has_given ? events | EPOLLET : events);
}

static inline enum outcome iou__to_worker(struct request *request, bool is_bounded)
{
	request->is_bounded = is_bounded;
	return OUT_WORKER;
}

/* Readiness is waited for before the first attempt, and before a buffer is taken. */
bool iou__waits_first(const struct request *request);

/* The events of a poll, or to be put there: on big-endian machines the halves are the other way round. */
static inline uint32_t iou__poll_events(uint32_t poll32_events)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return poll32_events << 16 | poll32_events >> 16;
#else
	return poll32_events;
#endif
}

/* What addresses in an SQE point to. */
static inline void *iou__pointer(__u64 address)
{
	return (void *)(uintptr_t)address;
}

#endif
