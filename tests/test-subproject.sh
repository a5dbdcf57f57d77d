#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libiou as a meson subproject: a project that asks for dependency('libiou') and falls back on the tree in subprojects/
# builds the README's program, which runs. Shared and static.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
# shellcheck source=tests/ship.sh
. "$SOURCE/tests/ship.sh"

project=$work/project
expected=$(readme_block text)
mkdir -p "$project/subprojects"
ln -s "$SOURCE" "$project/subprojects/libiou"
readme_block c >"$project/hello.c"
cat >"$project/meson.build" <<'M'
project('hello', 'c', default_options: ['c_std=gnu11', 'warning_level=3', 'werror=true'])
libiou_dep = dependency('libiou', version: '>= 1.0', fallback: 'libiou')
assert(libiou_dep.type_name() == 'internal')
executable('hello', 'hello.c', dependencies: libiou_dep)
M

build() {
	CC=$CC "${meson[@]}" setup "$1" "$project" --force-fallback-for=libiou -Ddefault_library="$2" \
		-Db_sanitize="$SANITIZE" -Db_lundef=false && "${meson[@]}" compile -C "$1"
}

has_no_tests() {
	[[ $("${meson[@]}" test -C "$1" --list 2>&1) == *'No tests defined.'* ]]
}

for kind in shared static; do
	tap_ok "a project with libiou as its $kind subproject builds" build "$work/$kind" $kind
	tap_ok "its program prints what the README says ($kind)" prints "$expected" "$work/$kind/hello"
	tap_ok "the subproject adds no tests ($kind)" has_no_tests "$work/$kind"
done
tap_end
