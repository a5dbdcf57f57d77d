/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The load, the same for all servers: it counts what they do, looks at their CPU clock, and checks each byte. */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 64
#define PATIENCE_MS 10000
/* Requests of each connection before the measurement begins. */
#define N_WARM_UP 20

struct client {
	int fd;
	unsigned n_received;
	uint64_t random;
	double sent_ns;
	uint64_t message[ECHO_SIZE / sizeof(uint64_t)];
	/* With room for a byte too many, which would be an error to see. */
	char reply[ECHO_SIZE + 1];
};

struct load {
	struct bench_run *run;
	int epoll;
	unsigned n_clients;
	struct client *clients;
	uint64_t n_left;
	uint64_t n_done;
	double *latencies;
};

static int listen_here(unsigned n_clients, struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int fd = bench_try_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bench_try_errno(bind(fd, (struct sockaddr *)address, size), "bind");
	bench_try_errno(listen(fd, (int)n_clients), "listen");
	bench_try_errno(getsockname(fd, (struct sockaddr *)address, &size), "getsockname");
	return fd;
}

static void do_not_delay(int fd)
{
	int on = 1;

	bench_try_errno(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
}

static pid_t start_server(int listening, unsigned n_fds, void (*serve)(const int *fds, unsigned n_fds))
{
	pid_t pid = bench_try_errno(fork(), "fork");
	int *fds;

	if (pid != 0)
		return pid;
	/* A load that fails does not leave it behind. */
	bench_try_errno(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
	bench_pin(0);
	fds = bench_try_ptr(calloc(n_fds, sizeof(*fds)), "calloc");
	for (unsigned i = 0; i < n_fds; i++) {
		/* cppcheck-suppress nullPointer ; nobody has to want the address */
		fds[i] = bench_try_errno(accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
		do_not_delay(fds[i]);
	}
	serve(fds, n_fds);
	free(fds);
	exit(EXIT_SUCCESS);
}

static void connect_client(const struct load *load, struct client *client, const struct sockaddr_in *address)
{
	struct epoll_event event = { EPOLLIN | EPOLLET, { .ptr = client } };

	client->random = (uint64_t)(client - load->clients) + 1;
	client->fd = bench_try_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	bench_try_errno(connect(client->fd, (const struct sockaddr *)address, sizeof(*address)), "connect");
	do_not_delay(client->fd);
	bench_try_errno(epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event), "epoll_ctl");
}

static void request(struct load *load, struct client *client)
{
	load->n_left--;
	client->n_received = 0;
	for (unsigned i = 0; i < ECHO_SIZE / sizeof(uint64_t); i++)
		client->message[i] = bench_random(&client->random);
	client->sent_ns = bench_now_ns();
	if (send(client->fd, client->message, ECHO_SIZE, MSG_NOSIGNAL) != ECHO_SIZE)
		bench_fail("the load's send: %s", strerror(errno));
}

/* Something has come; if that is all of the reply it is looked at, and the next request sent. */
static void receive(struct load *load, struct client *client)
{
	size_t room = sizeof(client->reply) - client->n_received;
	ssize_t n = recv(client->fd, client->reply + client->n_received, room, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		bench_fail("a reply: %s", n < 0 ? strerror(errno) : "end of file");
	client->n_received += (unsigned)n;
	if (client->n_received < ECHO_SIZE)
		return;
	bench_check(load->run, client->n_received == ECHO_SIZE, "size of a reply");
	bench_check(load->run, !memcmp(client->reply, client->message, ECHO_SIZE), "bytes of a reply");
	load->latencies[load->n_done++] = bench_now_ns() - client->sent_ns;
	if (load->n_left > 0)
		request(load, client);
}

static void exchange(struct load *load, uint64_t n)
{
	struct epoll_event events[MAX_EVENTS];

	load->n_left = n;
	load->n_done = 0;
	for (unsigned i = 0; i < load->n_clients && load->n_left > 0; i++)
		request(load, &load->clients[i]);
	while (load->n_done < n) {
		int n_events = epoll_wait(load->epoll, events, MAX_EVENTS, PATIENCE_MS);

		if (bench_try_errno(n_events, "epoll_wait") == 0)
			bench_fail("a reply is missing");
		for (int i = 0; i < n_events; i++)
			receive(load, events[i].data.ptr);
	}
}

static double clock_ns(clockid_t clock)
{
	struct timespec time;

	bench_try_errno(clock_gettime(clock, &time), "clock_gettime");
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Time is the load's, CPU time the server's. */
static void measure(struct load *load, pid_t server)
{
	struct bench_run *run = load->run;
	clockid_t clock;

	if (clock_getcpuclockid(server, &clock))
		bench_fail("the server's CPU clock cannot be read");
	run->cpu_ns = -clock_ns(clock);
	run->time_ns = -bench_now_ns();
	exchange(load, run->n);
	run->time_ns += bench_now_ns();
	run->cpu_ns += clock_ns(clock);
	bench_also(run, "p50_ns", bench_percentile(load->latencies, run->n, 0.5));
	bench_also(run, "p99_ns", bench_percentile(load->latencies, run->n, 0.99));
}

/* There is nothing behind the last reply, and the server ends when its clients do. */
static void end(const struct load *load, pid_t server)
{
	int status;

	for (unsigned i = 0; i < load->n_clients; i++) {
		const struct client *client = &load->clients[i];
		char byte;

		bench_try_errno(shutdown(client->fd, SHUT_WR), "shutdown");
		bench_check(load->run, recv(client->fd, &byte, 1, 0) == 0, "end of a connection");
		close(client->fd);
	}
	bench_try_errno(waitpid(server, &status, 0), "waitpid");
	if (status != 0)
		bench_fail("the server has failed");
}

void echo_measure(struct bench_run *run, void (*serve)(const int *fds, unsigned n_fds))
{
	struct load load = { .run = run, .n_clients = run->param };
	uint64_t n_warm_up = (uint64_t)N_WARM_UP * run->param;
	struct sockaddr_in address;
	int listening = listen_here(run->param, &address);
	pid_t server = start_server(listening, run->param, serve);

	bench_pin(1);
	load.epoll = bench_try_errno(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	load.clients = bench_try_ptr(calloc(load.n_clients, sizeof(*load.clients)), "calloc");
	load.latencies = bench_try_ptr(calloc(run->n + n_warm_up, sizeof(*load.latencies)), "calloc");
	for (unsigned i = 0; i < load.n_clients; i++)
		connect_client(&load, &load.clients[i], &address);
	exchange(&load, n_warm_up);
	measure(&load, server);
	end(&load, server);
	free(load.latencies);
	free(load.clients);
	close(load.epoll);
	close(listening);
}
