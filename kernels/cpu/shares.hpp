// Frequencies in proportion to integer weights, for tables that are built for a single symbol.
//
// Of n weights w (int32, not negative, sum W < 2^47): frequency 1 + (w * factor >> 32), with
// factor = ((2^precision - n) << 32) / W; what is missing to 2^precision goes to the largest weight, the first of
// equals. Not for files with ISA flags.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace siglum {

inline uint32_t share_factor(size_t count, uint64_t total, unsigned precision) {
  const uint64_t factor = (uint64_t{(1u << precision) - static_cast<uint32_t>(count)} << 32) / total;
  return static_cast<uint32_t>(std::min<uint64_t>(factor, 0xffffffffu));
}

inline void give_rest(const int32_t* weights, size_t count, unsigned precision, uint32_t* frequencies) {
  uint32_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum += frequencies[i];
  int32_t largest = weights[0];
  for (size_t i = 1; i < count; ++i) largest = std::max(largest, weights[i]);
  size_t first = 0;
  while (weights[first] != largest) ++first;
  frequencies[first] += (1u << precision) - sum;
}

// Cumulative row of `width` + 1 values; beyond `count` the last one repeats.
inline void write_row(const uint32_t* frequencies, size_t count, size_t width, uint16_t* row) {
  uint32_t sum = 0;
  row[0] = 0;
  for (size_t i = 0; i < count; ++i) row[i + 1] = static_cast<uint16_t>(sum += frequencies[i]);
  for (size_t i = count; i < width; ++i) row[i + 1] = static_cast<uint16_t>(sum);
}

inline void write_entry(const uint32_t* frequencies, size_t entry, uint16_t& start, uint16_t& frequency) {
  uint32_t sum = 0;
  for (size_t i = 0; i < entry; ++i) sum += frequencies[i];
  start = static_cast<uint16_t>(sum);
  frequency = static_cast<uint16_t>(frequencies[entry]);
}

}  // namespace siglum
