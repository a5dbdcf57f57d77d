#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The example programs: iou-sum against sha256sum on the same input, cat against cat, and timer.
# Usage: test-iou-sum.sh BIN_DIR, the directory with the programs. From the environment: RUN, what to run them under.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

[[ $# == 1 ]] || tap_bail 'usage: test-iou-sum.sh BIN_DIR'
bin=$(cd "$1" && pwd) || tap_bail "there is no directory $1"
for program in iou-sum cat timer; do
	[[ -x $bin/$program ]] || tap_bail "there is no program $bin/$program"
done
command -v sha256sum >/dev/null || tap_bail 'there is no sha256sum to compare with'
read -ra run <<<"${RUN:-}"

export LC_ALL=C
work=$(mktemp -d) || tap_bail 'no temporary directory'
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work" || tap_bail 'no temporary directory'

iou_sum() {
	"${run[@]}" "$bin/iou-sum" "$@"
}

# What a command prints and how it ends; of what it complains about, the warnings.
outcome() {
	local status
	"$@" >"$work/.out" 2>"$work/.err" <"${stdin:-/dev/null}"
	status=$?
	cat "$work/.out"
	echo "status $status"
	sed -n 's/^[a-z0-9-]*: WARNING/WARNING/p' "$work/.err"
}

# same_as PROGRAM ARGUMENT...: PROGRAM and iou-sum do the same.
same_as() {
	local program=$1
	shift
	outcome "$program" "$@" >"$work/.expected"
	outcome iou_sum "${options[@]}" "$@" >"$work/.actual"
	diff -a "$work/.expected" "$work/.actual"
}
options=()

same() {
	same_as sha256sum "$@"
}

status_is() {
	local expected=$1 status
	shift
	"$@"
	status=$?
	[[ $status == "$expected" ]] || {
		echo "status $status, not $expected"
		false
	}
}

complains_of() {
	local text=$1
	shift
	"$@" 2>&1 >/dev/null | grep -F -e "$text"
}

# Sizes around those of buffers: 32 KiB, and 128 KiB to 1 MiB behind it.
mkdir sizes
for kib in 0 4 32 160 288 544 1056; do
	for more in -1 0 1; do
		size=$((kib * 1024 + more))
		((size < 0)) || head -c "$size" /dev/urandom >"sizes/$size"
	done
done
head -c 5000003 /dev/urandom >big
tap_ok 'files of any size' same sizes/* big
options=(--workers 1 --depth 1)
tap_ok 'with one worker and one open file' same sizes/* big sizes/*
options=(--workers 3 --depth 2)
tap_ok 'with three workers and two open files' same sizes/* big sizes/*
options=()
tap_ok 'the same file many times' same big big big big big big big big big sizes/1 big
tap_ok 'a file in /proc, which has no size' same /proc/version /proc/filesystems

# Names.
mkdir names
for name in plain 'with space' 'back\slash' $'new\nline' $'carriage\rreturn' $'all\\of\nthem\r' \
	-dash --help '*star' 'Ünïcödé' $'bad\xffutf' '#hash' "quo'te" '\n' ' leading' 'trailing '; do
	echo "$name" >"names/$name"
done
tap_ok 'odd names' same names/*
tap_ok 'odd names, zero-terminated' same -z names/*
tap_ok 'odd names, in BSD style' same --tag names/*
tap_ok 'odd names, in binary mode' same -b names/*
tap_ok 'names that begin with a dash' eval 'cd names && same -- *'

# Standard input.
tap_ok 'standard input, no argument' eval 'stdin=big same'
tap_ok 'standard input, a dash' eval 'stdin=big same sizes/1 - sizes/4096'
tap_ok 'standard input twice is empty then' eval 'stdin=big same - - sizes/1 -'
tap_ok 'a pipe' diff <(sha256sum <big) <(dd if=big bs=777 status=none | iou_sum)
tap_ok 'a pipe with nothing in it' diff <(sha256sum </dev/null) <(true | iou_sum)
tap_ok 'from where standard input is at' diff <(tail -c +1001 big | sha256sum) \
	<({
		dd bs=1000 count=1 status=none of=/dev/null
		iou_sum
	} <big)
mkfifo fifo
{
	echo one
	cat big
	echo two
} >fifo &
tap_ok 'a named pipe' diff <({
	echo one
	cat big
	echo two
} | sha256sum | cut -d' ' -f1) <(iou_sum fifo | cut -d' ' -f1)

# Directories.
mkdir -p tree/a/b/c tree/a.d tree/a-d tree/z tree/empty
for name in B.txt a/x a/b/y a/b/c/z a.txt a-b a0 a.d/1 a-d/1 z/1 $'z/new\nline' z/.hidden .dot '-'; do
	echo "$name" >"tree/$name"
done
ln -s ../big tree/link
ln -s a tree/link-to-directory
mkfifo tree/fifo
for i in {1..500}; do
	echo "$i" >"tree/a/b/$i"
done

as_found() {
	find "$@" -type f -print0 | sort -z | xargs -0 sha256sum
}

tap_ok 'a directory: sorted, links and pipes left alone' diff <(as_found tree) <(iou_sum tree)
tap_ok 'a directory: nothing to complain of' eval 'status_is 0 iou_sum tree 2>err >/dev/null && diff /dev/null err'
tap_ok 'a directory, one open file' diff <(as_found tree) <(iou_sum --depth 1 --workers 1 tree)
tap_ok 'a directory with a slash' diff <(as_found tree/) <(iou_sum tree/)
tap_ok 'the current directory' eval 'cd tree && diff <(as_found .) <(iou_sum .)'
tap_ok 'directories among files' diff <(sha256sum big && as_found tree/a && sha256sum sizes/1 && as_found tree) \
	<(iou_sum big tree/a sizes/1 tree)
ln -s tree link-to-tree
tap_ok 'a link to a directory is followed' diff <(as_found link-to-tree/) <(iou_sum link-to-tree)
tap_ok 'a link to a file is followed' same tree/link
tap_ok 'an empty directory' eval 'status_is 0 iou_sum tree/empty && [[ -z $(iou_sum tree/empty) ]]'
tap_ok 'more files than descriptors' eval '
	ulimit -n 40
	diff <(as_found tree) <(iou_sum --depth 1000 tree)'

# What cannot be read.
ln -s nowhere dangling
tap_ok 'a missing file' same sizes/1 missing sizes/4096
tap_ok 'a missing file is complained of' complains_of 'missing: No such file or directory' iou_sum missing sizes/1
tap_ok 'a link to nowhere, and a file as a directory' same dangling sizes/1 big/file sizes/4096
tap_ok 'an error while reading' same sizes/1 /proc/self/mem sizes/4096
mkdir locked
echo secret >locked/file
mkdir locked/directory
chmod 0 locked/file locked/directory
# By somebody who may not read everything, and perhaps not even get at the build directory.
# shellcheck disable=SC2034 # evaluated
by_nobody=("${run[@]}" "$bin/iou-sum")
if ((EUID == 0)); then
	mapfile -t libraries < <(ldd "$bin/iou-sum" | awk '$1 ~ /^libiou/ { print $3 }')
	install -D -m 755 -t for-nobody "$bin/iou-sum" "${libraries[@]}"
	# shellcheck disable=SC2034
	by_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env LD_LIBRARY_PATH=for-nobody
		"${run[@]}" for-nobody/iou-sum)
fi
tap_ok 'files and directories without permission' eval '
	status_is 1 "${by_nobody[@]}" locked/file locked sizes/1 >out 2>err </dev/null &&
	diff out <(sha256sum sizes/1) && [[ $(grep -c "Permission denied" err) == 3 ]]'

# One file vanishes while the output of others, in the same directory, is not being read: it cannot have been opened
# by then, because fewer names are looked at ahead.
mkdir vanish
for ((i = 10000; i < 15500; i++)); do
	echo "vanish/$(printf 'x%.0s' {1..250})$i"
done >vanish.names
xargs touch <vanish.names
vanishes() {
	local first status
	mkfifo vanish.fifo
	iou_sum vanish >vanish.fifo 2>err &
	exec 3<vanish.fifo
	IFS= read -r first <&3
	rm "$(tail -n 1 vanish.names)"
	{
		echo "$first"
		cat <&3
	} >out
	wait $!
	status=$?
	exec 3<&-
	diff out <(head -n -1 vanish.names | xargs sha256sum) && [[ $status == 1 ]] &&
		grep 'vanish/.*: No such file or directory' err
}
tap_ok 'a file that vanishes' vanishes

# Lists.
sha256sum names/* sizes/* big >good
tap_ok 'check a good list' same -c good
tap_ok 'check a good list, quietly' same -c --quiet good
tap_ok 'check a good list for the status' same -c --status good
tap_ok 'check a list on standard input' eval 'stdin=good same -c'
tap_ok 'check a list on standard input, a dash' eval 'stdin=good same -c -'
tap_ok 'check with one open file' eval 'options=(--depth 1 --workers 1); same -c good'
sha256sum --tag names/* >tagged
tap_ok 'check a BSD-style list' same -c tagged
sed 's/  / /' <good | grep -v '^\\' >reversed
tap_ok 'check a list without marks' same -c reversed
sed 's/$/\r/' <good | grep -v '^\\' >crlf
tap_ok 'check a list from elsewhere' same -c crlf
tr 'a-f' 'A-F' <<<"$(sha256sum </dev/null | cut -d' ' -f1)" | sed 's|$|  sizes/0|' >upper
tap_ok 'check an upper-case sum' same -c upper
printf '%s  sizes/0' "$(sha256sum </dev/null | cut -d' ' -f1)" >no-newline
tap_ok 'check a list whose last line has no end' same -c no-newline

sum=$(sha256sum <sizes/1 | cut -d' ' -f1)
{
	echo "$sum  sizes/1"
	echo "# a comment"
	echo
	echo 'not a sum'
	echo "$sum  sizes/4096"
	echo "$sum  missing"
	echo "$sum"
	echo "${sum}0  sizes/1"
	echo "${sum%?}g  sizes/1"
	echo "\\$sum  bad\\escape"
	echo "SHA256 (sizes/1) = $sum"
	echo "SHA256 (sizes/1) = ${sum}0"
	echo "MD5 (sizes/1) = $sum"
	echo "$sum  sizes"
	echo "$sum *sizes/4095"
	echo "  $sum  sizes/1"
	printf 'z%.0s' {1..200000}
	echo
	echo "$sum  $(printf 'y%.0s' {1..5000})"
	echo "$sum  sizes/1"
} >mixed
for option in --quiet --status --warn --strict --ignore-missing '--status --warn' '--warn --quiet --strict'; do
	read -ra words <<<"$option"
	tap_ok "check a list with all kinds of lines, $option" same -c "${words[@]}" mixed
done
tap_ok 'check says which lines are bad' diff \
	<(sha256sum -cw mixed 2>&1 >/dev/null | sed -n 's/^sha256sum: mixed: \([0-9]*\):.*/\1/p') \
	<(iou_sum -cw mixed 2>&1 >/dev/null | sed -n 's/^iou-sum: mixed: \([0-9]*\):.*/\1/p')
{
	echo "$sum  sizes/1"
	echo nonsense
} >one-bad
tap_ok 'a bad line is not fatal' same -c one-bad
tap_ok 'unless it is to be' same -c --strict one-bad
echo "$sum  missing" >only-missing
tap_ok 'nothing is left of a list without what is missing' same -c --ignore-missing only-missing
tap_ok 'and that is complained of' complains_of 'only-missing: no file was verified' \
	iou_sum -c --ignore-missing only-missing
tap_ok 'an empty list' same -c /dev/null
tap_ok 'is complained of' complains_of 'no properly formatted checksum lines found' iou_sum -c /dev/null
tap_ok 'several lists, some of which cannot be read' same -c good missing mixed sizes one-bad
tap_ok 'a list of nonsense that goes on for long' eval '
	yes nonsense | head -n 100000 | status_is 1 iou_sum -c && [[ -z $(yes | head -n 100000 | iou_sum -c 2>&1 >&2 |
	grep -v -e "no properly formatted") ]]'

# Output.
into() {
	local file=$1
	shift
	"$@" >"$file"
}
tap_ok 'output that cannot be written' status_is 1 into /dev/full iou_sum sizes/1
tap_ok 'is complained of' eval '[[ $(iou_sum sizes/1 2>&1 >/dev/full) == *"No space left on device" ]]'
tap_ok 'no standard output' eval 'status_is 1 iou_sum sizes/1 >&-'
tap_ok 'help that cannot be written' status_is 1 into /dev/full iou_sum --help
closes_early() {
	local said
	said=$(iou_sum tree vanish tree vanish | head -n 3)
	diff <(echo "$said") <(as_found tree | head -n 3)
}
tap_ok 'a reader that goes away' closes_early

# Signals. In the background a script's programs ignore SIGINT unless told not to, and it takes a moment to tell them.
in_background() {
	exec env --default-signal=INT "${run[@]}" "$bin/iou-sum" "$@"
}
ignores_signals() {
	local ignored
	ignored=$(sed -n 's/^SigIgn:\t/0x/p' "/proc/$1/status")
	((ignored & 2))
}
send() {
	while ignores_signals "$2"; do
		sleep 0.01
	done
	kill -s "$1" "$2"
}

signalled() {
	local signal=$1 status
	rm -f hold out
	mkfifo hold
	: >out
	in_background sizes/1 - sizes/4096 <hold >out &
	exec 4>hold
	cat big big big >&4
	until [[ -s out ]]; do
		sleep 0.01
	done
	send "$signal" $!
	wait $!
	status=$?
	exec 4>&-
	echo "status $status"
	diff out <(sha256sum sizes/1) && [[ $status == $((128 + $(kill -l "$signal"))) ]]
}
tap_ok 'SIGINT while reading a pipe' signalled INT
tap_ok 'SIGTERM while reading a pipe' signalled TERM

# However far it has come; the pipe is not read until it is over.
whole_lines() {
	local hundredth
	rm -f unread
	mkfifo unread
	for hundredth in {00..19}; do
		# shellcheck disable=SC2094 # held open for writing first, or opening it for reading would wait
		exec 5<>unread 6<unread
		in_background tree vanish sizes tree >unread 5>&- 6<&- &
		exec 5<&-
		sleep "0.$hundredth"
		send INT $!
		status_is 130 wait $! || return
		cat <&6 >out
		exec 6<&-
		grep -avE '^\\?[0-9a-f]{64}  [^ ]' out && return 1
		[[ ! -s out || -z $(tail -c 1 out) ]] || return
	done
}
tap_ok 'a signal leaves no part of a line' whole_lines

# Options.
tap_ok 'another algorithm' eval '
	diff <(sha512sum big names/*) <(iou_sum --algorithm sha512 big names/*) &&
	diff <(md5sum --tag big names/*) <(iou_sum -a md5 --tag big names/*)'
tap_ok 'check with another algorithm' eval '
	sha1sum big names/* >sha1 && diff <(sha1sum -c sha1) <(iou_sum -a sha1 -c sha1)'
tap_ok 'an algorithm that is none' status_is 1 iou_sum --algorithm rot13 big
tap_ok 'is complained of' complains_of rot13 iou_sum --algorithm rot13 big
for wrong in '--depth 0' '--depth -1' '--depth 1x' '--workers 0' '--workers' '--nonsense' '--quiet' '--status' \
	'--strict' '--warn' '--ignore-missing' '-c -z' '-c --tag' '-c -b'; do
	read -ra words <<<"$wrong"
	tap_ok "wrong options: $wrong" status_is 1 iou_sum "${words[@]}" /dev/null
done
tap_ok 'help' eval 'iou_sum --help | grep -e --depth'
tap_ok 'the page has the options of the help' diff \
	<(iou_sum --help | grep -oE -- '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--.*' | sort) \
	<(sed -n 's/^\.It .*Fl \(-[a-z-]*\).*/-\1/p' "$here/../doc/man/iou-sum.1" | sort)
tap_ok 'version' eval 'iou_sum --version | grep "^iou-sum"'
tap_ok 'progress is on standard error alone' eval '
	diff <(sha256sum big tree/a.txt) <(iou_sum --progress big tree/a.txt 2>err)'
tap_ok 'progress tells of files and bytes' grep '^2 files, 4.8 MiB, .*/s' err
tap_ok 'progress counts ahead' eval '
	diff <(as_found tree vanish) <(iou_sum --progress tree vanish 2>err) && grep files err'
tap_ok 'progress while checking' eval 'diff <(sha256sum -c good) <(iou_sum --progress -c good 2>err) && grep files err'
tap_ok 'no progress unless asked for' eval '[[ -z $(iou_sum big 2>&1 >/dev/null) ]]'

# cat.
iou_cat() {
	"${run[@]}" "$bin/cat" "$@"
}
tap_ok 'cat: files' cmp <(cat big sizes/* names/*) <(iou_cat big sizes/* names/*)
tap_ok 'cat: standard input' cmp big <(iou_cat <big)
tap_ok 'cat: a pipe among files' cmp <(cat sizes/1 big sizes/4096) \
	<(dd if=big bs=777 status=none | iou_cat sizes/1 - sizes/4096)
tap_ok 'cat: through slow pipes' cmp big <(iou_cat big | dd bs=999 status=none | iou_cat | dd bs=1001 status=none)
tap_ok 'cat: what cannot be read is skipped' eval '
	status_is 1 iou_cat missing sizes/4096 sizes /proc/self/mem sizes/1 >out 2>err &&
	cmp out <(cat sizes/4096 sizes/1) && [[ $(wc -l <err) == 3 ]]'
tap_ok 'cat: output that cannot be written' status_is 1 into /dev/full iou_cat big

# The page of the manual.
mapfile -t examples < <("$here/../scripts/check-man" commands "$here/../doc/man/iou-sum.1")
tap_ok 'the page has examples' test ${#examples[@]} -ge 2
for example in "${examples[@]}"; do
	tap_ok "one that works: $example" env PATH="$bin:$PATH" sh -c "$example"
done

# timer.
"${run[@]}" "$bin/timer" >out
tap_ok 'timer: ends well' test $? = 0
tap_ok 'timer: ticks in order' diff <(grep '^tick' out) <(seq -f 'tick %.0f' "$(grep -c '^tick' out)")
tap_ok 'timer: has all the news' diff <(grep '^news' out) <(printf 'news %d of 3\n' 1 2 3)
tap_ok 'timer: the news ends the run' diff <(tail -n 3 out) - <<-'END'
	news 3 of 3
	the run is over, with the timer still armed
	the timer ends: Operation canceled
END
tap_end
