/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opcodes by number, as the kernel has them: newer than the oldest liburing. Not the library's own, which is on trial. */
#ifndef IOU_TESTS_OPCODES_H
#define IOU_TESTS_OPCODES_H

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

#endif
