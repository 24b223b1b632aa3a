// The patch coder: linear projections of 16 x 16 patches, quantised, and coded group by group under Gaussian tables
// that integer networks choose from the magnitudes of everything coded before. Exact on every machine.
//
// Payload of a tile: u8 groups of channels that follow; unless 0, one rANS chunk: a step of flags (1: the channel is
// zero everywhere in the tile), then for each group, for each of its phases, a step of what is coded: positions in row
// order, channels within a position, those whose table is not below `skip`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "integer_network_kernels.hpp"
#include "patches_kernels.hpp"
#include "rans.hpp"

namespace siglum::patches {

constexpr std::size_t group_count = 5;
constexpr std::size_t group_sizes[group_count] = {8, 24, 32, 64, 64};
constexpr std::size_t group_ends[group_count] = {8, 32, 64, 128, 192};
constexpr std::size_t channels = 192;
constexpr std::size_t phase_counts[group_count] = {3, 2, 1, 1, 1};
constexpr std::size_t step_count = 8;
constexpr std::size_t mean_inputs = 9 * group_sizes[0];
constexpr std::size_t first_inputs = 3;  // of the first phase: symbols of the same channel left, above, above left
constexpr int mean_shift = 7;
constexpr std::size_t magnitude_count = 256;
constexpr std::size_t offset_classes = 2;

// A rectangle of positions.
struct Tile {
  std::size_t top, bottom, left, right;
};

struct Pixels {
  const std::uint8_t* data;
  std::size_t height, width;
  std::ptrdiff_t row;  // bytes
};

// What a quality sets.
struct Level {
  const float* scales;             // (channels): steps of 1/32 a unit of twice the projection; only the encoder's
  const std::int32_t* biases;      // of all layers, one after the other
  const std::int16_t* thresholds;  // (2, tables); only the encoder's
  const float* offsets;            // (tables, offset_classes); only the decoder's
};

struct Coded {
  std::vector<std::uint8_t> payload;
  std::uint32_t crc;  // of the symbols as little-endian int16, channels of the groups that are there
};

// Immutable once its layers are added.
class Coder {
 public:
  // weight: (channels, 768) int8, samples of a patch in memory order; first: (group, first_inputs) and means:
  // (phases - 1, group, mean_inputs), of the first group.
  Coder(const char* isa, const std::int8_t* weight, const std::int8_t* first, const std::int8_t* means,
        const std::int16_t* magnitudes, int skip);

  // The layers of every step but the first: one into the hidden channels, a depthwise one, one out.
  void add_pointwise(const std::int8_t* weight, std::size_t out, std::size_t in, const std::int32_t* multiplier, int shift,
                     std::int32_t low, std::int32_t high);
  void add_depthwise(const std::int8_t* weight, std::size_t count, const std::int32_t* multiplier, int shift,
                     std::int32_t low, std::int32_t high);
  bool complete() const { return layers_.size() == 3 * (step_count - 1); }
  std::size_t bias_count() const { return bias_count_; }

  // groups: how many to code at most.
  Coded encode(const Pixels& pixels, const Tile& tile, const Level& level, std::size_t groups, const rans::Tables& bank,
               const rans::Tables& flags) const;

  // values: (rows, columns, channels) float in steps, the distance between rows and positions in elements; true to the
  // symbols unless the status says otherwise.
  rans::Status decode(const std::uint8_t* data, std::size_t size, std::size_t rows, std::size_t columns,
                      const Level& level, const rans::Tables& bank, const rans::Tables& flags, float* values,
                      std::ptrdiff_t row, std::ptrdiff_t position, std::uint32_t& crc) const;

 private:
  struct Layer {
    std::size_t in, out, blocks;
    std::vector<std::int16_t> weight;
    std::vector<std::int32_t> multiplier;
    int shift;
    std::int32_t low, high;
    std::size_t first_bias;
  };
  struct Work;

  void add(Layer layer, const std::int32_t* multiplier);
  void project(const Pixels& pixels, const Tile& tile, const Level& level, Work& work) const;
  void context(std::size_t step, const Level& level, Work& work) const;
  void means(std::size_t phase, Work& work) const;
  void first_means(std::size_t row, std::size_t column, Work& work) const;
  std::uint32_t checksum(const Work& work) const;

  const Kernels* kernels_;
  const integer_network::Kernels* network_;
  const rans::Kernels* rans_;
  std::vector<std::int8_t> weight_;   // packed
  std::vector<std::int32_t> offset_;  // 255 * the sum of a channel's weights
  std::vector<std::int16_t> first_, means_;
  std::vector<std::int16_t> magnitudes_;
  int skip_;
  std::vector<Layer> layers_;
  std::size_t bias_count_ = group_sizes[0];
};

}  // namespace siglum::patches
