#include "mixture.hpp"

#include <algorithm>
#include <stdexcept>

#include "parallel.hpp"
#include "shares.hpp"

namespace siglum::mixture {
namespace {

constexpr size_t kPerThread = 1u << 9;  // fewer symbols are not worth a thread
constexpr int64_t kFewest = 16;         // so that the factor of the shares has 32 bits

}  // namespace

// What one thread works in: a window, its escape, and padding.
struct Mixture::Scratch {
  size_t padded = 0;
  int32_t masses[kWindow + codebook::kLanes];
  uint32_t frequencies[kWindow + codebook::kLanes];
  uint16_t row[kWindow + codebook::kLanes];
};

Mixture::Mixture(const codebook::Kernels& kernels, const uint32_t* frequencies, const uint32_t* sizes,
                 const int32_t* offsets, size_t tables)
    : kernels_(kernels) {
  size_t first = 0;
  for (size_t t = 0; t < tables; ++t) {
    if (sizes[t] < 2 || sizes[t] > 256) throw std::invalid_argument("a table has 2 to 256 entries");
    tables_.push_back({offsets[t], static_cast<int32_t>(sizes[t]) - 1, first});
    first += sizes[t];
  }
  frequencies_.assign(frequencies, frequencies + first);
}

bool Mixture::valid(const Components& components) const {
  if (components.number == 0) return false;
  for (size_t v = 0; v < components.count; ++v) {
    int64_t total = 0;
    for (size_t c = v * components.number; c < (v + 1) * components.number; ++c) {
      if (components.weights[c] < 0 || components.tables[c] >= tables_.size()) return false;
      if (components.shifts[c] < -kMaxShift || components.shifts[c] > kMaxShift) return false;
      total += components.weights[c];
    }
    if (total < 1 || total > kMaxWeight) return false;
  }
  return true;
}

void Mixture::windows(const Components& components, int32_t* bases, int32_t* widths) const {
  for (size_t v = 0; v < components.count; ++v) {
    int64_t low = INT64_MAX, high = INT64_MIN, moment = 0, total = 0;
    for (size_t c = v * components.number; c < (v + 1) * components.number; ++c) {
      const int64_t weight = components.weights[c], shift = components.shifts[c];
      if (!weight) continue;
      const Table& table = tables_[components.tables[c]];
      low = std::min(low, shift + table.offset);
      high = std::max(high, shift + table.offset + table.size - 1);
      moment += weight * shift;
      total += weight;
    }
    const int64_t widest = kWindow;
    if (high - low + 1 > widest) {  // around the mean, which is rounded down
      const int64_t mean = moment / total - (moment % total < 0);
      low = std::max(low, std::min(mean - widest / 2, high - widest + 1));
      high = low + widest - 1;
    }
    bases[v] = static_cast<int32_t>(low);
    widths[v] = static_cast<int32_t>(high - low + 1);
  }
}

void Mixture::frequencies_of(const Components& components, size_t v, int64_t base, int64_t width,
                             Scratch& scratch) const {
  const size_t count = static_cast<size_t>(width) + 1;
  scratch.padded = (count + codebook::kLanes - 1) / codebook::kLanes * codebook::kLanes;
  int32_t* masses = scratch.masses;
  std::fill(masses, masses + scratch.padded, 0);
  const size_t begin = v * components.number, end = begin + components.number;
  int64_t total = 0;
  for (size_t c = begin; c < end; ++c) total += components.weights[c];
  const int32_t times = total < kFewest ? static_cast<int32_t>(kFewest) : 1;
  for (size_t c = begin; c < end; ++c) {
    const int32_t weight = components.weights[c] * times;
    if (!weight) continue;
    const Table& table = tables_[components.tables[c]];
    const int64_t from = int64_t{components.shifts[c]} + table.offset - base;  // may lie outside the window
    const int64_t low = std::max<int64_t>(0, -from), high = std::min<int64_t>(table.size, width - from);
    if (low < high) {
      kernels_.add_multiples(masses + from + low, frequencies_.data() + table.first + low, weight,
                             static_cast<size_t>(high - low));
    }
  }
  total *= int64_t{times} << 12;
  int32_t inside = 0;  // at most the total, 2^30
  for (size_t k = 0; k < count; ++k) inside += masses[k];
  masses[width] = static_cast<int32_t>(total) - inside;
  const uint32_t factor = share_factor(count, static_cast<uint64_t>(total), kPrecision);
  const uint32_t sum = kernels_.shares(masses, scratch.padded, factor, scratch.frequencies);
  const uint32_t padding = static_cast<uint32_t>(scratch.padded - count);  // each of these has a frequency of 1
  scratch.frequencies[kernels_.first_largest(masses, scratch.padded)] += (1u << kPrecision) - (sum - padding);
}

template <class Function>
void Mixture::for_each(const Components& components, const int32_t* bases, const int32_t* widths, size_t threads,
                       const Function& function) const {
  Team team(std::max<size_t>(1, std::min(threads, components.count / kPerThread)));
  team.rows(components.count, [&](size_t begin, size_t end) {
    Scratch scratch;
    for (size_t v = begin; v < end; ++v) {
      frequencies_of(components, v, bases[v], widths[v], scratch);
      function(v, scratch);
    }
  });
}

void Mixture::rows(const Components& components, const int32_t* bases, const int32_t* widths, size_t columns,
                   uint16_t* rows, size_t threads) const {
  for_each(components, bases, widths, threads, [&](size_t v, Scratch& scratch) {
    const size_t count = static_cast<size_t>(widths[v]) + 1;
    uint16_t* row = rows + v * (columns + 1);
    kernels_.cumulate(scratch.frequencies, scratch.padded, scratch.row);
    row[0] = 0;
    std::copy(scratch.row, scratch.row + count, row + 1);
    std::fill(row + count + 1, row + columns + 1, static_cast<uint16_t>(1u << kPrecision));
  });
}

void Mixture::entries(const Components& components, const int32_t* bases, const int32_t* widths,
                      const int32_t* entries, uint16_t* starts, uint16_t* frequencies, size_t threads) const {
  for_each(components, bases, widths, threads, [&](size_t v, Scratch& scratch) {
    write_entry(scratch.frequencies, static_cast<size_t>(entries[v]), starts[v], frequencies[v]);
  });
}

}  // namespace siglum::mixture
