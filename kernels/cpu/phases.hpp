// Latents of a group of channels as a Gaussian over neighbouring positions, phase after phase, in integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "latents.hpp"
#include "latents_rows.hpp"

namespace siglum::phases {

using latents::Grid;
using latents::Rows;

constexpr int phases = 4, neighbours = 4;

struct Place {
  int row, column;
};

constexpr Place positions[phases] = {{0, 0}, {1, 1}, {0, 1}, {1, 0}};
constexpr Place diagonal[neighbours] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
constexpr Place direct[neighbours] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};

// Where the deviations of the neighbours stand that (y, x) leans on in a phase but the first; `nothing` beyond the
// border.
inline void find_neighbours(const Grid<std::int16_t>& deviation, int phase, std::size_t y, std::size_t x,
                            const std::int16_t* nothing, const std::int16_t* (&known)[neighbours]) {
  for (int n = 0; n < neighbours; ++n) {
    const Place by = phase == 1 ? diagonal[n] : direct[n];
    // Of unsigned numbers, so that what lies before the first row or column is beyond the last.
    const std::size_t row = y + static_cast<std::size_t>(by.row), column = x + static_cast<std::size_t>(by.column);
    known[n] = row < deviation.rows && column < deviation.columns ? deviation.at(row, column) : nothing;
  }
}

// Deviations, int16 in 1/32 of a step, of a phase's positions become the pull of their neighbours of earlier phases,
// sum(factor * deviation) with factors in 1/256, at most 512; the pull is added to the means. Zero beyond the border.
void lean(const Grid<const std::int16_t>& factors, const Grid<std::int16_t>& deviation, const Grid<float>& mean,
          int phase, std::size_t threads, const Rows& row_functions);

// deviation += 32 * symbol, saturated, over all positions of the grids; symbols count as at most +-32767.
void settle(const Grid<const std::int32_t>& symbols, const Grid<std::int16_t>& deviation, std::size_t threads, const Rows& row_functions);

// Features, then contexts clamp((deviation * gain + 512) >> 10, -limit, limit) with 0 <= gain <= 65535, then
// magnitudes: log2(1 + |deviation| / 32) in 1/1024, linear between the powers of 2.
void join(const Grid<const std::int16_t>& features, const Grid<const std::int16_t>& deviation,
          const std::int32_t* gain, std::int32_t limit, const Grid<std::int16_t>& out, std::size_t threads, const Rows& row_functions);

}  // namespace siglum::phases
