#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a user gets: a staged install of this build, and a program built with nothing but what pkg-config says, shared and
# static. The program is the README's, and prints what the README says.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
# shellcheck source=tests/ship.sh
. "$SOURCE/tests/ship.sh"

program=$work/readme.c
readme_block c >"$program"
expected=$(readme_block text)
cat >"$work/version.c" <<'C'
#include <iou.h>
#include <stdio.h>

int main(void)
{
	printf("%d.%d.%d %s\n", IOU_VERSION_MAJOR, IOU_VERSION_MINOR, IOU_VERSION_MICRO, iou_version());
	return 0;
}
C

is_short() {
	test "$(wc -l <"$program")" -le 25
}

installed() {
	test -n "$(find "$stage" -name "$1")"
}

# The dynamic linker is told where the library is, as a package's post-install script would tell it.
run() {
	LD_LIBRARY_PATH=$libdir "$@"
}

# What programs that link to the archive could get in the way of: all names are ours, and none is one of liburing's.
foreign_names() {
	nm -g --defined-only "$libdir/libiou.a" | awk 'NF == 3 { print $3 }' | grep -vE '^iou_'
}

needs_libiou() {
	readelf -dW "$1" | grep -q 'NEEDED.*libiou\.so\.1'
}

is_static() {
	! readelf -lW "$1" | grep INTERP
}

if [[ $KIND != static ]]; then
	install_to "$BUILD" "$work/shared" || tap_bail 'this build cannot be installed'
	for file in iou.h libiou.pc libiou.so libiou.so.1 "libiou.so.$VERSION"; do
		tap_ok "$file is installed" installed "$file"
	done
	tap_ok 'no other header is installed' test "$(find "$stage" -name '*.h' | wc -l)" = 1
	tap_ok "pkg-config's version is the project's" test "$(pkg-config --modversion libiou)" = "$VERSION"
	tap_ok "the README's program has no more than 25 lines" is_short
	tap_ok "the README's program compiles without warnings" compile "$work/readme" "$program" -- -Wall -Wextra -Werror
	tap_ok 'it is linked to libiou.so.1' needs_libiou "$work/readme"
	tap_ok 'it prints what the README says' prints "$expected" run "$work/readme"
	tap_ok 'a program that prints the version compiles' compile "$work/version" "$work/version.c"
	tap_ok 'header and library have the same version' prints "$VERSION $VERSION" run "$work/version"
fi

# Without the shared library the same flags find the static one, and with --static what that needs itself.
static=$BUILD
if [[ $KIND == shared ]]; then
	static=$work/build
	tap_ok 'a static library builds' configure "$static" -Ddefault_library=both
fi
install_to "$static" "$work/static" || tap_bail 'the static library cannot be installed'
tap_ok 'libiou.a is installed' installed libiou.a
if [[ $SANITIZE == none ]]; then
	tap_ok 'it has names' grep -q ' T iou_new$' <(nm -g "$libdir/libiou.a")
	tap_ok 'they are all its own' says_nothing foreign_names
fi
find "$stage" -name 'libiou.so*' -delete
tap_ok "the README's program links to libiou.a" compile "$work/readme-static" "$program" --static
tap_ok 'it needs no libiou.so' not needs_libiou "$work/readme-static"
tap_ok 'it prints what the README says, linked to libiou.a' prints "$expected" "$work/readme-static"
if [[ $SANITIZE == none && ! -e $("${cc[@]}" -print-file-name=liburing.a) ]]; then
	tap_skip "the README's program links to static libraries alone" 'there is no liburing.a'
elif [[ $SANITIZE == none ]]; then
	tap_ok "the README's program links to static libraries alone" \
		compile "$work/readme-all" "$program" --static -- -static
	tap_ok 'it is static' is_static "$work/readme-all"
	tap_ok 'it prints what the README says, all static' prints "$expected" "$work/readme-all"
fi
tap_end
