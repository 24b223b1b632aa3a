#include "nearest.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "isa.hpp"
#include "nearest_block.hpp"
#include "parallel.hpp"

namespace siglum::nearest {
namespace {

constexpr std::size_t max_dimension = 1u << 20;

// The next block is on its way while this one is searched.
void prefetch(const float* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p, 0, 2);
#else
  static_cast<void>(p);
#endif
}

// |x - c|^2 + bias. Eight sums side by side, which compilers turn into vectors, put together in a fixed order.
float distance(const float* x, const Packed& codebook, std::int32_t at) {
  const std::size_t dimension = codebook.dimension();
  const float* c = codebook.codeword(static_cast<std::size_t>(at));
  float sums[8] = {};
  std::size_t d = 0;
  for (; d + 8 <= dimension; d += 8) {
    for (std::size_t k = 0; k < 8; ++k) {
      const float difference = x[d + k] - c[d + k];
      sums[k] += difference * difference;
    }
  }
  for (std::size_t k = 0; d < dimension; ++d, ++k) {
    const float difference = x[d] - c[d];
    sums[k] += difference * difference;
  }
  for (std::size_t k = 0; k < 4; ++k) sums[k] += sums[k + 4];
  return (sums[0] + sums[2]) + (sums[1] + sums[3]) + codebook.bias(static_cast<std::size_t>(at));
}

// A block of vectors, [dimension][block], and what is known of each.
class Block {
 public:
  explicit Block(std::size_t dimension) : dimension_(dimension), limit_(limit_of(dimension)), x_(dimension) {}

  // Vectors [first, first + count); false if one of them is not finite.
  bool load(const Kernels& kernels, const Vectors& x, std::size_t first, std::size_t count, First& bad) {
    count_ = count;
    const float* from = x.data + first * dimension_;
    if (!kernels.within(from, count * dimension_, limit_)) {
      for (std::size_t i = 0; i < count; ++i) {
        if (!kernels.within(from + i * dimension_, dimension_, limit_)) bad.report(first + i);
      }
      return false;
    }
    transpose(from, count, dimension_, x_.data());
    const float* end = x.data + std::min(first + 2 * count, x.count) * dimension_;
    for (const float* next = from + count * dimension_; next < end; next += 16) prefetch(next);
    return true;
  }

  void search(const Kernels& kernels, const Packed& codebook) {
    kernels.search(data(), count_, codebook.view(), best, index);
  }

  // x - c into x, for the codewords that `index` names.
  void subtract(const Packed& codebook) {
    for (std::size_t i = 0; i < count_; ++i) {
      const float* c = codebook.codeword(static_cast<std::size_t>(index[i]));
      for (std::size_t d = 0; d < dimension_; ++d) x_[d].at[i] -= c[d];
    }
  }

  void store(float* to) const {
    for (std::size_t i = 0; i < count_; ++i) {
      for (std::size_t d = 0; d < dimension_; ++d) to[i * dimension_ + d] = x_[d].at[i];
    }
  }

  const float* data() const { return x_.front().at; }

  alignas(64) float best[block];
  alignas(64) std::int32_t index[block];

 private:
  std::size_t dimension_, count_ = 0;
  float limit_;
  std::vector<Row> x_;
};

// Calls work(part, first, count) for blocks of vectors, on a team of threads.
template <class Work>
std::size_t for_blocks(const Kernels& kernels, const Vectors& x, std::size_t codewords, std::size_t threads,
                       const Work& work) {
  First bad;
  Team team(threads_for(threads, x.count * x.dimension * codewords));
  const std::size_t blocks = (x.count + block - 1) / block;
  team.rows(blocks, [&](std::size_t begin, std::size_t end) {
    Block vectors(x.dimension);
    for (std::size_t b = begin; b < end; ++b) {
      const std::size_t first = b * block, count = std::min(block, x.count - first);
      if (vectors.load(kernels, x, first, count, bad)) work(vectors, first, count);
    }
  });
  return bad.value();
}

}  // namespace

const Kernels* find_kernels(const char* isa) {
  if (!cpu_has(isa)) return nullptr;
  if (!std::strcmp(isa, "neon")) return neon_kernels();
  if (!std::strcmp(isa, "avx2")) return avx2_kernels();
  if (!std::strcmp(isa, "avx512")) return avx512_kernels();
  return scalar_kernels();
}

float limit_of(std::size_t dimension) {
  return std::ldexp(1.0f, 62) / std::sqrt(static_cast<float>(dimension));
}

