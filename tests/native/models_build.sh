#!/bin/sh
# Build the models' kernels and their check without Python: models_build.sh OUTPUT [compiler and flags].
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
for source in "$kernels"/codebook*.cpp "$kernels"/multivariate*.cpp "$kernels"/mixture.cpp "$kernels"/isa.cpp "$kernels"/parallel.cpp "$here"/models_check.cpp; do
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
