// The arithmetic between a codec's networks and its entropy coder, over latents of `positions` x `channels`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "latents_rows.hpp"
#include "parallel.hpp"

namespace siglum::latents {

// Latents in memory: rows of positions, the channels of a position in a row.
template <class T>
struct Grid {
  T* data;
  std::size_t rows, columns, channels;
  std::ptrdiff_t row, position;  // elements between rows and between positions

  T* at(std::size_t y, std::size_t x) const {
    return data + static_cast<std::ptrdiff_t>(y) * row + static_cast<std::ptrdiff_t>(x) * position;
  }
};

constexpr std::size_t elements_per_thread = 1 << 19;  // below this, waking a thread costs more than it saves

// Calls function(y, x) for all positions.
template <class Function>
void over(std::size_t rows, std::size_t columns, std::size_t channels, std::size_t threads, const Function& function) {
  const std::size_t worth = 1 + rows * columns * channels / elements_per_thread;
  Team team(std::max<std::size_t>(1, std::min({threads, rows, worth})));
  team.rows(rows, [&](std::size_t begin, std::size_t end) {
    for (std::size_t y = begin; y < end; ++y) {
      for (std::size_t x = 0; x < columns; ++x) function(y, x);
    }
  });
}

// Splits a prior's output, (rows, columns, 2 * channels) int16: the first half times `unit` are means, the second,
// rounded from 1/256, table indices 0..63.
void predict(const Grid<const std::int16_t>& prior, const float* unit, const Grid<float>& mean,
             const Grid<std::uint8_t>& index, std::size_t threads, const Rows& row_functions);

constexpr int costed = 24;       // magnitudes above are never changed
constexpr int max_symbol = 32767;

// Nearest integers of latent - mean, or the next towards zero where that lowers bits + weight * squared error;
// zero where the table is below `skip`. bits: (64, costed + 1).
void choose(const Grid<const float>& latent, const Grid<const float>& mean, const Grid<const std::uint8_t>& index,
            const float* weight, const float* bits, int skip, const Grid<std::int32_t>& symbols, std::size_t threads);

// The same for the n channels of a position.
void choose_row(const float* latent, const float* mean, const std::uint8_t* index, const float* weight,
                const float* bits, int skip, std::int32_t* symbols, std::size_t n);

constexpr int offset_classes = 2;

// symbol + mean - sign(symbol) * offset of its table and magnitude. offsets: (64, offset_classes).
void reconstruct(const Grid<const std::int32_t>& symbols, const Grid<const float>& mean,
                 const Grid<const std::uint8_t>& index, const float* offsets, const Grid<float>& out,
                 std::size_t threads, const Rows& row_functions);

// What is coded, in order: all whose table is not below `skip`. All return how many that are. The targets of the
// first two have one entry more than there are latents.
std::size_t gather(const Grid<const std::int32_t>& symbols, const Grid<const std::uint8_t>& index, int skip,
                   std::int32_t* coded, std::uint8_t* coded_index);
std::size_t coded_tables(const Grid<const std::uint8_t>& index, int skip, std::uint8_t* coded_index);
std::size_t scatter(const std::int32_t* coded, std::size_t available, const Grid<const std::uint8_t>& index, int skip,
                    const Grid<std::int32_t>& symbols);

}  // namespace siglum::latents
