// AVX-512 variant of the float network.
#include "float_network_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define SIGLUM_AVX512 1
#include <immintrin.h>
#endif

namespace siglum::float_network {

#if defined(SIGLUM_AVX512)
namespace {

struct Lanes {
  static constexpr int width = 16, positions = 8, vectors = 3;

  using Vector = __m512;
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector activation(Vector v) {
    const Vector gate = _mm512_min_ps(_mm512_max_ps(_mm512_add_ps(v, _mm512_set1_ps(0.5f)), _mm512_setzero_ps()),
                                      _mm512_set1_ps(1.0f));
    return _mm512_mul_ps(v, gate);
  }
};

#include "float_network_kernel.inc"

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::float_network
