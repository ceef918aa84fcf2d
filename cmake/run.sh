#!/bin/sh
# The two commands of the README:
#   sh cmake/run.sh demo   builds the program, asks the bundled model, shows its thought and answer
#   sh cmake/run.sh test   builds everything and runs all tests
# Needs Debian 12, Ubuntu 24.04 or later. Installs missing packages when run as root.
# CI=true turns warnings into errors.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=$root/build
question='What is 17 * 24 + 9?'
export CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-$(nproc)}"

# Prints the packages that command $1 needs and that are not installed.
missing_packages() {
  while read -r package command _comment; do
    case $package in '' | '#'*) continue ;; esac
    if [ "$command" = test ] && [ "$1" = demo ]; then continue; fi
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then printf '%s ' "$package"; fi
  done <"$root/cmake/packages.txt"
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "run.sh: not a Debian or Ubuntu system; install the packages of cmake/packages.txt" >&2
    return 0
  fi
  missing=$(missing_packages "$1")
  if [ -z "$missing" ]; then return 0; fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "run.sh: these packages are missing: $missing" >&2
    echo "run.sh: install them as root: apt-get install $missing" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update
  # shellcheck disable=SC2086 # one word for each package
  apt-get -q install -y --no-install-recommends $missing </dev/null
}

# configure FOLDER OPTION...
configure() {
  folder=$1
  shift
  if [ "${CI:-}" = true ]; then set -- "$@" -DPENSEE_WARNINGS_AS_ERRORS=ON; fi
  cmake -S "$root" -B "$folder" -G Ninja "$@"
}

demo() {
  configure "$build" -DCMAKE_BUILD_TYPE=Release -DPENSEE_BUILD_TESTS=OFF
  cmake --build "$build" --target pensee_program
  printf '\nQuestion:\n%s\n' "$question"
  "$build/bin/pensee" ask --greedy "$question"
}

run_tests() {
  configure "$build" -DCMAKE_BUILD_TYPE=Release -DPENSEE_BUILD_TESTS=ON
  cmake --build "$build"
  ctest --test-dir "$build" --output-on-failure
}

# The same tests under the sanitizers; see CMakePresets.json.
run_sanitized() {
  cd "$root"
  for preset in asan tsan; do
    cmake --preset "$preset"
    cmake --build --preset "$preset"
    ctest --preset "$preset"
  done
}

case ${1:-} in
  demo)
    install_packages demo
    demo
    ;;
  test)
    install_packages test
    run_tests
    run_sanitized
    ;;
  *)
    echo "usage: sh cmake/run.sh demo|test" >&2
    exit 2
    ;;
esac
