#include "isa.hpp"

#include <cstring>

namespace siglum {

#if defined(__x86_64__) || defined(__i386__)

bool cpu_has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

#else

bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }

#endif

bool cpu_has_neon() {
#if defined(__ARM_NEON) && defined(__aarch64__)
  return true;  // part of the architecture
#else
  return false;
#endif
}

bool cpu_has(const char* isa) {
  if (!std::strcmp(isa, "neon")) return cpu_has_neon();
  if (!std::strcmp(isa, "avx2")) return cpu_has_avx2();
  if (!std::strcmp(isa, "avx512")) return cpu_has_avx512();
  return !std::strcmp(isa, "scalar");
}

}  // namespace siglum
