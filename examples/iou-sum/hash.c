/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-sum.h"

#include <errno.h>
#include <stdlib.h>

/* Handing a small file to a worker costs more than hashing it, so they go many at a time. */
#define BATCH_MAX 32

struct batch {
	struct batch *next;
	struct batch *older; /* of all that were made */
	struct hash *hash;
	iou_op_t *op;
	EVP_MD_CTX *ctx;
	unsigned n_files;
	struct file *files[BATCH_MAX];
};

int hash_init(struct hash *hash, struct sum *sum)
{
	int n;

	hash->sum = sum;
	hash->md = EVP_MD_fetch(NULL, sum->options->algorithm, NULL);
	n = hash->md ? EVP_MD_get_size(hash->md) : 0;
	if (n < 1 || n > EVP_MAX_MD_SIZE)
		return -ENOTSUP;
	hash->digest_bytes = (size_t)n;
	return 0;
}

static struct batch *free_batch(struct batch *batch)
{
	struct batch *older = batch->older;

	EVP_MD_CTX_free(batch->ctx);
	free(batch);
	return older;
}

void hash_free(struct hash *hash)
{
	while (hash->newest)
		hash->newest = free_batch(hash->newest);
	EVP_MD_free(hash->md);
}

static struct batch *new_batch(struct hash *hash)
{
	struct batch *batch = hash->idle;

	if (batch) {
		hash->idle = batch->next;
		batch->next = NULL;
		return batch;
	}
	batch = calloc(1, sizeof(*batch));
	if (!batch)
		return NULL;
	batch->hash = hash;
	batch->ctx = EVP_MD_CTX_new();
	if (!batch->ctx) {
		free_batch(batch);
		return NULL;
	}
	batch->older = hash->newest;
	return hash->newest = batch;
}

/* In a worker. */
static int hash_files(void *data)
{
	struct batch *batch = data;
	bool is_good = true;

	for (unsigned i = 0; is_good && i < batch->n_files; i++) {
		const struct file *file = batch->files[i];

		is_good = EVP_DigestInit_ex2(batch->ctx, batch->hash->md, NULL) &&
			  EVP_DigestUpdate(batch->ctx, file->head, file->buffer[0].n_bytes) &&
			  EVP_DigestFinal_ex(batch->ctx, file->item->digest, NULL);
	}
	return is_good ? 0 : -EIO;
}

static int start_batch(struct hash *hash);

/* While workers were busy more files have gathered: they are the next batch. */
static int have_hashed_files(void *data)
{
	struct batch *batch = data;
	struct hash *hash = batch->hash;
	int result = batch->op->result, r;

	hash->n_running--;
	r = hash->filling ? start_batch(hash) : 0;
	for (unsigned i = 0; r == 0 && i < batch->n_files; i++)
		r = file_hashed_small(batch->files[i], result);
	batch->n_files = 0;
	batch->next = hash->idle;
	hash->idle = batch;
	return r;
}

static int start_batch(struct hash *hash)
{
	struct batch *batch = hash->filling;
	int r;

	batch->op = iou_op_new(hash->sum->iou);
	if (!batch->op)
		return -errno;
	r = iou_op_async(hash->sum->iou, batch->op, hash_files, batch, have_hashed_files, batch);
	if (r < 0) {
		iou_op_free(hash->sum->iou, batch->op);
		return r;
	}
	hash->filling = NULL;
	hash->n_running++;
	return 0;
}

int hash_small(struct hash *hash, struct file *file)
{
	struct batch *batch = hash->filling;

	if (!batch)
		batch = hash->filling = new_batch(hash);
	if (!batch)
		return -ENOMEM;
	batch->files[batch->n_files++] = file;
	if (batch->n_files < BATCH_MAX && hash->n_running >= hash->sum->n_workers)
		return 0;
	return start_batch(hash);
}

/* In a worker. Meanwhile the loop leaves that buffer alone. */
static int hash_buffer(void *data)
{
	struct file *file = data;
	const struct buffer *buffer = &file->buffer[file->out];

	return EVP_DigestUpdate(file->lane->ctx, buffer->data, buffer->n_bytes) ? 0 : -EIO;
}

static int have_hashed_buffer(void *data)
{
	struct file *file = data;
	int result = file->job->result;

	file->job = NULL;
	return file_hashed_block(file, result);
}

int hash_block(struct file *file)
{
	iou_t *iou = file->sum->iou;
	int r;

	file->job = iou_op_new(iou);
	if (!file->job)
		return -errno;
	r = iou_op_async(iou, file->job, hash_buffer, file, have_hashed_buffer, file);
	if (r < 0) {
		iou_op_free(iou, file->job);
		file->job = NULL;
	}
	return r;
}
