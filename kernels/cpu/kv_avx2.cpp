// AVX2 variant of the loops over samples of a cache.
#include "kv_half.hpp"
#include "kv_kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define SIGLUM_AVX2 1
#include <immintrin.h>
#endif

namespace siglum::kv {

#if defined(SIGLUM_AVX2)
namespace {

struct Lanes {
  static constexpr std::size_t width = 8;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
  static __m256 broadcast(float v) { return _mm256_set1_ps(v); }
  static __m256 subtract(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
  static __m256 multiply(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
  static __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
  static float total(__m256 v) {
    float parts[8], sum = 0;
    _mm256_storeu_ps(parts, v);
    for (float part : parts) sum += part;
    return sum;
  }
  static __m256 load_half(const std::uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_half(std::uint16_t* p, __m256 v) {
    const __m256 finite = _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(65504.0f)), _mm256_set1_ps(-65504.0f));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT));
  }
};

#include "kv_kernel.inc"

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::kv
