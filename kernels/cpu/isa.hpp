// Which instruction sets this CPU and its operating system run, and how to inline for good.
#pragma once

#if defined(__GNUC__)
// For what files of several instruction sets share: a copy out of line could be one that other CPUs cannot run.
#define SIGLUM_INLINE __attribute__((always_inline)) inline
#else
#define SIGLUM_INLINE inline
#endif

namespace siglum {

bool cpu_has_avx2();    // with FMA, BMI2 and F16C
bool cpu_has_avx512();  // F, BW, VL, DQ and VNNI, besides AVX2
bool cpu_has_neon();
bool cpu_has(const char* isa);  // "scalar", "neon", "avx2" or "avx512"

}  // namespace siglum
