#!/bin/sh
# Installs the build into a folder of its own and uses it as a stranger would: by find_package with
# the headers alone and with the kernels, by pkg-config, from C, and the installed program.
# run.sh CMAKE BUILD CXX
set -eu
cmake=$1
build=$2
cxx=$3
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$build/consumer
prefix=$work/prefix
rm -rf "$work"

"$cmake" --install "$build" --prefix "$prefix" >/dev/null
model=$prefix/share/pensee/tiny_r1
# -Og: each program compiles the core anew, which takes most of its time to optimise.
"$cmake" -S "$here" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE='-Og -DNDEBUG' -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$prefix"
"$cmake" --build "$work/build"

"$cmake" -S "$here/c" -B "$work/build_c" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$prefix"
"$cmake" --build "$work/build_c"

# Without a dependency: one with a CMake package, one known to pkg-config alone.
"$cmake" -S "$here/missing" -B "$work/build_missing" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_DISABLE_FIND_PACKAGE_dnnl=ON -Dhidden=dnnl
PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$work/empty "$cmake" -S "$here/missing" \
  -B "$work/build_missing_pcre2" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -Dhidden=libpcre2-8

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name pensee.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # one word for each option
"$cxx" -std=c++20 -DCONSUMER_WITH_KERNELS "$here/ask.cpp" -o "$work/by_pkg_config" \
  $(pkg-config --cflags --libs pensee)
# shellcheck disable=SC2046
cc "$here/c/ask.c" -o "$work/c_by_pkg_config" $(pkg-config --cflags --libs pensee-c) \
  -Wl,-rpath,"$(pkg-config --variable=libdir pensee-c)"

check() {
  answer=$("$@")
  printf '%s: %s\n' "$(basename "$1")" "$answer"
  case $answer in
    *'\boxed{42}'*) ;;
    *)
      echo "FAILED: expected an answer with \\boxed{42}" >&2
      exit 1
      ;;
  esac
}
check "$work/build/with_headers" "$model"
check "$work/build/with_kernels" "$model"
check "$work/by_pkg_config" "$model"
check "$work/build_c/in_c" "$model"
check "$work/c_by_pkg_config" "$model"
mv "$prefix" "$work/moved" # the package and the program can be moved
check "$work/moved/bin/pensee" ask --greedy --show answer 'What is 12 + 30?'
if grep -q "$build" "$work/moved/bin/pensee"; then
  echo "FAILED: the installed program names the build folder" >&2
  exit 1
fi
