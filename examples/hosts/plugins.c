/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plugins: a host that has a raw ring of its own, and loads plugins of which it does not know that they use libiou. It
 * serves two at a time from its ring, and loads and unloads them again and again, never both at once.
 *
 *	plugins PLUGIN PLUGIN
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <liburing.h>

#include "plugin.h"

#define N_PLUGINS 2
#define N_ROUNDS 100

struct slot {
	const char *path;
	void *library;
	const struct plugin *plugin;
	void *state;
	long long n_counted;
	bool is_working;
};

struct host {
	struct io_uring ring;
	struct slot slots[N_PLUGINS];
};

static int load(struct slot *slot)
{
	slot->library = dlopen(slot->path, RTLD_NOW | RTLD_LOCAL);
	slot->plugin = slot->library ? dlsym(slot->library, "plugin") : NULL;
	if (!slot->plugin) {
		fprintf(stderr, "plugins: %s\n", dlerror());
		return -ENOEXEC;
	}
	slot->state = slot->plugin->open();
	slot->is_working = slot->state != NULL;
	return slot->state ? 0 : -errno;
}

/* Its thread is joined, and its read, which would have waited for ever, has ended: its code may go. */
static int unload(struct slot *slot)
{
	int r = slot->plugin->close(slot->state);

	slot->n_counted += r < 0 ? 0 : r;
	dlclose(slot->library);
	*slot = (struct slot){ .path = slot->path, .n_counted = slot->n_counted };
	return r < 0 ? r : 0;
}

/* Wait for the plugin by a poll on the host's ring. */
static int watch(struct host *host, struct slot *slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&host->ring);
	int fd = slot->plugin->fd(slot->state);

	if (fd < 0 || !sqe)
		return fd < 0 ? fd : -EAGAIN;
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data(sqe, slot);
	return 0;
}

static int take_turn(struct host *host)
{
	struct io_uring_cqe *cqe;
	struct slot *slot;
	int r = io_uring_submit_and_wait(&host->ring, 1);

	if (r < 0)
		return r == -EINTR ? 0 : r;
	r = io_uring_peek_cqe(&host->ring, &cqe);
	if (r < 0)
		return r;
	slot = io_uring_cqe_get_data(cqe);
	r = cqe->res;
	io_uring_cqe_seen(&host->ring, cqe);
	if (r >= 0)
		r = slot->plugin->turn(slot->state);
	slot->is_working = r > 0;
	return r > 0 ? watch(host, slot) : r;
}

static int serve(struct host *host)
{
	int r = 0;

	while (r == 0 && (host->slots[0].is_working || host->slots[1].is_working))
		r = take_turn(host);
	return r;
}

static int replace(struct host *host, struct slot *slot)
{
	int r = slot->library ? unload(slot) : 0;

	if (r == 0)
		r = load(slot);
	if (r == 0)
		r = watch(host, slot);
	return r;
}

/* Both are loaded, and then one after the other is loaded anew, while the other one stays. */
static int run(struct host *host)
{
	int r = replace(host, &host->slots[0]);

	for (int i = 1; r == 0 && i < N_PLUGINS * N_ROUNDS; i++) {
		r = replace(host, &host->slots[i % N_PLUGINS]);
		if (r == 0)
			r = serve(host);
	}
	for (int i = 0; r == 0 && i < N_PLUGINS; i++) {
		printf("%s, %d times", host->slots[i].plugin->name, N_ROUNDS);
		r = unload(&host->slots[i]);
		printf(": %lld\n", host->slots[i].n_counted);
	}
	return r;
}

static int n_in(const char *path)
{
	DIR *directory = opendir(path);
	int n = 0;

	while (directory && readdir(directory))
		n++;
	if (directory)
		closedir(directory);
	return n;
}

int main(int argc, char **argv)
{
	static struct host host;
	int r, n_before;

	if (argc != 1 + N_PLUGINS) {
		fprintf(stderr, "usage: plugins PLUGIN PLUGIN\n");
		return EXIT_FAILURE;
	}
	r = io_uring_queue_init(8, &host.ring, 0);
	if (r < 0) {
		fprintf(stderr, "plugins: io_uring: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	for (int i = 0; i < N_PLUGINS; i++)
		host.slots[i].path = argv[i + 1];
	n_before = n_in("/proc/self/fd");
	r = run(&host);
	if (r < 0)
		fprintf(stderr, "plugins: %s\n", strerror(-r));
	else
		printf("%d descriptors more than before, libiou is %s\n", n_in("/proc/self/fd") - n_before,
		       dlopen("libiou.so.1", RTLD_NOW | RTLD_NOLOAD) ? "still loaded" : "unloaded");
	io_uring_queue_exit(&host.ring);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
