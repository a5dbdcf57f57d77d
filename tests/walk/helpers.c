/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other threads. What the world says is handed over with semaphores; the instance is called as it comes. */
#include <errno.h>
#include <sched.h>

#include "world.h"

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		CHECK(errno == EINTR);
}

static void be_refused(iou_t *iou)
{
	iou_buffers_t *buffers;

	CHECK(iou_flush(iou) == -EPERM);
	CHECK(iou_register_files(iou, NULL, 1) == -EPERM && iou_unregister_files(iou) == -EPERM);
	CHECK(iou_register_buffers(iou, NULL, 1) == -EPERM && iou_unregister_buffers(iou) == -EPERM);
	CHECK(iou_buffers_new(iou, 1, 1, 1, &buffers) == -EPERM);
}

static void do_one(struct helper *helper)
{
	struct world *world = helper->world;
	struct source *source = &helper->source;

	switch (source_pick(source, 8)) {
	case 0:
		CHECK(iou_hold(world->iou) == 0);
		if (source_one_in(source, 2))
			act_post(helper, source);
		CHECK(iou_release(world->iou) == 0);
		break;
	case 1:
		if (source_one_in(source, 4))
			run_ask_quit(world);
		break;
	case 2:
		sched_yield();
		break;
	case 3:
		if (helper->is_refused)
			be_refused(world->iou);
		break;
	default:
		act_post(helper, source);
		break;
	}
}

static void *help(void *data)
{
	struct helper *helper = data;

	for (;;) {
		wait_for(&helper->go);
		if (helper->has_to_end)
			return NULL;
		for (unsigned n = source_pick(&helper->source, 6); n; n--)
			do_one(helper);
		if (helper->has_to_quit)
			run_ask_quit(helper->world);
		/* The last that it does: iou_free() may have begun before it returns. */
		if (helper->has_to_release)
			CHECK(iou_release(helper->world->iou) == 0);
		sem_post(&helper->done);
	}
}

void helper_start(struct helper *helper, struct source *source, bool has_to_quit, bool has_to_release)
{
	if (helper->is_busy)
		return;
	helper->source = source_split(source);
	helper->is_refused = helper->world->is_bound && !(helper->world->config.flags & IOU_ANY_THREAD);
	helper->has_to_quit = has_to_quit;
	helper->has_to_release = has_to_release;
	helper->is_busy = true;
	sem_post(&helper->go);
}

void helpers_wait(struct world *world)
{
	for (int i = 0; i < OWN_HELPER; i++) {
		if (world->helpers[i].is_busy)
			wait_for(&world->helpers[i].done);
		world->helpers[i].is_busy = false;
	}
}

/* The second driver. */

static void *drive(void *data)
{
	struct driver *driver = data;

	for (;;) {
		wait_for(&driver->go);
		if (!driver->call)
			return NULL;
		driver->call(driver->world);
		sem_post(&driver->done);
	}
}

void driver_call(struct world *world, void (*call)(struct world *world))
{
	world->driver.call = call;
	sem_post(&world->driver.go);
	wait_for(&world->driver.done);
}

/* Life cycle. */

static void start(pthread_t *thread, sem_t *go, sem_t *done, void *(*function)(void *), void *data)
{
	sem_init(go, 0, 0);
	sem_init(done, 0, 0);
	CHECK(pthread_create(thread, NULL, function, data) == 0);
}

void helpers_open(struct world *world)
{
	for (int i = 0; i < N_HELPERS; i++) {
		struct helper *helper = &world->helpers[i];

		helper->world = world;
		if (i != OWN_HELPER)
			start(&helper->thread, &helper->go, &helper->done, help, helper);
	}
	world->driver.world = world;
	world->driver.is_there = world->config.flags & IOU_ANY_THREAD;
	if (world->driver.is_there)
		start(&world->driver.thread, &world->driver.go, &world->driver.done, drive, &world->driver);
}

static void stop(pthread_t thread, sem_t *go, sem_t *done)
{
	sem_post(go);
	CHECK(pthread_join(thread, NULL) == 0);
	sem_destroy(go);
	sem_destroy(done);
}

void helpers_close(struct world *world)
{
	helpers_wait(world);
	for (int i = 0; i < OWN_HELPER; i++) {
		struct helper *helper = &world->helpers[i];

		helper->has_to_end = true;
		stop(helper->thread, &helper->go, &helper->done);
	}
	world->driver.call = NULL;
	if (world->driver.is_there)
		stop(world->driver.thread, &world->driver.go, &world->driver.done);
}
