#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# iou-info on both engines: what it prints for people and for programs agree, its JSON is JSON, and its opcodes are
# those of doc/opcodes.md.
# Usage: test-iou-info.sh BIN_DIR BLOCKED, the directory with the programs, and tests/blocked.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

[[ $# == 2 ]] || tap_bail 'usage: test-iou-info.sh BIN_DIR BLOCKED'
info=$1/iou-info
blocked=$2
[[ -x $info ]] || tap_bail "there is no program $info"
unset LIBIOU_ENGINE
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

# ends_with STATUS COMMAND...
ends_with() {
	local wanted=$1 status
	shift
	"$@"
	status=$?
	echo "status $status"
	((status == wanted))
}

# complains WORD COMMAND...: on standard error, and says nothing else.
complains() {
	local word=$1
	shift
	"$@" 2>&1 >"$work/said" | grep -q -- "$word" && [[ ! -s $work/said ]]
}

# holds FILE EXPRESSION: of the JSON in that file, as Python sees it.
holds() {
	python3 - "$@" <<-'PYTHON'
		import json
		import sys

		with open(sys.argv[1], encoding='utf-8') as file:
		    facts = json.load(file)
		opcodes = {opcode['name']: opcode for opcode in facts['opcodes']}
		if not eval(sys.argv[2]):
		    sys.exit(f'not so: {sys.argv[2]}: {json.dumps(facts)[:600]}')
	PYTHON
}

# The same in both forms, but for the words that stand for null.
agree() {
	python3 - "$@" <<-'PYTHON'
		import json
		import re
		import sys

		with open(sys.argv[1], encoding='utf-8') as file:
		    facts = json.load(file)
		with open(sys.argv[2], encoding='utf-8') as file:
		    head, table = file.read().split('\n\n')
		lines = dict(re.split(r'  +', line, maxsplit=1) if '  ' in line else line.split(' ', 1) for line in head.splitlines())
		limits = facts['limits']
		seen = {None: 'not there'}
		wanted = {
		    'engine': facts['engine'],
		    'cause': facts['cause'],
		    'refusal': facts['refusal']['name'] if facts['refusal'] else 'none',
		    'ring flags': ' '.join(facts['ring_flags']) or 'none',
		    'ring features': ' '.join(facts['ring_features']) or 'none',
		    'entries': f"{facts['sq_entries']} SQ, {facts['cq_entries']} CQ",
		    'workers': str(facts['workers']),
		    'libiou': facts['libiou'],
		    'liburing': facts['liburing'],
		    'kernel': facts['kernel'],
		    'memlock': 'unlimited' if limits['memlock'] is None else str(limits['memlock']),
		    'nofile': 'unlimited' if limits['nofile'] is None else str(limits['nofile']),
		    'io_uring_disabled': seen.get(limits['io_uring_disabled'], str(limits['io_uring_disabled'])),
		    'io_uring_group': seen.get(limits['io_uring_group'], str(limits['io_uring_group'])),
		    'cpus': str(limits['cpus']),
		}
		word = {True: 'yes', False: 'no', None: '?'}
		rows = [(str(o['number']), o['name'] or '?', word[o['uring']], word[o['threads']]) for o in facts['opcodes']]
		for name in wanted.keys() | lines.keys():
		    if wanted.get(name) != lines.get(name):
		        sys.exit(f'{name}: {wanted.get(name)!r} and {lines.get(name)!r}')
		if not rows or rows != [tuple(line.split()) for line in table.splitlines()[1:]]:
		    sys.exit('the tables differ')
	PYTHON
}

# look NAME COMMAND...: what this says, in both forms, is kept as NAME.json and NAME.text.
look() {
	local name=$1
	shift
	tap_ok "$name: it tells" ends_with 0 "$@"
	"$@" --json >"$work/$name.json"
	"$@" >"$work/$name.text"
	tap_ok "$name: the JSON is JSON" python3 -m json.tool "$work/$name.json"
	tap_ok "$name: both forms say the same" agree "$work/$name.json" "$work/$name.text"
}

run=()
if [[ -z ${IOU_BLOCKED-} ]]; then
	look uring "$info" --engine uring
	tap_ok 'uring: a ring with flags and features' holds "$work/uring.json" \
		"facts['engine'] == 'uring' and not facts['refusal'] and 'NODROP' in facts['ring_features']"
	tap_ok 'uring: the kernel knows NOP' holds "$work/uring.json" "opcodes['NOP']['uring'] is True"
	look auto "$info"
	tap_ok 'auto: is the same here' holds "$work/auto.json" "facts['engine'] == 'uring'"
	run=("$blocked" EPERM)
fi
name=${IOU_BLOCKED:-EPERM}

look threads "$info" --engine threads
tap_ok 'threads: no ring' holds "$work/threads.json" \
	"facts['engine'] == 'threads' and not facts['refusal'] and not facts['ring_flags'] and not facts['ring_features']"
tap_ok 'threads: who asked is told' holds "$work/threads.json" "'configuration' in facts['cause']"
tap_ok 'threads: known and unknown' holds "$work/threads.json" \
	"opcodes['LINK_TIMEOUT']['threads'] is True and opcodes['URING_CMD']['threads'] is False"
LIBIOU_ENGINE=threads "$info" --json >"$work/asked.json"
tap_ok 'threads: the opcodes are those of doc/opcodes.md' cmp \
	<(sed -n 's/^| \([0-9]*\) | `\([A-Z0-9_]*\)` | [0-9.]* | not: `-EOPNOTSUPP` |.*/\1 \2 no/p; t
		s/^| \([0-9]*\) | `\([A-Z0-9_]*\)` .*/\1 \2 yes/p' "$here/../doc/opcodes.md") \
	<(sed -n '/ opcode /,$p' "$work/threads.text" | awk 'NR > 1 && $2 != "?" { print $1, $2, $4 }')
tap_ok 'LIBIOU_ENGINE is told' holds "$work/asked.json" \
	"facts['engine'] == 'threads' and 'LIBIOU_ENGINE' in facts['cause']"

look blocked "${run[@]}" "$info"
tap_ok 'blocked: threads, and why' holds "$work/blocked.json" \
	"facts['engine'] == 'threads' and facts['refusal']['name'] == '$name' and facts['refusal']['number'] > 0"
tap_ok 'blocked: the filter or the memory is blamed' holds "$work/blocked.json" \
	"facts['cause'].startswith('no memory for a ring' if '$name' == 'ENOMEM' else 'seccomp: $name')"
tap_ok 'blocked: nobody knows what the kernel could' holds "$work/blocked.json" "opcodes['NOP']['uring'] is None"
tap_ok 'blocked: no uring' ends_with 1 "${run[@]}" "$info" --engine uring
word=$name
[[ $name != ENOMEM ]] || word=memory
tap_ok 'blocked: and why' complains "$word" "${run[@]}" "$info" --engine uring
tap_ok 'blocked: nor where the environment insists' ends_with 1 env LIBIOU_ENGINE=uring "${run[@]}" "$info"

(ulimit -S -n 77 && "$info" --json >"$work/limit.json")
tap_ok 'limits are those of the process' holds "$work/limit.json" "facts['limits']['nofile'] == 77"
tap_ok 'help' ends_with 0 "$info" --help
tap_ok 'the page has the options of the help' diff \
	<("$info" --help | grep -oE -- '--[a-z]+' | sort -u) \
	<(sed -n 's/^\.It Fl -\([a-z]*\).*/--\1/p' "$here/../doc/man/iou-info.1" | sort -u)
# Of its examples the first, which needs nobody else, tells what there is; the others have been looked at above.
example=$("$here/../scripts/check-man" commands "$here/../doc/man/iou-info.1" | head -n 1)
has_example() {
	local said
	said=$(PATH=$(dirname "$info"):$PATH sh -c "$example")
	[[ $said == $("$info" --engine uring >/dev/null 2>&1 && echo yes) ]]
}
tap_ok "and an example: $example" has_example
version=$("$info" --json | sed -n 's/^  "libiou": "\(.*\)",$/\1/p')
tap_ok 'version' grep -qx "iou-info (libiou) $version" <("$info" --version)
tap_ok 'an unknown option is wrong usage' ends_with 2 "$info" --no-such-option
tap_ok 'so is an unknown engine' ends_with 2 "$info" --engine steam
tap_ok 'and an argument' ends_with 2 "$info" something
tap_ok 'which is said on standard error' complains 'no such engine: steam' "$info" --engine steam
tap_ok 'a full disk is told' ends_with 3 sh -c "'$info' >/dev/full"
tap_end
