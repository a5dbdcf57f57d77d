/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixed.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../replace.h"
#include "peek.h"

#define MAX_BUFFERS (1U << 14)     /* the kernel's IORING_MAX_REG_BUFFERS */
#define MAX_LENGTH (1ULL << 30)    /* of one */
#define MAX_TRANSFER 0x7ffff000ULL /* the kernel's MAX_RW_COUNT */

/* Linux 5.14; newer than some C libraries' headers. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Have the page there, as by a write that leaves all as it is: 0 or -errno. */
static int populate(__u64 address)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = (void *)(uintptr_t)(address & ~(__u64)(size - 1));

	return madvise(page, size, MADV_POPULATE_WRITE) < 0 ? -errno : 0;
}

/* 0 or -EFAULT. Where that advice is not known, as for what certainly can be written to, reading has to do. */
static int check_byte(__u64 address)
{
	char byte = 0;
	int r = iou__peek(address, &byte, 1);

	if (r < 0 || populate(address) == 0)
		return r;
	return populate((__u64)(uintptr_t)&byte) == 0 ? -EFAULT : 0;
}

/* The kernel looks at each page; here the first and the last have to do, and a bad one between tells when it is used. */
static int check(const struct iovec *iovec)
{
	__u64 address = (__u64)(uintptr_t)iovec->iov_base, last = address + iovec->iov_len - 1;
	int r;

	if (!iovec->iov_base)
		return iovec->iov_len ? -EFAULT : 0;
	if (!iovec->iov_len || iovec->iov_len > MAX_LENGTH)
		return -EFAULT;
	if (last < address)
		return -EOVERFLOW;
	r = check_byte(address);
	return r < 0 ? r : check_byte(last);
}

int iou__fixed_register(struct fixed *fixed, const struct iovec *iovecs, unsigned n)
{
	if (fixed->n)
		return -EBUSY;
	if (!n || n > MAX_BUFFERS)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		int r = check(&iovecs[i]);

		if (r < 0)
			return r;
	}
	fixed->iovecs = calloc(n, sizeof(iovecs[0]));
	if (!fixed->iovecs)
		return -ENOMEM;
	memcpy(fixed->iovecs, iovecs, n * sizeof(iovecs[0]));
	fixed->n = n;
	return 0;
}

void iou__fixed_destroy(struct fixed *fixed)
{
	struct iovec *iovecs = fixed->iovecs;

	*fixed = (struct fixed){ 0 };
	iou__free_replaced(iovecs);
}

int iou__fixed_unregister(struct fixed *fixed)
{
	if (!fixed->n)
		return -ENXIO;
	iou__fixed_destroy(fixed);
	return 0;
}

bool iou__fixed_names(const struct fixed *fixed, unsigned index)
{
	return index < fixed->n && fixed->iovecs[index].iov_base;
}

bool iou__fixed_has(const struct fixed *fixed, unsigned index, __u64 address, __u64 length)
{
	__u64 begin, end;

	if (!iou__fixed_names(fixed, index) || length > MAX_TRANSFER || __builtin_add_overflow(address, length, &end))
		return false;
	begin = (__u64)(uintptr_t)fixed->iovecs[index].iov_base;
	return address >= begin && end <= begin + fixed->iovecs[index].iov_len;
}
