/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include "cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define CANNOT 255
#define MOST_FILES 4

static unsigned n_allowed(void)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	return (unsigned)CPU_COUNT(&set);
}

/* What a child finds that has prepared its world. */
static int in_child(bool (*prepare)(const void *data), const void *data)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(prepare(data) ? (int)iou__cpus() : CANNOT);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(test_there_is_at_least_one_and_no_more_than_allowed)
{
	ck_assert_uint_ge(iou__cpus(), 1);
	ck_assert_uint_le(iou__cpus(), n_allowed());
}
END_TEST

START_TEST(test_asking_leaves_no_descriptor_open)
{
	int n = support_descriptors();

	iou__cpus();
	ck_assert_int_eq(support_descriptors(), n);
}
END_TEST

static bool stay_on_one_cpu(const void *data)
{
	cpu_set_t set, one;
	int cpu = 0;

	(void)data;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

START_TEST(test_affinity_is_respected)
{
	ck_assert_int_eq(in_child(stay_on_one_cpu, NULL), 1);
}
END_TEST

/* A world with these cgroups: what is in /proc/self/cgroup, and files. */
struct world {
	const char *what;
	const char *line;
	struct {
		const char *name, *text;
	} files[MOST_FILES];
	unsigned expected; /* or all that are allowed, where those are fewer */
};

static bool write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "we");

	if (!file)
		return false;
	fputs(text, file);
	return fclose(file) == 0;
}

/* With the directories above it. */
static bool add_file(const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), CGROUPS "/%s", name);
	for (char *slash = strchr(path + strlen(CGROUPS) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	return write_file(path, text);
}

static bool pretend(const void *data)
{
	const struct world *world = data;
	char name[] = "proc-self-cgroup", path[64];

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") < 0)
		return false;
	if (mount("none", CGROUPS, "tmpfs", 0, "") < 0 || !add_file(name, world->line))
		return false;
	for (int i = 0; i < MOST_FILES && world->files[i].name; i++)
		if (!add_file(world->files[i].name, world->files[i].text))
			return false;
	snprintf(path, sizeof(path), CGROUPS "/%s", name);
	return mount(path, "/proc/self/cgroup", "none", MS_BIND, "") == 0;
}

#define ALL 254

static const struct world worlds[] = {
	{ "version 2, no quota", "0::/a/b\n", { { "a/b/cpu.max", "max 100000\n" } }, ALL },
	{ "version 2, one CPU", "0::/a/b\n", { { "a/b/cpu.max", "100000 100000\n" } }, 1 },
	{ "version 2, half a CPU", "0::/a/b\n", { { "a/b/cpu.max", "50000 100000\n" } }, 1 },
	{ "version 2, one and a little", "0::/a/b\n", { { "a/b/cpu.max", "100001 100000\n" } }, 2 },
	{ "version 2, more than there are", "0::/a/b\n", { { "a/b/cpu.max", "99900000 100000\n" } }, ALL },
	{ "version 2, more than can be counted", "0::/a/b\n", { { "a/b/cpu.max", "9000000000000000000 1\n" } }, ALL },
	{ "version 2, in a cgroup above",
	  "0::/a/b/c\n",
	  { { "a/b/c/cpu.max", "max 100000\n" }, { "a/b/cpu.max", "max 100000\n" }, { "a/cpu.max", "90000 100000\n" } },
	  1 },
	{ "version 2, the least of all",
	  "0::/a/b\n",
	  { { "a/b/cpu.max", "100000 100000\n" }, { "a/cpu.max", "800000 100000\n" } },
	  1 },
	{ "version 2, in the root as a container sees it", "0::/\n", { { "cpu.max", "100000 100000\n" } }, 1 },
	{ "version 2, in one that is somebody else's", "0::/a\n", { { "b/cpu.max", "100000 100000\n" } }, ALL },
	{ "version 2, rubbish", "0::/a\n", { { "a/cpu.max", "rubbish\n" } }, ALL },
	{ "version 2, empty", "0::/a\n", { { "a/cpu.max", "" } }, ALL },
	{ "version 1, no quota",
	  "4:cpu,cpuacct:/a\n",
	  { { "cpu/a/cpu.cfs_quota_us", "-1\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } },
	  ALL },
	{ "version 1, one CPU",
	  "4:cpu,cpuacct:/a\n",
	  { { "cpu/a/cpu.cfs_quota_us", "100000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } },
	  1 },
	{ "version 1, by itself and above",
	  "9:cpuset:/x\n4:cpu:/a/b\n0::/\n",
	  { { "cpu/a/cpu.cfs_quota_us", "40000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } },
	  1 },
	{ "version 1, not the CPU's",
	  "4:cpuset:/a\n3:cpuacct:/a\n",
	  { { "cpu/a/cpu.cfs_quota_us", "100000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } },
	  ALL },
	{ "version 1, no period", "4:cpu:/a\n", { { "cpu/a/cpu.cfs_quota_us", "100000\n" } }, ALL },
	{ "rubbish", "rubbish\n\n:\n::\n", { { NULL, NULL } }, ALL },
};

START_TEST(test_quota_of_cgroups_is_respected)
{
	const struct world *world = &worlds[_i];
	unsigned expected = world->expected < n_allowed() ? world->expected : n_allowed();
	int found = in_child(pretend, world);

	if (found == CANNOT)
		SKIP("needs the right to mount");
	ck_assert_msg(found == (int)expected, "%s: %d CPUs, not %u", world->what, found, expected);
}
END_TEST

Suite *suite(void)
{
	Suite *cpus_suite = suite_create("cpus");
	TCase *tcase;

	ADD_CASE(cpus_suite, "affinity", test_there_is_at_least_one_and_no_more_than_allowed,
		 test_asking_leaves_no_descriptor_open, test_affinity_is_respected);
	tcase = tcase_create("quota");
	suite_add_tcase(cpus_suite, tcase);
	tcase_add_loop_test(tcase, test_quota_of_cgroups_is_respected, 0, (int)(sizeof(worlds) / sizeof(worlds[0])));
	return cpus_suite;
}
