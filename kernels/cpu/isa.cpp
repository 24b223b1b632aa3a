#include "isa.hpp"

#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace siglum {

#if defined(__x86_64__) || defined(__i386__)

namespace {

bool ask_for_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

// Not a name that every compiler's __builtin_cpu_supports knows; asked once, since it takes microseconds.
bool cpu_has_f16c() {
  static const bool found = ask_for_f16c();
  return found;
}

}  // namespace

bool cpu_has_avx2() {
  return cpu_has_f16c() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
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
