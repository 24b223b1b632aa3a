// The patch coder: its weights, projections, contexts and means.
#include "patches.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "integer_network.hpp"
#include "isa.hpp"
#include "patches_work.hpp"

namespace siglum::patches {
namespace {

const Kernels* find_kernels(const char* isa) {
  if (cpu_has(isa) && !std::strcmp(isa, "avx2") && avx2_kernels()) return avx2_kernels();
  if (cpu_has(isa) && !std::strcmp(isa, "avx512") && avx512_kernels()) return avx512_kernels();
  return scalar_kernels();  // of NEON too: compilers vectorise it for that
}

}  // namespace

Coder::Coder(const char* isa, const std::int8_t* weight, const std::int8_t* first, const std::int8_t* means,
             const std::int16_t* magnitudes, int skip)
    : kernels_(find_kernels(isa)), network_(integer_network::find_kernels(isa)), rans_(rans::kernels_named(isa)),
      weight_(channels * quads * 4), offset_(channels), first_(first, first + group_sizes[0] * first_inputs),
      means_(means, means + 2 * group_sizes[0] * mean_inputs),
      magnitudes_(magnitudes, magnitudes + magnitude_count), skip_(skip) {
  if (!network_) network_ = integer_network::scalar_kernels();
  if (!rans_) rans_ = rans::scalar_kernels();
  for (std::size_t c = 0; c < channels; ++c) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < quads * 4; ++k) {
      const std::int8_t w = weight[c * quads * 4 + k];
      weight_[((c / block * quads + k / 4) * block + c % block) * 4 + k % 4] = w;
      sum += w;
    }
    offset_[c] = 255 * sum;
  }
}

void Coder::add(Layer layer, const std::int32_t* multiplier) {
  if (complete()) throw std::invalid_argument("the coder has all its layers");
  if (layer.shift < 1 || layer.shift > 46 || layer.low > layer.high || layer.low < -32768 || layer.high > 32767)
    throw std::invalid_argument("a layer's shift is 1 to 46, its low and high an interval of int16");
  layer.multiplier.assign(layer.blocks * network_->width, 0);
  std::copy(multiplier, multiplier + layer.out, layer.multiplier.begin());
  layer.first_bias = bias_count_;
  bias_count_ += layer.out;
  layers_.push_back(std::move(layer));
}

void Coder::add_pointwise(const std::int8_t* weight, std::size_t out, std::size_t in, const std::int32_t* multiplier,
                          int shift, std::int32_t low, std::int32_t high) {
  const std::size_t step = layers_.size() / 3 + 1, last = layers_.size() % 3;
  std::size_t group = 0, phase = step;
  while (group + 1 < group_count && phase >= phase_counts[group]) phase -= phase_counts[group++];
  const std::size_t before = phase ? group_ends[group] : group_ends[group] - group_sizes[group];
  const bool fits = last == 0 ? in == before && out >= 1 && out <= 64
                              : last == 2 && in == layers_.back().out && out == group_sizes[group];
  if (complete() || !fits || in % 2) throw std::invalid_argument("a layer does not fit the groups of channels");
  const std::size_t width = network_->width, blocks = (out + width - 1) / width, pairs = in / 2;
  std::vector<std::int16_t> packed(blocks * pairs * width * 2, 0);
  for (std::size_t o = 0; o < out; ++o)
    for (std::size_t i = 0; i < in; ++i)
      packed[((o / width * pairs + i / 2) * width + o % width) * 2 + i % 2] = weight[o * in + i];
  add({in, out, blocks, std::move(packed), {}, shift, low, high, 0}, multiplier);
}

void Coder::add_depthwise(const std::int8_t* weight, std::size_t count, const std::int32_t* multiplier, int shift,
                          std::int32_t low, std::int32_t high) {
  if (layers_.size() % 3 != 1 || layers_.back().out != count)
    throw std::invalid_argument("a depthwise layer does not fit the one before");
  const std::size_t width = network_->width, blocks = (count + width - 1) / width;
  std::vector<std::int16_t> packed(blocks * 9 * width * 2, 0);
  for (std::size_t tap = 0; tap < 9; ++tap)
    for (std::size_t c = 0; c < count; ++c)
      packed[((c / width * 9 + tap) * width + c % width) * 2] = weight[tap * count + c];
  add({count, count, blocks, std::move(packed), {}, shift, low, high, 0}, multiplier);
}

// Coefficients of a tile; patches that the picture's edge cuts are continued by its last samples.
void Coder::project(const Pixels& pixels, const Tile& tile, const Level& level, Work& work) const {
  const std::size_t blocks = (work.stride + block - 1) / block, stride = blocks * block;
  const std::size_t columns = tile.right - tile.left;
  work.values.resize((tile.bottom - tile.top) * columns * stride);
  const std::size_t whole_right = std::min(tile.right, pixels.width / side);
  const std::size_t whole = whole_right > tile.left ? whole_right - tile.left : 0;
  std::vector<std::uint8_t> edge;
  for (std::size_t r = tile.top; r < tile.bottom; ++r) {
    std::int16_t* out = work.values.data() + (r - tile.top) * columns * stride;
    const bool cut = (r + 1) * side > pixels.height;
    const std::size_t direct = cut ? 0 : whole;
    if (direct)
      kernels_->project(pixels.data + static_cast<std::ptrdiff_t>(r * side) * pixels.row + tile.left * row_bytes,
                        pixels.row, direct, weight_.data(), blocks, offset_.data(), level.scales, out, stride);
    if (direct == columns) continue;
    const std::size_t rest = columns - direct, bytes = rest * row_bytes;
    edge.resize(side * bytes);
    for (std::size_t y = 0; y < side; ++y) {
      const std::size_t from = std::min(r * side + y, pixels.height - 1);
      const std::uint8_t* line = pixels.data + static_cast<std::ptrdiff_t>(from) * pixels.row;
      std::uint8_t* to = edge.data() + y * bytes;
      const std::size_t first = (tile.left + direct) * row_bytes;
      const std::size_t there = std::min(bytes, pixels.width * 3 - first);
      std::memcpy(to, line + first, there);
      for (std::size_t x = there; x < bytes; ++x) to[x] = to[x - 3];
    }
    kernels_->project(edge.data(), static_cast<std::ptrdiff_t>(bytes), rest, weight_.data(), blocks, offset_.data(),
                      level.scales, out + direct * stride, stride);
  }
}

