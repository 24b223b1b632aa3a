#include "latents.hpp"

#include <algorithm>
#include <cmath>

#include "parallel.hpp"

namespace siglum::latents {
namespace {

constexpr int tables = 64;

}  // namespace

void predict(const Grid<const std::int16_t>& prior, const float* unit, const Grid<float>& mean,
             const Grid<std::uint8_t>& index, std::size_t threads, const Rows& row_functions) {
  over(mean.rows, mean.columns, mean.channels, threads, [&](std::size_t y, std::size_t x) {
    row_functions.predict(prior.at(y, x), unit, mean.at(y, x), index.at(y, x), mean.channels);
  });
}

void choose_row(const float* latent, const float* mean, const std::uint8_t* index, const float* weight,
                const float* bits, int skip, std::int32_t* symbols, std::size_t n) {
  constexpr float limit = max_symbol;
  for (std::size_t c = 0; c < n; ++c) {
    const int table = index[c] & (tables - 1);
    std::int32_t symbol = 0;
    if (table >= skip) {
      const float residual = std::min(std::max(-limit, latent[c] - mean[c]), limit);
      symbol = static_cast<std::int32_t>(std::lrint(residual));
      const std::int32_t k = symbol < 0 ? -symbol : symbol;
      const float excess = std::fabs(residual) - static_cast<float>(k);
      if (excess < 0.0f && k <= costed) {
        const float* const cost = bits + table * (costed + 1) + k;
        const float paid = weight[c] * (2.0f * excess + 1.0f);  // (|r| - k + 1)^2 - (|r| - k)^2
        if (cost[0] - cost[-1] > paid) symbol -= symbol < 0 ? -1 : 1;
      }
    }
    symbols[c] = symbol;
  }
}

void choose(const Grid<const float>& latent, const Grid<const float>& mean, const Grid<const std::uint8_t>& index,
            const float* weight, const float* bits, int skip, const Grid<std::int32_t>& symbols, std::size_t threads) {
  over(symbols.rows, symbols.columns, symbols.channels, threads, [&](std::size_t y, std::size_t x) {
    choose_row(latent.at(y, x), mean.at(y, x), index.at(y, x), weight, bits, skip, symbols.at(y, x), symbols.channels);
  });
}

void reconstruct(const Grid<const std::int32_t>& symbols, const Grid<const float>& mean,
                 const Grid<const std::uint8_t>& index, const float* offsets, const Grid<float>& out,
                 std::size_t threads, const Rows& row_functions) {
  // By sign and magnitude: -2, -1, 0, 1, 2 and beyond.
  float moves[tables][2 * offset_classes + 1];
  for (int table = 0; table < tables; ++table) {
    moves[table][offset_classes] = 0.0f;
    for (int k = 1; k <= offset_classes; ++k) {
      const float offset = offsets[table * offset_classes + k - 1];
      moves[table][offset_classes + k] = offset;
      moves[table][offset_classes - k] = -offset;
    }
  }
  const bool moved = std::any_of(offsets, offsets + tables * offset_classes, [](float by) { return by != 0.0f; });
  over(out.rows, out.columns, out.channels, threads, [&](std::size_t y, std::size_t x) {
    if (!moved) return row_functions.add(symbols.at(y, x), mean.at(y, x), out.at(y, x), out.channels);
    row_functions.reconstruct(symbols.at(y, x), mean.at(y, x), index.at(y, x), moves[0], out.at(y, x), out.channels);
  });
}

std::size_t gather(const Grid<const std::int32_t>& symbols, const Grid<const std::uint8_t>& index, int skip,
                   std::int32_t* coded, std::uint8_t* coded_index) {
  std::size_t used = 0;
  for (std::size_t y = 0; y < index.rows; ++y) {
    for (std::size_t x = 0; x < index.columns; ++x) {
      const std::int32_t* const values = symbols.at(y, x);
      const std::uint8_t* const indices = index.at(y, x);
      for (std::size_t c = 0; c < index.channels; ++c) {
        coded[used] = values[c];
        coded_index[used] = indices[c];
        used += indices[c] >= skip;
      }
    }
  }
  return used;
}

std::size_t coded_tables(const Grid<const std::uint8_t>& index, int skip, std::uint8_t* coded_index) {
  std::size_t used = 0;
  for (std::size_t y = 0; y < index.rows; ++y) {
    for (std::size_t x = 0; x < index.columns; ++x) {
      const std::uint8_t* const indices = index.at(y, x);
      for (std::size_t c = 0; c < index.channels; ++c) {
        coded_index[used] = indices[c];
        used += indices[c] >= skip;
      }
    }
  }
  return used;
}

std::size_t scatter(const std::int32_t* coded, std::size_t available, const Grid<const std::uint8_t>& index, int skip,
                    const Grid<std::int32_t>& symbols) {
  std::size_t used = 0;
  for (std::size_t y = 0; y < index.rows; ++y) {
    for (std::size_t x = 0; x < index.columns; ++x) {
      const std::uint8_t* const indices = index.at(y, x);
      std::int32_t* const to = symbols.at(y, x);
      for (std::size_t c = 0; c < index.channels; ++c) {
        const bool is_coded = indices[c] >= skip;
        to[c] = is_coded && used < available ? coded[used] : 0;
        used += is_coded;
      }
    }
  }
  return used;
}

}  // namespace siglum::latents
