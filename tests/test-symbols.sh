#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the library exports: the functions that iou.h declares, the names in libiou.map and the symbols of the library are the
# same set. (The linker accepts a map that names functions which do not exist.)
# From the environment: SOURCE (the tree), LIBRARY (the built shared library), OBJECTS (its object files' directory; empty
# where they are instrumented), CC, LIBURING_CFLAGS, VERSION.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

read -ra cc <<<"$CC"
read -ra liburing_cflags <<<"$LIBURING_CFLAGS"
header=$SOURCE/include/iou.h
map=$SOURCE/lib/libiou.map

work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

for file in "$header" "$map" "$LIBRARY"; do
	[[ -s $file ]] || tap_bail "there is no $file"
done

# Names before "(" in the lines of the preprocessed header that come from iou.h itself.
header_names() {
	"${cc[@]}" -E -x c "${liburing_cflags[@]}" "$header" |
		awk '/^# [0-9]+ "/ { ours = $3 ~ /iou\.h"$/; next } ours' |
		grep -oE '\biou_[a-z0-9_]+ *\(' | tr -d ' (' | LC_ALL=C sort
}

map_names() {
	sed 's|/\*[^*]*\*/||g' "$map" |
		awk '/global:/ { global = 1; next } /local:/ { global = 0 } global && NF' |
		tr -d '; \t' | LC_ALL=C sort
}

# All types but A, which is the version itself.
library_names() {
	nm -D --defined-only "$LIBRARY" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | LC_ALL=C sort
}

exported_data() {
	nm -D --defined-only "$LIBRARY" | awk '$2 !~ /^[TA]$/'
}

unversioned() {
	nm -D --defined-only "$LIBRARY" | awk '$2 != "A" && $3 !~ /@@LIBIOU_[0-9.]+$/'
}

dynamic() {
	readelf -dW "$LIBRARY"
}

# Variables of the library, but constant tables of pointers.
variables() {
	nm --format=sysv "$OBJECTS"/*.o |
		awk -F'|' '{ gsub(/ /, "", $3) } $3 ~ /^[bBdDcCsSgGVu]$/ && $7 !~ /\.data\.rel\.ro/'
}

constructors() {
	readelf -SW "$OBJECTS"/*.o | grep -E '\.(init_array|ctors|fini_array|dtors)'
}

# What a variable of the library would be in, once it is loaded; the C run-time's own apart.
writable() {
	nm --format=sysv "$LIBRARY" | awk -F'|' '{ gsub(/ /, "", $1) } $7 ~ /^\.t?(data|bss)$/ && $4 ~ /OBJECT|TLS/ { print $1 }' |
		grep -vxE '__dso_handle|__TMC_END__|completed\.[0-9]+'
}

# Its own functions are not looked up by name: a program's of the same name does not come between.
own_relocations() {
	readelf -rW "$LIBRARY" | grep -E ' iou_'
}

segments() {
	readelf -lW "$LIBRARY" | awk '$1 ~ /^(LOAD|GNU_STACK|GNU_RELRO)$/'
}

# Sections that are writable, but those that any library has.
other_writable() {
	readelf -SW "$LIBRARY" | sed 's/^ *\[ *[0-9]*\] *//' |
		awk '$7 ~ /W/ { print $1 }' | grep -vxE '\.(data|bss|tm_clone_table|init_array|fini_array|data\.rel\.ro|dynamic|got)'
}

other_libraries() {
	dynamic | grep NEEDED | grep -vE '\[(liburing\.so\.2|libc\.so\.6|libpthread\.so\.0|ld-linux[a-z0-9.-]*)\]'
}

empty() {
	[[ -z $(<"$1") ]]
}

header_names >"$work/header"
map_names >"$work/map"
library_names >"$work/library"
for list in header map library; do
	empty "$work/$list" && tap_bail "found no names in the $list: the check itself is broken"
done

tap_ok 'the header declares no function twice' says_nothing uniq -d "$work/header"
tap_ok 'the map names no function twice' says_nothing uniq -d "$work/map"
tap_ok 'header and map name the same functions' diff "$work/header" "$work/map"
tap_ok 'map and library name the same functions' diff "$work/map" "$work/library"
tap_ok 'the library exports functions alone, no data' says_nothing exported_data
tap_ok 'each function has a version' says_nothing unversioned
tap_ok 'the soname is libiou.so.1' grep -q 'SONAME.*\[libiou\.so\.1\]' <(dynamic)
tap_ok 'it needs liburing' grep -q 'NEEDED.*\[liburing\.so\.2\]' <(dynamic)
tap_ok 'it can be unloaded' says_nothing grep NODELETE <(dynamic)
tap_ok 'there are segments to look at' grep -q LOAD <(segments)
tap_ok 'a part of it is read-only once it is loaded' grep -q GNU_RELRO <(segments)
tap_ok 'all is bound then' grep -q 'FLAGS_1.*NOW' <(dynamic)
tap_ok 'no section is writable but those that any library has' says_nothing other_writable
tap_ok 'nothing is both writable and executable' says_nothing grep 'RWE' <(segments)
tap_ok 'its code is not written to' says_nothing grep TEXTREL <(dynamic)
tap_ok 'it has no search path of its own' says_nothing grep -E 'RPATH|RUNPATH' <(dynamic)
tap_ok 'it does not look its own functions up' says_nothing own_relocations
if [[ -n $OBJECTS ]]; then
	tap_ok 'there are object files' test -n "$(nm "$OBJECTS"/*.o)"
	tap_ok 'the library has no variables' says_nothing variables
	tap_ok 'nor has what is linked to it' says_nothing writable
	tap_ok 'it needs no other libraries' says_nothing other_libraries
	tap_ok 'the library has no constructors' says_nothing constructors
fi
tap_end
