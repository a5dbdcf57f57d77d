#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Run a test program under memcheck: meson test --wrapper tests/valgrind.sh (with CK_FORK=no, or leaks are not seen).
# Errors, definite and possible leaks, and descriptors that the program opened and left open make it fail. Valgrind's
# report goes to stderr; stdout is the program's. One that hangs is ended, and where its threads are is in the report.
set -u

limit=400

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
enter=$(dirname "$1")/libvalgrind-enter.so
[[ -e $enter ]] || {
	echo "valgrind.sh: there is no $enter" >&2
	exit 1
}
LD_PRELOAD=$enter valgrind --quiet --log-file="$log" --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,possible \
	--errors-for-leak-kinds=definite,possible --track-fds=yes --num-callers=30 --fair-sched=try "$@" &
pid=$!
(
	sleep $limit || exit
	echo "valgrind.sh: $1 does not end" >&2
	timeout 20 vgdb --pid=$pid v.info scheduler >&2
	kill -KILL $pid
) </dev/null >/dev/null &
watchdog=$!
wait $pid
status=$?
pkill -P $watchdog
kill $watchdog 2>/dev/null
cat "$log" >&2

# Each descriptor that is open at the end has a line, and below it where it was opened, or that it was inherited. What
# processes that a test forked have open is not looked at.
left_open() {
	awk -v pid="==$pid==" '$1 != pid { next }
		$2 == "Open" { open = $0; next }
		open != "" && !/<inherited from parent>/ { print open; print $0; bad = 1 }
		{ open = "" }
		END { exit !bad }' "$log"
}

if left_open >&2; then
	echo 'valgrind.sh: descriptors were left open' >&2
	((status != 0)) || status=98
fi
exit $status
