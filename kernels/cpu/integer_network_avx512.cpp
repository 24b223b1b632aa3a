// AVX-512 VNNI variant of the integer network.
#include "integer_network_kernels.hpp"

#include <utility>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)
#define SIGLUM_AVX512 1
#include <immintrin.h>

#include <cstring>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own _mm512_undefined_epi32
#endif
#endif

namespace siglum::integer_network {

#if defined(SIGLUM_AVX512)
namespace {

struct Lanes {
  static constexpr std::size_t width = 16, positions = 6, vectors = 2;

  using Sum = __m512i;
  using Weight = __m512i;
  struct Scale {
    __m512i even, odd, half, low, high;
    __m128i shift;
  };

  static Sum load_sum(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Weight load_weight(const std::int16_t* p) { return _mm512_loadu_si512(p); }
  static Scale load_scale(const Requantisation& r, std::size_t channel) {
    const __m512i multiplier = load_sum(r.multiplier + channel);
    return {multiplier,
            _mm512_srli_epi64(multiplier, 32),
            _mm512_set1_epi64(1LL << (r.shift - 1)),
            _mm512_set1_epi64(r.low),
            _mm512_set1_epi64(r.high),
            _mm_cvtsi32_si128(r.shift)};
  }
  static Sum dot_pair(Sum sum, const std::int16_t* in, Weight w) {
    int pair;
    std::memcpy(&pair, in, sizeof pair);
    return _mm512_dpwssd_epi32(sum, _mm512_set1_epi32(pair), w);
  }
  static Sum dot_lanes(Sum sum, const std::int16_t* in, Weight w) {
    const __m512i lanes = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
    return _mm512_dpwssd_epi32(sum, lanes, w);  // the high half, the sign, meets a zero weight
  }
  static __m512i requantise(__m512i product, const Scale& s) {
    const __m512i value = _mm512_sra_epi64(_mm512_add_epi64(product, s.half), s.shift);
    return _mm512_min_epi64(_mm512_max_epi64(value, s.low), s.high);
  }
  static void store(Sum sum, const Scale& s, std::int16_t* out) {
    const __m512i even = requantise(_mm512_mul_epi32(sum, s.even), s);
    const __m512i odd = requantise(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), s.odd), s);
    const __m512i both = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(both));
  }
};

#include "integer_network_kernel.inc"

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::integer_network
