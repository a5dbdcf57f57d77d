/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"
#include "skips.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/*
 * ThreadSanitizer else tells of what it has found when a process calls exit(), which children do not. With this it ends
 * them at once, as AddressSanitizer does, and whoever waits for them sees that.
 */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
	return "halt_on_error=1";
}

TCase *support_add_case(Suite *to, const char *name, const TTest *const *tests)
{
	TCase *tcase = tcase_create(name);

	for (; *tests; tests++)
		tcase_add_test(tcase, *tests);
	suite_add_tcase(to, tcase);
	return tcase;
}

int support_has_ring(void)
{
	const char *engine = getenv("LIBIOU_ENGINE");

	return !getenv("IOU_BLOCKED") && (!engine || strcmp(engine, "threads") != 0);
}

void support_skip(const char *function, const char *reason)
{
	skips_add(function, reason);
}

/* Entries of a directory but "." and ".."; the descriptor that reads it is not counted either. */
static int count_entries(const char *path, int own)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count - own;
}

int support_threads(void)
{
	return count_entries("/proc/self/task", 0);
}

int support_descriptors(void)
{
	return count_entries("/proc/self/fd", 1);
}

int support_mappings(void)
{
	char buffer[4096];
	ssize_t length;
	int count = 0;
	/* Not stdio: its buffer may be a mapping. */
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	while ((length = read(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < length; i++)
			count += buffer[i] == '\n';
	}
	close(fd);
	return length < 0 ? -1 : count;
}

int support_settle(support_count_t *count, int wanted)
{
	int64_t deadline = support_now_ms() + 10000;
	int now;

	while ((now = count()) > wanted && support_now_ms() < deadline)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return now;
}

int support_steady(support_count_t *count)
{
	int last, now = count();

	do {
		last = now;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		now = count();
	} while (now != last);
	return now;
}

static int64_t cpu_us(int who)
{
	struct rusage usage;

	if (getrusage(who, &usage))
		return -1;
	return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
	       usage.ru_stime.tv_usec;
}

int64_t support_cpu_us(void)
{
	return cpu_us(RUSAGE_SELF);
}

int64_t support_thread_cpu_us(void)
{
	return cpu_us(RUSAGE_THREAD);
}

int64_t support_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t support_now_ms(void)
{
	return support_now_us() / 1000;
}

void support_connect_tcp(int fds[2], int receive_buffer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = receive_buffer ? setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer))
			       : 0;

	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&address, length), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
}

int support_sanitized(void)
{
	return SANITIZED;
}

int support_slowness(void)
{
	if (RUNNING_ON_VALGRIND)
		return 30;
	return SANITIZED ? 10 : 1;
}
