/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a CPU is told that waits for another one, or will write what that has. */
#ifndef IOU_LIB_RELAX_H
#define IOU_LIB_RELAX_H

static inline void iou__relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

/* Have the cache line fetched for writing, which takes its time, but nobody waits for it. */
static inline void iou__fetch_to_write(const void *line)
{
#if defined(__x86_64__)
	/* Compilers take it for a later addition, while each such CPU at least ignores it. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
	__builtin_prefetch(line, 1);
#endif
}

#endif
