#include "walk.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "latents.hpp"
#include "phases.hpp"

namespace siglum::walk {
namespace {

using integer_network::Buffers;
using integer_network::Size;
using integer_network::stride_of;
using latents::Grid;
using latents::row_slack;

constexpr std::size_t positions_per_thread = 64;  // below this, waking a thread costs more than it saves
constexpr std::size_t shares = 8;                 // parts of a step a thread, so that a slow one does fewer

std::unique_ptr<std::int16_t[]> buffer(std::size_t elements) {
  return std::unique_ptr<std::int16_t[]>(new std::int16_t[elements]);
}

void require(bool condition) {
  if (!condition) throw std::invalid_argument("the networks of the prior do not fit each other");
}

bool gives(const Biased& network, std::size_t inputs, std::size_t outputs) {
  const Size size = network.network().output_size({1, 1, inputs});
  return size.height == 1 && size.width == 1 && size.channels == outputs;
}

class Walk {
 public:
  Walk(const Prior& prior, const Tile& tile, std::size_t threads, const latents::Rows& row_functions)
      : prior_(prior), tile_(tile), row_(row_functions), positions_(tile.rows * tile.columns),
        width_(stride_of(prior.hyper.network().outputs())),
        team_(std::max<std::size_t>(1, std::min(threads, positions_ / positions_per_thread))) {
    std::size_t widest = 0, joined = 0;
    for (std::size_t group = 0; group < prior.groups(); ++group) {
      widest = std::max(widest, prior.size_of(group));
      if (group) joined = std::max(joined, stride_of(prior.mix[group - 1].network().inputs()));
    }
    deviation_ = buffer(positions_ * widest);
    factors_ = buffer(positions_ * stride_of(phases::neighbours * widest));
    joined_ = buffer(positions_ * joined);
    mixed_ = buffer(positions_ * width_);
    nothing_.assign(widest, 0);
    // The features of the hyperlatents may have rows and columns beyond the tile.
    const Size input = {tile.z_rows, tile.z_columns, prior.hyper.network().inputs()};
    const Size size = prior.hyper.network().output_size(input);
    features_ = buffer(size.height * size.width * width_);
    prior.hyper.run_image(tile.z, input.channels, input, features_.get(), width_, team_);
    columns_ = size.width;
  }

  // Tables and means of a group; those before it are done.
  void enter(std::size_t group) {
    if (group) mix(group);
    const Biased& leave = prior_.leave[group];
    const std::size_t channels = prior_.size_of(group), stride = stride_of(2 * channels);
    each_rows(tile_.rows, [&](std::size_t begin, std::size_t end) {
      const auto predicted = buffer(tile_.columns * stride);
      Buffers buffers(tile_.columns * leave.widest());
      for (std::size_t y = begin; y < end; ++y) {
        leave.run_positions(feature(y, 0), width_, tile_.columns, buffers, predicted.get(), stride);
        for (std::size_t x = 0; x < tile_.columns; ++x) {
          const std::size_t at = place(group, y, x);
          row_.predict(predicted.get() + x * stride, tile_.unit + prior_.bounds[group], tile_.mean + at,
                       tile_.index + at, channels);
        }
      }
    });
  }

  // What the phases of a group lean with, and, on the caller's thread, something besides. The first phase leans on
  // nothing: in even rows every other position has no need of factors.
  template <class Besides>
  void find_factors(std::size_t group, const Besides& besides) {
    const Biased& factors = prior_.factors[group];
    const std::size_t stride = stride_of(phases::neighbours * prior_.size_of(group));
    team_.parts_besides(besides, tile_.rows, length(tile_.rows), [&](std::size_t begin, std::size_t end) {
      Buffers buffers(tile_.columns * factors.widest());
      for (std::size_t y = begin; y < end; ++y) {
        const std::size_t first = y % 2 ? 0 : 1, step = y % 2 ? 1 : 2;
        const std::size_t count = y % 2 ? tile_.columns : tile_.columns / 2;
        if (!count) continue;
        factors.run_positions(feature(y, first), step * width_, count, buffers,
                              factors_.get() + (y * tile_.columns + first) * stride, step * stride);
      }
    });
  }

