#include "rans_kernels.hpp"

namespace siglum::rans {

const Kernels* neon_kernels() { return nullptr; }

}  // namespace siglum::rans
