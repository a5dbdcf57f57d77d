/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many CPUs this process may use. */
#ifndef IOU_LIB_CPUS_H
#define IOU_LIB_CPUS_H

/* At least 1: those of the calling thread's affinity mask, at most what the cgroups' CPU quotas come to, rounded up. */
unsigned iou__cpus(void);

#endif
