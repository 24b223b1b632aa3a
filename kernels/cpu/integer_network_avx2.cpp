// AVX2 variant of the integer network.
#include "integer_network_kernels.hpp"

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
  struct Scale {
    __m256i even, odd, half, back, low, high;
    __m128i shift;
  };

  static Sum load_sum(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Weight load_weight(const std::int16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Scale load_scale(const Requantisation& r, std::size_t channel) {
    const __m256i multiplier = load_sum(r.multiplier + channel);
    // AVX2 has no arithmetic shift of 64 bits: 2^63 goes in before a logical shift, 2^(63 - shift) comes out
    // after.
    return {multiplier,
            _mm256_srli_epi64(multiplier, 32),
            _mm256_set1_epi64x(static_cast<long long>((1ULL << (r.shift - 1)) + (1ULL << 63))),
            _mm256_set1_epi64x(static_cast<long long>(1ULL << (63 - r.shift))),
            _mm256_set1_epi64x(r.low),
            _mm256_set1_epi64x(r.high),
            _mm_cvtsi32_si128(r.shift)};
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
  static __m256i requantise(__m256i product, const Scale& s) {
    __m256i value = _mm256_srl_epi64(_mm256_add_epi64(product, s.half), s.shift);
    value = _mm256_sub_epi64(value, s.back);
    value = _mm256_blendv_epi8(value, s.low, _mm256_cmpgt_epi64(s.low, value));
    return _mm256_blendv_epi8(value, s.high, _mm256_cmpgt_epi64(value, s.high));
  }
  static void store(Sum sum, const Scale& s, std::int16_t* out) {
    const __m256i even = requantise(_mm256_mul_epi32(sum, s.even), s);
    const __m256i odd = requantise(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), s.odd), s);
    const __m256i both = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
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