  // Ends phase after phase of a group; settled(place) has put the symbols of a position there, or does it now.
  template <class Symbols>
  void settle(std::size_t group, const Symbols& symbols_of) {
    const std::size_t channels = prior_.size_of(group), stride = stride_of(phases::neighbours * channels);
    const Grid<std::int16_t> deviation = deviations(group);
    for (int phase = 0; phase < phases::phases; ++phase) {
      const std::size_t row = static_cast<std::size_t>(phases::positions[phase].row);
      const std::size_t column = static_cast<std::size_t>(phases::positions[phase].column);
      each_rows((tile_.rows + 1 - row) / 2, [&](std::size_t begin, std::size_t end) {
        for (std::size_t y = 2 * begin + row; y < 2 * end + row; y += 2) {
          for (std::size_t x = column; x < tile_.columns; x += 2) {
            const std::size_t at = place(group, y, x);
            if (phase) {
              const std::int16_t* known[phases::neighbours];
              phases::find_neighbours(deviation, phase, y, x, nothing_.data(), known);
              row_.lean(factors_.get() + (y * tile_.columns + x) * stride, known, deviation.at(y, x), tile_.mean + at,
                        channels);
            } else {
              std::fill_n(deviation.at(y, x), channels, std::int16_t{0});
            }
            symbols_of(at, channels);
            row_.settle(tile_.symbols + at, deviation.at(y, x), channels);
          }
        }
      });
    }
  }

  // Where the channels of a group of a position begin.
  std::size_t place(std::size_t group, std::size_t y, std::size_t x) const {
    return (y * tile_.columns + x) * prior_.channels() + prior_.bounds[group];
  }

 private:
  // Features of a group from those before it, and what was decoded of that.
  void mix(std::size_t group) {
    const std::size_t before = group - 1, channels = prior_.size_of(before), width = prior_.hyper.network().outputs();
    const Biased& network = prior_.mix[before];
    const std::size_t inputs = network.network().inputs(), stride = stride_of(inputs);
    const Grid<std::int16_t> deviation = deviations(before);
    const std::int32_t* const gain = prior_.gain.data() + prior_.bounds[before];
    each_rows(tile_.rows, [&](std::size_t begin, std::size_t end) {
      for (std::size_t y = begin; y < end; ++y) {
        for (std::size_t x = 0; x < tile_.columns; ++x) {
          std::int16_t* const to = joined_.get() + (y * tile_.columns + x) * stride;
          std::memcpy(to, feature(y, x), width * sizeof(std::int16_t));
          row_.context(deviation.at(y, x), gain, prior_.limit, to + width, to + width + channels, channels);
          std::fill(to + inputs, to + stride, std::int16_t{0});
        }
      }
    });
    network.run_image(joined_.get(), stride, {tile_.rows, tile_.columns, inputs}, mixed_.get(), width_, team_);
    if (before == 0) {
      features_ = buffer(positions_ * width_);
      columns_ = tile_.columns;
    }
    std::swap(features_, mixed_);
  }

  const std::int16_t* feature(std::size_t y, std::size_t x) const {
    return features_.get() + (y * columns_ + x) * width_;
  }

  Grid<std::int16_t> deviations(std::size_t group) const {
    const std::size_t channels = prior_.size_of(group);
    return {deviation_.get(), tile_.rows, tile_.columns, channels, static_cast<std::ptrdiff_t>(tile_.columns * channels),
            static_cast<std::ptrdiff_t>(channels)};
  }

  std::size_t length(std::size_t rows) const {
    return team_.size() == 1 || !rows ? rows + 1 : (rows - 1) / (shares * team_.size()) + 1;
  }

  void each_rows(std::size_t rows, const Team::Range& function) { team_.parts(rows, length(rows), function); }

