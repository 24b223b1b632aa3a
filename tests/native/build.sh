#!/bin/sh
# Build the table coder and its check without Python: build.sh OUTPUT [compiler and flags], by default this machine's.
set -e
output=$1
shift
[ $# -gt 0 ] || set -- "${CXX:-c++}"
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../../kernels/cpu
objects=$(mktemp -d)
trap 'rm -r "$objects"' EXIT
case $("$1" -dumpmachine) in
  x86_64*) avx2="-mavx2 -mfma -mbmi2 -mf16c" avx512="-mavx2 -mfma -mbmi2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni" ;;
esac
for source in "$kernels"/rans_[a-z]*.cpp "$kernels"/isa.cpp "$kernels"/parallel.cpp "$kernels"/checksum.cpp "$here"/rans_check.cpp; do
  name=$(basename "$source" .cpp)
  case $name in
    *_bindings) continue ;;
    *_avx2) flags=$avx2 ;;
    *_avx512) flags=$avx512 ;;
    *) flags= ;;
  esac
  # shellcheck disable=SC2086
  "$@" -std=c++17 -O2 $flags -I"$kernels" -c "$source" -o "$objects/$name.o"
done
"$@" "$objects"/*.o -pthread -o "$output"
