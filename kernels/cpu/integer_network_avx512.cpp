// AVX-512 VNNI variant of the integer network.
#include "integer_network_kernels.hpp"

#include <type_traits>
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
  static constexpr std::size_t width = 16, positions = 8, vectors = 3;

  using Sum = __m512i;
  using Weight = __m512i;
  // Of a shift of 33 and more: the lower halves of the products do not matter.
  struct FarScale {
    __m512i even, odd, half, low, high;
    __m128i shift;

    FarScale(const Requantisation& r, std::size_t channel)
        : even(load_sum(r.multiplier + channel)),
          odd(_mm512_srli_epi64(even, 32)),
          half(_mm512_set1_epi32(1 << (r.shift - 33))),
          low(_mm512_set1_epi32(r.low)),
          high(_mm512_set1_epi32(r.high)),
          shift(_mm_cvtsi32_si128(r.shift - 32)) {}
    __m512i operator()(Sum sum) const {
      const __m512i below = _mm512_srli_epi64(_mm512_mul_epi32(sum, even), 32);
      const __m512i above = _mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd);
      const __m512i halves = _mm512_mask_mov_epi32(below, 0xAAAA, above);
      const __m512i value = _mm512_sra_epi32(_mm512_add_epi32(halves, half), shift);
      return _mm512_min_epi32(_mm512_max_epi32(value, low), high);
    }
  };
  struct NearScale {
    __m512i even, odd, half, low, high;
    __m128i shift;

    NearScale(const Requantisation& r, std::size_t channel)
        : even(load_sum(r.multiplier + channel)),
          odd(_mm512_srli_epi64(even, 32)),
          half(_mm512_set1_epi64(1LL << (r.shift - 1))),
          low(_mm512_set1_epi64(r.low)),
          high(_mm512_set1_epi64(r.high)),
          shift(_mm_cvtsi32_si128(r.shift)) {}
    __m512i half_of(__m512i product) const {
      const __m512i value = _mm512_sra_epi64(_mm512_add_epi64(product, half), shift);
      return _mm512_min_epi64(_mm512_max_epi64(value, low), high);
    }
    __m512i operator()(Sum sum) const {
      const __m512i below = half_of(_mm512_mul_epi32(sum, even));
      const __m512i above = half_of(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd));
      return _mm512_mask_mov_epi32(below, 0xAAAA, _mm512_slli_epi64(above, 32));
    }
  };

  static Sum load_sum(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Weight load_weight(const std::int16_t* p) { return _mm512_loadu_si512(p); }
  static Sum add_products(Sum sum, __m512i a, __m512i b) {
#if defined(__GNUC__)  // GCC 12 copies every sum twice around the intrinsic
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return _mm512_dpwssd_epi32(sum, a, b);
#endif
  }
  static Sum dot_pair(Sum sum, const std::int16_t* in, Weight w) {
    int pair;
    std::memcpy(&pair, in, sizeof pair);
    return add_products(sum, _mm512_set1_epi32(pair), w);
  }
  static Sum dot_lanes(Sum sum, const std::int16_t* in, Weight w) {
    const __m512i lanes = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
    return add_products(sum, lanes, w);  // the high half, the sign, meets a zero weight
  }
  template <class Scale>
  static void store(Sum sum, const Scale& scale, std::int16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(scale(sum)));
  }
};

#include "integer_network_kernel.inc"

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::integer_network
