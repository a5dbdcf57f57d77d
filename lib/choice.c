/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which engine an instance gets, and why, in words. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "internal.h"
#include "ring.h"
#include "threads/threads.h"

static void say(iou_t *iou, const char *reason)
{
	snprintf(iou->reason, sizeof(iou->reason), "%s", reason);
}

/* LIBIOU_ENGINE overrides AUTO alone; a name that is unknown is as if it were not set. */
static uint32_t choose(iou_t *iou, uint32_t engine)
{
	const char *name = engine == IOU_ENGINE_AUTO ? secure_getenv("LIBIOU_ENGINE") : NULL;

	say(iou, engine == IOU_ENGINE_AUTO ? "io_uring is available" : "asked for by the configuration");
	if (!name || (strcmp(name, "uring") != 0 && strcmp(name, "threads") != 0))
		return engine;
	say(iou, "asked for by LIBIOU_ENGINE");
	return strcmp(name, "uring") == 0 ? IOU_ENGINE_URING : IOU_ENGINE_THREADS;
}

/* The number behind these words at the beginning of a line of this file, or -1. */
static int read_number(const char *path, const char *words)
{
	FILE *file = fopen(path, "re");
	char line[128];
	int n = -1;

	if (!file)
		return -1;
	while (n < 0 && fgets(line, sizeof(line), file))
		if (strncmp(line, words, strlen(words)) == 0)
			n = atoi(line + strlen(words));
	fclose(file);
	return n;
}

static bool has_filter(void)
{
	return read_number("/proc/self/status", "Seccomp:") > 0;
}

static const char *name_of(int error)
{
	switch (error) {
	case EPERM:
		return "EPERM";
	case EACCES:
		return "EACCES";
	case ENOSYS:
		return "ENOSYS";
	case EINVAL:
		return "EINVAL";
	default:
		return "EOPNOTSUPP";
	}
}

/* A switch says so itself, a filter does not. At 1 the switch lets some pass, so that a filter may have spoken. */
static void explain_refusal(iou_t *iou, int error)
{
	int disabled = error == EPERM ? read_number("/proc/sys/kernel/io_uring_disabled", "") : 0;

	if (disabled == 1 && has_filter())
		say(iou, "kernel.io_uring_disabled=1, or seccomp: EPERM");
	else if (disabled > 0)
		snprintf(iou->reason, sizeof(iou->reason), "kernel.io_uring_disabled=%d", disabled);
	else if (has_filter())
		snprintf(iou->reason, sizeof(iou->reason), "seccomp: %s", name_of(error));
	else if (error == ENOSYS)
		say(iou, "the kernel has no io_uring, or one from before Linux 5.5");
	else
		snprintf(iou->reason, sizeof(iou->reason), "the kernel refuses io_uring: %s", name_of(error));
}

/*
 * Rings count as locked memory of who has no CAP_IPC_LOCK: before Linux 5.12, and again on 6.18. The control group's limit
 * may be the cause as well.
 */
static void explain_memory(iou_t *iou)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		snprintf(iou->reason, sizeof(iou->reason), "no memory for a ring: RLIMIT_MEMLOCK %llu KiB",
			 (unsigned long long)limit.rlim_cur / 1024);
	else
		say(iou, "no memory for a ring");
}

static void explain(iou_t *iou, int error)
{
	iou->engine_error = error;
	if (error == ENOMEM)
		explain_memory(iou);
	else
		explain_refusal(iou, error);
}

/* The kernel will not have it, or has not got it. Without descriptors, say, threads would fare no better. */
static bool is_refusal(int error)
{
	return error == EPERM || error == EACCES || error == ENOSYS || error == ENOMEM || error == EINVAL ||
	       error == EOPNOTSUPP;
}

static int make_ring(iou_t *iou, const iou_config_t *config)
{
	const struct uring_config uring = {
		.entries = config->entries,
		.cq_entries = config->cq_entries,
		.is_any_thread = config->flags & IOU_ANY_THREAD,
		.is_sqpoll = config->flags & IOU_SQPOLL,
		.iowq_max = { config->iowq_bounded, config->iowq_unbounded },
	};

	return iou__ring_new(&uring, &iou->ops, &iou->stage, &iou->timeouts, &iou->cq, &iou->engine);
}

static int make_threads(iou_t *iou, const iou_config_t *config)
{
	const struct threads_config threads = {
		.entries = config->entries,
		.cq_entries = config->cq_entries,
		.n_workers = { config->iowq_bounded, config->iowq_unbounded },
	};

	return iou__threads_new(&threads, &iou->ops, &iou->stage, &iou->timeouts, &iou->cq, &iou->engine);
}

int iou__choose_engine(iou_t *iou, const iou_config_t *config)
{
	uint32_t engine = choose(iou, config->engine);
	int r;

	if (engine == IOU_ENGINE_THREADS)
		return make_threads(iou, config);
	r = make_ring(iou, config);
	if (engine != IOU_ENGINE_AUTO || r >= 0 || !is_refusal(-r))
		return r;
	explain(iou, -r);
	return make_threads(iou, config);
}
