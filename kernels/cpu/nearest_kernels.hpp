// What each instruction set implements of the search for the nearest codeword. Plain pointers only: the files that
// are compiled with special flags must not instantiate shared templates, or the linker may keep a copy that other
// CPUs cannot run.
//
// The arithmetic is the same everywhere, to the bit: the score of a codeword c for a vector x starts at
// -(|c|^2 + bias) / 2 and takes one fused multiply-add a dimension, in order; the largest score wins, the first of
// equals. Vectors lie side by side in the lanes, so that none depends on its neighbours and codewords meet the best
// one so far in order of their indices.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::nearest {

constexpr std::size_t tile = 6;    // codewords that are scored together
constexpr std::size_t block = 64;  // vectors that are worked on together

// Codewords packed [tiles][dimension][tile], their starts [tiles][tile]; those that fill up the last tile start at
// minus infinity.
struct Codebook {
  const float* data;
  const float* start;
  std::size_t tiles, dimension;
};

struct Kernels {
  // Whether all magnitudes are at most `limit`, which infinity and what is no number are not.
  bool (*within)(const float* values, std::size_t count, float limit);

  // x is [dimension][block], `count` vectors of it are looked at, and some more up to a whole register, so that all
  // must be finite; best and index have `block` entries.
  void (*search)(const float* x, std::size_t count, const Codebook& codebook, float* best, std::int32_t* index);

  // The best `wanted` of every vector, best first; scores and indices are [wanted][block].
  void (*top)(const float* x, std::size_t count, const Codebook& codebook, std::size_t wanted, float* scores,
              std::int32_t* indices);
};

const Kernels* scalar_kernels();
const Kernels* neon_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::nearest
