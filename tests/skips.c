/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "skips.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define N_SKIPS 256

struct skip {
	char name[128]; /* ":test_name:", as it is on the line */
	char reason[128];
};

struct skips {
	int n;
	struct skip skip[N_SKIPS];
};

static struct skips *skips;

int skips_open(void)
{
	void *memory = mmap(NULL, sizeof(*skips), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -1;
	skips = memory;
	return 0;
}

/* Check's function for test "name" is "name_fn". */
void skips_add(const char *function, const char *reason)
{
	size_t length = strlen(function);
	struct skip *skip;

	if (skips->n == N_SKIPS)
		return;
	skip = &skips->skip[skips->n];
	if (length > 3 && strcmp(function + length - 3, "_fn") == 0)
		length -= 3;
	snprintf(skip->name, sizeof(skip->name), ":%.*s:", (int)length, function);
	snprintf(skip->reason, sizeof(skip->reason), "%s", reason);
	skips->n++;
}

const char *skips_find(const char *line)
{
	for (int i = 0; i < skips->n; i++) {
		if (strstr(line, skips->skip[i].name))
			return skips->skip[i].reason;
	}
	return NULL;
}
