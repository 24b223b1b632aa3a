#include "mixture.hpp"

#include <algorithm>
#include <stdexcept>

#include "parallel.hpp"
#include "shares.hpp"

namespace siglum::mixture {
namespace {

constexpr size_t kPerThread = 1u << 9;  // fewer symbols are not worth a thread

}  // namespace

Mixture::Mixture(const uint32_t* frequencies, const uint32_t* sizes, const int32_t* offsets, size_t tables) {
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

void Mixture::frequencies_of(const Components& components, size_t v, int64_t base, int64_t width, int32_t* masses,
                             uint32_t* frequencies) const {
  std::fill(masses, masses + width, 0);
  int64_t total = 0, inside = 0;
  for (size_t c = v * components.number; c < (v + 1) * components.number; ++c) {
    const int32_t weight = components.weights[c];
    if (!weight) continue;
    total += weight;
    const Table& table = tables_[components.tables[c]];
    const int64_t from = int64_t{components.shifts[c]} + table.offset - base;  // may lie outside the window
    const int64_t begin = std::max<int64_t>(0, -from), end = std::min<int64_t>(table.size, width - from);
    const int32_t* row = frequencies_.data() + table.first;
    for (int64_t j = begin; j < end; ++j) masses[from + j] += weight * row[j];
  }
  for (int64_t k = 0; k < width; ++k) inside += masses[k];
  total *= int64_t{1} << 12;
  masses[width] = static_cast<int32_t>(total - inside);
  const size_t count = static_cast<size_t>(width) + 1;
  const uint64_t factor =
      (uint64_t{(1u << kPrecision) - static_cast<uint32_t>(count)} << 32) / static_cast<uint64_t>(total);
  for (size_t k = 0; k < count; ++k)
    frequencies[k] = 1 + static_cast<uint32_t>(static_cast<uint64_t>(masses[k]) * factor >> 32);
  give_rest(masses, count, kPrecision, frequencies);
}

template <class Function>
void Mixture::for_each(const Components& components, const int32_t* bases, const int32_t* widths, size_t threads,
                       const Function& function) const {
  Team team(std::max<size_t>(1, std::min(threads, components.count / kPerThread)));
  team.rows(components.count, [&](size_t begin, size_t end) {
    int32_t masses[kWindow + 1];
    uint32_t frequencies[kWindow + 1];
    for (size_t v = begin; v < end; ++v) {
      frequencies_of(components, v, bases[v], widths[v], masses, frequencies);
      function(v, frequencies);
    }
  });
}

void Mixture::rows(const Components& components, const int32_t* bases, const int32_t* widths, size_t columns,
                   uint16_t* rows, size_t threads) const {
  for_each(components, bases, widths, threads, [&](size_t v, const uint32_t* frequencies) {
    write_row(frequencies, static_cast<size_t>(widths[v]) + 1, columns, rows + v * (columns + 1));
  });
}

void Mixture::entries(const Components& components, const int32_t* bases, const int32_t* widths,
                      const int32_t* entries, uint16_t* starts, uint16_t* frequencies, size_t threads) const {
  for_each(components, bases, widths, threads, [&](size_t v, const uint32_t* row) {
    write_entry(row, static_cast<size_t>(entries[v]), starts[v], frequencies[v]);
  });
}

}  // namespace siglum::mixture
