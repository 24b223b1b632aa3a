// AVX-512 variant of the patch coder: four products of bytes an instruction (VNNI), 32 coefficients at a time.
#include "patches_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include <cstring>

namespace siglum::patches {
namespace {

#include "patches_kernel.inc"

inline void store(__m512i sum, const std::int32_t* offset, const float* scale, std::int16_t* out) {
  const __m512i centred = _mm512_sub_epi32(_mm512_slli_epi32(sum, 1), _mm512_loadu_si512(offset));
  const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(centred), _mm512_loadu_ps(scale));
  const __m512 bounded = _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(-32767.0f)), _mm512_set1_ps(32767.0f));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(bounded)));
}

// P patches by B blocks of 16 channels: all sums in registers.
template <int P, int B>
inline void project_tile(const std::uint8_t* pixels, std::ptrdiff_t row, const std::int8_t* w,
                         const std::int32_t* offset, const float* scale, std::int16_t* out, std::size_t stride) {
  constexpr std::size_t panel = quads * block * 4;
  __m512i sum[P][B];
  for (int p = 0; p < P; ++p)
    for (int b = 0; b < B; ++b) sum[p][b] = _mm512_setzero_si512();
  for (std::size_t y = 0; y < side; ++y, pixels += row) {
    for (std::size_t x = 0; x < row_bytes; x += 4, w += block * 4) {
      __m512i weights[B];
      for (int b = 0; b < B; ++b) weights[b] = _mm512_loadu_si512(w + b * panel);
      for (int p = 0; p < P; ++p) {
        std::int32_t four;
        std::memcpy(&four, pixels + p * row_bytes + x, 4);
        const __m512i samples = _mm512_set1_epi32(four);
        for (int b = 0; b < B; ++b) sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], samples, weights[b]);
      }
    }
  }
  for (int p = 0; p < P; ++p)
    for (int b = 0; b < B; ++b)
      store(sum[p][b], offset + b * block, scale + b * block, out + static_cast<std::size_t>(p) * stride + b * block);
}

template <int B>
inline void project_panels(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* w,
                           const std::int32_t* offset, const float* scale, std::int16_t* out, std::size_t stride) {
  std::size_t p = 0;
  for (; p + 6 <= count; p += 6)
    project_tile<6, B>(pixels + p * row_bytes, row, w, offset, scale, out + p * stride, stride);
  for (; p < count; ++p)
    project_tile<1, B>(pixels + p * row_bytes, row, w, offset, scale, out + p * stride, stride);
}

void project(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* weight,
             std::size_t blocks, const std::int32_t* offset, const float* scale, std::int16_t* out,
             std::size_t stride) {
  std::size_t b = 0;
  for (; b + 4 <= blocks; b += 4)
    project_panels<4>(pixels, row, count, weight + b * quads * block * 4, offset + b * block, scale + b * block,
                      out + b * block, stride);
  for (; b + 2 <= blocks; b += 2)
    project_panels<2>(pixels, row, count, weight + b * quads * block * 4, offset + b * block, scale + b * block,
                      out + b * block, stride);
  for (; b < blocks; ++b)
    project_panels<1>(pixels, row, count, weight + b * quads * block * 4, offset + b * block, scale + b * block,
                      out + b * block, stride);
}

constexpr Kernels kernels = {&project, &largest, &quantise_plain};

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }

}  // namespace siglum::patches

#else

namespace siglum::patches {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace siglum::patches

#endif
