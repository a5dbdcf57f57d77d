#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# doc/tutorial.md: its programs do what it says, on both engines, and its blocks are those programs' text.
# Usage: test-tutorial.sh BIN_DIR, the directory with the programs. From the environment: SOURCE.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT
bin=$1
page=$SOURCE/doc/tutorial.md
check=$SOURCE/scripts/check-prose
export LC_ALL=C
steps=("$SOURCE"/examples/tutorial/step*.c)

# The same sum, made elsewhere.
sums() {
	python3 - "$@" <<-'SUMS'
		import sys
		for name in sys.argv[1:]:
		    sum = 0xcbf29ce484222325
		    for byte in open(name, 'rb').read():
		        sum = (sum ^ byte) * 0x100000001b3 % 2**64
		    print(f'{sum:016x}  {name}')
	SUMS
}

# step N ARGUMENT...: what it prints on standard output, sorted.
step() {
	timeout 120 "$bin/tutorial-$1" "${@:2}" 2>"$work/complaints" | sort
	return "${PIPESTATUS[0]}"
}

sums_are_right() {
	diff "$work/expected" <(step "$@")
}

complains() {
	local said
	said=$(step "$@" "$work/1" "$work/missing" "$work" "$work/2")
	[[ $? == 1 && $(wc -l <<<"$said") == 2 ]] && grep -q 'missing: No such file' "$work/complaints" &&
		grep -q ': Is a directory' "$work/complaints"
}

# A read of what nobody writes to ends when the time is over.
is_in_time() {
	local said
	said=$(step "$1" 1 "$work/fifo" 3<>"$work/fifo")
	[[ $? == 1 && -z $said ]] && grep -q 'fifo: Operation canceled' "$work/complaints"
}

# It has told how far it is, so that it runs, and then gets a signal.
stops() {
	local program status
	: >"$work/complaints"
	"$bin/tutorial-5" 600 "$work/1" "$work/fifo" 3<>"$work/fifo" >"$work/said" 2>"$work/complaints" &
	program=$!
	for _ in {1..1000}; do
		! grep -q 'so far' "$work/complaints" || break
		sleep 0.1
	done
	kill -INT "$program"
	wait "$program"
	status=$?
	cat "$work/complaints"
	[[ $status == 1 && $(wc -l <"$work/said") == 1 ]] && grep -q '^sum: Interrupted' "$work/complaints" &&
		grep -q 'fifo: Operation canceled' "$work/complaints"
}

# prints COMMAND: as it stands on the page.
prints() {
	diff <("$check" prints "$page" "$1") <(cd "$SOURCE" && eval "${1//build\/examples\/tutorial/$bin}" 2>&1)
}

# sees CHECK FROM TO [FILE...]: the check finds fault with a page that was changed so.
sees() {
	python3 -c 'import sys; page = open(sys.argv[1]).read(); print(page.replace(sys.argv[2], sys.argv[3], 1), end="")' \
		"$page" "$2" "$3" >"$work/page.md"
	not cmp -s "$page" "$work/page.md" && finds_some "$check" "$1" "$SOURCE" "$work/page.md" "${@:4}"
}

tap_ok 'its blocks are the programs' finds_nothing "$check" blocks "$SOURCE" "$page"
tap_ok 'all that is new in a step is shown' finds_nothing "$check" grows "$SOURCE" "$page" "${steps[@]#"$SOURCE/"}"
tap_ok 'another word in a block would be seen' sees blocks 'iou_op_async(lane' 'iou_op_sync(lane'
tap_ok 'a line that is left out would be seen' sees blocks $'\tprogram->n_busy++;\n' ''
tap_ok 'a block of no file would be seen' sees blocks '<!-- examples/tutorial/step3.c -->' ''
tap_ok 'a block that is left out would be seen' sees grows '<!-- examples/tutorial/step3.c -->' '' \
	"${steps[@]#"$SOURCE/"}"

# No other page is tested for that.
tap_ok 'all pages lead to what is there' finds_nothing "$check" links "$SOURCE" "$SOURCE"/*.md "$SOURCE"/doc/*.md
mkdir "$work/pages"
echo '[a page](page.md)' >"$work/pages/page.md"
tap_ok 'as a page does that leads to itself' finds_nothing "$check" links "$work/pages" "$work/pages/page.md"
echo '[a page](pages.md)' >"$work/pages/page.md"
tap_ok 'a link to what is not there would be seen' finds_some "$check" links "$work/pages" "$work/pages/page.md"

for n in 0 1 2 65535 65536 65537 300000 1000000; do
	head -c $n /dev/urandom >"$work/$n"
done
mkfifo "$work/fifo"
sums "$work"/[0-9]* "$SOURCE"/lib/*.[ch] | sort >"$work/expected"
tap_ok 'there are sums to compare with' test "$(wc -l <"$work/expected")" -gt 20
mapfile -t commands < <("$check" commands "$page")
tap_ok 'the page says what is printed' test ${#commands[@]} -ge 3

export LIBIOU_ENGINE
for LIBIOU_ENGINE in uring threads; do
	for command in "${commands[@]}"; do
		tap_ok "$command, $LIBIOU_ENGINE" prints "$command"
	done
	tap_ok "step 1: the sum, $LIBIOU_ENGINE" diff <(sums "$work/300000") <(step 1 "$work/300000")
	tap_ok "step 2: the sums, $LIBIOU_ENGINE" sums_are_right 2 "$work"/[0-9]* "$SOURCE"/lib/*.[ch]
	tap_ok "step 3: the sums, $LIBIOU_ENGINE" sums_are_right 3 "$work"/[0-9]* "$SOURCE"/lib/*.[ch]
	tap_ok "step 2: what cannot be read, $LIBIOU_ENGINE" complains 2
	tap_ok "step 3: what cannot be read, $LIBIOU_ENGINE" complains 3
	for n in 4 5; do
		tap_ok "step $n: the sums, $LIBIOU_ENGINE" sums_are_right $n 600 "$work"/[0-9]* "$SOURCE"/lib/*.[ch]
		tap_ok "step $n: what cannot be read, $LIBIOU_ENGINE" complains $n 600
		tap_ok "step $n: a time to keep to, $LIBIOU_ENGINE" is_in_time $n
	done
	tap_ok "step 5: a signal, $LIBIOU_ENGINE" stops
done
tap_end
