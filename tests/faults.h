/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef IOU_TESTS_FAULTS_H
#define IOU_TESTS_FAULTS_H

/*
 * Between the library's objects and what they call: each function that can fail is wrapped by the linker (--wrap in
 * meson.build), is counted, and fails when it is told to.
 */

#include <stdbool.h>

struct fault {
	const char *name;
	/* What it fails with, one after the other, up to 0. */
	int errors[8];
	/* The library does without: nothing that a program can see changes. */
	bool is_harmless;
	/* Of these errors that is so as well: they say that the call has to be made again. */
	int transient[6];
	/* It carries out an op of the program's, which gets the error and nobody else does. */
	bool is_operation;
	/* But for these errors: there is, or may be, another way. */
	int mended[4];
};

/* Instead of an errno of iou__uring_enter(): less is submitted than was asked for. */
#define FAULT_SHORT 10000

/* All wrapped functions, up to one without a name. */
extern const struct fault faults[];

/* Whether this error of the function says that the call has to be made again; or must go unnoticed for any reason. */
bool faults_is_transient(int function, int error);
bool faults_is_harmless(int function, int error);

/* Whether this error of the function is the result of one op. */
bool faults_is_a_result(int function, int error);

/* From now on the function fails from its first-th call up to and including the last-th. */
void faults_arm(int function, int error, unsigned first, unsigned last);

/* Nothing fails any more. Whether anything did. */
bool faults_disarm(void);

/* How often it was called since faults_arm(). */
unsigned faults_n_calls(int function);

/* Allocations, descriptors, mappings and threads that the library has, in words; NULL: it has none. */
const char *faults_left_behind(void);

/* Have rings be as in an older kernel: without any of what came after Linux 5.10. */
void faults_pretend_old_kernel(bool is_old);

/* Have io_uring_setup() fail with this; 0: it does not. */
void faults_refuse_rings(int error);

/* Have all calls be refused that the threads engine can do without. */
void faults_put_into_sandbox(bool is_sandbox);

/* Have io_uring_enter() fail with EPERM from this call on, whatever else fails; 0: it does not. */
void faults_take_io_uring_away(unsigned at);

#endif
