#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The header is read by a program that makes bindings of it for another language, Rust's bindgen: each function, macro and member
# comes through. TAP.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

bind() {
	bindgen "$root/include/iou.h" --allowlist-function 'iou_.*' --allowlist-type 'iou_.*' --allowlist-var 'IOU_.*' \
		-o "$work/iou.rs"
}

# same WHAT EXPECTED ACTUAL: two lists that are the same, and not empty.
same() {
	sort "$1" >"$work/expected"
	sort "$2" >"$work/actual"
	[[ -s $work/expected ]] && diff "$work/expected" "$work/actual"
}

members_of() {
	sed -n "/^typedef struct $1 {/,/^}/p" "$root/include/iou.h" | grep -v '^\s*\(/\*\*\|\*\)' |
		sed -nE 's/^\t[a-z].*\(\*([a-z_0-9]+)\)\(.*/\1/p; t; s/^\t[a-z][^;]*[ *]([a-z_0-9]+)(\[[0-9]+\])?;.*/\1/p' | tr -d ' '
}

bound_members_of() {
	sed -n "/^pub struct $1 {/,/^}/p" "$work/iou.rs" | sed -n 's/^    pub \([a-z_0-9]*\):.*/\1/p'
}

tap_ok 'the header can be read' bind || tap_bail 'there are no bindings'
tap_ok 'all functions are there' same <(sed -n 's/^\t\(iou_[a-z0-9_]*\);$/\1/p' "$root/lib/libiou.map") \
	<(sed -n 's/^    pub fn \(iou_[a-z0-9_]*\)(.*/\1/p' "$work/iou.rs")
tap_ok 'so are all macros' same <(sed -n 's/^#define \(IOU_[A-Z0-9_]*\)[ (].*/\1/p' "$root/include/iou.h") \
	<(sed -n 's/^pub const \(IOU_[A-Z0-9_]*\):.*/\1/p' "$work/iou.rs")
for struct in iou_config_t iou_info_t iou_op_t iou_stats_t; do
	tap_ok "and all members of $struct" same <(members_of $struct) <(bound_members_of $struct)
done
tap_end
