/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU__EXPORT_H
#define IOU__EXPORT_H

/*
 * The library is compiled with hidden visibility. This file is included before all others (see meson.build), so that
 * what iou.h declares is the exception, and its declarations need no decoration.
 */
#pragma GCC visibility push(default)
#include <iou.h>
#pragma GCC visibility pop

#endif
