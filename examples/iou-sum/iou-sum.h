/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iou-sum: what sha256sum does, on libiou. How the parts fit together:
 *
 *	source   which names, in which order: args.c (walk.c, dir.c below it) or list.c for --check
 *	sum.c    takes names from the source while a file may be opened, and puts them into the window
 *	file.c   one file: open, read, hash and close; lane.c and hash.c are what it reads into and hashes with
 *	window   the names in the order of the input; what is done at its front goes to report.c, and so to out.c
 *	progress how far it is; count.c runs ahead and counts what there is to do
 *
 * Everything runs on the loop thread but the hashing (hash.c) and the reading of directories (dir.c), which are jobs.
 * Functions that return int return 0 or a negative errno, which ends the run, unless they say otherwise.
 *
 * Memory has a bound, whatever there is to sum: a head for each file that may be open (--depth), two blocks for each
 * lane (two lanes more than there are workers), WINDOW_MAX names, a few chunks of output, and for each directory on the
 * way to the one that is being walked the names that dir.c holds at a time.
 */
#ifndef IOU_SUM_H
#define IOU_SUM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stdio.h>

#include <iou.h>
#include <openssl/evp.h>

/* What is read first goes here: a file that fits is hashed at one go, together with others. */
#define HEAD_BYTES (32 * 1024)
/* What does not fit goes on in blocks of this size, two for each file that has a lane. */
#define BLOCK_BYTES (192 * 1024)
/* So many names may be done before the one at the front is. */
#define WINDOW_MAX 4096

struct sum;
struct file;

/* options.c */

struct options {
	char **names;
	unsigned n_names;
	const char *algorithm;
	char label[64];
	unsigned workers;
	unsigned depth;
	bool check;
	bool ignore_missing;
	bool quiet;
	bool status;
	bool strict;
	bool warn;
	bool binary;
	bool tag;
	bool zero;
	bool progress;
};

/* Does not return when there is nothing to do: after --help and --version, and after an error. */
void options_parse(struct options *options, int argc, char **argv);

/* text.c: names and digests as text. What writes returns the number of bytes, and may need 9 for each one of a name. */

bool text_needs_escape(const char *name);
size_t text_escape(char *text, const char *name);
bool text_unescape(char *name);
size_t text_quote(char *text, const char *name);
size_t text_hex(char *text, const unsigned char *bytes, size_t n_bytes);
bool text_unhex(unsigned char *bytes, const char *text, size_t n_bytes);

/* line.c: one line of a list of sums */

enum line_style { LINE_ANY, LINE_WITH_MARK, LINE_WITHOUT_MARK };

struct line {
	const char *label;
	size_t digest_bytes;
	enum line_style style; /* that of the lines so far: the two cannot be told apart by a single one */
	unsigned char digest[EVP_MAX_MD_SIZE];
	char *name; /* inside of the text */
};

/* Takes the text apart, in place. False: not a line of a list. */
bool line_parse(struct line *line, char *text);

/* item.c: what is in the window: a name to sum, or something to say at that place */

/* How the lines of one list came out. Belongs to the list until its last item has been made, then to that. */
struct tally {
	uint64_t n_lines;
	uint64_t n_bad_lines;
	uint64_t n_good_lines;
	uint64_t n_unreadable;
	uint64_t n_mismatched;
	uint64_t n_matched;
	char name[];
};

enum item_kind {
	ITEM_FILE,
	ITEM_ERROR,    /* something else that cannot be read: a directory; a list, and then it is the last of it */
	ITEM_BAD_LINE, /* line_number of tally */
	ITEM_LIST_END, /* the last of a list */
};

struct item {
	struct item *next;
	struct item *next_stdin; /* of those that wait for it */
	struct tally *tally;
	uint64_t line_number;
	enum item_kind kind;
	int error; /* an errno */
	bool is_done;
	bool is_walked; /* found in a directory: symbolic links are not followed */
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned char expected[EVP_MAX_MD_SIZE];
	char name[];
};

/* Its name is the two put together. */
struct item *item_new(enum item_kind kind, const char *path, const char *name, int error);
struct item *item_free(struct item *item);
bool item_is_stdin(const struct item *item);

/* Sources */

struct source {
	/* 1 and an item, 0 at the end, -EAGAIN: not yet, wake will be called, or another negative errno. */
	int (*next)(struct source *source, struct item **item);
	void (*free)(struct source *source);
	int (*wake)(void *wake_data);
	void *wake_data;
};

struct source *args_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data);
struct source *list_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data);
/* The one that the options ask for. */
struct source *source_new(struct sum *sum, int (*wake)(void *wake_data), void *wake_data);
struct source *source_free(struct source *source);

/* dir.c: the names in one directory, sorted; directories end in a slash. No libiou, no loop: dir_read() is a job. */

struct dir {
	struct dir *parent;
	char *text; /* the names, one after the other */
	size_t text_bytes;
	size_t text_size;
	uint32_t *names; /* where in the text they begin */
	size_t n_names;
	size_t names_size;
	size_t next;
	char *last; /* names up to this one have been read before */
	bool has_more;
	int error; /* an errno */
	char path[];
};

