/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "messages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* Behind the null byte that makes a name no path. A version that sends other messages has another. */
#define PREFIX "libiou/ring-1/"

void iou__messages_init(struct messages *messages, struct watches *watches)
{
	*messages = (struct messages){ .watches = watches, .fd = -1, .inbox = -1 };
}

void iou__messages_destroy(struct messages *messages)
{
	if (messages->fd >= 0)
		close(messages->fd);
	if (messages->inbox >= 0)
		close(messages->inbox);
	iou__cq_destroy(&messages->kept);
	iou__messages_init(messages, messages->watches);
}

/* Names are the whole host's: what cannot be guessed nobody else has, or keeps from us. */
static int give_name(int fd, struct sockaddr_un *name)
{
	uint64_t number;
	int n;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -1;
	*name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1, PREFIX "%016" PRIx64, number);
	return bind(fd, (const struct sockaddr *)name,
		    (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)n);
}

/* As far as there is one. */
static void show_that_it_runs(const struct messages *messages)
{
	if (messages->is_enabled && messages->fd >= 0)
		fcntl(messages->fd, F_SETFL, O_NONBLOCK);
}

static void make(struct messages *messages)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return;
	if (give_name(fds[0], &messages->name) < 0 ||
	    iou__watches_add_foreign(messages->watches, fds[1], MESSAGES_CAME) < 0) {
		close(fds[0]);
		close(fds[1]);
		return;
	}
	messages->fd = fds[0];
	messages->inbox = fds[1];
	show_that_it_runs(messages);
}

int iou__messages_fd(struct messages *messages)
{
	if (messages->fd < 0)
		make(messages);
	return messages->fd;
}

void iou__messages_enable(struct messages *messages)
{
	messages->is_enabled = true;
	show_that_it_runs(messages);
}

/* There will be none any more: shutdown(2). A datagram of no bytes looks like that, too. */
static bool has_ended(const struct messages *messages)
{
	struct pollfd pollfd = { .fd = messages->inbox, .events = POLLRDHUP };

	return poll(&pollfd, 1, 0) != 0;
}

/* Whatever else somebody writes is no message. The end is told once. */
bool iou__messages_take(struct messages *messages, struct cqe *message)
{
	while (messages->has_some) {
		ssize_t n = recv(messages->inbox, message, sizeof(*message), MSG_DONTWAIT | MSG_TRUNC);

		if (n == sizeof(*message))
			return true;
		messages->has_some = n >= 0 || errno == EINTR;
		if (n != 0 || !has_ended(messages))
			continue;
		messages->has_some = false;
		iou__watches_remove_foreign(messages->watches, messages->inbox);
	}
	return false;
}

bool iou__messages_keep(struct messages *messages, const struct cqe *message)
{
	struct cq *kept = &messages->kept;

	if (!iou__cq_reserve(kept, 1))
		return false;
	kept->copies[kept->first + kept->n++] = *message;
	return true;
}

struct cqe iou__messages_pop(struct messages *messages)
{
	struct cq *kept = &messages->kept;

	assert(kept->n > 0);
	kept->n--;
	return kept->copies[kept->first++];
}

/* 0, -EBADFD or -EBADF. */
static int get_name(int fd, struct sockaddr_un *name)
{
	socklen_t length = sizeof(*name);

	*name = (struct sockaddr_un){ 0 };
	if (getsockname(fd, (struct sockaddr *)name, &length) < 0)
		return errno == EBADF ? -EBADF : -EBADFD;
	return name->sun_family == AF_UNIX && memcmp(name->sun_path, "\0" PREFIX, sizeof(PREFIX)) == 0 ? 0 : -EBADFD;
}

int iou__messages_owner(const struct messages *messages, int fd)
{
	struct sockaddr_un name;
	int r = get_name(fd, &name);

	if (r < 0 || messages->fd < 0)
		return r;
	return memcmp(name.sun_path, messages->name.sun_path, sizeof(name.sun_path)) == 0;
}

bool iou__messages_are_for(int fd)
{
	struct sockaddr_un name;

	return get_name(fd, &name) == 0;
}

bool iou__messages_are_taken(int fd)
{
	return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

int iou__messages_send(int fd, const struct cqe *message)
{
	if (send(fd, message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EPIPE || errno == ECONNRESET ? -EBADFD : -errno;
}
