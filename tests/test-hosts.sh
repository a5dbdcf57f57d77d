#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libiou in other loops and in plugins, on both engines: examples/hosts.
# Usage: test-hosts.sh BIN_DIR, the directory with the programs. From the environment: SOURCE, and HOSTS, those that are built.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

bin=$1
read -ra hosts <<<"$HOSTS"

# What each host prints: they differ in how they loop, not in what comes of it.
expected() {
	cat <<-'EXPECTED'
		the host's timer
		tick 1
		tick 2
		tick 3
		the job has posted
		the job has ended
		read: hello
		the host is told: Bad message
		what was queued goes on, on a ring of 64 entries
	EXPECTED
}

plugins_expected() {
	cat <<-'EXPECTED'
		one, 100 times: 100000
		two, 100 times: 200000
		0 descriptors more than before, libiou is unloaded
	EXPECTED
}

# comes_to EXPECTED ENGINE COMMAND...: in the time that is given, and with nothing to complain about.
comes_to() {
	local wanted=$1 engine=$2 said
	shift 2
	said=$(LIBIOU_ENGINE=$engine timeout 120 "$@" 2>&1) || {
		echo "$said"
		return 1
	}
	diff <("$wanted") <(echo "$said")
}

for engine in uring threads; do
	for host in epoll glib libuv sd-event; do
		if [[ " ${hosts[*]} " == *" $host "* ]]; then
			tap_ok "$host, $engine" comes_to expected $engine "$bin/host-$host"
		else
			tap_skip "$host, $engine" 'its library is not there'
		fi
	done
	tap_ok "plugins, $engine" comes_to plugins_expected $engine "$bin/host-plugins" "$bin/plugin-one.so" \
		"$bin/plugin-two.so"
done
tap_end
