// The patch coder: a tile's symbols to a payload, and back.
#include <algorithm>
#include <cstring>

#include "checksum.hpp"
#include "patches.hpp"
#include "patches_work.hpp"

namespace siglum::patches {

std::uint32_t Coder::checksum(const Work& work) const {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "symbols are checked as little-endian"
#endif
  return crc32c(reinterpret_cast<const std::uint8_t*>(work.symbols.data()), work.symbols.size() * sizeof(std::int16_t));
}

Coded Coder::encode(const Pixels& pixels, const Tile& tile, const Level& level, std::size_t groups,
                    const rans::Tables& bank, const rans::Tables& flags) const {
  thread_local Work work;
  thread_local rans::Encoder encoder;
  encoder = rans::Encoder(0, rans_);
  work.stride = groups ? group_ends[groups - 1] : 0;
  if (groups) project(pixels, tile, level, work);
  const std::size_t rows = tile.bottom - tile.top, columns = tile.right - tile.left, positions = rows * columns;
  std::size_t stride = (work.stride + block - 1) / block * block;

  // A channel whose every coefficient rounds to zero is only a flag; groups of nothing else are left out.
  const int smallest = (1 << fraction) - *std::max_element(level.thresholds, level.thresholds + 2 * tables);
  std::int16_t most[channels] = {};
  kernels_->largest(work.values.data(), stride, positions, work.stride, most);
  for (std::size_t c = 0; c < work.stride; ++c) work.active[c] = most[c] >= smallest ? -1 : 0;
  std::size_t left = work.stride;
  while (left && !work.active[left - 1]) --left;
  for (groups = 0; groups < group_count && (groups ? group_ends[groups - 1] : 0) < left;) ++groups;

  Coded result;
  result.payload.push_back(static_cast<std::uint8_t>(groups));
  work.stride = groups ? group_ends[groups - 1] : 0;
  work.resize(rows, columns);
  if (!groups) {
    result.crc = checksum(work);
    return result;
  }
  std::uint8_t flag[channels];
  for (std::size_t c = 0; c < work.stride; ++c) flag[c] = work.active[c] ? 0 : 1;
  encoder.append(flags, {rans::SymbolKind::u8, flag}, work.stride, {rans::IndexKind::same, 0, nullptr});

  const Quantisation rules = {level.thresholds, magnitudes_.data(), skip_};
  std::size_t step = 0;
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t first = group_ends[group] - group_sizes[group], count = group_sizes[group];
    const std::size_t wide = (count + block - 1) / block * block;
    for (std::size_t phase = 0; phase < phase_counts[group]; ++phase, ++step) {
      context(step, level, work);
      const bool predicted = group == 0;
      if (predicted && phase) means(phase, work);
      std::size_t coded = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const Columns which = columns_of(group, phase, r);
        if (!which.step) continue;
        for (std::size_t x = which.first; x < columns; x += which.step) {
          const std::size_t p = r * columns + x;
          if (step == 0) first_means(r, x, work);
          coded += kernels_->quantise(rules, work.values.data() + p * stride + first, work.raw.data() + p * wide,
                                      work.active + first, predicted ? work.means.data() + p * count : nullptr, count,
                                      work.symbols.data() + p * work.stride + first,
                                      work.seen.data() + p * work.stride + first, work.coded.data() + coded,
                                      work.index.data() + coded);
        }
      }
      encoder.append(bank, {rans::SymbolKind::i16, work.coded.data()}, coded, {rans::IndexKind::u8, 0, work.index.data()});
    }
  }
  encoder.finish(result.payload);
  result.crc = checksum(work);
  return result;
}

rans::Status Coder::decode(const std::uint8_t* data, std::size_t size, std::size_t rows, std::size_t columns,
                           const Level& level, const rans::Tables& bank, const rans::Tables& flags, float* values,
                           std::ptrdiff_t row, std::ptrdiff_t position, std::uint32_t& crc) const {
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t x = 0; x < columns; ++x)
      std::memset(values + static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(x) * position, 0,
                  channels * sizeof(float));
  if (!size) return rans::Status::truncated;
  const std::size_t groups = data[0];
  if (groups > group_count || (!groups && size > 1)) return rans::Status::malformed;
  Work work;
  work.stride = groups ? group_ends[groups - 1] : 0;
  work.resize(rows, columns);
  if (!groups) {
    crc = checksum(work);
    return rans::Status::ok;
  }
  rans::Decoder decoder(rans_);
  if (decoder.open(data + 1, size - 1) != rans::Status::ok) return decoder.status();
  std::uint8_t flag[channels];
  decoder.decode(flags, {rans::IndexKind::same, 0, nullptr}, work.stride, {rans::SymbolKind::u8, flag});
  if (decoder.status() != rans::Status::ok) return decoder.status();
  for (std::size_t c = 0; c < work.stride; ++c) work.active[c] = flag[c] ? 0 : -1;

  std::size_t step = 0;
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t first = group_ends[group] - group_sizes[group], count = group_sizes[group];
    const std::size_t wide = (count + block - 1) / block * block;
    for (std::size_t phase = 0; phase < phase_counts[group]; ++phase, ++step) {
      context(step, level, work);
      const bool predicted = group == 0;
      if (predicted && phase) means(phase, work);
      std::size_t coded = 0;
      const auto table_at = [&](std::size_t p, std::size_t c) {
        const int table = std::clamp((work.raw[p * wide + c] + 128) >> 8, 0, static_cast<int>(tables) - 1);
        return table & work.active[first + c];
      };
      const auto each = [&](auto&& visit) {
        for (std::size_t r = 0; r < rows; ++r) {
          const Columns which = columns_of(group, phase, r);
          if (!which.step) continue;
          for (std::size_t x = which.first; x < columns; x += which.step) visit(r, x, r * columns + x);
        }
      };
      each([&](std::size_t, std::size_t, std::size_t p) {
        for (std::size_t c = 0; c < count; ++c) {
          const int table = table_at(p, c);
          work.index[coded] = static_cast<std::uint8_t>(table);
          coded += table >= skip_;
        }
      });
      decoder.decode(bank, {rans::IndexKind::u8, 0, work.index.data()}, coded,
                     {rans::SymbolKind::i16, work.coded.data()});
      if (decoder.status() != rans::Status::ok) return decoder.status();
      std::size_t next = 0;
      bool beyond = false;
      each([&](std::size_t r, std::size_t x, std::size_t p) {
        if (step == 0) first_means(r, x, work);
        float* to = values + static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(x) * position + first;
        for (std::size_t c = 0; c < count; ++c) {
          const int table = table_at(p, c), centre = predicted ? work.means[p * count + c] & work.active[first + c] : 0;
          const int residual = table >= skip_ ? work.coded[next++] : 0, symbol = centre + residual;
          beyond |= symbol < -32767 || symbol > 32767;
          const int magnitude = symbol < 0 ? -symbol : symbol, size_class = residual < -1 || residual > 1 ? 1 : 0;
          work.symbols[p * work.stride + first + c] = static_cast<std::int16_t>(symbol);
          work.seen[p * work.stride + first + c] = magnitudes_[static_cast<std::size_t>(std::min(magnitude, 255))];
          const float inward = level.offsets[static_cast<std::size_t>(table) * offset_classes + size_class];
          to[c] = static_cast<float>(symbol) - (residual > 0 ? inward : residual < 0 ? -inward : 0.0f);
        }
      });
      if (beyond) return rans::Status::corrupt;
    }
  }
  crc = checksum(work);
  return decoder.finish();
}

}  // namespace siglum::patches
