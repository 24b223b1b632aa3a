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

inline void write_entry(const uint32_t* frequencies, size_t entry, uint16_t& start, uint16_t& frequency) {
  uint32_t sum = 0;
  for (size_t i = 0; i < entry; ++i) sum += frequencies[i];
  start = static_cast<uint16_t>(sum);
  frequency = static_cast<uint16_t>(frequencies[entry]);
}

}  // namespace siglum
