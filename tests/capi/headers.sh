#!/bin/sh
# The C headers compile alone in every language version that users have.
# headers.sh C_COMPILER CXX_COMPILER HEADER...
set -eu
c=$1
cxx=$2
shift 2
for header in "$@"; do
  case $header in
    *.hpp)
      for standard in c++17 c++20; do
        "$cxx" -std=$standard -pedantic -Wall -Wextra -Wshadow -Wconversion -Werror -fsyntax-only \
          -x c++ "$header"
      done
      continue
      ;;
  esac
  for standard in c99 c11 c17; do
    "$c" -std=$standard -pedantic -Wall -Wextra -Werror -Wstrict-prototypes -fsyntax-only -x c "$header"
  done
  for standard in c++11 c++20; do
    "$cxx" -std=$standard -pedantic -Wall -Wextra -Werror -fsyntax-only -x c++ "$header"
  done
done
