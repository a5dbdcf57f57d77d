/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The opcodes: what each one does, and what the kernel checks before it begins. Numbers are the kernel's of Linux 6.18;
 * those that the oldest liburing we build with lacks are named here.
 */
#ifndef IOU_LIB_THREADS_OPCODES_H
#define IOU_LIB_THREADS_OPCODES_H

#include "request.h"

/* Enumerators where liburing has them, so that the preprocessor cannot tell whether they are there. */
enum {
	OP_READ_MULTISHOT = 49,
	OP_WAITID,
	OP_FUTEX_WAIT,
	OP_FUTEX_WAKE,
	OP_FUTEX_WAITV,
	OP_FIXED_FD_INSTALL,
	OP_FTRUNCATE,
	OP_BIND,
	OP_LISTEN,
	OP_RECV_ZC,
	OP_EPOLL_WAIT,
	OP_READV_FIXED,
	OP_WRITEV_FIXED,
	OP_PIPE,
	N_OPCODES,
};

#define TIMEOUT_MULTISHOT (1U << 6)
#define RECVSEND_BUNDLE (1U << 4) /* one buffer, without a ring of them */
#define SEND_VECTORIZED (1U << 5)
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

enum {
	TAKES_FILE = 1 << 0,    /* sqe->fd is a descriptor, or with IOSQE_FIXED_FILE an index */
	REFUSES_FIXED = 1 << 1, /* a directory, which cannot be a registered file */
	TAKES_IOPRIO = 1 << 2,
	SELECTS_BUFFER = 1 << 3,
	KEEPS_CHAIN = 1 << 5,  /* what is linked behind it goes on if it fails once it has begun: so does the kernel */
	KEEPS_BUFFER = 1 << 6, /* a provided buffer is its own while it waits, and used up with it */
	MAKES_FILE = 1 << 7,   /* which file_index sends to the table of registered ones */
	IS_COUNTED = 1 << 9,   /* who cancels it alone is told 1, rather than 0: by the kernel, too */
	WAITS_FOR_FUTEX = 1 << 10,
	GOES_ON = 1 << 8, /* what is linked behind it goes on even if it is cancelled: so does the kernel */
	IS_SLOW = 1 << 4, /* for a worker at once: nothing tells beforehand whether it blocks on a disk */
};

struct opcode {
	/* One attempt; without blocking, but where request->is_on_worker. */
	enum outcome (*attempt)(struct request *request);
	/* What else is checked before the request begins: 0 or -errno. */
	int (*check)(struct request *request);
	uint16_t flags;
	uint16_t zero; /* fields of the SQE that must be */
};

/* Whether it is carried out: not just refused in better words. */
bool iou__opcode_is_supported(unsigned opcode);

/* The one that the request's SQE names, and whether it is as the kernel wants it. 0 or -errno. */
int iou__opcode_check(struct request *request);

/* An attempt. */
enum outcome iou__opcode_try(struct request *request);

#endif
