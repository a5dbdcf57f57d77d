/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Registered files: a table of descriptors that are the engine's own, duplicates of the program's or such as direct
 * descriptors were made with. A file is closed when neither the table nor a request has it any more. Results are those of
 * io_uring_register(2) and of the opcodes that fill the table.
 */
#ifndef IOU_LIB_THREADS_FILES_H
#define IOU_LIB_THREADS_FILES_H

#include "watches.h"

struct file {
	struct node node; /* among all that are open */
	int fd;
	unsigned n_users; /* slots, at most one, and requests */
};

struct files {
	struct file **slots;
	unsigned n;
	unsigned hint; /* where to look for a slot that is free */
	struct queue open;
	struct watches *watches;
};

void iou__files_init(struct files *files, struct watches *watches);

/* All are closed, also those that requests have. */
void iou__files_destroy(struct files *files);

int iou__files_register(struct files *files, const int *fds, unsigned n);
int iou__files_unregister(struct files *files);

/* n descriptors, at that address in the program's memory, into the slots from offset on. How many, or -errno. */
int iou__files_update(struct files *files, unsigned offset, __u64 fds, unsigned n);

/* Into slots that are free, whose numbers are written back. */
int iou__files_update_free(struct files *files, __u64 fds, unsigned n);

/* The file in a slot, for a request; NULL: there is none. */
struct file *iou__files_get(const struct files *files, unsigned slot);
void iou__files_put(struct files *files, struct file *file);

/*
 * A new descriptor goes where the SQE's file_index says, which counts from 1 or is IORING_FILE_INDEX_ALLOC: 0, the
 * slot's number where the SQE did not know it, or -errno. Either way the descriptor is the table's now, or closed.
 */
int iou__files_install(struct files *files, unsigned file_index, int fd);

int iou__files_close(struct files *files, unsigned slot);

#endif
