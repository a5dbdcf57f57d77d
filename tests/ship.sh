# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For tests of the installed library. From the environment: SOURCE and BUILD (the trees), CC, MESON, SANITIZE (b_sanitize:
# a program that uses a sanitized library needs the same), KIND (default_library).

read -ra cc <<<"$CC"
read -ra meson <<<"$MESON"
if [[ $SANITIZE != none ]]; then
	cc+=("-fsanitize=$SANITIZE")
fi

work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT

# install_to BUILD STAGE: and have pkg-config find what is there.
install_to() {
	DESTDIR=$2 "${meson[@]}" install -C "$1" --no-rebuild --quiet || return
	stage=$2
	libdir=$(dirname "$(find "$stage" -name libiou.pc | head -n 1)")
	[[ $libdir == */pkgconfig ]] || return
	libdir=${libdir%/*}
	export PKG_CONFIG_PATH=$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
	export PKG_CONFIG_SYSROOT_DIR=$stage
}

# configure BUILD OPTION...: a small build of the library alone. Its compiler is the one of the build under test.
configure() {
	local to=$1
	shift
	CC=$CC "${meson[@]}" setup "$to" "$SOURCE" --prefix=/usr -Dtests=disabled -Dexamples=disabled \
		-Dbenchmarks=disabled -Ddocs=disabled -Db_sanitize="$SANITIZE" -Db_lundef=false "$@" &&
		"${meson[@]}" compile -C "$to"
}

# compile PROGRAM SOURCE [PKG_CONFIG_OPTION...] [-- COMPILER_OPTION...]: with nothing but what pkg-config says.
compile() {
	local program=$1 source=$2 said options=()
	shift 2
	while (($# > 0)) && [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	said=$(pkg-config "${options[@]}" --cflags --libs libiou) || return
	read -ra options <<<"$said"
	"${cc[@]}" "${@:2}" -o "$program" "$source" "${options[@]}"
}

# block LANGUAGE: the first block of that language in the README.
readme_block() {
	awk -v "begin=\`\`\`$1" '$0 == begin && !seen { seen = inside = 1; next } /^```$/ { inside = 0 } inside' \
		"$SOURCE/README.md"
}

# prints EXPECTED COMMAND...
prints() {
	local said status expected=$1
	shift
	said=$("$@")
	status=$?
	echo "status $status, printed: $said"
	[[ $status == 0 && -n $expected && $said == "$expected" ]]
}
