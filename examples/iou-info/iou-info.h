/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iou-info: which engine libiou has here, why, and what it can do. From the bottom up:
 *
 *	names.c   numbers in words
 *	facts.c   finds out
 *	text.c    prints it for people
 *	json.c    prints it for programs
 *	main.c    options
 */
#ifndef IOU_INFO_H
#define IOU_INFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/utsname.h>

#include <iou.h>

enum { N_OPCODES = 256 };

/* Numbers that may be unlimited, or not there. */
#define UNLIMITED (-1LL)
#define NOT_THERE (-2LL)

struct facts {
	const char *libiou; /* the version it runs with */
	struct utsname kernel;
	iou_info_t info;
	char reason[128];
	long long memlock; /* bytes */
	long long nofile;
	long long io_uring_disabled;
	long long io_uring_group;
	int cpus; /* online */
	bool has_ring;
	bool on_uring[N_OPCODES]; /* if it has_ring */
	bool on_threads[N_OPCODES];
};

/* Of an instance with this engine, IOU_ENGINE_*. 0 or the errno of iou_new_with(); the reason is told all the same. */
int facts_find(struct facts *facts, uint32_t engine);

/* The words are valid until the next call; NULL: there are none. */
const char *name_of_engine(uint32_t engine);
const char *name_of_error(int error);
const char *name_of_opcode(unsigned opcode);
const char *name_of_ring_flag(unsigned bit);
const char *name_of_feature(unsigned bit);

/* Whether there is anything to say about an opcode. */
bool opcode_is_known(const struct facts *facts, unsigned opcode);

void print_text(const struct facts *facts);
void print_json(const struct facts *facts);

#endif
