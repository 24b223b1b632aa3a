// The kernels of this CPU.
#include "rans_kernels.hpp"

#include <cstring>
#include <initializer_list>

namespace siglum::rans {

const Kernels* kernels_named(const char* name) {
  if (!cpu_has(name)) return nullptr;
  if (!std::strcmp(name, "neon")) return neon_kernels();
  if (!std::strcmp(name, "avx2")) return avx2_kernels();
  if (!std::strcmp(name, "avx512")) return avx512_kernels();
  return scalar_kernels();
}

const Kernels* best_kernels() {
  static const Kernels* const best = [] {
    for (const char* name : {"avx512", "avx2", "neon"}) {
      if (const Kernels* kernels = kernels_named(name)) return kernels;
    }
    return scalar_kernels();
  }();
  return best;
}

}  // namespace siglum::rans
