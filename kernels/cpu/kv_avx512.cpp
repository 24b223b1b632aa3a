// AVX-512 variant of the loops over samples of a cache.
#include "kv_half.hpp"
#include "kv_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define SIGLUM_AVX512 1
#include <immintrin.h>
#endif

namespace siglum::kv {

#if defined(SIGLUM_AVX512)
namespace {

struct Lanes {
  static constexpr std::size_t width = 16;
  static __m512 load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, __m512 v) { _mm512_storeu_ps(p, v); }
  static __m512 broadcast(float v) { return _mm512_set1_ps(v); }
  static __m512 subtract(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
  static __m512 multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
  static __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
  static float total(__m512 v) { return _mm512_reduce_add_ps(v); }
  static __m512 load_half(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_half(std::uint16_t* p, __m512 v) {
    const __m512 finite = _mm512_max_ps(_mm512_min_ps(v, _mm512_set1_ps(65504.0f)), _mm512_set1_ps(-65504.0f));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT));
  }
};

#include "kv_kernel.inc"

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::kv
