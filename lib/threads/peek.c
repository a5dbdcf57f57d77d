/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_refused(ssize_t n)
{
	return n < 0 && errno != EFAULT;
}

/*
 * Some sandboxes forbid process_vm_readv(2) also for oneself. Then the bytes go through a pipe: nobody forbids that,
 * and the kernel looks at the pointers. A pipe takes 4096 bytes at once.
 */
static int pass_through_pipe(const void *from, void *to, size_t n)
{
	int fds[2], r = 0;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	for (size_t i = 0; r == 0 && i < n;) {
		size_t part = n - i < 4096 ? n - i : 4096;
		ssize_t written = write(fds[1], (const char *)from + i, part);

		if (written <= 0 || read(fds[0], (char *)to + i, (size_t)written) != written)
			r = -EFAULT;
		else
			i += (size_t)written;
	}
	close(fds[0]);
	close(fds[1]);
	return r;
}

int iou__peek(__u64 address, void *to, size_t n)
{
	const struct iovec local = { to, n }, remote = { (void *)(uintptr_t)address, n };
	ssize_t r = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	if (is_refused(r))
		return pass_through_pipe(remote.iov_base, to, n);
	return r == (ssize_t)n ? 0 : -EFAULT;
}

int iou__poke(__u64 address, const void *from, size_t n)
{
	const struct iovec local = { (void *)(uintptr_t)from, n }, remote = { (void *)(uintptr_t)address, n };
	ssize_t r = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);

	if (is_refused(r))
		return pass_through_pipe(from, remote.iov_base, n);
	return r == (ssize_t)n ? 0 : -EFAULT;
}

/* Up to there it is the program's wherever programs have 47 bits, as on the narrowest of the machines in use. */
#define SURELY ((1ULL << 47) - 4096)

/* A waker of nobody is told -EFAULT where no program can have memory, and only there. */
bool iou__peek_can(__u64 address, __u64 n)
{
	__u64 end;

	if (__builtin_add_overflow(address, n, &end))
		return false;
	if (end <= SURELY)
		return true;
	end = (end - 1) & ~(__u64)3;
	return syscall(SYS_futex, (void *)(uintptr_t)end, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0) >= 0 || errno != EFAULT;
}
