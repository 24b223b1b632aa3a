#include "codebook.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "parallel.hpp"
#include "shares.hpp"

namespace siglum::codebook {
namespace {

constexpr int32_t kPaddingBias = -(1 << 29);  // a weight of zero beside any real entry
constexpr int32_t kMaxBias = 1 << 20;
constexpr size_t kPerThread = 1u << 16;  // fewer dimensions of points are not worth a thread

size_t padded_to_lanes(size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

}  // namespace

// What one thread works in.
struct Codebook::Scratch {
  explicit Scratch(const Codebook& book)
      : mean(2 * book.pairs_),
        rate(2 * book.pairs_),
        centre_rate(2 * book.pairs_),
        distances(std::max(book.centres_.padded, book.padded_members_)),
        members(book.cells_ * book.padded_members_),
        refined(book.cells_),
        frequencies(padded_to_lanes(kMaxEntries)) {}
  std::vector<int16_t> mean, rate, centre_rate;
  std::vector<int32_t> distances, members;
  std::vector<size_t> refined;  // cells whose members are summed
  std::vector<uint32_t> frequencies;
  int32_t norm = 0;
};

Codebook::Level Codebook::pack(const int16_t* points, const int32_t* bias, size_t count) const {
  const size_t padded = padded_to_lanes(count);
  Level level{count, padded, std::vector<int16_t>(pairs_ * padded * 2), std::vector<int32_t>(padded, kPaddingBias)};
  for (size_t p = 0; p < count; ++p) {
    level.bias[p] = bias[p];
    for (size_t i = 0; i < dimension_; ++i)
      level.points[(i / 2 * padded + p) * 2 + i % 2] = points[p * dimension_ + i];
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
  size_t first = 0;
  for (size_t c = 0; c < cells; ++c) {
    if (counts[c] < 1 || counts[c] > static_cast<int32_t>(kMaxEntries))
      throw std::invalid_argument("a cell has 1 to 256 members");
    const size_t count = static_cast<size_t>(counts[c]);
    for (size_t p = first; p < first + count; ++p) {
      if (bias[p] < -kMaxBias || bias[p] > kMaxBias) throw std::invalid_argument("a weight is out of range");
    }
    levels_.push_back(pack(points + first * dimension, bias + first, count));
    members_ = std::max(members_, count);
    first += count;
  }
  padded_members_ = padded_to_lanes(members_);
  centres_ = pack(centres, centre_bias, cells);
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
    if (entry[v] < 0 || static_cast<size_t>(entry[v]) >= levels_[static_cast<size_t>(chosen[v])].count) return false;
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
  int32_t* cells = scratch.distances.data();
  int32_t least = 0x7fffffff;
  scratch.refined.clear();
  const bool all = refine_ < 0;
  if (!all) {
    const int32_t nearest = kernels_.distances(centres_.points.data(), pairs_, padded, scratch.mean.data(),
                                               scratch.centre_rate.data(), centres_.bias.data(), cells);
    for (size_t c = 0; c < cells_; ++c) {
      if (int64_t{cells[c]} - nearest < refine_) {
        scratch.refined.push_back(c);
      } else {
        cells[c] += scratch.norm;
        least = std::min(least, cells[c]);
      }
    }
  } else {
    for (size_t c = 0; c < cells_; ++c) scratch.refined.push_back(c);
  }
  for (size_t c : scratch.refined) {
    const Level& level = levels_[c];
    const int32_t nearest =
        kernels_.distances(level.points.data(), pairs_, level.padded, scratch.mean.data(), scratch.rate.data(),
                           level.bias.data(), scratch.members.data() + c * padded_members_);
    least = std::min(least, nearest);
  }
  const int32_t none = static_cast<int32_t>(static_cast<uint32_t>(least) + (1u << 30));  // a weight of zero
  for (size_t c = cells_; c < padded; ++c) cells[c] = none;
  for (size_t c : scratch.refined) cells[c] = none;
  uint64_t total = kernels_.weights(cells, padded, least, exponentials_);
  for (size_t c : scratch.refined) {
    const uint64_t sum = kernels_.weights(scratch.members.data() + c * padded_members_, levels_[c].padded, least,
                                          exponentials_);
    cells[c] = static_cast<int32_t>(sum);
    total += sum;
  }
  const uint32_t factor = share_factor(cells_, total, kPrecision);
  kernels_.shares(cells, padded, factor, scratch.frequencies.data());
  give_rest(cells, cells_, kPrecision, scratch.frequencies.data());
}

void Codebook::member_frequencies(size_t cell, Scratch& scratch) const {
  const Level& level = levels_[cell];
  int32_t* members = scratch.members.data();
  const int32_t least =
      kernels_.distances(level.points.data(), pairs_, level.padded, scratch.mean.data(), scratch.rate.data(),
                         level.bias.data(), members);
  const uint64_t total = kernels_.weights(members, level.padded, least, exponentials_);
  kernels_.shares(members, level.padded, share_factor(level.count, total, kPrecision), scratch.frequencies.data());
  give_rest(members, level.count, kPrecision, scratch.frequencies.data());
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
    write_row(scratch.frequencies.data(), cells_, cells_, rows + v * (cells_ + 1));
  });
}

void Codebook::member_rows(const Vectors& vectors, const int32_t* chosen, uint16_t* rows, size_t threads) const {
  for_each(vectors, threads, [&](size_t v, Scratch& scratch) {
    const size_t cell = static_cast<size_t>(chosen[v]);
    member_frequencies(cell, scratch);
    write_row(scratch.frequencies.data(), levels_[cell].count, members_, rows + v * (members_ + 1));
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
