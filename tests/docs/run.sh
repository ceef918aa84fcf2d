#!/bin/sh
# Builds the reference, which fails on any warning of Doxygen's, and looks whether it has what
# users look for.
# run.sh CMAKE BUILD HEADER...
set -eu
cmake=$1
build=$2
shift 2
html=$build/docs/html
rm -rf "$html"

fail() {
  echo "FAILED: $1" >&2
  exit 1
}
# has PAGE TEXT: in the page without its tags.
has() {
  sed 's/<[^>]*>//g' "$html/$1" | grep -qF -e "$2" || fail "no '$2' in $1"
}

# Every function of the C interface has a comment of its own.
for header in "$@"; do
  awk '/^PENSEE_API/ && last !~ /\*\/$/ { print FILENAME ": no comment above: " $0; missing = 1 }
       { last = $0 } END { exit missing }' "$header"
done

"$cmake" --build "$build" --target docs
has index.html 'The README has the first steps'
has index.html 'own threads and cancel'
has pensee_8h.html 'The only header whose interface is stable.'
has group__c__events.html "The next event, after at most one token's work"
has structpensee__event.html 'natural logarithm, under the model'
has classpensee_1_1c_1_1Session.html 'Calls callback(const pensee_event&amp;) for each event'
has classpensee_1_1Session.html 'closes the thought under way, or the one that the model begins'
has structpensee_1_1Config.html 'int64_t pensee::Config::kv_lora_rank = 0' # from a list of fields
has 01_ask_8cpp-example.html 'one question, and three ways to think about it'