  const Prior& prior_;
  const Tile& tile_;
  const latents::Rows& row_;
  const std::size_t positions_, width_;  // width_: of features, padded
  std::size_t columns_ = 0;              // of a row of features
  std::unique_ptr<std::int16_t[]> features_, mixed_, joined_, factors_, deviation_;
  std::vector<std::int16_t> nothing_;
  Team team_;
};

}  // namespace

void Prior::check() const {
  require(leave.size() == factors.size() && leave.size() == mix.size() + 1 && bounds.size() == leave.size() + 1);
  require(bounds.front() == 0 && std::is_sorted(bounds.begin(), bounds.end()));
  require(gain.size() == bounds[bounds.size() - 2] && limit >= 0 && limit <= 32767);
  require(std::all_of(gain.begin(), gain.end(), [](std::int32_t g) { return g >= 0 && g <= 65535; }));
  const Size size = hyper.network().output_size({1, 1, hyper.network().inputs()});
  require(size.height == 4 && size.width == 4);
  const std::size_t width = size.channels;
  require(width == hyper.network().outputs());
  for (std::size_t group = 0; group < groups(); ++group) {
    require(size_of(group) > 0 && leave[group].network().is_local() && factors[group].network().is_local());
    require(gives(leave[group], width, 2 * size_of(group)));
    require(gives(factors[group], width, phases::neighbours * size_of(group)));
    if (group) require(gives(mix[group - 1], width + 2 * size_of(group - 1), width));
  }
}

rans::Status decode(const Prior& prior, const Tile& tile, rans::Decoder& decoder, const rans::Tables& tables,
                    std::size_t threads, const latents::Rows& row_functions) {
  Walk walk(prior, tile, threads, row_functions);
  const std::size_t most = ((tile.rows + 1) / 2) * ((tile.columns + 1) / 2) * prior.channels() + row_slack;
  const std::unique_ptr<std::uint8_t[]> coded(new std::uint8_t[most]);
  const std::unique_ptr<std::int32_t[]> values(new std::int32_t[most]);
  for (std::size_t group = 0; group < prior.groups(); ++group) {
    const std::size_t channels = prior.size_of(group);
    walk.enter(group);
    rans::Status status = rans::Status::ok;
    walk.find_factors(group, [&] {
      for (const phases::Place& first : phases::positions) {
        const std::size_t row = static_cast<std::size_t>(first.row), column = static_cast<std::size_t>(first.column);
        if (row >= tile.rows || column >= tile.columns) continue;
        const auto each = [&](const auto& function) {
          for (std::size_t y = row; y < tile.rows; y += 2) {
            for (std::size_t x = column; x < tile.columns; x += 2) function(walk.place(group, y, x));
          }
        };
        std::size_t count = 0, used = 0;
        each([&](std::size_t at) {
          count += row_functions.pack(tile.index + at, tile.skip, coded.get() + count, channels);
        });
        const rans::Indexes indexes = {rans::IndexKind::u8, 0, coded.get()};
        status = decoder.decode(tables, indexes, count, {rans::SymbolKind::i32, values.get()});
        if (status != rans::Status::ok) return;
        each([&](std::size_t at) {
          used += row_functions.unpack(values.get() + used, tile.index + at, tile.skip, tile.symbols + at, channels);
        });
      }
    });
    if (status != rans::Status::ok) return status;
    walk.settle(group, [](std::size_t, std::size_t) {});
  }
  return rans::Status::ok;
}

void choose(const Prior& prior, const Tile& tile, const float* latent, const float* weight, const float* bits,
            std::size_t threads, const latents::Rows& row_functions) {
  Walk walk(prior, tile, threads, row_functions);
  for (std::size_t group = 0; group < prior.groups(); ++group) {
    walk.enter(group);
    walk.find_factors(group, [] {});
    const float* const own = weight + prior.bounds[group];
    walk.settle(group, [&](std::size_t at, std::size_t channels) {
      latents::choose_row(latent + at, tile.mean + at, tile.index + at, own, bits, tile.skip, tile.symbols + at,
                          channels);
    });
  }
}

}  // namespace siglum::walk
