#!/bin/sh
# Runs a numbered example and checks what it prints.
# run.sh PROGRAM MODEL EMPTY_FOLDER
set -eu
LC_ALL=C
export LC_ALL
program=$1
model=$2
work=$3
rm -rf "$work"
mkdir -p "$work"
cd "$work"

fail() {
  printf 'FAILED: %s\n--- standard output\n' "$1" >&2
  cat out >&2
  printf -- '--- standard error\n' >&2
  cat err >&2
  exit 1
}
# has PATTERN [COUNT]: so many lines, or any number, are the extended regular expression.
has() {
  found=$(grep -cxE -e "$1" out || true)
  [ "$found" -gt 0 ] && [ "$found" -eq "${2:-$found}" ] || fail "$found lines are '$1'"
}

"$program" "$model" >out 2>err || fail "exit code $?"
[ ! -s err ] || fail 'standard error is not empty'
case ${program##*/} in
  01_ask)
    has 'thought \(closed, [0-9]+ tokens\): I need 57\*84-9\.'
    has 'answer \(complete\): .*\\boxed\{4779\}\.?' 1
    has 'thought \(budget, 30 tokens\): .*'
    has 'thought \(skipped, 0 tokens\): '
    has 'answer \(complete\): .*\\boxed\{-?[0-9]+\}\.?' 3
    has 'The last prompt had 20 tokens, 17 of them read before\.'
    ;;
  02_stream_thoughts)
    has '--- (thought|answer)' 2
    has '\[Wait\].*' 1
    has '--- thought ended: closed'
    has '.*\\boxed\{42\}\.?'
    has '--- answer ended: complete'
    has "least sure, with [0-9]+ %, of '.*' in the (thought|answer)"
    has '1[0-9]{2} tokens of thought, [0-9]+ of answer, 1 written by the engine'
    ;;
  03_own_threads_and_cancel)
    has 'thought \(stopped\): I need 57\*84-9\.'
    has 'answer \(complete\): .+'
    has 'thought \(stopped\): I need 17\*24\+9\.'
    has 'answer \(cancelled\): '
    ;;
  04_many_sessions)
    # 893 events among three places, which are not all busy to the end.
    has 'What is .*\?' 6
    for answer in 42 4779 28 12 417 56; do
      has "  thought closed after [0-9]+ tokens, answer: .*\\\\boxed\{$answer\}\.?" 1
    done
    has '[0-9]+ events in [0-9]+ steps'
    steps=$(sed -n 's/.* events in \([0-9]*\) steps/\1/p' out)
    events=$(sed -n 's/ events in .* steps//p' out)
    [ "$events" -gt $((2 * steps)) ] && [ "$events" -le $((3 * steps)) ] || fail 'events and steps'
    ;;
  05_fork_and_vote)
    has ' *[0-9]+ tokens of thought, [a-z]+ +votes for .+' 9
    has '1144, by [5-9] of 9 votes'
    ;;
  06_save_and_restore)
    has 'before: .*\\boxed\{42\}\.? \(0 of 15 .*'
    has '  user: What is 12 \+ 30\?'
    has '  assistant: .*\\boxed\{42\}\.?'
    has 'saved session: .*\\boxed\{28\}\.? \([1-9][0-9]* of .*'
    [ "$(sed -n 's/^saved session: //p' out)" = "$(sed -n 's/^restored session: //p' out)" ] ||
      fail 'the restored session went on otherwise'
    has 'corrupt file: saved session: the checksum is wrong.*'
    [ -s conversation.pensee ] || fail 'no file was written'
    ;;
  *) fail 'an example without a test' ;;
esac

code=0
"$program" no/such/model >out 2>err || code=$?
[ "$code" -eq 1 ] || fail "exit code $code instead of 1"
[ ! -s out ] || fail 'an answer without a model'
grep -qF 'no/such/model' err || fail 'the message does not name the file'
