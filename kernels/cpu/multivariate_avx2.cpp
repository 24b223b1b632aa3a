// AVX2 variant of the multivariate Gaussian's sums.
#include "multivariate_kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace siglum::multivariate {

#if defined(__AVX2__)
namespace {

constexpr size_t kLanes = 4;
using Vector = __m256i;

Vector load(const int32_t* p) { return _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

void add(uint64_t* sums, Vector products) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), _mm256_add_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)), products));
}

void add_products(uint64_t* sums, const int32_t* factors, const int32_t* residuals, size_t n) {
  size_t v = 0;
  for (; v + kLanes <= n; v += kLanes) add(sums + v, _mm256_mul_epi32(load(factors + v), load(residuals + v)));
  for (; v < n; ++v) sums[v] += static_cast<uint64_t>(int64_t{factors[v]} * residuals[v]);
}

void add_multiples(uint64_t* sums, int32_t factor, const int32_t* residuals, size_t n) {
  const Vector by = _mm256_set1_epi64x(factor);
  size_t v = 0;
  for (; v + kLanes <= n; v += kLanes) add(sums + v, _mm256_mul_epi32(by, load(residuals + v)));
  for (; v < n; ++v) sums[v] += static_cast<uint64_t>(int64_t{factor} * residuals[v]);
}

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr Kernels kernels = {add_products, add_multiples};
  return &kernels;
}
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::multivariate
