#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# scripts/count-tests: what a test program can do wrong is counted as a failure.
# From the environment: SOURCE (the tree).
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

# Each program: its result as meson sees it, and its output (a JSON string).
log() {
	: >"$work/log"
	while (($# > 0)); do
		printf '{"name": "program", "result": "%s", "stdout": "%s"}\n' "$1" "$2" >>"$work/log"
		shift 2
	done
}

# counts STATUS SUMS [OPTION...]: the last line, and the exit status, for the log.
counts() {
	local status said expected=$1 sums=$2
	shift 2
	said=$("$SOURCE/scripts/count-tests" "$@" "$work/log" 2>/dev/null)
	status=$?
	echo "status $status: $said"
	[[ $status == "$expected" && $said == "$sums" ]]
}

log OK 'ok 1 - a\nok 2 - b\n1..2\n' OK '1..1\nok\n'
tap_ok 'points that pass' counts 0 '3 passed, 0 failed, 0 skipped'
log ERROR 'ok 1 - a\nnot ok 2 - b\n1..2\n'
tap_ok 'a point that fails' counts 1 '1 passed, 1 failed, 0 skipped'
log OK 'ok 1 - a # SKIP no kernel\nok 2\n1..2\n'
tap_ok 'a point that is skipped' counts 0 '1 passed, 0 failed, 1 skipped'
tap_ok 'a point that is skipped, and must not be' counts 1 '1 passed, 0 failed, 1 skipped' --no-skips
log SKIP '1..0 # SKIP nothing here\n' OK 'ok 1\n1..1\n'
tap_ok 'a program that is skipped' counts 0 '1 passed, 0 failed, 1 skipped'
log SKIP ''
tap_ok 'a program that says nothing' counts 1 '0 passed, 1 failed, 0 skipped'
log ERROR 'ok 1 - a\n'
tap_ok 'a program that crashes' counts 1 '1 passed, 1 failed, 0 skipped'
log ERROR 'ok 1 - a\n1..1\n'
tap_ok 'a program that crashes as it ends' counts 1 '1 passed, 1 failed, 0 skipped'
log TIMEOUT 'not ok 1 - a\nok 2 - b\n'
tap_ok 'a program that does not end' counts 1 '1 passed, 2 failed, 0 skipped'
log OK '1..3\nok 1 - a\n'
tap_ok 'a program with fewer points than planned' counts 1 '1 passed, 1 failed, 0 skipped'
log ERROR 'ok 1 - a\nBail out! no ring\n'
tap_ok 'a program that gives up' counts 1 '1 passed, 1 failed, 0 skipped'
log
tap_ok 'no program at all' counts 1 '0 passed, 0 failed, 0 skipped'
log OK 'ok 1\n1..1\n'
tap_ok 'meson itself fails' counts 1 '1 passed, 1 failed, 0 skipped' --expect-status 2
tap_end
