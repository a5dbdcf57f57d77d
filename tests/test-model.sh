#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The wake-up protocols, the models lib/*.pml and lib/threads/iopool.pml, gone through state by state by spin: no wake-up is
# lost, quit ends the run, nobody touches the instance once it is free, no job and no request waits while a worker sleeps. A
# model that nothing can refute proves nothing, so each mutant must be refuted, and for its own reason.
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

# explore FLAG OPTION...: go through the states, with this flag for the compiler; what spin finds is in the file result.
# Fails if it could not go through them.
explore() {
	local flag=$1
	shift
	rm -f pan* result
	spin -a "$@" "$SOURCE/lib/$model" || return 1
	"${cc[@]}" "$flag" -DSAFETY -o pan pan.c || return 1
	./pan -m100000 -w22 "${pan_options[@]}" >result 2>&1
	cat result
	grep -q 'states, stored' result || return 1
}

# check OPTION...: succeeds if there are some states, none was left out, and spin found no error.
check() {
	local pan_options=()
	explore -O2 "$@" || return 1
	grep -qE '[1-9][0-9]{3,} states, stored' result && grep -q 'errors: 0' result &&
		! grep -qE 'max search depth|out of memory|search not completed' result
}

# is_refuted ERROR OPTION...: spin found this error, a fixed string, where states with no way out are one, or else do not
# count, so that they cannot come first.
is_refuted() {
	local error=$1 pan_options=()
	shift
	[[ $error == "$stuck" ]] || pan_options=(-E)
	explore -O0 "$@" || return 1
	grep -F 'pan:1: ' result | grep -qF -- "$error"
}

# What spin says: somebody waits for ever; somebody is at an instance that is free.
stuck='invalid end state'
is_used_when_free='assertion violated  !(is_free)'

# A test that cannot fail, and one that cannot be run.
tap_ok 'what is not a mutant is not refuted' not is_refuted "$stuck" -DPOSTS_ALONE
tap_ok 'what does not compile is not refuted' not is_refuted "$stuck" -DN_POSTS=

tap_ok 'no wake-up is lost, and nobody touches a freed instance' check
tap_ok 'quit alone ends the run, and each quit' check -DQUIT_ALONE
tap_ok 'every post is delivered without any other help' check -DPOSTS_ALONE -DN_POSTS=2
tap_ok 'mutant: parking without another look is refuted' is_refuted "$stuck" -DNO_RECHECK
tap_ok 'mutant: parking without saying so is refuted' is_refuted "$stuck" -DNO_DOZE
tap_ok 'mutant: looking for mail before holds is refuted' is_refuted 'n_delivered==' -DMAIL_FIRST
tap_ok 'mutant: lowering the eventfd while asleep is refuted' is_refuted "$stuck" -DLOWER_LATE
tap_ok 'mutant: not watching the eventfd again is refuted' is_refuted "$stuck" -DNO_FORGET -DPOSTS_ALONE
tap_ok 'mutant: freeing without waiting is refuted' is_refuted "$is_used_when_free" -DNO_WAIT
tap_ok 'mutant: freeing before slots are full is refuted' is_refuted "$is_used_when_free" -DNOT_FILLED
tap_ok 'mutant: looking who is inside too early is refuted' is_refuted "$is_used_when_free" -DINSIDE_FIRST
tap_ok 'mutant: entering after the last word is refuted' is_refuted "$is_used_when_free" -DLATE_ENTER -DPOSTS_ALONE
tap_ok 'mutant: quitting before saying so is refuted' is_refuted "$stuck" -DLATE_FLAG -DQUIT_ALONE
tap_ok 'mutant: stirring after waking is refuted' is_refuted "$stuck" -DLATE_STIR -DQUIT_ALONE
tap_ok 'mutant: stirring before saying why is refuted' is_refuted "$stuck" -DSTIR_FIRST -DQUIT_ALONE
tap_ok 'mutant: calming without another look is refuted' is_refuted "$stuck" -DHASTY_CALM -DQUIT_ALONE

