/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_CREATE_H
#define BENCH_CREATE_H

#include "bench.h"

/* Measure a function that makes one and frees it, and checks once that this went well. */
void create(struct bench_run *run, void (*make_and_free)(struct bench_run *run));

#ifdef HAVE_LIBUV
void create_libuv(struct bench_run *run);
#endif

#endif
