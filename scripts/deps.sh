# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What has to be there before anything can be built, and how to get it. Source this and call deps_need with names of groups:
#	build	compiler, meson, ninja, pkg-config, liburing
#	tests	Check, a C++ compiler (for the header's test)
#	examples	libcrypto
#	hosts	what the examples are hosted by: GLib, libuv, libsystemd
#	lint	clang, clang-format, clang-tidy, cppcheck, shellcheck
#	sanitize	clang's sanitizers
#	valgrind	valgrind
#	coverage	gcovr
#	packages	what packages for Debian, Fedora and Arch are made with on Debian, and looked at; libabigail
#	bindings	what makes bindings of the header for another language
#	site	what scripts/site makes the HTML with
#	bench	what libiou is compared with, and what bench/run counts and draws with
# Debian and Ubuntu, Fedora and their kin, Arch. Nothing is installed, and nothing is printed, where nothing is missing.

# Of each need: how to see that it is there (NAME>=VERSION where not any version will do), then its package for apt, dnf and
# pacman; "-": not to be had there, and what needs it is skipped.
deps_table() {
	cat <<-'TABLE'
		build    command cc            gcc          gcc                gcc
		build    header  stdio.h       libc6-dev    glibc-devel        glibc
		build    command python3       python3      python3            python
		build    command meson>=1.0    meson        meson              meson
		build    command ninja         ninja-build  ninja-build        ninja
		build    command pkg-config    pkg-config   pkgconf-pkg-config pkgconf
		build    module  liburing>=2.3 liburing-dev liburing-devel     liburing
		tests    module  check>=0.13   check        check-devel        check
		tests    command c++           g++          gcc-c++            gcc
		tests    command nm            binutils     binutils           binutils
		tests    command spin          spin         -                  -
		tests    command mandoc        mandoc       mandoc             mandoc
		examples module  libcrypto>=3.0 libssl-dev  openssl-devel      openssl
		hosts    module  glib-2.0      libglib2.0-dev glib2-devel      glib2
		hosts    module  libuv         libuv1-dev   libuv-devel        libuv
		hosts    module  libsystemd>=247 libsystemd-dev systemd-devel  systemd-libs
		lint     command clang         clang        clang              clang
		lint     command clang-format  clang-format clang-tools-extra  clang
		lint     command clang-tidy    clang-tidy   clang-tools-extra  clang
		lint     command cppcheck      cppcheck     cppcheck           cppcheck
		lint     command shellcheck    shellcheck   ShellCheck         shellcheck
		sanitize library clang         libclang-rt-dev compiler-rt     compiler-rt
		sanitize command llvm-symbolizer llvm        llvm               llvm
		valgrind command valgrind      valgrind     valgrind           valgrind
		valgrind header  valgrind/memcheck.h valgrind valgrind-devel   valgrind
		coverage command gcovr         gcovr        gcovr              -
		packages command abidiff       abigail-tools libabigail        libabigail
		packages command git           git          git                git
		packages command xz            xz-utils     xz                 xz
		packages command cmake         cmake        cmake              cmake
		packages command dpkg-buildpackage dpkg-dev -                  -
		packages command dh            debhelper    -                  -
		packages command fakeroot      fakeroot     fakeroot           fakeroot
		packages command lintian       lintian      -                  -
		packages command hardening-check devscripts -                  -
		packages command rpmbuild      rpm          rpm-build          -
		packages command rpmlint       rpmlint      rpmlint            -
		packages command makepkg       makepkg      -                  pacman
		packages command bsdtar        libarchive-tools bsdtar         libarchive
		bindings command bindgen       bindgen      bindgen-cli        rust-bindgen
		site     command doxygen       doxygen      doxygen            doxygen
		site     command mandoc        mandoc       mandoc             mandoc
		site     command linkchecker   linkchecker  linkchecker        linkchecker
		bench    module  libuv         libuv1-dev   libuv-devel        libuv
		bench    header  ev.h          libev-dev    libev-devel        libev
		bench    module  libevent      libevent-dev libevent-devel     libevent
		bench    module  glib-2.0      libglib2.0-dev glib2-devel      glib2
		bench    header  dispatch/dispatch.h -      libdispatch-devel  -
		bench    command taskset       util-linux   util-linux         util-linux
		bench    command valgrind      valgrind     valgrind           valgrind
		bench    command gnuplot       gnuplot-nox  gnuplot            gnuplot
	TABLE
}

