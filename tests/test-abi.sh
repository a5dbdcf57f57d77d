#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Programs of old, and of days to come: abi/program.c is built with the header and the symbols of each minor version there has
# been, and runs with the library of this build; and with that of a later version, whose structs are longer.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
# shellcheck source=tests/ship.sh
. "$SOURCE/tests/ship.sh"

read -ra liburing_flags <<<"$LIBURING_CFLAGS -L$(dirname "$LIBRARY") -luring -pthread"
library=$(dirname "$LIBRARY")

# build_stub MAP DIRECTORY: a library that has the symbols of the map, and no more to it.
build_stub() {
	mkdir -p "$2" && sed -n 's/^\t\(iou_[a-z0-9_]*\);$/void \1(void) {}/p' "$1" >"$2/stub.c" && [[ -s $2/stub.c ]] &&
		"${cc[@]}" -shared -fPIC -fvisibility=default -Wno-missing-prototypes -o "$2/libiou.so.1" "$2/stub.c" \
			-Wl,-soname,libiou.so.1,--version-script,"$1" && ln -sf libiou.so.1 "$2/libiou.so"
}

# build_old VERSION: a program as it was built then: what it asks for is what that version had.
build_old() {
	local old=$SOURCE/tests/abi/$1
	build_stub "$old/libiou.map" "$work/$1" &&
		"${cc[@]}" -Wall -Wextra -Werror -I"$old" -o "$work/program-$1" "$SOURCE/tests/abi/program.c" \
			-L"$work/$1" -liou "${liburing_flags[@]}"
}

# A library in which a function has moved to a later version is not the one that the program was built for.
moved_is_seen() {
	sed '/^\tiou_quit;$/d; $a LIBIOU_9.0 {\nglobal:\n\tiou_quit;\n} LIBIOU_1.0;' "$SOURCE/lib/libiou.map" >"$work/moved.map"
	build_stub "$work/moved.map" "$work/moved" || return
	LD_BIND_NOW=1 LD_LIBRARY_PATH=$work/moved "$work/program-1.0" 2>&1 | grep 'iou_quit.*LIBIOU_1\.0'
}

# runs VERSION DIRECTORY: with the library in that directory.
runs() {
	LD_LIBRARY_PATH=$2 says_nothing "$work/program-$1"
	LD_LIBRARY_PATH=$2 "$work/program-$1"
}

# The library as a later version might be: two members at the end of each struct that may grow. Those of a config that does
# not have them are zero, whatever lies behind it.
build_later() {
	local flags
	mkdir "$work/later" && cp -r "$SOURCE/include" "$SOURCE/lib" "$work/later" || return
	(
		cd "$work/later" || exit
		sed -i -E 's/^\} (iou_(config|info|stats)_t);/\tuint64_t later[2];\n&/' include/iou.h
		sed -i '/^_Static_assert.*has no padding/d' lib/config.c
		sed -i '/^static bool is_valid/{n;s/$/if (config->later[0] || config->later[1]) return false;/}' lib/config.c
		grep -q 'later\[0\]' lib/config.c && [[ $(grep -c '^	uint64_t later\[2\];' include/iou.h) == 3 ]] || exit
		read -ra flags <<<"-shared -fPIC -D_GNU_SOURCE -fvisibility=hidden -include lib/export.h -Iinclude -Ilib"
		"${cc[@]}" "${flags[@]}" -o libiou.so.1 lib/*.c lib/threads/*.c \
			-Wl,-soname,libiou.so.1,--version-script,lib/libiou.map "${liburing_flags[@]}"
	)
}

n_versions=0
tap_ok 'the library of a later version builds' build_later
for header in "$SOURCE"/tests/abi/*/iou.h; do
	[[ -e $header ]] || continue
	version=$(basename "$(dirname "$header")")
	n_versions=$((n_versions + 1))
	tap_ok "a program of $version compiles" build_old "$version"
	tap_ok "it runs with the library of today" runs "$version" "$library"
	tap_ok "it runs with that of a later version" runs "$version" "$work/later"
done
tap_ok 'it would not run if a function had moved' moved_is_seen
tap_ok 'there are versions' test $n_versions -gt 0
tap_end
