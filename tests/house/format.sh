#!/bin/sh
# Checks the layout of our sources. Versions of clang-format differ, so only 14 is asked; without
# it the test is skipped (exit code 77).
set -eu
cd "$(dirname -- "$0")/../.."
for tool in clang-format-14 clang-format none; do
  case $("$tool" --version 2>/dev/null || true) in *"version 14."*) break ;; esac
done
if [ "$tool" = none ]; then
  echo "skipped: clang-format 14 is not installed"
  exit 77
fi
find include lib capi bindings examples tests \( -name '*.hpp' -o -name '*.cpp' -o -name '*.h' -o -name '*.c' \) \
  -exec "$tool" --dry-run -Werror {} +
