// What each instruction set implements of the Gaussian over a codebook. Plain pointers only: the files that are
// compiled with special flags must not instantiate shared templates, or the linker may keep a copy that other CPUs
// cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::codebook {

constexpr size_t kLanes = 16;  // every table is padded to whole multiples

// 2^(24 - i/16) and the differences to the next; value at x/4096 beyond i/16: level - step * x, x in 0..255.
struct Exponentials {
  int32_t level[16];
  int32_t step[16];
};

struct Kernels {
  // distances[p] = min(energy of point p, 2^30) - bias[p]; returns the least. Points are [pairs][padded][2], means
  // and rates [pairs][2]. Biases are at least -2^29.
  int32_t (*distances)(const int16_t* points, size_t pairs, size_t padded, const int16_t* mean, const int16_t* rate,
                       const int32_t* bias, int32_t* distances);

  // Turns distances, none below `least`, into weights of at most 2^16 in place; returns their sum.
  uint64_t (*weights)(int32_t* distances, size_t padded, int32_t least, const Exponentials& exponentials);

  // frequencies[p] = 1 + (weights[p] * factor >> 32).
  void (*shares)(const int32_t* weights, size_t padded, uint32_t factor, uint32_t* frequencies);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::codebook
