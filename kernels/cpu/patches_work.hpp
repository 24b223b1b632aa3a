// What the two files of the patch coder share: the order of positions, and the memory of a tile.
#pragma once

#include <vector>

#include "patches.hpp"

namespace siglum::patches {

// The first column of a phase in a row of positions, and the step to the next; a step of 0: there is none.
struct Columns {
  std::size_t first, step;
};

inline Columns columns_of(std::size_t group, std::size_t phase, std::size_t row) {
  const std::size_t odd = row & 1;
  if (group == 0) {
    if (phase == 0) return {0, odd ? 0u : 2u};
    if (phase == 1) return {1, odd ? 2u : 0u};
    return {odd ? 0u : 1u, 2};
  }
  if (group == 1) return {phase == 0 ? odd : 1 - odd, 2};
  return {0, 1};
}

// What one tile needs in memory.
struct Coder::Work {
  std::size_t rows = 0, columns = 0, positions = 0;
  std::size_t stride = 0;  // channels that are coded: those of the groups that are there
  std::vector<std::int16_t> values, symbols, seen, hidden, mixed, raw, means, coded;
  std::vector<std::uint8_t> index;
  std::int16_t active[channels] = {};

  void resize(std::size_t height, std::size_t width) {
    rows = height, columns = width, positions = height * width;
    symbols.assign(positions * stride, 0);
    seen.assign(positions * stride, 0);
    hidden.resize(positions * 64);
    mixed.resize(positions * 64);
    raw.resize(positions * 64);
    means.resize(positions * group_sizes[0]);
    coded.resize(positions * 64 + 64);
    index.resize(positions * 64 + 64);
  }
};

}  // namespace siglum::patches
