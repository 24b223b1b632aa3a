// AVX2 and FMA variant of the float network.
#include "float_network_kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#define SIGLUM_AVX2 1
#include <immintrin.h>
#endif

namespace siglum::float_network {

#if defined(SIGLUM_AVX2)
namespace {

struct Lanes {
  static constexpr int width = 8, positions = 4, vectors = 3;

  using Vector = __m256;
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector activation(Vector v) {
    const Vector gate = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(v, _mm256_set1_ps(0.5f)), _mm256_setzero_ps()),
                                      _mm256_set1_ps(1.0f));
    return _mm256_mul_ps(v, gate);
  }
};

#include "float_network_kernel.inc"

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::float_network
