#include "codebook.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "isa.hpp"
#include "parallel.hpp"
#include "shares.hpp"

namespace siglum::codebook {
namespace {

constexpr int32_t kPaddingBias = -(1 << 30);  // beyond every real entry, whatever its energy: a weight of zero
constexpr int32_t kMaxBias = 1 << 20;
constexpr size_t kPerThread = 1u << 16;  // fewer dimensions of points are not worth a thread

size_t padded_to_lanes(size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

}  // namespace

const Kernels& require_kernels(const char* isa) {
  const std::string name = isa;
  if (!cpu_has(isa)) throw std::invalid_argument("this CPU has no " + name);
  const Kernels* kernels = name == "avx2" ? avx2_kernels() : name == "avx512" ? avx512_kernels() : scalar_kernels();
  if (!kernels) throw std::invalid_argument("this build has no " + name);
  return *kernels;
}

// What one thread works in.
struct Codebook::Scratch {
  explicit Scratch(const Codebook& book)
      : mean(2 * book.pairs_),
        rate(2 * book.pairs_),
        centre_rate(2 * book.pairs_),
        cells(book.centres_.padded),
        members(book.cells_ * book.levels_.padded),
        sums(book.cells_),
        frequencies(padded_to_lanes(kMaxEntries)),
        row(padded_to_lanes(kMaxEntries)) {
    chosen.reserve(book.cells_);
  }
  std::vector<int16_t> mean, rate, centre_rate;
  std::vector<int32_t> cells, members, sums;
  std::vector<uint32_t> chosen;  // cells whose members are summed
  std::vector<uint32_t> frequencies;
  mutable std::vector<uint16_t> row;
  int32_t norm = 0;
};

Codebook::Level Codebook::pack(const int16_t* points, const int32_t* bias, const size_t* counts,
                               size_t tables) const {
  Level level;
  level.padded = padded_to_lanes(*std::max_element(counts, counts + tables));
  level.points.resize(tables * pairs_ * level.padded * 2);
  level.bias.assign(tables * level.padded, kPaddingBias);
  for (size_t t = 0; t < tables; ++t) {
    int16_t* table = level.points.data() + t * pairs_ * level.padded * 2;
    for (size_t p = 0; p < counts[t]; ++p, points += dimension_, ++bias) {
      level.bias[t * level.padded + p] = *bias;
      for (size_t i = 0; i < dimension_; ++i) table[(i / 2 * level.padded + p) * 2 + i % 2] = points[i];
    }
  }
  return level;
}

Codebook::Codebook(const Kernels& kernels, size_t dimension, const int16_t* points, const int32_t* bias,
                   const int32_t* counts, size_t cells, const int16_t* centres, const int32_t* centre_bias,
                   const int16_t* centre_rates, const int32_t* norms, const int16_t* rates,
                   const int32_t* exponentials, int32_t refine)
    : kernels_(kernels),
      dimension_(dimension),
      pairs_((dimension + 1) / 2),
      cells_(cells),
      centre_rates_(centre_rates, centre_rates + dimension * kScales),
      norms_(norms, norms + dimension * kScales),
      refine_(refine) {
  if (dimension < 1 || dimension > kMaxDimension) throw std::invalid_argument("1 to 64 dimensions");
  if (cells < 1 || cells > kMaxEntries) throw std::invalid_argument("1 to 256 cells");
  std::copy(rates, rates + kScales, rates_);
  std::copy(exponentials, exponentials + 16, exponentials_.level);
  std::copy(exponentials + 16, exponentials + 32, exponentials_.step);
  size_t total = 0;
  for (size_t c = 0; c < cells; ++c) {
    if (counts[c] < 1 || counts[c] > static_cast<int32_t>(kMaxEntries))
      throw std::invalid_argument("a cell has 1 to 256 members");
    counts_.push_back(static_cast<size_t>(counts[c]));
    members_ = std::max(members_, counts_.back());
    total += counts_.back();
  }
  const auto far = [](int32_t value) { return value < -kMaxBias || value > kMaxBias; };
  if (std::any_of(bias, bias + total, far) || std::any_of(centre_bias, centre_bias + cells, far))
    throw std::invalid_argument("a weight is out of range");
  if (std::any_of(norms_.begin(), norms_.end(), far)) throw std::invalid_argument("a norm is out of range");
  levels_ = pack(points, bias, counts_.data(), cells);
  centres_ = pack(centres, centre_bias, &cells, 1);
}

bool Codebook::valid_scales(const Vectors& vectors) const {
  uint8_t most = 0;
  for (size_t i = 0; i < vectors.count * dimension_; ++i) most = std::max(most, vectors.scale[i]);
  return most < kScales;
}

bool Codebook::valid_cells(const int32_t* chosen, size_t count) const {
  return std::all_of(chosen, chosen + count, [&](int32_t c) { return c >= 0 && static_cast<size_t>(c) < cells_; });
}

bool Codebook::valid_entries(const int32_t* chosen, const int32_t* entry, size_t count) const {
  for (size_t v = 0; v < count; ++v) {
    if (entry[v] < 0 || static_cast<size_t>(entry[v]) >= counts_[static_cast<size_t>(chosen[v])]) return false;
  }
  return true;
}

void Codebook::set_rates(const Vectors& vectors, size_t v, Scratch& scratch) const {
  const int16_t* mean = vectors.mean + v * dimension_;
  const uint8_t* scale = vectors.scale + v * dimension_;
  scratch.norm = 0;
  for (size_t i = 0; i < dimension_; ++i) {  // an odd dimension's partner keeps a rate of zero
    scratch.mean[i] = mean[i];
    scratch.rate[i] = rates_[scale[i]];
    scratch.centre_rate[i] = centre_rates_[i * kScales + scale[i]];
    scratch.norm += norms_[i * kScales + scale[i]];
  }
}

// Cells near the likeliest centre get the sum of their members' weights, the others the weight of their centre.
void Codebook::cell_frequencies(Scratch& scratch) const {
  const size_t padded = centres_.padded;
  const uint32_t only = 0;
  int32_t* cells = scratch.cells.data();
  int32_t least = 0x7fffffff;
  scratch.chosen.clear();
  if (refine_ < 0) {
    for (size_t c = 0; c < cells_; ++c) scratch.chosen.push_back(static_cast<uint32_t>(c));
  } else {
    const int32_t nearest = kernels_.distances(centres_.view(pairs_), &only, 1, scratch.mean.data(),
                                               scratch.centre_rate.data(), cells);
    for (size_t c = 0; c < cells_; ++c) {
      if (int64_t{cells[c]} - nearest < refine_) {
        scratch.chosen.push_back(static_cast<uint32_t>(c));
      } else {
        cells[c] += scratch.norm;
        least = std::min(least, cells[c]);
      }
    }
  }
  const size_t summed = scratch.chosen.size();
  int32_t* members = scratch.members.data();
  if (summed) {
    least = std::min(least, kernels_.distances(levels_.view(pairs_), scratch.chosen.data(), summed,
                                               scratch.mean.data(), scratch.rate.data(), members));
  }
  const int32_t none = static_cast<int32_t>(static_cast<uint32_t>(least) + (1u << 30));  // a weight of zero
  std::fill(cells + cells_, cells + padded, none);
  uint64_t total = 0;
  if (summed < cells_) {
    for (uint32_t c : scratch.chosen) cells[c] = none;
    total = kernels_.weights(cells, padded, &only, 1, least, exponentials_, scratch.sums.data());
  } else {
    std::fill(cells + cells_, cells + padded, 0);
  }
  if (summed) {
    total += kernels_.weights(members, levels_.padded, scratch.chosen.data(), summed, least, exponentials_,
                              scratch.sums.data());
  }
  for (uint32_t c : scratch.chosen) cells[c] = scratch.sums[c];
  share(cells, cells_, padded, total, scratch);
}

void Codebook::member_frequencies(size_t cell, Scratch& scratch) const {
  const uint32_t chosen = static_cast<uint32_t>(cell);
  int32_t* members = scratch.members.data();
  const int32_t least = kernels_.distances(levels_.view(pairs_), &chosen, 1, scratch.mean.data(),
                                           scratch.rate.data(), members);
  const uint64_t total =
      kernels_.weights(members, levels_.padded, &chosen, 1, least, exponentials_, scratch.sums.data());
  share(members + cell * levels_.padded, counts_[cell], levels_.padded, total, scratch);
}

void Codebook::share(const int32_t* weights, size_t count, size_t padded, uint64_t total, Scratch& scratch) const {
  uint32_t* frequencies = scratch.frequencies.data();
  const uint32_t sum = kernels_.shares(weights, padded, share_factor(count, total, kPrecision), frequencies);
  const uint32_t padding = static_cast<uint32_t>(padded - count);  // each of these has a frequency of 1
  frequencies[kernels_.first_largest(weights, padded)] += (1u << kPrecision) - (sum - padding);
}

void Codebook::write_row(const Scratch& scratch, size_t count, size_t padded, size_t width, uint16_t* row) const {
  kernels_.cumulate(scratch.frequencies.data(), padded, scratch.row.data());
  row[0] = 0;
  std::copy(scratch.row.data(), scratch.row.data() + count, row + 1);
  std::fill(row + count + 1, row + width + 1, static_cast<uint16_t>(1u << kPrecision));
}

template <class Function>
void Codebook::for_each(const Vectors& vectors, size_t threads, const Function& function) const {
  const size_t worth = vectors.count * (members_ + cells_) * dimension_ / kPerThread;
  Team team(std::max<size_t>(1, std::min(threads, worth)));
  team.rows(vectors.count, [&](size_t begin, size_t end) {
    Scratch scratch(*this);
    for (size_t v = begin; v < end; ++v) {
      set_rates(vectors, v, scratch);
      function(v, scratch);
    }
  });
}

void Codebook::cell_rows(const Vectors& vectors, uint16_t* rows, size_t threads) const {
  for_each(vectors, threads, [&](size_t v, Scratch& scratch) {
    cell_frequencies(scratch);
    write_row(scratch, cells_, centres_.padded, cells_, rows + v * (cells_ + 1));
  });
}

void Codebook::member_rows(const Vectors& vectors, const int32_t* chosen, uint16_t* rows, size_t threads) const {
  for_each(vectors, threads, [&](size_t v, Scratch& scratch) {
    const size_t cell = static_cast<size_t>(chosen[v]);
    member_frequencies(cell, scratch);
    write_row(scratch, counts_[cell], levels_.padded, members_, rows + v * (members_ + 1));
  });
}

void Codebook::cell_entries(const Vectors& vectors, const int32_t* chosen, uint16_t* starts, uint16_t* frequencies,
                            size_t threads) const {
  for_each(vectors, threads, [&](size_t v, Scratch& scratch) {
    cell_frequencies(scratch);
    write_entry(scratch.frequencies.data(), static_cast<size_t>(chosen[v]), starts[v], frequencies[v]);
  });
}

void Codebook::member_entries(const Vectors& vectors, const int32_t* chosen, const int32_t* entry, uint16_t* starts,
                              uint16_t* frequencies, size_t threads) const {
  for_each(vectors, threads, [&](size_t v, Scratch& scratch) {
    member_frequencies(static_cast<size_t>(chosen[v]), scratch);
    write_entry(scratch.frequencies.data(), static_cast<size_t>(entry[v]), starts[v], frequencies[v]);
  });
}

}  // namespace siglum::codebook
