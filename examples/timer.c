/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timer: a timeout that comes again and again, and a thread that has something to tell. The thread posts, and what it
 * posts runs on the loop, where no lock is needed. The last post ends the run, with the timer still armed.
 */
#include <iou.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_NEWS 3

struct program;

struct news {
	struct program *program;
	int number;
};

struct program {
	iou_t *iou;
	iou_op_t *timer;
	/* Not on a function's stack: it must be there until the timeout's final callback. */
	struct __kernel_timespec interval;
	int n_ticks;
	struct news news[N_NEWS];
};

/* A timeout that ran out has the result -ETIME. In the callback the op can be queued as it is, for the next one. */
static int tick(void *data)
{
	struct program *program = data;

	if (program->timer->result != -ETIME) {
		printf("the timer ends: %s\n", strerror(-program->timer->result));
		return 0;
	}
	printf("tick %d\n", ++program->n_ticks);
	iou_op_queue(program->iou, program->timer, tick, program);
	return 0;
}

static int start_timer(struct program *program)
{
	program->timer = iou_op_new(program->iou);
	if (!program->timer)
		return -errno;
	program->interval.tv_nsec = 20 * 1000 * 1000;
	io_uring_prep_timeout(program->timer->sqe, &program->interval, 0, 0);
	iou_op_queue(program->iou, program->timer, tick, program);
	return 0;
}

/* On the loop. */
static int hear(void *data)
{
	const struct news *news = data;

	printf("news %d of %d\n", news->number, N_NEWS);
	return news->number == N_NEWS ? iou_quit(news->program->iou) : 0;
}

/* In the thread. The hold, taken before it was started, makes sure that the loop is there until the release. */
static void *tell(void *data)
{
	struct program *program = data;
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	int r = 0;

	for (int i = 0; r == 0 && i < N_NEWS; i++) {
		nanosleep(&pause, NULL);
		program->news[i] = (struct news){ program, i + 1 };
		r = iou_post(program->iou, hear, &program->news[i]);
	}
	/* Without the last news nobody else would end the run. */
	if (r < 0)
		iou_quit(program->iou);
	iou_release(program->iou);
	return (void *)(intptr_t)r;
}

static int run(struct program *program)
{
	pthread_t thread;
	void *result;
	int r = start_timer(program);

	if (r == 0)
		r = iou_hold(program->iou);
	if (r < 0)
		return r;
	r = -pthread_create(&thread, NULL, tell, program);
	if (r < 0)
		return r;
	r = iou_run(program->iou);
	printf("the run is over, with the timer %s\n", iou_pending(program->iou) ? "still armed" : "gone");
	pthread_join(thread, &result);
	return r < 0 ? r : (int)(intptr_t)result;
}

int main(void)
{
	struct program program = { .iou = iou_new(8) };
	int r = program.iou ? run(&program) : -errno;

	if (r < 0)
		fprintf(stderr, "timer: %s\n", strerror(-r));
	/* Cancels the timeout, and delivers its final callback. */
	iou_free(program.iou);
	return r < 0 || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
