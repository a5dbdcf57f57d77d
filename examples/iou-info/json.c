/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One object. The names are in iou-info(1), and stay. */
#include "iou-info.h"

#include <inttypes.h>
#include <stdio.h>

/* As it is, but for what would end it. What is no ASCII comes from nowhere here. */
static void print_string(const char *string)
{
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)string; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < 0x20 || *c > 0x7e)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void print_name(const char *name)
{
	if (name)
		print_string(name);
	else
		printf("null");
}

static void print_field(const char *field, const char *value)
{
	printf("  \"%s\": ", field);
	print_name(value);
	printf(",\n");
}

static void print_bits(const char *field, uint32_t bits, const char *(*name_of)(unsigned bit))
{
	const char *comma = "";

	printf("  \"%s\": [", field);
	for (unsigned bit = 0; bit < 32; bit++) {
		char hex[16];

		if (!(bits >> bit & 1))
			continue;
		snprintf(hex, sizeof(hex), "0x%" PRIx32, (uint32_t)1 << bit);
		printf("%s", comma);
		print_string(name_of(bit) ? name_of(bit) : hex);
		comma = ", ";
	}
	printf("],\n");
}

/* Unlimited, and not there, are null. */
static void print_number(const char *field, long long number, bool is_nothing, const char *end)
{
	if (is_nothing)
		printf("    \"%s\": null%s\n", field, end);
	else
		printf("    \"%s\": %lld%s\n", field, number, end);
}

static void print_error(int error)
{
	printf("  \"refusal\": ");
	if (error) {
		printf("{\"number\": %d, \"name\": ", error);
		print_name(name_of_error(error));
		printf("},\n");
	} else {
		printf("null,\n");
	}
}

static void print_limits(const struct facts *facts)
{
	printf("  \"limits\": {\n");
	print_number("memlock", facts->memlock, facts->memlock < 0, ",");
	print_number("nofile", facts->nofile, facts->nofile < 0, ",");
	print_number("io_uring_disabled", facts->io_uring_disabled, facts->io_uring_disabled == NOT_THERE, ",");
	print_number("io_uring_group", facts->io_uring_group, facts->io_uring_group == NOT_THERE, ",");
	print_number("cpus", facts->cpus, facts->cpus < 0, "");
	printf("  },\n");
}

static const char *true_or_false(bool is_true)
{
	return is_true ? "true" : "false";
}

static void print_opcodes(const struct facts *facts)
{
	const char *comma = "";

	printf("  \"opcodes\": [");
	for (unsigned opcode = 0; opcode < N_OPCODES; opcode++) {
		if (!opcode_is_known(facts, opcode))
			continue;
		printf("%s\n    {\"number\": %u, \"name\": ", comma, opcode);
		print_name(name_of_opcode(opcode));
		printf(", \"uring\": %s, \"threads\": %s}",
		       facts->has_ring ? true_or_false(facts->on_uring[opcode]) : "null",
		       true_or_false(facts->on_threads[opcode]));
		comma = ",";
	}
	printf("\n  ]\n");
}

void print_json(const struct facts *facts)
{
	const iou_info_t *info = &facts->info;

	printf("{\n");
	print_field("engine", name_of_engine(info->engine));
	print_field("cause", info->reason);
	print_error(info->engine_error);
	print_bits("ring_flags", info->ring_flags, name_of_ring_flag);
	print_bits("ring_features", info->ring_features, name_of_feature);
	printf("  \"sq_entries\": %" PRIu32 ",\n  \"cq_entries\": %" PRIu32 ",\n  \"workers\": %" PRIu32 ",\n",
	       info->sq_entries, info->cq_entries, info->workers);
	print_field("libiou", facts->libiou);
	print_field("liburing", LIBURING_VERSION);
	print_field("kernel", facts->kernel.release);
	print_limits(facts);
	print_opcodes(facts);
	printf("}\n");
}
