/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iou-info.h"

#include <inttypes.h>
#include <stdio.h>

static void print_bits(const char *title, uint32_t bits, const char *(*name_of)(unsigned bit))
{
	printf("%-18s", title);
	if (!bits)
		printf(" none");
	for (unsigned bit = 0; bit < 32; bit++) {
		if (!(bits >> bit & 1))
			continue;
		if (name_of(bit))
			printf(" %s", name_of(bit));
		else
			printf(" 0x%" PRIx32, (uint32_t)1 << bit);
	}
	putchar('\n');
}

static void print_number(const char *title, long long number)
{
	if (number == NOT_THERE)
		printf("%-18s not there\n", title);
	else
		printf("%-18s %lld\n", title, number);
}

static void print_limit(const char *title, long long limit)
{
	if (limit == UNLIMITED)
		printf("%-18s unlimited\n", title);
	else
		print_number(title, limit);
}

static const char *yes_or_no(bool is_yes)
{
	return is_yes ? "yes" : "no";
}

static void print_opcodes(const struct facts *facts)
{
	printf("\n%3s  %-18s %-7s %s\n", "", "opcode", "uring", "threads");
	for (unsigned opcode = 0; opcode < N_OPCODES; opcode++) {
		const char *name = name_of_opcode(opcode);

		if (opcode_is_known(facts, opcode))
			printf("%3u  %-18s %-7s %s\n", opcode, name ? name : "?",
			       facts->has_ring ? yes_or_no(facts->on_uring[opcode]) : "?",
			       yes_or_no(facts->on_threads[opcode]));
	}
}

void print_text(const struct facts *facts)
{
	const iou_info_t *info = &facts->info;

	printf("%-18s %s\n", "engine", name_of_engine(info->engine));
	printf("%-18s %s\n", "cause", info->reason);
	printf("%-18s %s\n", "refusal", info->engine_error ? name_of_error(info->engine_error) : "none");
	print_bits("ring flags", info->ring_flags, name_of_ring_flag);
	print_bits("ring features", info->ring_features, name_of_feature);
	printf("%-18s %" PRIu32 " SQ, %" PRIu32 " CQ\n", "entries", info->sq_entries, info->cq_entries);
	printf("%-18s %" PRIu32 "\n", "workers", info->workers);
	printf("%-18s %s\n", "libiou", facts->libiou);
	printf("%-18s %s\n", "liburing", LIBURING_VERSION);
	printf("%-18s %s\n", "kernel", facts->kernel.release);
	print_limit("memlock", facts->memlock);
	print_limit("nofile", facts->nofile);
	print_number("io_uring_disabled", facts->io_uring_disabled);
	print_number("io_uring_group", facts->io_uring_group);
	print_number("cpus", facts->cpus);
	print_opcodes(facts);
}
