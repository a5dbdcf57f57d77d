#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Compile-only: iou.h in each language it promises, alone and after another header; each private header alone.
# From the environment: SOURCE (the tree), CC, CXX (may be empty: no C++ compiler), LIBURING_CFLAGS.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

# Of several words.
read -ra cc <<<"$CC"
read -ra cxx <<<"$CXX"
read -ra flags <<<"-Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror -fsyntax-only $LIBURING_CFLAGS"
read -ra cxx_flags <<<"-Wall -Wextra -Wundef -Werror -fsyntax-only $LIBURING_CFLAGS"

# What liburing's header has in it is not ours.
read -ra ours_alone <<<"-fsyntax-only ${LIBURING_CFLAGS/#-I/-isystem }"

# It must be the header that decides, not what a missing file or an empty one makes of it.
use='iou_t *make(void); iou_t *make(void) { iou_op_t *op = 0; return op ? iou_free(0) : iou_new(IOU_VERSION_MAJOR); }'

# compile INCLUDES COMMAND...: a file of these includes, one a word, and a use of them.
compile() {
	local header text='' includes=$1
	shift
	for header in $includes; do
		text+="#include $header"$'\n'
	done
	printf '%s%s\n' "$text" "$use" | "$@" -I"$SOURCE/include" -I"$SOURCE/lib" -
}

for includes in '<iou.h>' '<stdio.h> <iou.h>' '<iou.h> <iou.h>'; do
	tap_ok "$includes as gnu99, pedantic" compile "$includes" \
		"${cc[@]}" -x c "${flags[@]}" -std=gnu99 -pedantic
	tap_ok "$includes as C99 with _GNU_SOURCE" compile "$includes" \
		"${cc[@]}" -x c "${flags[@]}" -std=c99 -D_GNU_SOURCE
	tap_ok "$includes as the compiler's own C" compile "$includes" "${cc[@]}" -x c "${flags[@]}"
	if [[ -n $CXX ]]; then
		tap_ok "$includes as C++17, pedantic" compile "$includes" \
			"${cxx[@]}" -x c++ "${cxx_flags[@]}" -std=c++17 -pedantic
	else
		tap_skip "$includes as C++17, pedantic" 'no C++ compiler'
	fi
done

# For parsers that know no macros of the preprocessor's but numbers (bindgen, cffi): those of iou.h that take arguments, and
# those that are no integer constants.
macros() {
	sed -nE 's/^#[ \t]*define[ \t]+(IOU_[A-Za-z0-9_]*|iou_[A-Za-z0-9_]*).*/\1/p' "$SOURCE/include/iou.h" | grep -vx IOU_H
}

functions_of_the_preprocessor() {
	grep -nE '^#[ \t]*define[ \t]+[A-Za-z0-9_]+\(' "$SOURCE/include/iou.h"
}

numbers() {
	local name text=''
	for name in $(macros); do
		text+="_Static_assert(($name) >= 0, \"$name\");"$'\n'
		text+="#if ($name) < 0"$'\n#error\n#endif\n'
	done
	printf '#include <iou.h>\n%s' "$text" | "${cc[@]}" -x c -Wundef -Werror "${ours_alone[@]}" -I"$SOURCE/include" -
}

# no_padding SED: in the header, changed so. Some compilers look at structs only if their sizes matter.
no_padding() {
	{
		sed "$1" "$SOURCE/include/iou.h"
		echo 'char all[sizeof(iou_config_t) + sizeof(iou_info_t) + sizeof(iou_stats_t) + sizeof(iou_op_t)];'
	} | "${cc[@]}" -x c -Wpadded -Werror "${ours_alone[@]}" -
}

tap_ok 'there are macros' test "$(macros | wc -l)" -gt 5
tap_ok 'none takes arguments' says_nothing functions_of_the_preprocessor
tap_ok 'they are numbers' numbers
tap_ok 'the structs have no padding' no_padding ''
tap_ok 'padding would be seen' not no_padding 's/^\tuint32_t spin_ns;/\tuint16_t spin_ns;/'

use=''
n_private=0
for header in "$SOURCE"/lib/*.h "$SOURCE"/lib/threads/*.h; do
	[[ -e $header ]] || continue
	n_private=$((n_private + 1))
	name=${header#"$SOURCE/lib/"}
	tap_ok "lib/$name alone" compile "\"$name\"" "${cc[@]}" -x c "${flags[@]}" -std=c11 -D_GNU_SOURCE
done
tap_ok 'there are private headers' test "$n_private" -gt 0
tap_end
