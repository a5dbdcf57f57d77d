/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an instance tells of itself. */
#include "internal.h"

#define STRING(x) #x
#define VERSION(major, minor, micro) STRING(major) "." STRING(minor) "." STRING(micro)

const char *iou_version(void)
{
	return VERSION(IOU_VERSION_MAJOR, IOU_VERSION_MINOR, IOU_VERSION_MICRO);
}

int iou_info(iou_t *iou, iou_info_t *info)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;

	const iou_info_t full = {
		.reason = iou->reason,
		.engine = iou->engine->kind,
		.engine_error = iou->engine_error,
		.ring_flags = iou->engine->setup_flags,
		.ring_features = iou->engine->features,
		.sq_entries = iou->engine->sq_entries,
		.cq_entries = iou->engine->cq_entries,
		.workers = iou__async_max(&iou->async),
		.workers_started = iou->async.n_workers,
	};

	return iou__config_write(info, &full, sizeof(full), offsetof(iou_info_t, workers_started) + sizeof(uint32_t));
}

int iou_supports(iou_t *iou, unsigned opcode)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;
	return iou->error ? iou->error : iou->engine->verbs->supports(iou->engine, opcode);
}

int iou_stats(iou_t *iou, iou_stats_t *stats)
{
	int r = iou__check(iou);

	if (r < 0)
		return r;

	const struct ops *ops = &iou->ops;
	const iou_stats_t full = {
		.pool_bytes = iou__ops_bytes(ops),
		.ops_new = iou__ops_n(ops, OP_NEW),
		.ops_queued = iou__ops_n(ops, OP_QUEUED),
		.ops_submitted = iou__ops_n(ops, OP_SUBMITTED),
		.ops_waiting = iou__ops_n(ops, OP_WAITING),
		.ops_working = iou__ops_n(ops, OP_WORKING),
		.ops_finished = iou__ops_n(ops, OP_FINISHED),
		.ops_completed = iou__ops_n(ops, OP_COMPLETED),
		.n_submitted = iou->engine->n_submitted,
		.n_enters = iou->engine->n_enters,
		.n_cqes = iou->cq.n_read,
		.n_foreign = iou->n_foreign,
		.n_callbacks = iou->n_callbacks,
		.n_wakeups = iou->n_wakeups,
	};

	return iou__config_write(stats, &full, sizeof(full), offsetof(iou_stats_t, n_wakeups) + sizeof(uint64_t));
}
