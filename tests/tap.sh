# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# TAP for test scripts: source this, call tap_ok for each point, and tap_end last.

tap_n=0
tap_n_failed=0

# tap_ok NAME COMMAND...: one point, which passes if the command succeeds. What the command prints is shown if it fails.
tap_ok() {
	local name=$1 said
	shift
	tap_n=$((tap_n + 1))
	if said=$("$@" 2>&1); then
		echo "ok $tap_n - $name"
		return 0
	fi
	echo "not ok $tap_n - $name"
	tap_n_failed=$((tap_n_failed + 1))
	tap_say "failed: $*"
	tap_say "$said"
	return 1
}

# tap_skip NAME REASON
tap_skip() {
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

# tap_say TEXT: a comment.
tap_say() {
	local line
	while IFS= read -r line; do
		echo "# $line"
	done <<<"$1"
}

# not COMMAND...: for tap_ok.
not() {
	! "$@"
}

# says_nothing COMMAND...: succeeds if it prints nothing on stdout; what it prints are findings.
says_nothing() {
	local said
	said=$("$@")
	[[ -z $said ]] || {
		echo "$said"
		false
	}
}

# finds_nothing CHECK...: a check that prints its findings has run to its end, and has none.
finds_nothing() {
	local said status
	said=$("$@")
	status=$?
	[[ $status == 0 && -z $said ]] || {
		echo "status $status: $said"
		false
	}
}

# finds_some CHECK...: it has run to its end, and has some.
finds_some() {
	local said
	said=$("$@") && [[ -n $said ]]
}

# tap_bail REASON: nothing further can be tested.
tap_bail() {
	echo "Bail out! $1"
	exit 1
}

# tap_end: the plan, and the exit status. A script that had nothing to check has failed.
tap_end() {
	echo "1..$tap_n"
	((tap_n > 0 && tap_n_failed == 0))
	exit
}