deps_manager() {
	local manager
	for manager in apt-get dnf pacman; do
		if command -v $manager >/dev/null; then
			echo $manager
			return
		fi
	done
	return 1
}

# deps_has_version COMMAND VERSION
deps_has_version() {
	local has
	has=$("$1" --version 2>/dev/null | head -n 1) &&
		[[ $(printf '%s\n' "$2" "$has" | sort -V | head -n 1) == "$2" ]]
}

# deps_has_sanitizers COMPILER
deps_has_sanitizers() {
	local program status
	program=$(mktemp) || return
	echo 'int main(void) { return 0; }' | "$1" -fsanitize=thread -x c -o "$program" - 2>/dev/null
	status=$?
	rm -f "$program"
	return $status
}

# deps_has KIND NAME[>=VERSION]
deps_has() {
	local name=${2%>=*} version=
	[[ $2 != *'>='* ]] || version=${2#*>=}
	case $1 in
	command) command -v "$name" >/dev/null && { [[ -z $version ]] || deps_has_version "$name" "$version"; } ;;
	module) pkg-config --exists "$name${version:+ >= $version}" 2>/dev/null ;;
	library) deps_has_sanitizers "$name" ;;
	header) echo "#include <$name>" | cc -E - >/dev/null 2>&1 ;;
	esac
}

# deps_missing COLUMN GROUP...: the packages (that column of the table) of what is not there.
deps_missing() {
	local column=$1 group kind name packages
	shift
	deps_table | while read -r group kind name packages; do
		[[ " $* " == *" $group "* ]] || continue
		deps_has "$kind" "$name" || awk -v n="$column" '$n != "-" { print $n }' <<<"$packages"
	done | sort -u
}

deps_as_root() {
	if ((EUID == 0)); then
		"$@"
	else
		sudo "$@"
	fi
}

# deps_install MANAGER PACKAGE...
deps_install() {
	local manager=$1
	shift
	case $manager in
	apt-get)
		deps_as_root apt-get update -q &&
			deps_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
		;;
	dnf) deps_as_root dnf install -q -y "$@" ;;
	pacman)
		# A bare image has no list of packages yet.
		deps_as_root pacman -S --noconfirm --needed "$@" || deps_as_root pacman -Sy --noconfirm --needed "$@"
		;;
	esac
}

# deps_need GROUP...: returns 0 if all is there in the end.
deps_need() {
	local manager column packages
	manager=$(deps_manager) || manager=none
	case $manager in
	dnf) column=2 ;;
	pacman) column=3 ;;
	*) column=1 ;;
	esac
	mapfile -t packages < <(deps_missing $column "$@")
	((${#packages[@]} > 0)) || return 0
	if [[ $manager == none ]]; then
		echo "Missing, to be installed by hand (these are Debian's names): ${packages[*]}" >&2
		return 1
	fi
	if ((EUID != 0)) && ! command -v sudo >/dev/null; then
		echo "Missing, and neither root nor sudo to install it: ${packages[*]}" >&2
		return 1
	fi
	echo "Installing with $manager: ${packages[*]}" >&2
	deps_install "$manager" "${packages[@]}" >&2 </dev/null || {
		echo "Could not install: ${packages[*]}" >&2
		return 1
	}
	mapfile -t packages < <(deps_missing $column "$@")
	((${#packages[@]} == 0)) || {
		echo "Installed, but still not usable: ${packages[*]}" >&2
		return 1
	}
}

# deps_configure BUILD OPTION...: set the build directory up, or change the options of the one that is there.
deps_configure() {
	local build=$1
	shift
	if [[ ! -e $build/build.ninja ]]; then
		meson setup "$build" "$(dirname "${BASH_SOURCE[0]}")/.." "$@" || return
	elif [[ $(cat "$build/options" 2>/dev/null) != "$*" ]]; then
		meson configure "$build" "$@" || return
	fi
	echo "$*" >"$build/options"
}
