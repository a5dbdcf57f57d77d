/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is to know, by the library's own words: instances are made, asked, and freed. Nothing is run. */
#include "iou-info.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static iou_t *make(uint32_t engine)
{
	iou_config_t config = { .size = sizeof(config), .engine = engine };

	return iou_new_with(&config);
}

static bool find_opcodes(uint32_t engine, bool *is_supported)
{
	iou_t *iou = make(engine);

	if (!iou)
		return false;
	for (unsigned opcode = 0; opcode < N_OPCODES; opcode++)
		is_supported[opcode] = iou_supports(iou, opcode) > 0;
	iou_free(iou);
	return true;
}

static long long limit_of(__rlimit_resource_t resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return NOT_THERE;
	return limit.rlim_cur == RLIM_INFINITY ? UNLIMITED : (long long)limit.rlim_cur;
}

/* A switch of the kernel. -1 is a group as well: none. */
static bool read_switch(const char *path, long long *value)
{
	FILE *file = fopen(path, "re");
	bool is_there = file && fscanf(file, "%lld", value) == 1;

	if (file)
		fclose(file);
	if (!is_there)
		*value = NOT_THERE;
	return is_there;
}

static void find_surroundings(struct facts *facts)
{
	facts->libiou = iou_version();
	uname(&facts->kernel);
	facts->memlock = limit_of(RLIMIT_MEMLOCK);
	facts->nofile = limit_of(RLIMIT_NOFILE);
	read_switch("/proc/sys/kernel/io_uring_disabled", &facts->io_uring_disabled);
	read_switch("/proc/sys/kernel/io_uring_group", &facts->io_uring_group);
	facts->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	facts->has_ring = find_opcodes(IOU_ENGINE_URING, facts->on_uring);
	find_opcodes(IOU_ENGINE_THREADS, facts->on_threads);
}

static int ask(struct facts *facts, uint32_t engine)
{
	iou_t *iou = make(engine);

	facts->info = (iou_info_t){ .size = sizeof(facts->info) };
	if (!iou)
		return errno;
	iou_info(iou, &facts->info);
	snprintf(facts->reason, sizeof(facts->reason), "%s", facts->info.reason);
	facts->info.reason = facts->reason;
	iou_free(iou);
	return 0;
}

int facts_find(struct facts *facts, uint32_t engine)
{
	int error = ask(facts, engine);

	if (!error) {
		find_surroundings(facts);
		return 0;
	}
	/* Why not is known to who leaves the choice to the library. */
	unsetenv("LIBIOU_ENGINE");
	ask(facts, IOU_ENGINE_AUTO);
	return error;
}
