#!/bin/sh
# The library exports the functions of its headers and nothing else.
# symbols.sh LIBRARY HEADER...
set -eu
LC_ALL=C
export LC_ALL
library=$1
shift
exported=$(nm -D --defined-only "$library" | awk '{print $3}' | sort)
declared=$(sed -n 's/^PENSEE_API .*[ *]\(pensee_[a-z0-9_]*\)(.*/\1/p' "$@" | sort)
if [ "$exported" != "$declared" ]; then
  echo "exported:" && echo "$exported"
  echo "declared:" && echo "$declared"
  exit 1
fi
