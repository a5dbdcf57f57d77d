/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include "bench.h"

/* How many SQEs are submitted at a time. */
#define ENTRIES 256

struct scale;

/*
 * A connection: a receive is pending at one end, messages are sent into the other. The receiving end is a registered
 * file alone, so that a common limit (20,000 descriptors) is enough.
 */
struct conn {
	struct scale *scale;
	unsigned receiver;
	int sender;
	uint64_t received;
	uint64_t sent;
	iou_op_t *receive_op;
	iou_op_t *send_op;
};

/* What an implementation does, and then calls conn_sent(), conn_received(), and scale_watched() for. */
struct engine {
	void (*open)(struct scale *scale);
	struct io_uring *(*ring)(struct scale *scale);
	void (*receive)(struct conn *conn);
	void (*send)(struct conn *conn);
	/* Wait until scale->event is readable. */
	void (*watch)(struct scale *scale);
	/* Submit all, wait for nothing. */
	void (*flush)(struct scale *scale);
	/* Wait for something, and deliver it. */
	void (*turn)(struct scale *scale);
	/* Begin to watch, and cancel that. */
	void (*cancel)(struct scale *scale);
	void (*close)(struct scale *scale);
};

struct scale {
	struct bench_run *run;
	const struct engine *engine;
	iou_t *iou;
	struct io_uring ring;
	int event;
	struct conn *conns;
	unsigned n_conns;
	unsigned n_watches;
	/* Messages to send, and how many have been; how many have been received. */
	uint64_t n_to_send;
	uint64_t n_sent;
	uint64_t n_received;
	uint64_t n_watched;
	uint64_t n_cancelled;
	/* The loop is being closed, and so many receives have ended with that. */
	bool is_closing;
	unsigned n_ended;
};

extern const struct engine scale_libiou;
extern const struct engine scale_raw;

void conn_sent(struct conn *conn, int result);
void conn_received(struct conn *conn, int result);
void scale_watched(struct scale *scale, int result);

#endif
