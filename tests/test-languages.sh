#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The examples in other languages: C++ with the header as it is, and Python with nothing but the shared library.
# Usage: test-languages.sh BIN_DIR, the directory with the programs. From the environment: SOURCE, LIBRARY (empty where there
# is no shared one that a program which knows nothing of it can load), CXX (may be empty).
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT
bin=$1

if [[ -n $CXX ]]; then
	tap_ok 'C++: what it prints' diff <("$bin/raii") \
		<(printf '%s\n' '3 to go' '2 to go' '1 to go' 'caught: that was the last one')
else
	tap_skip 'C++: what it prints' 'no C++ compiler'
fi

hash_py() {
	LIBIOU=$LIBRARY python3 "$SOURCE/examples/hash.py" "$@"
}

more_than_descriptors() (
	ulimit -n 100
	diff <(sha256sum "$SOURCE"/lib/*.[ch] "$SOURCE"/tests/*.[ch]) <(hash_py "$SOURCE"/lib/*.[ch] "$SOURCE"/tests/*.[ch])
)

complains() {
	hash_py "$work/1" "$work/missing" "$work" >"$work/out" 2>"$work/err"
	[[ $? == 1 ]] && diff "$work/out" <(sha256sum "$work/1") &&
		grep -q 'missing: No such file' "$work/err" && grep -q 'Is a directory' "$work/err"
}

if [[ -n $LIBRARY ]]; then
	for n in 0 1 65535 65536 65537 3000000; do
		head -c $n /dev/urandom >"$work/$n"
	done
	tap_ok 'Python: the sums of files' diff <(sha256sum "$work"/[0-9]*) <(hash_py "$work"/[0-9]*)
	tap_ok 'Python: those of many' diff <(sha256sum "$SOURCE"/*/*.[ch]) <(hash_py "$SOURCE"/*/*.[ch])
	tap_ok 'Python: more files than descriptors' more_than_descriptors
	tap_ok 'Python: what cannot be read' complains
else
	tap_say 'the library of this build cannot be loaded by itself'
fi
tap_end
