#include "phases.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace siglum::phases {
void lean(const Grid<const std::int16_t>& factors, const Grid<std::int16_t>& deviation, const Grid<float>& mean,
          int phase, std::size_t threads,
          const Rows& row_functions) {
  const Place first = positions[phase];
  const std::size_t row = static_cast<std::size_t>(first.row), column = static_cast<std::size_t>(first.column);
  if (deviation.rows <= row || deviation.columns <= column) return;
  const std::size_t rows = (deviation.rows - row + 1) / 2, columns = (deviation.columns - column + 1) / 2;
  if (!phase) {
    latents::over(rows, columns, deviation.channels, threads, [&](std::size_t y, std::size_t x) {
      std::fill_n(deviation.at(2 * y, 2 * x), deviation.channels, std::int16_t{0});
    });
    return;
  }
  const std::vector<std::int16_t> nothing(deviation.channels, 0);
  latents::over(rows, columns, deviation.channels, threads, [&](std::size_t y, std::size_t x) {
    const std::size_t at_row = 2 * y + row, at_column = 2 * x + column;
    const std::int16_t* known[neighbours];
    find_neighbours(deviation, phase, at_row, at_column, nothing.data(), known);
    row_functions.lean(factors.at(at_row, at_column), known, deviation.at(at_row, at_column),
                       mean.at(at_row, at_column), deviation.channels);
  });
}

void settle(const Grid<const std::int32_t>& symbols, const Grid<std::int16_t>& deviation, std::size_t threads,
          const Rows& row_functions) {
  latents::over(symbols.rows, symbols.columns, symbols.channels, threads, [&](std::size_t y, std::size_t x) {
    row_functions.settle(symbols.at(y, x), deviation.at(y, x), symbols.channels);
  });
}

void join(const Grid<const std::int16_t>& features, const Grid<const std::int16_t>& deviation,
          const std::int32_t* gain, std::int32_t limit, const Grid<std::int16_t>& out, std::size_t threads,
          const Rows& row_functions) {
  latents::over(out.rows, out.columns, out.channels, threads, [&](std::size_t y, std::size_t x) {
    std::int16_t* const to = out.at(y, x);
    std::memcpy(to, features.at(y, x), features.channels * sizeof(std::int16_t));
    std::int16_t* const context = to + features.channels;
    row_functions.context(deviation.at(y, x), gain, limit, context, context + deviation.channels, deviation.channels);
  });
}

}  // namespace siglum::phases
