#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# doc/porting.md: its three servers do the same, and its blocks are their text.
# Usage: test-porting.sh BIN_DIR, the directory with the programs. From the environment: SOURCE, and SERVERS, those that are
# built.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

bin=$1
page=$SOURCE/doc/porting.md
read -ra servers <<<"$SERVERS"

tap_ok 'the blocks of the page are the programs' finds_nothing "$SOURCE/scripts/check-prose" blocks "$SOURCE" "$page"
for server in libiou liburing libuv; do
	if [[ " ${servers[*]} " == *" $server "* ]]; then
		tap_ok "$server answers" "$SOURCE/tests/test-porting.py" "$bin/echo-$server"
	else
		tap_skip "$server answers" 'its library is not there'
	fi
done
tap_ok 'libiou answers, on threads' env LIBIOU_ENGINE=threads "$SOURCE/tests/test-porting.py" "$bin/echo-libiou"
tap_end
