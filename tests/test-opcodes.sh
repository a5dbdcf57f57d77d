#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# doc/opcodes.md is what the code says (scripts/opcodes), and all numbers there and in iou-info are the kernel's.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

# sees FILE SED: the check finds fault with a tree in which this file was changed so.
sees() {
	rm -rf "$work/tree"
	mkdir -p "$work/tree/lib" "$work/tree/doc" "$work/tree/examples" && cp -r "$SOURCE/scripts" "$work/tree" &&
		cp -r "$SOURCE/lib/threads" "$work/tree/lib" && cp -r "$SOURCE/examples/iou-info" "$work/tree/examples" &&
		cp "$SOURCE/doc/opcodes.md" "$work/tree/doc" && finds_nothing "$work/tree/scripts/opcodes" check || return
	sed -i "$2" "$work/tree/$1" && ! cmp -s "$SOURCE/$1" "$work/tree/$1" &&
		finds_some "$work/tree/scripts/opcodes" check
}

# The enumerators of the header that is there, which may be older.
numbers_agree() {
	local name number=0 rows n=0
	rows=$(sed -n 's/^| \([0-9]*\) | `\([A-Z0-9_]*\)` .*/\2 \1/p' "$SOURCE/doc/opcodes.md")
	while read -r name; do
		grep -qx "$name $number" <<<"$rows" || {
			echo "$name is not number $number"
			return 1
		}
		number=$((number + 1))
		n=$((n + 1))
	done < <(sed -n '/IORING_OP_LAST/d; s/^\tIORING_OP_\([A-Z0-9_]*\),.*/\1/p' "${LIBURING_CFLAGS#-I}/liburing/io_uring.h")
	((n > 40))
}

# bits_agree ARRAY PREFIX: the names of flags in iou-info, from bit 0 on, are those of the header.
bits_agree() {
	local name bit names n=0
	names=$(sed -n "/$1\[\] = {/,/};/p" "$SOURCE/examples/iou-info/names.c" | grep -o '"[A-Z0-9_]*"' | tr -d '"' | nl -v 0)
	while read -r name bit; do
		grep -qE "^ *${bit}[[:space:]]+$name\$" <<<"$names" || {
			echo "$name is not bit $bit"
			return 1
		}
		n=$((n + 1))
	done < <(sed -nE "s/^#define $2([A-Z0-9_]+)[[:space:]]+\(1U << ([0-9]+)\).*/\1 \2/p" \
		"${LIBURING_CFLAGS#-I}/liburing/io_uring.h")
	((n > 10))
}

tap_ok 'the page is what the code says' finds_nothing "$SOURCE/scripts/opcodes" check
tap_ok 'the numbers are those of the header' numbers_agree
tap_ok 'so are those of the flags of rings' bits_agree ring_flags IORING_SETUP_
tap_ok 'and of their features' bits_agree features IORING_FEAT_
tap_ok 'a new opcode would be missed' \
	sees lib/threads/opcodes.c 's/^\t\[OP_PIPE\] = .*/&\n\t[OP_STEAM] = { iou__exec_pipe, NULL, 0, 0 },/'
tap_ok 'so would one that has gone' sees lib/threads/opcodes.c '/^\t\[OP_PIPE\] = /d'
tap_ok 'one that takes a worker' sees lib/threads/opcodes.c 's/iou__exec_listen, NULL, TAKES_FILE/& | IS_SLOW/'
tap_ok 'one that does not wait any more' sees lib/threads/exec-wait.c 's/iou__watch(request, sqe->fd, EPOLLIN)/OUT_DONE/'
tap_ok 'one that is supported now' \
	sees lib/threads/opcodes.c 's/\(\[IORING_OP_URING_CMD\] = { \)iou__exec_unsupported/\1iou__exec_pipe/'
tap_ok 'a name of another number' sees examples/iou-info/names.c 's/"BIND"/"LISTEN"/; t; s/"LISTEN"/"BIND"/'
tap_ok 'a page that somebody has changed' sees doc/opcodes.md 's/| 5.6 |/| 5.7 |/'
tap_end
