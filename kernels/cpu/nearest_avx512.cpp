// AVX-512 variant of the search for the nearest codeword.
#include "isa.hpp"
#include "nearest_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define SIGLUM_AVX512 1
#include <immintrin.h>
#endif

namespace siglum::nearest {

#if defined(SIGLUM_AVX512)
namespace {

constexpr float lowest = -__builtin_inff();

struct Lanes {
  static constexpr int width = 16, vectors = 4;

  using Vector = __m512;
  using Index = __m512i;
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Index broadcast_index(std::int32_t i) { return _mm512_set1_epi32(i); }
  static Index load_index(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_index(std::int32_t* p, Index i) { _mm512_storeu_si512(p, i); }
  static void keep(Vector score, Index at, Vector& best, Index& index) {
    const __mmask16 better = _mm512_cmp_ps_mask(score, best, _CMP_GT_OQ);
    best = _mm512_max_ps(score, best);
    index = _mm512_mask_mov_epi32(index, better, at);
  }

  using Mask = __mmask16;
  static Mask greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static bool any(Mask mask) { return mask != 0; }
  static Vector choose(Mask mask, Vector a, Vector b) { return _mm512_mask_mov_ps(b, mask, a); }
  static Index choose_index(Mask mask, Index a, Index b) { return _mm512_mask_mov_epi32(b, mask, a); }
};

#include "nearest_kernel.inc"

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::nearest
