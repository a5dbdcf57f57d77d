/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_NOPS_H
#define BENCH_NOPS_H

#include "bench.h"

/*
 * IORING_OP_NOP, of which param are kept in flight: each that completes is issued again. Two programs run these: nop,
 * and loops in several threads.
 */
void nops_libiou(struct bench_run *run);
void nops_raw(struct bench_run *run);

#endif