// What the tables of a step follow from, in 1/256 of a table, for every position and channel of its group.
void Coder::context(std::size_t step, const Level& level, Work& work) const {
  if (step == 0) {
    for (std::size_t p = 0; p < work.positions; ++p)
      for (std::size_t c = 0; c < group_sizes[0]; ++c)
        work.raw[p * block + c] = static_cast<std::int16_t>(std::clamp(level.biases[c], -32768, 32767));
    return;
  }
  const Layer* layer = &layers_[3 * (step - 1)];
  std::int32_t bias[3][64] = {};
  integer_network::Requantisation rules[3];
  for (std::size_t i = 0; i < 3; ++i) {
    std::copy(level.biases + layer[i].first_bias, level.biases + layer[i].first_bias + layer[i].out, bias[i]);
    rules[i] = {bias[i], layer[i].multiplier.data(), layer[i].shift, layer[i].low, layer[i].high};
  }
  const std::size_t width = (layer[0].out + block - 1) / block * block, out = (layer[2].out + block - 1) / block * block;
  network_->pointwise(work.seen.data(), work.stride, layer[0].in / 2, layer[0].weight.data(), layer[0].blocks, rules[0],
                      work.hidden.data(), width, work.positions);
  network_->depthwise(work.hidden.data(), width, work.rows, work.columns, layer[1].weight.data(), layer[1].blocks,
                      rules[1], work.mixed.data(), 0, work.rows);
  network_->pointwise(work.mixed.data(), width, layer[2].in / 2, layer[2].weight.data(), layer[2].blocks, rules[2],
                      work.raw.data(), out, work.positions);
}

// Means of the first group at a phase's positions, from the symbols of its earlier phases.
void Coder::means(std::size_t phase, Work& work) const {
  const std::size_t count = group_sizes[0];
  const std::int16_t* weight = means_.data() + (phase - 1) * count * mean_inputs;
  std::int16_t in[mean_inputs];
  for (std::size_t r = 0; r < work.rows; ++r) {
    const Columns which = columns_of(0, phase, r);
    if (!which.step) continue;
    for (std::size_t x = which.first; x < work.columns; x += which.step) {
      for (std::size_t tap = 0; tap < 9; ++tap) {
        const std::size_t y = r + tap / 3 - 1, at = x + tap % 3 - 1;  // wraps below zero: beyond the tile, too
        std::int16_t* to = in + tap * count;
        if (y < work.rows && at < work.columns)
          std::memcpy(to, work.symbols.data() + (y * work.columns + at) * work.stride, count * sizeof(std::int16_t));
        else
          std::memset(to, 0, count * sizeof(std::int16_t));
      }
      std::int16_t* out = work.means.data() + (r * work.columns + x) * count;
      for (std::size_t c = 0; c < count; ++c) {
        std::int32_t sum = 1 << (mean_shift - 1);
        for (std::size_t k = 0; k < mean_inputs; ++k)
          sum += static_cast<std::int32_t>(in[k]) * weight[c * mean_inputs + k];
        out[c] = static_cast<std::int16_t>(std::clamp(sum >> mean_shift, -16384, 16384));
      }
    }
  }
}

// Means of the first phase at a position, from the nearest positions of the same phase that come before.
void Coder::first_means(std::size_t row, std::size_t column, Work& work) const {
  static constexpr std::int16_t nothing[group_sizes[0]] = {};
  const std::int16_t* here = work.symbols.data() + (row * work.columns + column) * work.stride;
  const std::size_t across = 2 * work.stride, down = across * work.columns;
  const std::int16_t* around[first_inputs] = {column ? here - across : nothing, row ? here - down : nothing,
                                              row && column ? here - down - across : nothing};
  // At the edge the one neighbour that there is stands for all three.
  if (!row) around[1] = around[2] = around[0];
  if (!column) around[0] = around[2] = around[1];
  std::int16_t* out = work.means.data() + (row * work.columns + column) * group_sizes[0];
  for (std::size_t c = 0; c < group_sizes[0]; ++c) {
    std::int32_t sum = 1 << (mean_shift - 1);
    for (std::size_t k = 0; k < first_inputs; ++k)
      sum += static_cast<std::int32_t>(around[k][c]) * first_[c * first_inputs + k];
    out[c] = static_cast<std::int16_t>(std::clamp(sum >> mean_shift, -16384, 16384));
  }
}

}  // namespace siglum::patches
