#include "phases.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace siglum::phases {
namespace {

struct Place {
  int row, column;
};

constexpr Place positions[phases] = {{0, 0}, {1, 1}, {0, 1}, {1, 0}};
constexpr Place diagonal[neighbours] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
constexpr Place direct[neighbours] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};

constexpr std::int32_t lowest = -32768, highest = 32767;

std::int16_t saturated(std::int32_t value) {
  return static_cast<std::int16_t>(std::min(std::max(value, lowest), highest));
}

}  // namespace

void lean(const Grid<const std::int16_t>& factors, const Grid<std::int16_t>& deviation, const Grid<float>& mean,
          int phase, std::size_t threads) {
  const auto channels = static_cast<std::ptrdiff_t>(deviation.channels);
  const Place first = positions[phase];
  const Place* const around = phase == 1 ? diagonal : direct;
  const std::size_t row = static_cast<std::size_t>(first.row), column = static_cast<std::size_t>(first.column);
  if (deviation.rows <= row || deviation.columns <= column) return;
  const std::size_t rows = (deviation.rows - row + 1) / 2, columns = (deviation.columns - column + 1) / 2;
  if (!phase) {
    latents::over(rows, columns, deviation.channels, threads, [&](std::size_t y, std::size_t x) {
      std::fill_n(deviation.at(2 * y, 2 * x), channels, std::int16_t{0});
    });
    return;
  }
  const std::vector<std::int16_t> nothing(deviation.channels, 0);
  latents::over(rows, columns, deviation.channels, threads, [&](std::size_t y, std::size_t x) {
    const std::size_t at_row = 2 * y + row, at_column = 2 * x + column;
    const std::int16_t* known[neighbours];
    for (int n = 0; n < neighbours; ++n) {
      // Of unsigned numbers, so that what lies before the first row or column is beyond the last.
      const std::size_t r = at_row + static_cast<std::size_t>(around[n].row);
      const std::size_t c = at_column + static_cast<std::size_t>(around[n].column);
      known[n] = r < deviation.rows && c < deviation.columns ? deviation.at(r, c) : nothing.data();
    }
    const std::int16_t* const factor = factors.at(at_row, at_column);
    std::int16_t* const to = deviation.at(at_row, at_column);
    float* const means = mean.at(at_row, at_column);
    const std::int16_t *const a = known[0], *const b = known[1], *const c = known[2], *const d = known[3];
    for (std::ptrdiff_t i = 0; i < channels; ++i) {
      const std::int32_t total = factor[i] * a[i] + factor[channels + i] * b[i] + factor[2 * channels + i] * c[i] +
                                 factor[3 * channels + i] * d[i];
      means[i] += static_cast<float>(total) * (1.0f / 8192.0f);
      to[i] = saturated((total + 128) >> 8);
    }
  });
}

void settle(const Grid<const std::int32_t>& symbols, const Grid<std::int16_t>& deviation, std::size_t threads) {
  latents::over(symbols.rows, symbols.columns, symbols.channels, threads, [&](std::size_t y, std::size_t x) {
    const std::int32_t* const from = symbols.at(y, x);
    std::int16_t* const to = deviation.at(y, x);
    for (std::size_t i = 0; i < symbols.channels; ++i) {
      to[i] = saturated(std::min(std::max(from[i], -highest), highest) * 32 + to[i]);
    }
  });
}

void join(const Grid<const std::int16_t>& features, const Grid<const std::int16_t>& deviation,
          const std::int32_t* gain, std::int32_t limit, const Grid<std::int16_t>& out, std::size_t threads) {
  latents::over(out.rows, out.columns, out.channels, threads, [&](std::size_t y, std::size_t x) {
    std::int16_t* const to = out.at(y, x);
    std::memcpy(to, features.at(y, x), features.channels * sizeof(std::int16_t));
    const std::int16_t* const from = deviation.at(y, x);
    std::int16_t* const context = to + features.channels;
    std::int16_t* const magnitude = context + deviation.channels;
    for (std::size_t i = 0; i < deviation.channels; ++i) {
      const std::int32_t value = (from[i] * gain[i] + 512) >> 10;
      context[i] = static_cast<std::int16_t>(std::min(std::max(value, -limit), limit));
    }
    for (std::size_t i = 0; i < deviation.channels; ++i) {
      const float above = static_cast<float>(32 + (from[i] < 0 ? -from[i] : from[i]));  // exact
      std::int32_t bits;
      std::memcpy(&bits, &above, sizeof bits);
      // Exponent and upper mantissa of a float are its logarithm in straight pieces.
      magnitude[i] = static_cast<std::int16_t>((bits >> 13) - ((127 + 5) << 10));
    }
  });
}

}  // namespace siglum::phases
