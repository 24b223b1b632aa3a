// AVX2 variant of the integer network.
#include "integer_network_kernels.hpp"

#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>

#include <cstring>
#endif

namespace siglum::integer_network {

#if defined(__AVX2__)
namespace {

struct Lanes {
  static constexpr std::size_t width = 8, positions = 6, vectors = 2;

  using Sum = __m256i;
  using Weight = __m256i;
  // Of a shift of 33 and more: the lower halves of the products do not matter.
  struct FarScale {
    __m256i even, odd, half, low, high;
    __m128i shift;

    FarScale(const Requantisation& r, std::size_t channel)
        : even(load_sum(r.multiplier + channel)),
          odd(_mm256_srli_epi64(even, 32)),
          half(_mm256_set1_epi32(1 << (r.shift - 33))),
          low(_mm256_set1_epi32(r.low)),
          high(_mm256_set1_epi32(r.high)),
          shift(_mm_cvtsi32_si128(r.shift - 32)) {}
    __m256i operator()(Sum sum) const {
      const __m256i below = _mm256_srli_epi64(_mm256_mul_epi32(sum, even), 32);
      const __m256i above = _mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd);
      const __m256i halves = _mm256_blend_epi32(below, above, 0xAA);
      const __m256i value = _mm256_sra_epi32(_mm256_add_epi32(halves, half), shift);
      return _mm256_min_epi32(_mm256_max_epi32(value, low), high);
    }
  };
  struct NearScale {
    __m256i even, odd, half, back, low, high;
    __m128i shift;

    // AVX2 has no arithmetic shift of 64 bits: 2^63 goes in before a logical shift, 2^(63 - shift) comes out after.
    NearScale(const Requantisation& r, std::size_t channel)
        : even(load_sum(r.multiplier + channel)),
          odd(_mm256_srli_epi64(even, 32)),
          half(_mm256_set1_epi64x(static_cast<long long>((1ULL << (r.shift - 1)) + (1ULL << 63)))),
          back(_mm256_set1_epi64x(static_cast<long long>(1ULL << (63 - r.shift)))),
          low(_mm256_set1_epi64x(r.low)),
          high(_mm256_set1_epi64x(r.high)),
          shift(_mm_cvtsi32_si128(r.shift)) {}
    __m256i half_of(__m256i product) const {
      __m256i value = _mm256_srl_epi64(_mm256_add_epi64(product, half), shift);
      value = _mm256_sub_epi64(value, back);
      value = _mm256_blendv_epi8(value, low, _mm256_cmpgt_epi64(low, value));
      return _mm256_blendv_epi8(value, high, _mm256_cmpgt_epi64(value, high));
    }
    __m256i operator()(Sum sum) const {
      const __m256i below = half_of(_mm256_mul_epi32(sum, even));
      const __m256i above = half_of(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd));
      return _mm256_blend_epi32(below, _mm256_slli_epi64(above, 32), 0xAA);
    }
  };

  static Sum load_sum(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Weight load_weight(const std::int16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Sum dot_pair(Sum sum, const std::int16_t* in, Weight w) {
    int pair;
    std::memcpy(&pair, in, sizeof pair);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_set1_epi32(pair), w));
  }
  static Sum dot_lanes(Sum sum, const std::int16_t* in, Weight w) {
    const __m256i lanes = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
    return _mm256_add_epi32(sum,
                            _mm256_madd_epi16(lanes, w));  // the high half, the sign, meets a zero weight
  }
  template <class Scale>
  static void store(Sum sum, const Scale& scale, std::int16_t* out) {
    const __m256i both = scale(sum);
    const __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
  }
};

#include "integer_network_kernel.inc"

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::integer_network
