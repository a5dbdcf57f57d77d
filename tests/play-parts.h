/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_PLAY_PARTS_H
#define IOU_TESTS_PLAY_PARTS_H

/* The play from inside: what its acts share. */

#include "play.h"

#include <semaphore.h>

/* An op, a job or a post, and what is to become of it. */
struct part {
	struct play *play;
	const char *name;
	iou_op_t *op; /* NULL: a post, or a job of iou_async() */
	int wanted;
	int also; /* may come out like this as well */
	bool is_read;
	bool waits;          /* for something that the act has to do */
	bool opens;          /* its result is a descriptor, the play's to close */
	struct part *closer; /* the op that does so */
	bool is_loose;       /* where others may have failed, any result is as good */
	bool may_be_silent;
	bool is_due; /* the library has taken it, and owes it one final callback */
	int n_final;
	int n_errors; /* completions that were the error */
	int result;
	unsigned flags; /* of the last completion */
};

enum { N_PARTS = 512, PLAY_SLOTS = 12 };

struct play {
	const struct play_rules *rules;
	iou_t *iou;
	int fds[2];
	char bytes[N_PARTS];
	sem_t gate; /* for jobs; if a run fails they come to it later */
	struct part parts[N_PARTS];
	int n_parts;
	int n_told;
	unsigned n_entries;
	bool is_lost; /* the engine has failed */
	bool is_on_threads;
	bool is_ending;         /* nothing new starts */
	iou_buffers_t *buffers; /* which could not be taken back */
	char complaint[256];
};

/* An instance, or NULL. */
iou_t *play_open(struct play *play, iou_config_t config);

/* NULL: there is no memory for it, and then the play goes on without it. */
struct part *play_take_part(struct play *play, const char *name, int wanted);

/* With the SQE as it is but for these flags. */
void play_queue(struct part *part, unsigned flags);

/* Run to the end, for which reads are fed; or one turn that does not wait. Whether the engine still works, or -errno. */
int play_run(struct play *play);
void play_turn(struct play *play);

/* Until nothing is due but what waits. */
void play_settle(struct play *play);

__attribute__((format(printf, 2, 3))) void play_complain(struct play *play, const char *format, ...);

/* play-operations.c: what programs do with files, sockets and the like, which on threads is the library's to carry out. */
void play_use_files(struct play *play);
void play_use_paths(struct play *play);
void play_use_sockets(struct play *play);
void play_send_and_receive(struct play *play);
void play_connect(struct play *play);
void play_wait_for_things(struct play *play);
void play_use_buffers(struct play *play);
void play_use_pipes(struct play *play);
void play_send_message(struct play *play);
void play_use_slots(struct play *play); /* of a table that is there, with two files from the second on */
void play_leave_operations(struct play *play);

/* What the acts have used. */
void play_close_stage(void);

#endif
