#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Programs of the suite where the machine itself blocks io_uring, and not a filter: by kernel.io_uring_disabled, for all and
# for those without privileges, and by RLIMIT_MEMLOCK. TAP. Needs root, and is not in the suite: for some seconds nobody on
# this machine gets a ring. Usage: blocked-host.sh BUILD
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

[[ $# == 1 && -x $1/tests/blocked ]] || tap_bail 'usage: blocked-host.sh BUILD, with a build directory of the suite'
[[ $(uname -r) != *hardened* ]] || tap_bail 'this kernel does not let kernel.io_uring_disabled be lowered again'
((EUID == 0)) || tap_bail 'only root may set kernel.io_uring_disabled'
unset LIBIOU_ENGINE IOU_BLOCKED
switch=/proc/sys/kernel/io_uring_disabled
programs=(test-choice test-oldapi test-promises-cancel test-promises-once test-promises-order)

# What is run may be out of reach for others than root where it was built.
work=$(mktemp -d) || tap_bail 'no temporary directory'
was=$(cat $switch 2>/dev/null)
restore() {
	[[ -z $was ]] || echo "$was" >"$switch"
}
trap 'restore; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cp "$1"/lib/libiou.so.1 "$1/examples/iou-info" "${programs[@]/#/$1/tests/}" "$work" || tap_bail 'something is not built'
chmod 755 "$work" "$work"/*
mkdir -m 1777 "$work/tmp"
cd "$work/tmp" || tap_bail 'no temporary directory'
export LD_LIBRARY_PATH=$work TMPDIR=$work/tmp

# As a user without privileges.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"
}

# says WORD COMMAND...: iou-info, run by this, says so.
says() {
	local word=$1 said
	shift
	said=$("$@" "$work/iou-info")
	head -n 3 <<<"$said"
	head -n 3 <<<"$said" | grep -qE "$word"
}

# run_all COMMAND...: each program, run by this, passes, and has run something.
run_all() {
	local program said n_bad=0
	for program in "${programs[@]}"; do
		said=$("$@" "$work/$program" 2>&1) && grep -q '^ok ' <<<"$said" && continue
		echo "$program:"
		grep -v '^ok' <<<"$said"
		n_bad=$((n_bad + 1))
	done
	((n_bad == 0))
}

# with_switch VALUE COMMAND...: for as long as that takes.
with_switch() {
	local value=$1 status
	shift
	echo "$value" >"$switch" || return
	"$@"
	status=$?
	restore
	return "$status"
}

at_2() {
	says '^cause *kernel\.io_uring_disabled=2$' env && says '^refusal *EPERM$' env && run_all env IOU_BLOCKED=EPERM
}

at_1() {
	says '^cause *kernel\.io_uring_disabled=1$' as_nobody && says '^refusal *EPERM$' as_nobody &&
		run_all as_nobody env IOU_BLOCKED=EPERM
}

# There is no ring then before Linux 5.12, and again on 6.18; in between there is.
without_memory() {
	local limited=(as_nobody prlimit --memlock=0:0)
	if says '^engine *uring$' "${limited[@]}"; then
		run_all "${limited[@]}"
	else
		says '^cause *no memory for a ring: RLIMIT_MEMLOCK 0 KiB$' "${limited[@]}" &&
			run_all "${limited[@]}" env IOU_BLOCKED=ENOMEM
	fi
}

tap_ok 'without locked memory' without_memory
if [[ -n $was ]]; then
	tap_ok 'with kernel.io_uring_disabled=2' with_switch 2 at_2
	tap_ok 'with kernel.io_uring_disabled=1, without privileges' with_switch 1 at_1
	tap_ok 'with kernel.io_uring_disabled=1, root has a ring' with_switch 1 says '^engine *uring$' env
	tap_ok 'the switch is as it was' test "$(cat $switch)" = "$was"
else
	tap_skip 'with kernel.io_uring_disabled' 'this kernel has no such switch (Linux 6.6)'
fi
tap_end
