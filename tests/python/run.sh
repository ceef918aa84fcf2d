#!/bin/sh
# Builds the wheel as `pip install .` does, but for -Og, which compiles fast, installs it, runs the tests
# in Python and both type checkers:
#   run.sh PYTHON FOLDER CMAKE CXX PROGRAM WARNINGS_AS_ERRORS
# Everything from the package index goes into an environment in FOLDER. 77: it cannot be had; skipped.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
folder=$2
python=$folder/venv/bin/python

skip() {
  echo "skipped: $1" >&2
  exit 77
}

if [ ! -x "$python" ]; then
  "$1" -m venv "$folder/venv" || skip "no virtual environment; python3-venv is missing"
fi
"$python" -c 'import os, sysconfig
raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
  skip "no Python.h; python3-dev is missing"

# What pyproject.toml names, which alone knows it.
requirements=$("$python" - "$root/pyproject.toml" <<'EOF'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    it = tomllib.load(file)
project = it["project"]
print(*it["build-system"]["requires"], *project["dependencies"],
      *project["optional-dependencies"]["test"], sep="\n")
EOF
) || skip "Python 3.11 or later is needed to read pyproject.toml"
printf '%s\n' "$requirements" >"$folder/requirements.txt"
"$python" -m pip install -qq --disable-pip-version-check -r "$folder/requirements.txt" ||
  skip "the package index cannot be reached"

rm -rf "$folder/wheel"
# At -Og GCC 12 cannot see that the kernels set their variables.
CMAKE_EXECUTABLE=$3 CXX=$4 "$python" -m pip wheel -qq --disable-pip-version-check --no-deps \
  --no-build-isolation --wheel-dir "$folder/wheel" --config-settings=build-dir="$folder/build" \
  --config-settings=cmake.build-type=RelWithDebInfo \
  --config-settings=cmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO='-Og -DNDEBUG -Wno-maybe-uninitialized' \
  --config-settings=cmake.define.PENSEE_WARNINGS_AS_ERRORS="$6" "$root"
"$python" -m pip install -qq --disable-pip-version-check --no-deps --force-reinstall \
  "$folder"/wheel/pensee-*.whl

cd "$root"
export PYTHONDONTWRITEBYTECODE=1 PENSEE_PROGRAM="$5"
"$python" -m pytest --quiet -p no:cacheprovider
"$python" -m mypy --cache-dir "$folder/mypy"
"$python" -m basedpyright --pythonpath "$python" --level error
