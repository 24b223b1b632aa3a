// What each instruction set implements of tables that are made for a single symbol: Gaussians over a codebook, mixtures. Plain pointers only: the files that are
// compiled with special flags must not instantiate shared templates, or the linker may keep a copy that other CPUs
// cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::codebook {

constexpr size_t kLanes = 16;  // every table is padded to whole multiples

// 2^(24 - i/16) and 1/256 of the difference to the next; at x/4096 beyond i/16: level - step * x, x in 0..255.
struct Exponentials {
  int32_t level[16];
  int32_t step[16];
};

// Tables of points, all padded to the same length: points [table][pairs][padded][2], biases [table][padded], at least
// -2^30.
struct Points {
  const int16_t* points;
  const int32_t* bias;
  size_t pairs, padded;
};

struct Kernels {
  // distances[table][p] = min(energy, 2^29) - bias of the points of the chosen tables; returns the least. Means and
  // rates are [pairs][2].
  int32_t (*distances)(const Points& points, const uint32_t* chosen, size_t count, const int16_t* mean,
                       const int16_t* rate, int32_t* distances);

  // Turns the distances of the chosen tables, none below `least`, into weights of at most 2^16 in place; sums[table]
  // is their sum in each. Returns the sum of all.
  uint64_t (*weights)(int32_t* distances, size_t padded, const uint32_t* chosen, size_t count, int32_t least,
                      const Exponentials& exponentials, int32_t* sums);

  // frequencies[p] = 1 + (weights[p] * factor >> 32). Returns the sum of all, with the padding.
  uint32_t (*shares)(const int32_t* weights, size_t padded, uint32_t factor, uint32_t* frequencies);

  // The first of the largest.
  size_t (*first_largest)(const int32_t* weights, size_t padded);

  // sums[p] += factor * values[p], which must not overflow.
  void (*add_multiples)(int32_t* sums, const int32_t* values, int32_t factor, size_t n);

  // row[p] = frequencies[0] + ... + frequencies[p], modulo 2^16.
  void (*cumulate)(const uint32_t* frequencies, size_t padded, uint16_t* row);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

// The variant of that name, the plain one where it has none; throws std::invalid_argument if this CPU or this build
// has no such instructions. In codebook.cpp.
const Kernels& require_kernels(const char* isa);

}  // namespace siglum::codebook