Packed::Packed(const float* codewords, std::size_t count, std::size_t dimension, const float* bias)
    : count_(count), dimension_(dimension) {
  if (!count || !dimension) throw std::invalid_argument("a codebook has at least one codeword of one dimension");
  if (count > std::numeric_limits<std::int32_t>::max() - tile || dimension > max_dimension) {
    throw std::invalid_argument("a codebook has at most 2^31 codewords of 2^20 dimensions");
  }
  if (!scalar_kernels()->within(codewords, count * dimension, limit_of(dimension))) {
    throw std::invalid_argument("codewords must be finite, and small enough for float32 distances");
  }
  if (bias && !scalar_kernels()->within(bias, count, std::ldexp(1.0f, 124))) {
    throw std::invalid_argument("bias must be finite, and small enough for float32 distances");
  }
  const std::size_t tiles = (count + tile - 1) / tile;
  rows_.assign(codewords, codewords + count * dimension);
  data_.resize(tiles * dimension * tile);
  start_.assign(tiles * tile, -std::numeric_limits<float>::infinity());
  if (bias) bias_.assign(bias, bias + count);
  for (std::size_t k = 0; k < count; ++k) {
    const float* from = codewords + k * dimension;
    float* to = data_.data() + k / tile * tile * dimension + k % tile;
    double norm = bias ? bias[k] : 0.0;
    for (std::size_t d = 0; d < dimension; ++d) {
      to[d * tile] = from[d];
      norm += static_cast<double>(from[d]) * from[d];
    }
    start_[k] = static_cast<float>(-0.5 * norm);
  }
}

std::size_t search(const Kernels& kernels, const Vectors& x, const Packed& codebook, std::int32_t* indices,
                   float* distances, std::size_t threads) {
  return for_blocks(kernels, x, codebook.count(), threads, [&](Block& part, std::size_t first, std::size_t count) {
    part.search(kernels, codebook);
    std::copy_n(part.index, count, indices + first);
    if (!distances) return;
    for (std::size_t i = 0; i < count; ++i) {
      distances[first + i] = distance(x.data + (first + i) * x.dimension, codebook, part.index[i]);
    }
  });
}

std::size_t top(const Kernels& kernels, const Vectors& x, const Packed& codebook, std::size_t wanted,
                std::int32_t* indices, float* distances, std::size_t threads) {
  return for_blocks(kernels, x, codebook.count(), threads, [&](Block& part, std::size_t first, std::size_t count) {
    std::vector<float> scores(block * wanted);
    std::vector<std::int32_t> found(block * wanted);
    kernels.top(part.data(), count, codebook.view(), wanted, scores.data(), found.data());
    for (std::size_t i = 0; i < count; ++i) {
      float least = -std::numeric_limits<float>::infinity();
      for (std::size_t place = 0; place < wanted; ++place) {
        const std::int32_t at = found[place * block + i];
        least = std::max(least, distance(x.data + (first + i) * x.dimension, codebook, at));  // scores are rounded another way
        indices[(first + i) * wanted + place] = at;
        distances[(first + i) * wanted + place] = least;
      }
    }
  });
}

std::size_t residual(const Kernels& kernels, const Vectors& x, const std::vector<const Packed*>& stages,
                     std::int32_t* codes, float* left, std::size_t threads) {
  std::size_t codewords = 0;
  for (const Packed* stage : stages) codewords += stage->count();
  return for_blocks(kernels, x, codewords, threads, [&](Block& part, std::size_t first, std::size_t count) {
    for (std::size_t s = 0; s < stages.size(); ++s) {
      part.search(kernels, *stages[s]);
      for (std::size_t i = 0; i < count; ++i) codes[(first + i) * stages.size() + s] = part.index[i];
      if (left || s + 1 < stages.size()) part.subtract(*stages[s]);
    }
    if (left) part.store(left + first * x.dimension);
  });
}

std::size_t accumulate(const Vectors& x, const std::int32_t* indices, std::size_t codewords, std::int64_t* counts,
                       float* sums, std::size_t threads) {
  const std::size_t dimension = x.dimension;
  const float most = std::numeric_limits<float>::max();
  First bad;
  Team team(threads_for(threads, 8 * x.count * dimension));
  team.rows(x.count, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const bool known = indices[i] >= 0 && static_cast<std::size_t>(indices[i]) < codewords;
      if (!known || !scalar_kernels()->within(x.data + i * dimension, dimension, most)) return bad.report(i);
    }
  });
  if (bad.value() != all_finite) return bad.value();
  // A thread owns codewords, not vectors: sums are the same for any number of threads.
  team.rows(codewords, [&](std::size_t begin, std::size_t end) {
    std::fill(counts + begin, counts + end, 0);
    std::fill(sums + begin * dimension, sums + end * dimension, 0.0f);
    for (std::size_t i = 0; i < x.count; ++i) {
      const std::size_t index = static_cast<std::size_t>(indices[i]);
      if (index < begin || index >= end) continue;
      ++counts[index];
      const float* from = x.data + i * dimension;
      float* to = sums + index * dimension;
      for (std::size_t d = 0; d < dimension; ++d) to[d] += from[d];
    }
  });
  return all_finite;
}

}  // namespace siglum::nearest
