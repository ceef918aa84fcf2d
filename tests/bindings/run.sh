#!/bin/sh
# Builds a language's sample over the C interface, asks the bundled model, and checks what it
# prints. Without the toolchain the test is skipped (exit code 77).
# run.sh rust|go|java|node ROOT LIBRARY EMPTY_FOLDER C_COMPILER
set -eu
LC_ALL=C.UTF-8 # Java decodes its arguments by it
export LC_ALL
language=$1
root=$2
library=$3
work=$4
compiler=$5
source=$root/bindings/$language
headers=$root/capi/include
model=$root/examples/tiny_r1/model
rm -rf "$work/out" "$work/err"
mkdir -p "$work"
cd "$work"
LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

skip() {
  echo "skipped: $1"
  exit 77
}
works() { "$@" >/dev/null 2>&1; }

# Leaves the command in the positional parameters, but for the model and the question.
case $language in
  rust)
    works rustc --version || skip 'rustc is not installed'
    rustc --edition 2021 -D warnings -O -L native="$library" -o ask "$source/ask.rs"
    set -- ./ask
    ;;
  go)
    works go version || skip 'go is not installed'
    [ "$(go env CGO_ENABLED)" = 1 ] || skip 'go has no cgo'
    GOCACHE=$work/cache GOTOOLCHAIN=local CGO_CFLAGS=-I$headers CGO_LDFLAGS=-L$library \
      go build -o ask "$source/ask.go"
    set -- ./ask
    ;;
  java)
    jna=/usr/share/java/jna.jar
    [ -f "$jna" ] || skip 'JNA (libjna-java) is not installed'
    java --list-modules 2>/dev/null | grep -q '^jdk.compiler' || skip 'no JDK is installed'
    set -- -Djna.library.path="$library" -cp "$jna" "$source/Ask.java"
    native=--enable-native-access=ALL-UNNAMED # else new versions warn; old ones do not know it
    if works java $native -version; then set -- $native "$@"; fi
    set -- java "$@"
    ;;
  node)
    works node --version || skip 'node is not installed'
    node_headers=$(node -p "path.join(fs.realpathSync(process.execPath), '../../include/node')")
    [ -f "$node_headers/node_api.h" ] || skip "Node's headers are not installed"
    "$compiler" -O2 -Wall -Wextra -Wpedantic -Werror -shared -fPIC -I"$node_headers" -I"$headers" \
      "$source/pensee.c" -L"$library" -lpensee_c -o pensee.node
    set -- node "$source/ask.js" ./pensee.node
    ;;
esac

fail() {
  printf 'FAILED: %s\n--- standard output\n' "$1" >&2
  cat out >&2
  printf -- '--- standard error\n' >&2
  cat err >&2
  exit 1
}
"$@" "$model" 'What is 12 × 30?' >out 2>err || fail "exit code $?"
[ ! -s err ] || fail 'standard error is not empty'
[ "$(head -n 1 out)" = 'Thought:' ] || fail 'no thought'
sed '/^Answer:$/,$d' out | grep -q '→' || fail 'no arrow in the thought'
sed '1,/^Answer:$/d' out | grep -qF '\boxed{360}' || fail 'no \boxed{360} in the answer'
[ "$(grep -cF '\boxed' out)" -eq 1 ] || fail 'the answer is in the thought'

code=0
"$@" no/such/model 'What?' >out 2>err || code=$?
[ "$code" -eq 1 ] || fail "exit code $code instead of 1"
[ ! -s out ] || fail 'an answer without a model'
grep -q '^no/such/model: ' err || fail 'the message does not name the file'