struct dir *dir_new(struct dir *parent, const char *path, const char *name);
struct dir *dir_free(struct dir *dir);
int dir_read(void *data);
/* NULL when all that were read are through. */
const char *dir_next(struct dir *dir);

/* walk.c: all regular files below a directory */

struct walk {
	struct sum *sum;
	struct source *source; /* to be woken */
	struct dir *top;
	iou_op_t *op;
};

int walk_start(struct walk *walk, const char *path);
/* As next of a source. */
int walk_next(struct walk *walk, struct item **item);
void walk_free(struct walk *walk);

/* out.c: lines to stdout and stderr, in order, never a part of one */

struct out {
	struct sum *sum;
	struct chunk *head;
	struct chunk *tail;
	unsigned n_chunks;
	iou_op_t *op;
	int error; /* the errno that writing to stdout came to */
};

int out_text(struct out *out, int fd, const char *text, size_t n_bytes);
bool out_is_full(const struct out *out);
void out_free(struct out *out);

/* hash.c: message digests, in jobs */

struct hash {
	struct sum *sum;
	EVP_MD *md;
	size_t digest_bytes;
	struct batch *filling;
	struct batch *idle;
	struct batch *newest;
	unsigned n_running;
};

int hash_init(struct hash *hash, struct sum *sum);
void hash_free(struct hash *hash);
/* Hash what is in the file's head, with others; calls file_hashed_small(). */
int hash_small(struct hash *hash, struct file *file);
/* Hash the block that is next in the file's lane; calls file_hashed_block(). */
int hash_block(struct file *file);

/* lane.c: what a file needs to be read and hashed at the same time: two blocks and a context */

struct lane {
	struct lane *next;
	struct lane *older; /* of all that were made */
	EVP_MD_CTX *ctx;
	unsigned char *block[2];
};

struct lanes {
	struct lane *idle;
	struct lane *newest;
	struct file *first_waiting;
	struct file *last_waiting;
	unsigned n_lanes;
	unsigned max;
};

/* Calls file_got_lane(), now or when one is given back. */
int lane_ask(struct lanes *lanes, struct file *file);
int lane_give_back(struct lanes *lanes, struct lane *lane);
void lanes_free(struct lanes *lanes);

/* file.c */

struct buffer {
	unsigned char *data;
	size_t size;
	size_t n_bytes;
	bool is_ready; /* to be hashed: full, or the last */
};

/*
 * A file that is open, or is being opened, hashed or closed. It reads into buffer[in] and hashes buffer[out]. At first
 * buffer[0] is the head and there is no other; a file that goes on after that asks for a lane, whose blocks then
 * take their places.
 */
struct file {
	struct file *older; /* of all that were made */
	struct file *next;  /* in a list of idle files, of those that wait for a lane, or in a batch */
	struct sum *sum;
	struct item *item;
	struct lane *lane;
	iou_op_t *io;  /* open, read, poll or close: one at a time */
	iou_op_t *job; /* hashing a block */
	int fd;
	int in;
	int out;
	bool at_end;    /* nothing more to read, or an error */
	bool in_batch;  /* being hashed by hash_small() */
	bool is_hashed; /* by it */
	struct buffer buffer[2];
	unsigned char head[HEAD_BYTES];
};

struct files {
	struct file *idle;
	struct file *newest;
	struct item *first_stdin; /* "-" given again waits until the one before has been read */
	struct item *last_stdin;
	unsigned n_busy;
	unsigned max;
	bool stdin_is_busy;
};

int file_start(struct sum *sum, struct item *item);
int file_got_lane(struct file *file, struct lane *lane);
int file_hashed_small(struct file *file, int result);
int file_hashed_block(struct file *file, int result);
void files_free(struct files *files);

/* count.c: how much there is to do */

struct count {
	struct sum *sum;
	struct source *source;
	unsigned n_probes;
	bool at_end;
};

int count_start(struct count *count, struct sum *sum);
void count_free(struct count *count);

/* progress.c */

struct progress {
	struct sum *sum;
	iou_op_t *timer;
	struct __kernel_timespec interval;
	uint64_t start_ns;
	uint64_t n_files;
	uint64_t n_bytes;
	uint64_t total_files;
	uint64_t total_bytes;
	bool total_is_known;
	bool on_terminal;
	bool is_shown; /* the cursor is at the end of it */
};

int progress_start(struct progress *progress, struct sum *sum);
/* Take it away, because something else is to be written. */
int progress_hide(struct progress *progress);
int progress_end(struct progress *progress);

/* report.c: what is said about an item */

int report_item(struct sum *sum, struct item *item);

/* sum.c: the program */

struct sum {
	iou_t *iou;
	const struct options *options;
	struct source *source;
	struct item *first; /* the window */
	struct item *last;
	unsigned n_items;
	bool at_end; /* of the source */
	bool is_over;
	bool is_ending; /* the instance is being freed: final callbacks come, and nothing new can start */
	int status;
	unsigned n_workers;
	struct hash hash;
	struct lanes lanes;
	struct files files;
	struct out out;
	struct progress progress;
	struct count count;
};

int sum_init(struct sum *sum, const struct options *options);
void sum_free(struct sum *sum);
/* Whatever can go on goes on: called when a name is done, when the source wakes, when output has drained. */
int sum_go_on(void *data);

#endif