model=mail.pml
tap_ok 'mail is delivered once, in order, and nobody is at a ring that is gone' check
tap_ok 'mail is delivered where one slot becomes two' check -DN_SLOTS=1 -DN_FIRST=1
tap_ok 'jobs come back, and what they post is refused at the end' check -DTASKS
tap_ok 'jobs come back where one slot becomes two' check -DTASKS -DN_SLOTS=1 -DN_FIRST=1
tap_ok 'mutant: freeing without waiting for mail is refuted' is_refuted "$is_used_when_free" -DNO_WAIT
tap_ok 'mutant: freeing before mail is there is refuted' is_refuted "$is_used_when_free" -DNOT_FILLED
tap_ok 'mutant: looking who is inside before mail is refuted' is_refuted "$is_used_when_free" -DINSIDE_FIRST
tap_ok 'mutant: entering after the mail is refuted' is_refuted "$is_used_when_free" -DLATE_ENTER
tap_ok 'mutant: late mail that does not wake is refuted' is_refuted "$stuck" -DSILENT
tap_ok 'mutant: parking while there is late mail is refuted' is_refuted "$stuck" -DDEAF_DOZE
tap_ok 'mutant: taking late mail too early is refuted' is_refuted '==n_of[' -DOVERTAKE
tap_ok 'mutant: overtaking late mail is refuted' is_refuted '==n_of[' -DFORGET
tap_ok 'mutant: replacing a ring that is in use is refuted' is_refuted '(r==ring)' -DGROW_EARLY
tap_ok 'mutant: replacing a ring after it may be used is refuted' is_refuted '(r==ring)' -DGROW_LATE
tap_ok 'mutant: a slot that is free before it is empty is refuted' is_refuted '!(cells[' -DROOM_EARLY
tap_ok 'mutant: posts that are not refused are refuted' \
	is_refuted '!(is_late_comer)' -DOPEN -DTASKS -DN_SLOTS=1 -DN_FIRST=1
tap_ok 'mutant: posts that are not refused inside are refuted' \
	is_refuted '!(is_late_comer)' -DOPEN_INSIDE -DTASKS -DN_SLOTS=1 -DN_FIRST=1

model=fd.pml
tap_ok 'a foreign loop is told of all' check
tap_ok 'mutant: not telling of mail is refuted' is_refuted "$stuck" -DNO_LOOK
tap_ok 'mutant: not telling of quit is refuted' is_refuted "$stuck" -DNO_STOP
tap_ok 'mutant: not saying that the loop sleeps is refuted' is_refuted "$stuck" -DNO_DOZE
tap_ok 'mutant: looking for quit too early is refuted' is_refuted "$stuck" -DDOZE_FIRST
tap_ok 'mutant: lowering what may have been told is refuted' is_refuted "$stuck" -DLOWER_LATE
tap_ok 'mutant: lowering what the ring may have told is refuted' is_refuted "$stuck" -DLOOK_FIRST
tap_ok 'mutant: calming without another look at quit is refuted' is_refuted "$stuck" -DHASTY_CALM
tap_ok 'mutant: freeing between runs without waiting is refuted' is_refuted "$is_used_when_free" -DNO_WAIT
tap_ok 'mutant: looking who is inside between runs is refuted' is_refuted "$is_used_when_free" -DINSIDE_FIRST

model=async.pml
tap_ok 'no job waits while a worker sleeps, and all workers stop' check
tap_ok 'mutant: falling asleep without another look is refuted' is_refuted "$stuck" -DNO_LOOK
tap_ok 'mutant: looking before saying so is refuted' is_refuted "$stuck" -DLATE_WORD
tap_ok 'mutant: one who is awake for any number of jobs is refuted' is_refuted "$stuck" -DONE_IS_ENOUGH
tap_ok 'mutant: stopping without waking is refuted' is_refuted "$stuck" -DSILENT_STOP

model=threads/iopool.pml
tap_ok 'all that I/O workers finish is taken, and they all stop' check
tap_ok 'so it is where workers of one lane do it all' check -DONE_LANE
tap_ok 'mutant: a loop that sleeps without a look is refuted' is_refuted "$stuck" -DNO_LOOK
tap_ok 'mutant: handing back without waking is refuted' is_refuted "$stuck" -DSILENT
tap_ok 'mutant: putting without waking is refuted' is_refuted "$stuck" -DNO_SIGNAL -DONE_LANE
tap_ok 'mutant: waking one of the other lane is refuted' is_refuted "$stuck" -DWRONG_LANE -DONE_LANE
tap_ok 'mutant: a loop that lowers while asleep is refuted' is_refuted "$stuck" -DLOWER_LATE
tap_ok 'mutant: waiting for what is withdrawn is refuted' is_refuted "$stuck" -DSTILL_OUT
tap_ok 'mutant: an idle worker that is enough for all is refuted' is_refuted "$stuck" -DIDLE_IS_ENOUGH -DONE_LANE
tap_ok 'mutant: stopping I/O workers without waking is refuted' is_refuted "$stuck" -DSILENT_STOP
tap_end
