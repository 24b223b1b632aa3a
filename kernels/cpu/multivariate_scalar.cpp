// Plain variant of the multivariate Gaussian's sums.
#include "multivariate_kernels.hpp"

namespace siglum::multivariate {
namespace {

void add_products(uint64_t* sums, const int32_t* factors, const int32_t* residuals, size_t n) {
  for (size_t v = 0; v < n; ++v) sums[v] += static_cast<uint64_t>(int64_t{factors[v]} * residuals[v]);
}

void add_multiples(uint64_t* sums, int32_t factor, const int32_t* residuals, size_t n) {
  for (size_t v = 0; v < n; ++v) sums[v] += static_cast<uint64_t>(int64_t{factor} * residuals[v]);
}

}  // namespace

const Kernels* scalar_kernels() {
  static constexpr Kernels kernels = {add_products, add_multiples};
  return &kernels;
}

}  // namespace siglum::multivariate
