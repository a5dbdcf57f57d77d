/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For quotas see the kernel's Documentation: admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst. */
#include "cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A mask that is too small is EINVAL; the largest machines that Linux runs on have 8,192 CPUs. */
static unsigned by_affinity(void)
{
	for (int n = CPU_SETSIZE; n <= 16 * CPU_SETSIZE; n *= 2) {
		cpu_set_t *set = CPU_ALLOC(n);
		size_t size = CPU_ALLOC_SIZE(n);
		int count = set && sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;

		CPU_FREE(set);
		if (count > 0)
			return (unsigned)count;
	}

	long online = sysconf(_SC_NPROCESSORS_ONLN);

	return online > 0 ? (unsigned)online : 1;
}

/* Not on the stack, of which a program's thread may have as little as PTHREAD_STACK_MIN. */
struct buffers {
	char line[PATH_MAX]; /* of /proc/self/cgroup */
	char name[PATH_MAX]; /* of a cgroup's file */
};

/* The first line of a cgroup's file, or "" if it has none. */
static void read_line(struct buffers *buffers, const char *dir, const char *path, const char *name, char *line,
		      int size)
{
	char *full = buffers->name;
	int n = snprintf(full, sizeof(buffers->name), "%s%s/%s", dir, path, name);
	FILE *file = n < (int)sizeof(buffers->name) ? fopen(full, "re") : NULL;

	line[0] = '\0';
	if (!file)
		return;
	if (!fgets(line, size, file))
		line[0] = '\0';
	fclose(file);
}

static unsigned share(long long quota, long long period)
{
	if (quota <= 0 || period <= 0)
		return UINT_MAX;

	long long n = (quota + period - 1) / period;

	return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

/* The quota of one cgroup in CPUs; UINT_MAX: none. */
static unsigned quota_of(struct buffers *buffers, bool is_v2, const char *path)
{
	const char *v1 = "/sys/fs/cgroup/cpu";
	char line[64], line2[64];
	long long quota = 0, period = 0;

	if (is_v2) {
		read_line(buffers, "/sys/fs/cgroup", path, "cpu.max", line, sizeof(line));
		return sscanf(line, "%lld %lld", &quota, &period) == 2 ? share(quota, period) : UINT_MAX;
	}
	read_line(buffers, v1, path, "cpu.cfs_quota_us", line, sizeof(line));
	read_line(buffers, v1, path, "cpu.cfs_period_us", line2, sizeof(line2));
	return sscanf(line, "%lld", &quota) == 1 && sscanf(line2, "%lld", &period) == 1 ? share(quota, period)
											: UINT_MAX;
}

/* The smallest quota of a cgroup and those above it. Shortens the path. */
static unsigned quota_up_from(struct buffers *buffers, bool is_v2, char *path)
{
	unsigned least = UINT_MAX;

	for (char *slash = path + strlen(path); slash; slash = strrchr(path, '/')) {
		*slash = '\0';

		unsigned n = quota_of(buffers, is_v2, path);

		least = n < least ? n : least;
	}
	return least;
}

/* A line of /proc/self/cgroup is HIERARCHY:CONTROLLERS:PATH; version 2's has no controllers. */
static unsigned quota_of_line(struct buffers *buffers)
{
	char *controllers = strchr(buffers->line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return UINT_MAX;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	controllers++;
	if (*controllers && strncmp(controllers, "cpu,", 4) != 0 && strcmp(controllers, "cpu") != 0)
		return UINT_MAX;
	return quota_up_from(buffers, !*controllers, path);
}

static unsigned least_quota(struct buffers *buffers)
{
	unsigned least = UINT_MAX;
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (!file)
		return least;
	while (fgets(buffers->line, sizeof(buffers->line), file)) {
		unsigned n = quota_of_line(buffers);

		least = n < least ? n : least;
	}
	fclose(file);
	return least;
}

static unsigned by_quota(void)
{
	struct buffers *buffers = calloc(1, sizeof(*buffers));
	unsigned least = buffers ? least_quota(buffers) : UINT_MAX;

	free(buffers);
	return least;
}

unsigned iou__cpus(void)
{
	unsigned n = by_affinity();
	unsigned quota = by_quota();

	return quota < n ? quota : n;
}
