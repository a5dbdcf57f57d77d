#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Programs of old, and of days to come: abi/program.c is compiled with the header of each minor version there has been, and
# runs with the library of this build; and with that of a later version, whose structs are longer.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
# shellcheck source=tests/ship.sh
. "$SOURCE/tests/ship.sh"

read -ra liburing_flags <<<"$LIBURING_CFLAGS -L$(dirname "$LIBRARY") -luring -pthread"
library=$(dirname "$LIBRARY")

# build_old VERSION: a program with the header of that version, linked to the library of today.
build_old() {
	"${cc[@]}" -Wall -Wextra -Werror -I"$SOURCE/tests/abi/$1" -o "$work/program-$1" "$SOURCE/tests/abi/program.c" \
		-L"$library" -liou "${liburing_flags[@]}"
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
tap_ok 'there are versions' test $n_versions -gt 0
tap_end
