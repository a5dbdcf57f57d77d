#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The man pages: all exported functions have one when they are installed, mandoc finds no fault with them, they say what the
# header says (scripts/check-man), and their programs print what they say.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"
# shellcheck source=tests/ship.sh
. "$SOURCE/tests/ship.sh"

header=$SOURCE/include/iou.h
check=$SOURCE/scripts/check-man
all=$work/all

# Of system calls and of other libraries there may be none here, and no index of those that are there.
lint() {
	(cd "$all" && grep -LZ '^\.so ' ./* | xargs -0 mandoc -T lint 2>/dev/null) |
		grep -vE 'referenced manual not found: Xr ([^i]|i[^o]|io[^u])'
}

# What an alias leads to is there, and speaks of it.
alias_is_good() {
	local page
	page=$(sed -n 's|^\.so ||p' "$1")
	[[ -n $page ]] && grep -qw "$2" "$man/$page"
}

# sees CHECK SED: the check finds fault with a header that was changed so.
sees() {
	sed -E "$2" "$header" >"$work/changed.h" && ! cmp -s "$header" "$work/changed.h" &&
		finds_some "$check" "$1" "$work/changed.h" "${pages[@]}"
}

has_page() {
	grep -qE '^\.(Dd|so) ' "$man/man3/$1.3"
}

compiles() {
	"$check" example "$1" >"$work/$2.c" &&
		compile "$work/$2" "$work/$2.c" "${static[@]}" -- -Wall -Wextra -Wstrict-prototypes -Werror -D_GNU_SOURCE -pthread
}

run() {
	LD_LIBRARY_PATH=$libdir "$@"
}

install_to "$BUILD" "$work/stage" || tap_bail 'this build cannot be installed'
man=$(dirname "$(dirname "$(find "$stage" -name libiou.7)")")
[[ -d $man/man3 ]] || tap_bail 'there are no man pages'
mkdir "$all"
cp "$man"/man[37]/* "$SOURCE"/doc/man/*.1 "$all" || tap_bail 'there are no pages'
pages=("$SOURCE"/doc/man/*.[137])
static=()
[[ $KIND != static ]] || static=(--static)

if command -v mandoc >/dev/null; then
	tap_ok 'mandoc finds no fault' says_nothing lint
	tap_ok 'mandoc would find one' not says_nothing mandoc -T lint <(echo '.Em')
else
	tap_skip 'mandoc finds no fault' 'there is no mandoc'
fi
tap_ok 'each SYNOPSIS is what the header declares' finds_nothing "$check" prototypes "$header" "${pages[@]}"
tap_ok 'each macro and member is on a page' finds_nothing "$check" names "$header" "${pages[@]}"
tap_ok 'each errno of the header is on the page' finds_nothing "$check" errors "$header" "${pages[@]}"
tap_ok 'each page has all its sections' finds_nothing "$check" sections "$header" "${pages[@]}"
sed 's/^\.Ss Threads.*/&\n.Ss In vain/' "$SOURCE/doc/man/iou_run.3" >"$work/iou_run.3"
tap_ok 'a heading that is a macro would be missed' finds_some "$check" sections "$header" "$work/iou_run.3"
tap_ok 'a new function would be missed' sees prototypes 's/^int iou_flush/int iou_flash(iou_t *iou);\n&/'
tap_ok 'a new parameter would be missed' sees prototypes 's/^(int iou_quit\(iou_t \*iou)/\1, int how/'
tap_ok 'a function that has gone would be missed' sees prototypes '/^int iou_quit/d'
tap_ok 'a new member would be missed' sees names 's/^\tuint32_t workers;/&\n\tuint64_t colours;/'
tap_ok 'a new macro would be missed' sees names 's/^#define IOU_SQPOLL.*/&\n#define IOU_COLOURS 1/'
tap_ok 'a new errno would be missed' sees errors 's/-ENOTRECOVERABLE/&, -EUCLEAN/'

mapfile -t functions < <(sed -n 's/^\t\(iou_[a-z0-9_]*\);$/\1/p' "$SOURCE/lib/libiou.map")
tap_ok 'there are functions' test ${#functions[@]} -gt 0
for name in "${functions[@]}"; do
	tap_ok "$name has a page" has_page "$name"
done
for page in "$SOURCE"/doc/man/*.3; do
	tap_ok "${page##*/} is installed" cmp "$page" "$man/man3/${page##*/}"
done
for page in "$man"/man3/*.3; do
	[[ $(head -c 4 "$page") != '.so ' ]] ||
		tap_ok "${page##*/} leads to a page" alias_is_good "$page" "$(basename "$page" .3)"
done

for page in "$SOURCE"/doc/man/*.[37]; do
	name=${page##*/}
	program=${name%.*}
	tap_ok "the program of $name compiles" compiles "$page" "$program"
	tap_ok "it prints what the page says ($name)" prints "$("$check" output "$page")" run "$work/$program"
done
tap_end
