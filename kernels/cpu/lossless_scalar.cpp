#include "lossless_kernel.hpp"

namespace siglum::lossless {

const Kernel& scalar_kernel() {
  static constexpr Kernel kernel{encode_pixels, decode_pixels};
  return kernel;
}

}  // namespace siglum::lossless
