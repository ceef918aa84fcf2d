#!/bin/sh
# The binary interface is still the recorded one: abidiff against capi/abi.
# abi.sh C_COMPILER HEADER BASELINE WORK_FOLDER [record]
#
# Both sides are made from the header alone: a library of functions with these declarations and no
# bodies. So the baseline has what users compile against, and nothing of a machine or a compiler's
# view of C++. That the real library has these functions is symbols.sh's part.
set -eu
for program in abidw abidiff; do
  if ! command -v $program >/dev/null; then
    echo "$program is not installed (package abigail-tools): skipped"
    exit 77
  fi
done
compiler=$1
header=$2
baseline=$3
work=$4
mkdir -p "$work"
cp "$header" "$work/pensee.h"
cd "$work"
{
  echo '#include "pensee.h"'
  "$compiler" -E -P pensee.h | tr '\n' ' ' | tr -s ' ' | sed 's/;/;\n/g' |
    sed -n '/typedef/d; s/^ *\(.* \**pensee_[a-z0-9_]*(.*)\);$/\1 { __builtin_trap(); }/p'
} >interface.c
"$compiler" -std=c11 -g -fPIC -shared -o libinterface.so interface.c
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --type-id-style hash \
  --out-file current.abi libinterface.so
if [ "${5:-}" = record ]; then
  cp current.abi "$baseline"
else
  # New functions are welcome; what was there must stay.
  abidiff --no-added-syms "$baseline" current.abi
fi
