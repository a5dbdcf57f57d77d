/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a request ends: its CQEs, and what becomes of the requests that are linked behind it. */
#ifndef IOU_LIB_THREADS_COMPLETIONS_H
#define IOU_LIB_THREADS_COMPLETIONS_H

#include "requests.h"

/* Whether there is room for a CQE; what is there is copied out of the way if need be. */
bool iou__completions_have_room(struct threads *threads);

/* A completion before the last. */
void iou__completions_post_more(struct request *request, int res, unsigned flags);

/* A message, if there is room, becomes a completion of no request, whatever name it bears. */
void iou__completions_post_message(struct threads *threads, const struct cqe *message);

/* So many of those that have come as there is room for; the others can wait where they are. */
void iou__completions_take_messages(struct threads *threads);

/* The last, with what follows from it: its provided buffer and its limit end, what is linked behind begins or fails. */
void iou__completions_complete(struct request *request, int res);

/* The last, and nothing follows from it. */
void iou__completions_end(struct request *request, int res);

/* A chain that has not begun: if one in it is wrong the whole chain fails, as hard as it may be linked. */
void iou__completions_fail_chain(struct request *head);

/* Have what could not be completed for want of memory go to the CQ. */
void iou__completions_flush(struct threads *threads);

#endif
