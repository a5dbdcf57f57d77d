#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tests/abi/check.sh LIBRARY: it has the ABI that was promised (scripts/abi); and what breaks one is found, in a small library
# that is like it. TAP; needs abigail-tools.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

# Version 1.1 of it, in development, beside 1.0 and what was last kept of 1.1.
plant() {
	mkdir -p include lib scripts tests/abi/1.0 tests/abi/1.1 && cp "$root/scripts/abi" scripts || return
	cat >include/iou.h <<-'H'
		#include <stddef.h>
		#include <stdint.h>
		#define IOU_FAST 1
		#define IOU_SAFE 2
		typedef struct iou_t iou_t;
		typedef struct iou_info_t {
			size_t size;
			uint32_t workers;
			uint32_t engine;
		} iou_info_t;
		typedef struct iou_pair_t {
			int first, second;
		} iou_pair_t;
		iou_t *iou_new(unsigned entries);
		int iou_run(iou_t *iou, int (*cb)(void *data));
		int iou_info(iou_t *iou, iou_info_t *info, const iou_pair_t *pair);
		int iou_late(iou_t *iou);
	H
	cat >lib/iou.c <<-'C'
		#include "../include/iou.h"
		struct iou_t {
			int hidden;
		};
		static iou_t one;
		iou_t *iou_new(unsigned entries) { return entries ? &one : NULL; }
		int iou_run(iou_t *iou, int (*cb)(void *data)) { return cb(iou); }
		int iou_info(iou_t *iou, iou_info_t *info, const iou_pair_t *pair)
		{
			return iou && info->size ? pair->first : 0;
		}
		int iou_late(iou_t *iou) { return iou != NULL; }
	C
	printf '%s\n' 'LIBIOU_1.0 { global: iou_new; iou_run; iou_info; local: *; };' \
		'LIBIOU_1.1 { global: iou_late; } LIBIOU_1.0;' >lib/libiou.map
	printf '%s\n' '# News' '' '## 1.1.0 (in development)' '' '- `iou_late()` and `IOU_SAFE` were added.' '' \
		'## 1.0.0' '' '- `iou_new()`, and all else: `tidy`.' >NEWS.md
}

# build: the library, as it stands now.
build() {
	cc -g -shared -fPIC -fvisibility=default -Wl,--version-script,lib/libiou.map -o libiou.so lib/iou.c
}

keep() {
	cp include/iou.h "tests/abi/$1" && scripts/abi dump libiou.so "tests/abi/$1/libiou-$(uname -m).abi"
}

# Of 1.0 what has been added since is not known.
keep_both() {
	cp -r . ../later && build && keep 1.1 || return
	sed -i '/iou_late/d' include/iou.h lib/iou.c
	sed -i '/^LIBIOU_1.1/d' lib/libiou.map
	sed -i '/IOU_SAFE/d' include/iou.h
	build && keep 1.0 && cp ../later/include/iou.h include && cp ../later/lib/* lib
}

# finds WORDS FILE SED [FILE SED ...]: fault is found with a tree that was changed so, and those are its words.
finds() {
	local words=$1 said status
	shift
	rm -rf "$work/changed"
	cp -r "$work/tree" "$work/changed" && cd "$work/changed" || return
	while (($# > 0)); do
		sed -i -E "$2" "$1" && ! cmp -s "$1" "$work/tree/$1" || return
		shift 2
	done
	build || return
	said=$(scripts/abi check libiou.so)
	status=$?
	echo "status $status: $said"
	if [[ -z $words ]]; then
		[[ $status == 0 && -z $said ]]
	else
		[[ $status == 1 && $said == *"$words"* ]]
	fi
}

[[ $# == 1 ]] || tap_bail 'usage: tests/abi/check.sh LIBRARY'
tap_ok 'the library has the ABI that was promised' finds_nothing "$root/scripts/abi" check "$1"

{
	mkdir "$work/tree" && cd "$work/tree" && plant && keep_both
} || tap_bail 'no library to try this with'
h=include/iou.h c=lib/iou.c map=lib/libiou.map
tap_ok 'nothing is wrong with what has not been changed' finds '' NEWS.md 's/^# News/# The news/'
tap_ok 'nor with what nobody sees' finds '' $c 's/int hidden;/long hidden, more;/'
tap_ok 'a function that has gone is found' finds iou_run $c 's/iou_run/iou_walk/'
tap_ok 'one that is of a later version now' finds iou_run $map 's/iou_run; //; s/iou_late;/& iou_run;/'
tap_ok 'one that returns something else' finds iou_run $h 's/^int (iou_run)/long \1/' $c 's/^int (iou_run)/long \1/'
tap_ok 'another parameter' finds iou_new $h 's/unsigned entries/unsigned long entries/' $c 's/unsigned entries/unsigned long entries/'
tap_ok 'another callback' finds iou_run $h 's/\(\*cb\)\(void \*data\)/(*cb)(long data)/' \
	$c 's/\(\*cb\)\(void \*data\)/(*cb)(long data)/; s/cb\(iou\)/cb((long)iou)/'
tap_ok 'members that have changed places' finds iou_info_t \
	$h 's/uint32_t workers/uint32_t what/; s/uint32_t engine/uint32_t workers/; s/uint32_t what/uint32_t engine/'
tap_ok 'one that is called differently' finds iou_info_t $h 's/uint32_t workers/uint32_t threads/'
tap_ok 'one with a sign' finds iou_info_t $h 's/uint32_t engine/int32_t engine/'
tap_ok 'one that has gone' finds iou_info_t $h '/uint32_t engine/d'
tap_ok 'one that was added in between' finds iou_info_t $h 's/^uint32_t workers.*/uint64_t more;\n&/'
tap_ok 'one that was added to a struct that may not grow' finds iou_pair_t $h 's/int first, second/&, third/'
tap_ok 'one that was added without news' finds 'more was added' $h 's/^uint32_t engine.*/&\nuint64_t more;/'
tap_ok 'one whose name is old news, or a word' finds 'tidy was added' $h 's/^uint32_t engine.*/&\nuint64_t tidy;/' \
	NEWS.md 's/were added/& and all is tidy/'
tap_ok 'with news it may be' finds '' $h 's/^uint32_t engine.*/&\nuint64_t more;/' NEWS.md 's/ were added/, `more`&/'
tap_ok 'a function that was added to a version that is out' finds 'iou_more was added to LIBIOU_1.0' \
	$c 's/^int iou_late.*/&\nint iou_more(void) { return 0; }/' $map 's/iou_info;/& iou_more;/' NEWS.md 's/ were/, `iou_more`&/'
tap_ok 'and one without news' finds 'iou_more was added, and NEWS.md' \
	$c 's/^int iou_late.*/&\nint iou_more(void) { return 0; }/' $map 's/iou_late;/& iou_more;/'
tap_ok 'a macro that has another value' finds 'IOU_FAST was 1' $h 's/IOU_FAST 1/IOU_FAST 4/'
tap_ok 'and one without news' finds 'IOU_MORE was added' $h 's/^#define IOU_SAFE 2/&\n#define IOU_MORE 4/'
rm -r "$work/tree/tests/abi/1.1"
tap_ok 'that nothing was kept of this version' finds 'nothing of 1.1' NEWS.md 's/^# News/# The news/'
tap_end
