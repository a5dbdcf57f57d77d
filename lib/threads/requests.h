/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threads engine's state, and its requests: where they are kept and how they are found. */
#ifndef IOU_LIB_THREADS_REQUESTS_H
#define IOU_LIB_THREADS_REQUESTS_H

#include "../engine.h"
#include "../uring.h"
#include "files.h"
#include "fixed.h"
#include "groups.h"
#include "iopool.h"
#include "messages.h"
#include "request.h"
#include "watches.h"

struct threads {
	struct engine engine;
	struct uring dummy;

	/* The CQ: one thread has both ends. */
	unsigned cq_head, cq_tail;
	unsigned n_cq_wanted; /* the configuration's; 0: it goes with the SQ */
	struct io_uring_cqe *cqes;
	uint64_t n_completed; /* CQEs so far, but those of timeouts: what timeouts with a count count */
	struct queue done;    /* completed, and neither the CQ nor memory had room for it */

	/* Where requests wait. */
	struct queue ready;
	struct queue timeline;
	unsigned n_counting; /* of these, the timeouts that also wait for a number of completions */
	uint64_t n_armings;  /* of timeouts, so far */
	unsigned n_futexes;  /* requests that wait for some */
	uint64_t n_waits;    /* such, so far */
	struct watches watches;
	struct messages messages;
	struct iopool iopool;
	struct groups groups;
	struct files files;
	struct fixed fixed;
	int timer_fd;         /* for who watches the epoll set, or -1 */
	uint64_t timer_is_at; /* what it is set to */
	unsigned n_unpolled;  /* turns since the epoll set was looked at */
};

/* The request of the op that has this identity; its SQE is to be filled in. */
struct request *iou__requests_new(struct threads *threads, __u64 identity);

/* The request in flight that has this identity, or NULL. */
struct request *iou__requests_find(const struct threads *threads, __u64 user_data);

/* The one after this one among all requests in flight, in no order that means anything; NULL: the first, or none. */
struct request *iou__requests_after(const struct threads *threads, const struct request *request);

/* It is to be tried (again) in this turn or the next. */
void iou__requests_make_ready(struct request *request);

#endif
