// AVX2 variant of the patch coder: even and odd samples apart as 16-bit pairs, so that no sum saturates.
#include "patches_kernels.hpp"

#if defined(__AVX2__)

#include <immintrin.h>

#include <cstring>

namespace siglum::patches {
namespace {

#include "patches_kernel.inc"

inline __m256i even_of(__m256i bytes) { return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8); }
inline __m256i odd_of(__m256i bytes) { return _mm256_srai_epi16(bytes, 8); }

inline void store(__m256i low, __m256i high, const std::int32_t* offset, const float* scale, std::int16_t* out) {
  const auto half = [&](__m256i sum, std::size_t c) {
    const __m256i centred = _mm256_sub_epi32(_mm256_slli_epi32(sum, 1),
                                             _mm256_loadu_si256(reinterpret_cast<const __m256i*>(offset + c)));
    const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(centred), _mm256_loadu_ps(scale + c));
    const __m256 bounded = _mm256_min_ps(_mm256_max_ps(value, _mm256_set1_ps(-32767.0f)), _mm256_set1_ps(32767.0f));
    return _mm256_cvtps_epi32(bounded);
  };
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(half(low, 0), half(high, 8)), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), packed);
}

template <int P>
inline void project_tile(const std::uint8_t* pixels, std::ptrdiff_t row, const std::int8_t* w,
                         const std::int32_t* offset, const float* scale, std::int16_t* out, std::size_t stride) {
  __m256i low[P], high[P];
  for (int p = 0; p < P; ++p) low[p] = high[p] = _mm256_setzero_si256();
  for (std::size_t y = 0; y < side; ++y, pixels += row) {
    for (std::size_t x = 0; x < row_bytes; x += 4, w += block * 4) {
      const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
      const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
      const __m256i weights[4] = {even_of(first), odd_of(first), even_of(second), odd_of(second)};
      for (int p = 0; p < P; ++p) {
        std::int32_t four;
        std::memcpy(&four, pixels + p * row_bytes + x, 4);
        const __m256i samples = _mm256_set1_epi32(four);
        const __m256i even = _mm256_and_si256(samples, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(samples, 8);
        low[p] = _mm256_add_epi32(low[p], _mm256_add_epi32(_mm256_madd_epi16(even, weights[0]),
                                                           _mm256_madd_epi16(odd, weights[1])));
        high[p] = _mm256_add_epi32(high[p], _mm256_add_epi32(_mm256_madd_epi16(even, weights[2]),
                                                             _mm256_madd_epi16(odd, weights[3])));
      }
    }
  }
  for (int p = 0; p < P; ++p) store(low[p], high[p], offset, scale, out + static_cast<std::size_t>(p) * stride);
}

void project(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* weight,
             std::size_t blocks, const std::int32_t* offset, const float* scale, std::int16_t* out,
             std::size_t stride) {
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::int8_t* w = weight + b * quads * block * 4;
    std::size_t p = 0;
    for (; p + 3 <= count; p += 3)
      project_tile<3>(pixels + p * row_bytes, row, w, offset + b * block, scale + b * block,
                      out + p * stride + b * block, stride);
    for (; p < count; ++p)
      project_tile<1>(pixels + p * row_bytes, row, w, offset + b * block, scale + b * block,
                      out + p * stride + b * block, stride);
  }
}

constexpr Kernels kernels = {&project, &largest, &quantise_plain};

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }

}  // namespace siglum::patches

#else

namespace siglum::patches {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace siglum::patches

#endif
