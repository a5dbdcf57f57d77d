/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watches.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../replace.h"

#define ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))
#define FLAGS ((uint32_t)(EPOLLET | EPOLLONESHOT))

void iou__watches_destroy(struct watches *watches)
{
	for (size_t i = 0; i < watches->n; i++)
		free(watches->by_fd[i]);
	free(watches->by_fd);
	if (watches->epoll_fd >= 0)
		close(watches->epoll_fd);
	*watches = (struct watches){ .epoll_fd = -1 };
}

int iou__watches_add_foreign(struct watches *watches, int fd, uint64_t data)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };

	return epoll_ctl(watches->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void iou__watches_remove_foreign(struct watches *watches, int fd)
{
	epoll_ctl(watches->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static bool make_room(struct watches *watches, size_t fd)
{
	size_t n = watches->n ? watches->n : 64;
	struct watch **old = watches->by_fd, **by_fd;

	if (fd < watches->n)
		return true;
	while (n <= fd)
		n *= 2;
	by_fd = iou__enlarged(old, watches->n * sizeof(struct watch *), n * sizeof(struct watch *));
	if (!by_fd)
		return false;
	watches->by_fd = by_fd;
	watches->n = n;
	iou__free_replaced(old);
	return true;
}

int iou__watches_init(struct watches *watches)
{
	if (!make_room(watches, 0))
		return -ENOMEM;
	watches->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return watches->epoll_fd < 0 ? -errno : 0;
}

/* Not every opcode has tried the descriptor before: that it is a large number does not mean that there are so many. */
static bool is_open(const struct watches *watches, int fd)
{
	return fd >= 0 && ((size_t)fd < watches->n || fcntl(fd, F_GETFD) >= 0);
}

static struct watch *watch_of(struct watches *watches, int fd)
{
	if (!make_room(watches, (size_t)fd))
		return NULL;
	if (!watches->by_fd[fd]) {
		struct watch *watch = calloc(1, sizeof(*watch));

		if (!watch)
			return NULL;
		iou__queue_init(&watch->requests);
		watches->by_fd[fd] = watch;
	}
	return watches->by_fd[fd];
}

static uint32_t awaited(const struct watch *watch)
{
	uint32_t events = 0;

	for (struct node *node = iou__queue_first(&watch->requests); node;
	     node = iou__queue_after(&watch->requests, node))
		events |= container_of(node, struct request, node)->events;
	return events;
}

/* What epoll is to be told for all of these: of one event, or of each change. */
static uint32_t wanted(const struct watch *watch)
{
	uint32_t events = awaited(watch);

	return events & EPOLLET ? events : events | EPOLLONESHOT;
}

bool iou__watches_are_awaited(const struct watches *watches, int fd, uint32_t events)
{
	const struct watch *watch = fd >= 0 && (size_t)fd < watches->n ? watches->by_fd[fd] : NULL;

	return watch && awaited(watch) & events;
}

static int control(const struct watches *watches, const struct watch *watch, int fd, int what, uint32_t events)
{
	struct epoll_event event = {
		.events = events,
		.data.u64 = (uint64_t)watch->generation << 32 | (uint32_t)fd,
	};

	return epoll_ctl(watches->epoll_fd, what, fd, &event) < 0 ? -errno : 0;
}

/* Known to epoll or not, it is told of by a generation of its own. */
static int introduce(const struct watches *watches, struct watch *watch, int fd, uint32_t events)
{
	int r;

	watch->generation++;
	r = control(watches, watch, fd, EPOLL_CTL_ADD, events);
	return r == -EEXIST ? control(watches, watch, fd, EPOLL_CTL_MOD, events) : r;
}

/* The descriptor may be another file's than last time. After a failure what epoll has been told before still holds. */
static int arm(const struct watches *watches, struct watch *watch, int fd, uint32_t events)
{
	uint32_t generation = watch->generation;
	int r = watch->is_known ? control(watches, watch, fd, EPOLL_CTL_MOD, events) : -ENOENT;

	if (r == -ENOENT) {
		watch->is_known = false;
		watch->armed = 0;
		r = introduce(watches, watch, fd, events);
	}
	if (r < 0) {
		watch->generation = generation;
		return r;
	}
	watch->is_known = true;
	watch->armed = events;
	return 0;
}

static void disarm(const struct watches *watches, struct watch *watch, int fd)
{
	if (watch->armed)
		control(watches, watch, fd, EPOLL_CTL_DEL, 0);
	watch->armed = 0;
	watch->is_known = false;
}

/*
 * To arm for each change again what is so armed already would tell of what is there once more, and there is no need:
 * the attempt that found nothing came after it. But for one that is new: a multishot poll attempts nothing, and what was
 * armed before there were any requests may have been for another file.
 */
static bool is_armed_for(const struct watch *watch, uint32_t events)
{
	return watch->armed & EPOLLET && !(events & ~watch->armed);
}

int iou__watches_add(struct watches *watches, struct request *request)
{
	int fd = request->watch_fd;
	bool has_looked = request->was_watched || !(request->events & EPOLLET);
	struct watch *watch;
	int r;

	if (!is_open(watches, fd))
		return -EBADF;
	watch = watch_of(watches, fd);
	if (!watch)
		return -ENOMEM;
	/* It would come again and again as long as that is there, so of each change from now on. */
	if (request->is_in_vain)
		request->events |= EPOLLET;
	iou__queue_push(&watch->requests, &request->node);
	r = has_looked && is_armed_for(watch, wanted(watch)) ? 0 : arm(watches, watch, fd, wanted(watch));
	if (r < 0) {
		iou__queue_remove(&request->node);
		return r;
	}
	watches->n_waiting++;
	request->was_watched = true;
	return 0;
}

void iou__watches_remove(struct watches *watches, struct request *request)
{
	struct watch *watch = watches->by_fd[request->watch_fd];

	iou__queue_remove(&request->node);
	watches->n_waiting--;
	if (iou__queue_is_empty(&watch->requests))
		disarm(watches, watch, request->watch_fd);
}

/* epoll goes on watching what is closed as long as others have the same open file: the program, say. */
void iou__watches_forget(struct watches *watches, int fd)
{
	struct watch *watch = (size_t)fd < watches->n ? watches->by_fd[fd] : NULL;

	if (!watch || !watch->is_known)
		return;
	control(watches, watch, fd, EPOLL_CTL_DEL, 0);
	watch->armed = 0;
	watch->is_known = false;
}

static void wake(struct watches *watches, struct request *request, uint32_t events, struct queue *out)
{
	iou__queue_remove(&request->node);
	watches->n_waiting--;
	request->revents = events;
	request->has_given = false;
	request->is_in_vain = !(events & request->events & ~ALWAYS);
	request->place = AT_READY;
	iou__queue_push(out, &request->node);
}

void iou__watches_tell(struct watches *watches, uint64_t data, uint32_t events, struct queue *out)
{
	int fd = (int)(uint32_t)data;
	struct watch *watch = watches->by_fd[fd];
	struct node *node, *next;

	if (watch->generation != data >> 32)
		return;
	if (iou__queue_is_empty(&watch->requests)) {
		disarm(watches, watch, fd); /* a multishot poll has ended */
		return;
	}
	if (!(watch->armed & EPOLLET))
		watch->armed = 0;
	for (node = iou__queue_first(&watch->requests); node; node = next) {
		struct request *request = container_of(node, struct request, node);

		next = iou__queue_after(&watch->requests, node);
		if (events & (request->events | ALWAYS) & ~FLAGS)
			wake(watches, request, events, out);
	}
	if (iou__queue_is_empty(&watch->requests) || is_armed_for(watch, wanted(watch)))
		return;
	/* Nothing would be heard of them any more: let them try again. */
	if (arm(watches, watch, fd, wanted(watch)) < 0)
		while ((node = iou__queue_first(&watch->requests)))
			wake(watches, container_of(node, struct request, node), 0, out);
}
