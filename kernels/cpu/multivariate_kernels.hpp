// What each instruction set implements of the multivariate Gaussian. Plain pointers only: the files that are compiled
// with special flags must not instantiate shared templates, or the linker may keep a copy that other CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::multivariate {

struct Kernels {
  // sums[v] += factors[v] * residuals[v], modulo 2^64.
  void (*add_products)(uint64_t* sums, const int32_t* factors, const int32_t* residuals, size_t n);
  // sums[v] += factor * residuals[v], modulo 2^64.
  void (*add_multiples)(uint64_t* sums, int32_t factor, const int32_t* residuals, size_t n);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::multivariate
