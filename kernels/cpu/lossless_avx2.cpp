#include "lossless.hpp"

#if defined(__AVX2__)
#include "lossless_kernel.hpp"
#endif

namespace siglum::lossless {

const Kernel* avx2_kernel() {
#if defined(__AVX2__)
  static constexpr Kernel kernel{encode_pixels, decode_pixels};
  return &kernel;
#else
  return nullptr;
#endif
}

}  // namespace siglum::lossless
