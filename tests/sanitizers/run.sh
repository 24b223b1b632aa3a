#!/bin/sh
# Builds the entropy coders with AddressSanitizer and UndefinedBehaviorSanitizer, every instruction set with its own
# flags, and runs the fuzzers: run.sh [inputs] [seed]. CXX chooses the compiler, BUILD the folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernels=$(cd "$here/../../kernels/cpu" && pwd)
build=${BUILD:-$here/../../build/sanitizers}
mkdir -p "$build"
flags="-std=c++17 -O1 -g -Wall -Wextra -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -D_GLIBCXX_ASSERTIONS"
objects=""
for source in "$kernels"/rans*.cpp "$kernels"/precise*.cpp "$kernels/checksum.cpp" "$kernels/isa.cpp" "$kernels/parallel.cpp" "$here"/fuzz*.cpp; do
  name=$(basename "$source" .cpp)
  isa=""
  case $name in
    *_bindings) continue ;;
    *_avx2) isa="-mavx2 -mfma -mbmi2 -mf16c" ;;
    # (GCC 12 warns of its own header)
    *_avx512) isa="-Wno-uninitialized -Wno-maybe-uninitialized -mavx2 -mfma -mbmi2 -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni" ;;
  esac
  case $(uname -m) in x86_64 | amd64) ;; *) isa="" ;; esac
  # shellcheck disable=SC2086
  ${CXX:-c++} $flags $isa -I"$kernels" -I"$here" -c "$source" -o "$build/$name.o"
  objects="$objects $build/$name.o"
done
# shellcheck disable=SC2086
${CXX:-c++} -fsanitize=address,undefined $objects -pthread -o "$build/fuzz"
ASAN_OPTIONS=max_allocation_size_mb=512:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
  exec "$build/fuzz" "${1:-1000000}" "${2:-1}"
