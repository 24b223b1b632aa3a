// What searches share that work on blocks of vectors. Not for files with ISA flags.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "nearest.hpp"

namespace siglum::nearest {

constexpr std::size_t macs_per_thread = 1u << 22;  // fewer are done before a thread has started

inline std::size_t threads_for(std::size_t threads, std::size_t macs) {
  return std::max<std::size_t>(1, std::min(threads, macs / macs_per_thread));
}

// Rows of one dimension each, on whole cache lines.
struct alignas(64) Row {
  float at[block];
};

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SIGLUM_SHUFFLES 1
#endif
#endif

#if defined(SIGLUM_SHUFFLES)
// Dimensions [0, 4) of vectors [0, 4).
inline void transpose4(const float* from, std::size_t stride, Row* to, std::size_t i) {
  using Four = float __attribute__((vector_size(16)));
  Four v[4];
  for (int k = 0; k < 4; ++k) std::memcpy(&v[k], from + static_cast<std::size_t>(k) * stride, sizeof v[k]);
  const Four low = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), high = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Four low2 = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), high2 = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  const Four rows[4] = {
      __builtin_shufflevector(low, low2, 0, 1, 4, 5), __builtin_shufflevector(low, low2, 2, 3, 6, 7),
      __builtin_shufflevector(high, high2, 0, 1, 4, 5), __builtin_shufflevector(high, high2, 2, 3, 6, 7)};
  for (int k = 0; k < 4; ++k) std::memcpy(to[k].at + i, &rows[k], sizeof rows[k]);
}
#else
inline void transpose4(const float* from, std::size_t stride, Row* to, std::size_t i) {
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::size_t d = 0; d < 4; ++d) to[d].at[i + k] = from[k * stride + d];
  }
}
#endif

inline void transpose(const float* from, std::size_t count, std::size_t dimension, Row* to) {
  const std::size_t fours = count / 4 * 4;
  std::size_t d = 0;
  for (; d + 4 <= dimension; d += 4) {
    for (std::size_t i = 0; i < fours; i += 4) transpose4(from + i * dimension + d, dimension, to + d, i);
  }
  for (std::size_t i = 0; i < fours; ++i) {
    for (std::size_t rest = d; rest < dimension; ++rest) to[rest].at[i] = from[i * dimension + rest];
  }
  for (std::size_t i = fours; i < count; ++i) {
    for (std::size_t all = 0; all < dimension; ++all) to[all].at[i] = from[i * dimension + all];
  }
}

// The smallest of what threads report.
class First {
 public:
  void report(std::size_t vector) {
    std::size_t seen = value_.load();
    while (vector < seen && !value_.compare_exchange_weak(seen, vector)) {
    }
  }
  std::size_t value() const { return value_.load(); }

 private:
  std::atomic<std::size_t> value_{all_finite};
};

}  // namespace siglum::nearest
