#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The wake-up protocols, lib/mailbox.pml, lib/async.pml and lib/threads/iopool.pml, gone through state by state by spin: no
# wake-up is lost, quit ends the run, nobody touches the instance once it is free, no job and no request waits while a worker
# sleeps. A model that nothing can refute proves nothing, so each mutant must be refuted.
# From the environment: SOURCE (the tree), CC.
set -u
# shellcheck source=tests/tap.sh
. "$SOURCE/tests/tap.sh"

read -ra cc <<<"$CC"
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'rm -rf "$work"' EXIT
cd "$work" || tap_bail 'no temporary directory'
command -v spin >/dev/null || {
	tap_skip 'the model' 'there is no spin'
	tap_end
}

model=mailbox.pml

# check OPTION...: go through all states; succeeds if there are some, none was left out, and spin found no error.
check() {
	rm -f pan* result
	spin -a "$@" "$SOURCE/lib/$model" || return 2
	"${cc[@]}" -O2 -DSAFETY -o pan pan.c || return 2
	./pan -m100000 | tee result
	grep -qE '[1-9][0-9]{3,} states, stored' result && grep -q 'errors: 0' result && ! grep -q 'max search depth' result
}

# is_refuted ERROR OPTION...: spin found this error.
is_refuted() {
	local error=$1
	shift
	check "$@"
	(($? != 2)) || return 1
	grep -q "$error" result
}

tap_ok 'no wake-up is lost, and nobody touches a freed instance' check
tap_ok 'quit alone ends the run' check -DQUIT_ALONE
tap_ok 'every post is delivered without any other help' check -DPOSTS_ALONE
tap_ok 'mutant: parking without another look is refuted' is_refuted 'invalid end state' -DNO_RECHECK
tap_ok 'mutant: parking without saying so is refuted' is_refuted 'invalid end state' -DNO_DOZE
tap_ok 'mutant: freeing without waiting is refuted' is_refuted 'assertion violated' -DNO_WAIT
tap_ok 'mutant: quitting before saying so is refuted' is_refuted 'invalid end state' -DLATE_FLAG -DQUIT_ALONE
tap_ok 'mutant: entering after the last word is refuted' is_refuted 'assertion violated' -DLATE_ENTER -DPOSTS_ALONE
tap_ok 'mutant: late mail that does not wake is refuted' is_refuted 'invalid end state' -DSILENT -DPOSTS_ALONE
tap_ok 'mutant: parking while there is late mail is refuted' is_refuted 'invalid end state' -DDEAF_DOZE -DPOSTS_ALONE
tap_ok 'mutant: taking late mail too early is refuted' is_refuted 'assertion violated' -DOVERTAKE
tap_ok 'mutant: overtaking late mail is refuted' is_refuted 'assertion violated' -DFORGET

model=async.pml
tap_ok 'no job waits while a worker sleeps, and all workers stop' check
tap_ok 'mutant: falling asleep without another look is refuted' is_refuted 'invalid end state' -DNO_LOOK
tap_ok 'mutant: looking before saying so is refuted' is_refuted 'invalid end state' -DLATE_WORD
tap_ok 'mutant: one who is awake for any number of jobs is refuted' is_refuted 'invalid end state' -DONE_IS_ENOUGH
tap_ok 'mutant: stopping without waking is refuted' is_refuted 'invalid end state' -DSILENT_STOP

model=threads/iopool.pml
tap_ok 'all that I/O workers finish is taken, and they all stop' check
tap_ok 'mutant: a loop that sleeps without a look is refuted' is_refuted 'invalid end state' -DNO_LOOK
tap_ok 'mutant: handing back without waking is refuted' is_refuted 'invalid end state' -DSILENT
tap_ok 'mutant: putting without waking is refuted' is_refuted 'invalid end state' -DNO_SIGNAL
tap_ok 'mutant: an idle worker that is enough for all is refuted' is_refuted 'invalid end state' -DIDLE_IS_ENOUGH
tap_ok 'mutant: stopping I/O workers without waking is refuted' is_refuted 'invalid end state' -DSILENT_STOP
tap_end
