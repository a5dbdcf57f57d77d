/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's names, of Linux 6.18, by number: the header that this is built with may be older. */
#include "iou-info.h"

#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const char *const opcodes[] = {
	"NOP",
	"READV",
	"WRITEV",
	"FSYNC",
	"READ_FIXED",
	"WRITE_FIXED",
	"POLL_ADD",
	"POLL_REMOVE",
	"SYNC_FILE_RANGE",
	"SENDMSG",
	"RECVMSG",
	"TIMEOUT",
	"TIMEOUT_REMOVE",
	"ACCEPT",
	"ASYNC_CANCEL",
	"LINK_TIMEOUT",
	"CONNECT",
	"FALLOCATE",
	"OPENAT",
	"CLOSE",
	"FILES_UPDATE",
	"STATX",
	"READ",
	"WRITE",
	"FADVISE",
	"MADVISE",
	"SEND",
	"RECV",
	"OPENAT2",
	"EPOLL_CTL",
	"SPLICE",
	"PROVIDE_BUFFERS",
	"REMOVE_BUFFERS",
	"TEE",
	"SHUTDOWN",
	"RENAMEAT",
	"UNLINKAT",
	"MKDIRAT",
	"SYMLINKAT",
	"LINKAT",
	"MSG_RING",
	"FSETXATTR",
	"SETXATTR",
	"FGETXATTR",
	"GETXATTR",
	"SOCKET",
	"URING_CMD",
	"SEND_ZC",
	"SENDMSG_ZC",
	"READ_MULTISHOT",
	"WAITID",
	"FUTEX_WAIT",
	"FUTEX_WAKE",
	"FUTEX_WAITV",
	"FIXED_FD_INSTALL",
	"FTRUNCATE",
	"BIND",
	"LISTEN",
	"RECV_ZC",
	"EPOLL_WAIT",
	"READV_FIXED",
	"WRITEV_FIXED",
	"PIPE",
};

/* IORING_SETUP_* and IORING_FEAT_*, from bit 0 on. */
static const char *const ring_flags[] = {
	"IOPOLL",        "SQPOLL",        "SQ_AFF",     "CQSIZE",
	"CLAMP",         "ATTACH_WQ",     "R_DISABLED", "SUBMIT_ALL",
	"COOP_TASKRUN",  "TASKRUN_FLAG",  "SQE128",     "CQE32",
	"SINGLE_ISSUER", "DEFER_TASKRUN", "NO_MMAP",    "REGISTERED_FD_ONLY",
	"NO_SQARRAY",    "HYBRID_IOPOLL", "CQE_MIXED",
};

static const char *const features[] = {
	"SINGLE_MMAP", "NODROP",          "SUBMIT_STABLE",   "RW_CUR_POS",     "CUR_PERSONALITY", "FAST_POLL",
	"POLL_32BITS", "SQPOLL_NONFIXED", "EXT_ARG",         "NATIVE_WORKERS", "RSRC_TAGS",       "CQE_SKIP",
	"LINKED_FILE", "REG_REG_RING",    "RECVSEND_BUNDLE", "MIN_TIMEOUT",    "RW_ATTR",         "NO_IOWAIT",
};

const char *name_of_engine(uint32_t engine)
{
	return engine == IOU_ENGINE_URING ? "uring" : engine == IOU_ENGINE_THREADS ? "threads" : NULL;
}

const char *name_of_error(int error)
{
	return strerrorname_np(error);
}

const char *name_of_opcode(unsigned opcode)
{
	return opcode < N(opcodes) ? opcodes[opcode] : NULL;
}

const char *name_of_ring_flag(unsigned bit)
{
	return bit < N(ring_flags) ? ring_flags[bit] : NULL;
}

const char *name_of_feature(unsigned bit)
{
	return bit < N(features) ? features[bit] : NULL;
}

bool opcode_is_known(const struct facts *facts, unsigned opcode)
{
	return name_of_opcode(opcode) || facts->on_uring[opcode] || facts->on_threads[opcode];
}
