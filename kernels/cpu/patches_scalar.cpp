// Plain C++ variant of the patch coder: any compiler, any CPU.
#include "patches_kernels.hpp"

#include <cmath>

namespace siglum::patches {
namespace {

#include "patches_kernel.inc"

void project(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* weight,
             std::size_t blocks, const std::int32_t* offset, const float* scale, std::int16_t* out,
             std::size_t stride) {
  for (std::size_t p = 0; p < count; ++p) {
    for (std::size_t b = 0; b < blocks; ++b) {
      std::int32_t sum[block] = {};
      const std::int8_t* w = weight + b * quads * block * 4;
      for (std::size_t y = 0; y < side; ++y) {
        const std::uint8_t* in = pixels + static_cast<std::ptrdiff_t>(y) * row + p * row_bytes;
        for (std::size_t x = 0; x < row_bytes; x += 4, w += block * 4) {
          const std::int32_t s0 = in[x], s1 = in[x + 1], s2 = in[x + 2], s3 = in[x + 3];
          for (std::size_t c = 0; c < block; ++c)
            sum[c] += s0 * w[4 * c] + s1 * w[4 * c + 1] + s2 * w[4 * c + 2] + s3 * w[4 * c + 3];
        }
      }
      for (std::size_t c = 0; c < block; ++c) {
        const std::size_t channel = b * block + c;
        const float value = static_cast<float>(2 * sum[c] - offset[channel]) * scale[channel];
        const float bounded = value < -32767.0f ? -32767.0f : value > 32767.0f ? 32767.0f : value;
        out[p * stride + channel] = static_cast<std::int16_t>(std::lrintf(bounded));
      }
    }
  }
}

constexpr Kernels kernels = {&project, &largest, &quantise_plain};

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::patches
