// AVX2 variant of the search for the nearest codeword.
#include "isa.hpp"
#include "nearest_kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#define SIGLUM_AVX2 1
#include <immintrin.h>
#endif

namespace siglum::nearest {

#if defined(SIGLUM_AVX2)
namespace {

constexpr float lowest = -__builtin_inff();

struct Lanes {
  static constexpr int width = 8, vectors = 2;

  using Vector = __m256;
  using Index = __m256i;
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Index broadcast_index(std::int32_t i) { return _mm256_set1_epi32(i); }
  static Index load_index(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store_index(std::int32_t* p, Index i) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), i); }
  static void keep(Vector score, Index at, Vector& best, Index& index) {
    const __m256 better = _mm256_cmp_ps(score, best, _CMP_GT_OQ);
    best = _mm256_max_ps(score, best);
    index = _mm256_blendv_epi8(index, at, _mm256_castps_si256(better));
  }

  using Mask = __m256;
  static Mask greater(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
  static bool any(Mask mask) { return _mm256_movemask_ps(mask) != 0; }
  static Vector choose(Mask mask, Vector a, Vector b) { return _mm256_blendv_ps(b, a, mask); }
  static Index choose_index(Mask mask, Index a, Index b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(mask)); }
};

#include "nearest_kernel.inc"

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::nearest
