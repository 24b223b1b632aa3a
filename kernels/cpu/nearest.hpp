// The nearest codeword to each vector, and what training does with the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nearest_kernels.hpp"

namespace siglum::nearest {

// nullptr where the CPU or the build has none; isa as in isa.hpp.
const Kernels* find_kernels(const char* isa);

// Largest magnitude of an element: no score overflows.
float limit_of(std::size_t dimension);

// Codewords in the order that the kernels read; the same for every instruction set.
class Packed {
 public:
  // codewords [count][dimension], bias [count] or nullptr; throws std::invalid_argument.
  Packed(const float* codewords, std::size_t count, std::size_t dimension, const float* bias);

  std::size_t count() const { return count_; }
  std::size_t dimension() const { return dimension_; }
  float bias(std::size_t codeword) const { return bias_.empty() ? 0.0f : bias_[codeword]; }
  Codebook view() const { return {data_.data(), start_.data(), start_.size() / tile, dimension_}; }
  const float* codeword(std::size_t index) const { return rows_.data() + index * dimension_; }

 private:
  std::size_t count_, dimension_;
  std::vector<float> data_, rows_, start_, bias_;
};

// Vectors [count][dimension].
struct Vectors {
  const float* data;
  std::size_t count, dimension;
};

constexpr std::size_t all_finite = ~std::size_t{0};

// All return the first vector that has an element beyond limit_of(dimension) or none at all, else all_finite; then
// the results are whole. Distances may be nullptr: |x - c|^2 + bias, in float32, in the same order everywhere.
std::size_t search(const Kernels& kernels, const Vectors& x, const Packed& codebook, std::int32_t* indices,
                   float* distances, std::size_t threads);
// indices and distances [count][wanted]; distances do not decrease along a row.
std::size_t top(const Kernels& kernels, const Vectors& x, const Packed& codebook, std::size_t wanted,
                std::int32_t* indices, float* distances, std::size_t threads);
// Each stage takes what the one before left; codes [count][stages], left [count][dimension] or nullptr.
std::size_t residual(const Kernels& kernels, const Vectors& x, const std::vector<const Packed*>& stages,
                     std::int32_t* codes, float* left, std::size_t threads);

// As residual, with the best `width` partial solutions kept at every stage (1 to `block`): of those with one code more,
// the ones with the least |rest|^2 + biases, of equals the one whose parent was better, then the lower index.
std::size_t beam(const Kernels& kernels, const Vectors& x, const std::vector<const Packed*>& stages, std::size_t width,
                 std::int32_t* codes, std::size_t threads);

// counts [codewords] and sums [codewords][dimension] of the vectors of each index, added in the order of vectors.
// Returns the first vector whose index is none of a codeword, or that is not finite, else all_finite.
std::size_t accumulate(const Vectors& x, const std::int32_t* indices, std::size_t codewords, std::int64_t* counts,
                       float* sums, std::size_t threads);

}  // namespace siglum::nearest
