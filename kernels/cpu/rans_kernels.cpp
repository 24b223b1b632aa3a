// The kernels of this CPU.
#include "rans_kernels.hpp"

#include <cstring>
#include <initializer_list>

namespace siglum::rans {

const Kernels* kernels_named(const char* name) {
  if (!std::strcmp(name, "scalar")) return scalar_kernels();
  if (!std::strcmp(name, "neon") && cpu_has_neon()) return neon_kernels();
  if (!std::strcmp(name, "avx2") && cpu_has_avx2()) return avx2_kernels();
  if (!std::strcmp(name, "avx512") && cpu_has_avx512()) return avx512_kernels();
  return nullptr;
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
