// Tables of the precise profile, and frequencies from weights: integers only.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "precise.hpp"

namespace siglum::precise {
namespace {

constexpr uint64_t kCachedBuckets = 1u << 15;

__extension__ typedef unsigned __int128 Wide;

using rans::bit_length;

// Division by multiplication with a rounded-up reciprocal (Granlund & Montgomery 1994), exact for every x < 2^63.
EncoderEntry encoder_entry(uint32_t frequency, uint32_t start, uint32_t precision) {
  if (frequency == 1)  // the quotient comes out as x - 1; the bias makes up for it
    return {~uint64_t{0}, 1, (start + (1u << precision) - 1) << 5};
  const unsigned shift = bit_length(frequency - 1) - 1;
  const Wide reciprocal = ((Wide{1} << (64 + shift)) + frequency - 1) / frequency;
  return {static_cast<uint64_t>(reciprocal), frequency, start << 5 | shift};
}

// Buckets of a table, as bits: two to four for each entry, so that most hold one, but fewer by 2^less.
uint32_t bucket_bits(uint32_t entries, uint32_t less, uint32_t precision) {
  const uint32_t bits = bit_length(entries) + 1;
  return std::min(std::max(bits > less ? bits - less : 0, 5u), std::min(16u, precision));
}

}  // namespace

Tables Tables::build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                     size_t count, uint32_t precision, bool closed) {
  if (precision < kMinPrecision || precision > kMaxPrecision)
    throw std::invalid_argument("precision must be 16 to 24 bits");
  if (count < 1 || count > kMaxTables) throw std::invalid_argument("there must be 1 to 65536 tables");
  if (total > UINT32_MAX) throw std::invalid_argument("there are more than 2^32 entries");
  const uint32_t whole = 1u << precision;
  size_t used = 0;
  for (size_t t = 0; t < count; ++t) {  // all checks before the large allocations
    const auto fail = [t](const char* what) { throw std::invalid_argument("table " + std::to_string(t) + ": " + what); };
    if (sizes[t] < 1) fail("needs an entry");
    if (offsets[t] < -kMaxOffset || offsets[t] > kMaxOffset) fail("offset beyond 2^24");
    if (sizes[t] > total - used) fail("frequencies are missing");
    uint64_t sum = 0;
    for (uint32_t j = 0; j < sizes[t]; ++j) {
      if (frequencies[used + j] < 1) fail("every frequency must be at least 1");
      sum += frequencies[used + j];
    }
    if (sum != whole) fail("frequencies must sum to 2^precision");
    used += sizes[t];
  }
  if (used != total) throw std::invalid_argument("there are more frequencies than the sizes say");

  Tables result;
  result.precision = precision;
  result.closed = closed;
  const auto all_buckets = [&](uint32_t less) {
    uint64_t buckets = 0;
    for (size_t t = 0; t < count; ++t) buckets += uint64_t{1} << bucket_bits(sizes[t], less, precision);
    return buckets;
  };
  uint32_t less = 0;  // until the tables of a step stay in the cache together
  while (less < 3 && all_buckets(less) > kCachedBuckets) ++less;
  result.buckets.resize(all_buckets(less));
  for (size_t t = 0, first = 0; t < count; ++t) {
    const uint32_t bits = bucket_bits(sizes[t], less, precision);
    result.grids.push_back({static_cast<uint32_t>(first), precision - bits});
    first += size_t{1} << bits;
  }
  result.tables.reserve(count);
  result.encoding.reserve(total);
  result.costs.reserve(total);
  result.intervals.reserve(total);
  Bucket* bucket = result.buckets.data();
  for (size_t t = 0; t < count; ++t) {
    const unsigned length = bit_length(sizes[t]);
    const uint32_t first = static_cast<uint32_t>(result.intervals.size());
    result.tables.push_back({offsets[t], closed ? sizes[t] : sizes[t] - 1, first, length > 4 ? length - 4 : 0});
    uint32_t start = 0;
    uint32_t begun = 0;  // buckets whose first slot has its entry
    for (uint32_t j = 0; j < sizes[t]; ++j) {
      const Interval interval{start, *frequencies++};
      result.encoding.push_back(encoder_entry(interval.frequency, start, precision));
      result.costs.push_back(static_cast<uint16_t>(256 * precision - rans::log2_256(interval.frequency)));
      result.intervals.push_back(interval);
      start += interval.frequency;
      if (begun) bucket[begun - 1].last = first + j;
      for (; begun << result.grids[t].shift < start; ++begun) bucket[begun] = {interval, first + j, first + j};
    }
    bucket += whole >> result.grids[t].shift;
  }
  return result;
}

void normalise(const uint64_t* weights, size_t count, uint32_t precision, uint32_t* frequencies) {
  if (precision > kMaxPrecision || count < 1 || count > size_t{1} << precision)
    throw std::invalid_argument("the entries do not fit into the precision");
  const uint64_t total = uint64_t{1} << precision;
  uint64_t weight = 0;
  for (size_t i = 0; i < count; ++i) {
    if (weights[i] > UINT64_MAX - weight) throw std::invalid_argument("the weights sum to more than 64 bits");
    weight += weights[i];
  }
  if (weight == 0) throw std::invalid_argument("one weight must be positive");

  // Entries below one part get one, which raises the share that the others must reach: those that can be below it in
  // the end, in rising order, until one is not.
  const uint64_t all = weight;
  std::vector<uint64_t> low;
  for (size_t i = 0; i < count; ++i)
    if (Wide{weights[i]} * (total - count + 1) < all) low.push_back(weights[i]);
  std::sort(low.begin(), low.end());
  uint64_t left = total;
  uint64_t below = 0;  // weights under this get one part
  for (const uint64_t w : low) {
    if (Wide{w} * left >= weight) break;
    --left;
    weight -= w;
    below = w + 1;
  }

  struct Remainder {
    uint64_t value;
    uint32_t entry;
  };
  std::vector<Remainder> remainders;
  uint64_t missing = left;
  for (size_t i = 0; i < count; ++i) {
    if (weights[i] < below) {
      frequencies[i] = 1;
      continue;
    }
    const Wide part = Wide{weights[i]} * left;
    const Wide quotient = part >> 64 ? part / weight : static_cast<uint64_t>(part) / weight;
    frequencies[i] = static_cast<uint32_t>(quotient);
    missing -= frequencies[i];
    remainders.push_back({static_cast<uint64_t>(part - quotient * weight), static_cast<uint32_t>(i)});
  }
  const auto larger = [](const Remainder& a, const Remainder& b) {
    return a.value != b.value ? a.value > b.value : a.entry < b.entry;
  };
  if (missing) std::nth_element(remainders.begin(), remainders.begin() + (missing - 1), remainders.end(), larger);
  for (size_t i = 0; i < missing; ++i) ++frequencies[remainders[i].entry];
}

bool valid_row(const uint32_t* row, size_t columns, uint32_t precision) {
  uint32_t falls = row[0] != 0 || row[columns] != 1u << precision;
  for (size_t k = 0; k < columns; ++k) falls |= row[k] > row[k + 1];
  return !falls;
}

void check_intervals(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision) {
  if (precision < 1 || precision > kMaxPrecision) throw std::invalid_argument("precision must be 1 to 24 bits");
  const uint32_t whole = 1u << precision;
  for (size_t i = 0; i < count; ++i)
    if (frequencies[i] < 1 || frequencies[i] > whole || starts[i] > whole - frequencies[i])
      throw std::invalid_argument("an interval is empty or leaves 2^precision");
}

}  // namespace siglum::precise
