#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Names and versions are the same wherever they stand: meson.build (from the environment: VERSION), iou.h, libiou.map, the
# news, the pages of the manual, and what packages are made of. The rules are in meson.build.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

cd "$SOURCE" || tap_bail "there is no $SOURCE"
major=${VERSION%%.*}
minor=${VERSION#*.}
minor=${minor%.*}

# is EXPECTED COMMAND...: what the command prints.
is() {
	local said
	said=$("${@:2}")
	echo "'$said', not '$1'"
	[[ $said == "$1" ]]
}

header_version() {
	sed -n 's/^#define IOU_VERSION_\(MAJOR\|MINOR\|MICRO\) \([0-9]*\)$/\2/p' include/iou.h | paste -sd.
}

news_version() {
	sed -n 's/^## \([0-9.]*\).*/\1/p' NEWS.md | head -n 1
}

# The nodes of the map, each with the one that it follows.
nodes() {
	sed -nE 's/^(LIBIOU_[0-9.]+) \{$/\1 NODE/p; s/^\}( LIBIOU_[0-9.]+)?;$/\1 END/p' lib/libiou.map
}

# Each node follows the one before, the first none.
nodes_follow() {
	local previous='' name what
	while read -r name what; do
		if [[ $name == END ]]; then
			name='' what=END
		fi
		if [[ $what == END ]]; then
			[[ $name == "$previous" ]] || return
			previous=$current
		else
			current=$name
		fi
	done < <(nodes)
	[[ -n $previous ]]
}

last_node() {
	nodes | sed -n 's/ NODE$//p' | tail -n 1
}

# That of the version, or an older one: not every version adds a function.
last_node_is_no_later() {
	local last
	last=$(last_node)
	[[ $last == LIBIOU_$major.* && ${last#LIBIOU_"$major".} -le $minor ]]
}

# What packages are made of: the version that is packed.
debian_version() {
	sed -n '1s/^libiou (\(.*\)-[^-]*) .*/\1/p' packaging/debian/changelog
}

spec_version() {
	sed -n 's/^Version: *//p' packaging/libiou.spec
}

spec_changelog_version() {
	sed -n 's/^\* .* - \(.*\)-[^-]*$/\1/p' packaging/libiou.spec | head -n 1
}

pkgbuild_version() {
	sed -n 's/^pkgver=//p' packaging/PKGBUILD
}

map_symbols() {
	awk '/^LIBIOU/ { node = $1; print node "@" node } /^\tiou_/ { sub(/;/, "", $1); print $1 "@" node }' lib/libiou.map | sort
}

debian_symbols() {
	sed -n 's/^ \([^ ]*@LIBIOU[^ ]*\) .*/\1/p' packaging/debian/libiou1.symbols | sort
}

same_symbols() {
	[[ -n $(map_symbols) ]] && diff <(map_symbols) <(debian_symbols)
}

# Those that are not there since the version that their node is named after.
other_symbols() {
	sed -n 's/^ [^ ]*@LIBIOU_//p' packaging/debian/libiou1.symbols | awk '$2 != $1 ".0"'
}

# How often each oldest liburing is named: by the build and pkg-config, twice by Debian's packages and Fedora's, and by Arch's
# and what sets up a machine.
liburings() {
	grep -ohE "liburing(-dev)?\)?(', version: ')? ?\(?>= ?[0-9.]+" meson.build libiou.pc.in packaging/debian/control \
		packaging/libiou.spec packaging/PKGBUILD scripts/deps.sh | grep -oE '[0-9.]+$' | sort | uniq -c | xargs
}

# Pages and declarations of what is to come.
later() {
	grep -ohE '(since|appeared in) (libiou|version) [0-9]+\.[0-9]+' doc/man/*.[37] include/iou.h |
		awk -v major="$major" -v minor="$minor" '{ split($NF, at, "."); n++ } at[1] != major || at[2] > minor
			END { if (!n) print "nothing says since when it is there" }'
}

# Until a version is out nobody can be written to; packages of one that is say who can.
can_be_reached() {
	sed -n '/^## /{p;q}' NEWS.md | grep -q 'in development' || ! grep -rn '\.invalid' packaging
}

[[ $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || tap_bail "the version is $VERSION"
tap_ok "the header's version" is "$VERSION" header_version
tap_ok 'the news begin with it' is "$VERSION" news_version
tap_ok 'the nodes of the map follow each other' nodes_follow
tap_ok 'the last one is not of a later version' last_node_is_no_later
tap_ok 'the header of this minor version is kept' test -e "tests/abi/$major.$minor/iou.h"
tap_ok "the version of Debian's packages" is "$VERSION" debian_version
tap_ok 'the version of the spec' is "$VERSION" spec_version
tap_ok "and of the spec's changelog" is "$VERSION" spec_changelog_version
tap_ok 'the version of the PKGBUILD' is "$VERSION" pkgbuild_version
tap_ok "the symbols of Debian's package are those of the map" same_symbols
tap_ok 'each is there since the version of its node' says_nothing other_symbols
tap_ok 'all want the same liburing' is \
	"8 $(sed -n "s/.*'liburing', version: '>= \(.*\)').*/\1/p" meson.build)" liburings
tap_ok 'the packages are named after the SONAME' test -e "packaging/debian/libiou$major.symbols"
tap_ok 'nothing is of a later version' says_nothing later
tap_ok 'packages of a version that is out have a maintainer with an address' can_be_reached
tap_end
