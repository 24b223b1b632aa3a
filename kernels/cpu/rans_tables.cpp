// Integer tables: validation, encoder entries, decoder lookup.
#include <stdexcept>
#include <string>

#include "checksum.hpp"
#include "rans.hpp"

namespace siglum::rans {
namespace {

// Division by multiplication with a rounded-up reciprocal (Granlund & Montgomery 1994), exact for every x < 2^31.
uint64_t encoder_entry(uint32_t frequency, uint32_t start, uint32_t precision) {
  uint64_t reciprocal, bias = start, shift;
  if (frequency == 1) {  // the quotient comes out as x - 1; the bias makes up for it
    reciprocal = 0xffffffffu;
    shift = 32;
    bias += (1u << precision) - 1;
  } else {
    shift = 32 + bit_length(frequency - 1) - 1;
    reciprocal = ((uint64_t{1} << shift) + frequency - 1) / frequency;
  }
  return reciprocal << 32 | shift << 25 | bias << 12 | frequency;
}

// 0 of none: there is always a table 0. Negative numbers count as large ones.
template <class T>
uint32_t largest(const T* values, size_t count) {
  T result = 0;
  for (size_t i = 0; i < count; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

}  // namespace

unsigned bit_length(uint32_t value) {
  unsigned length = 0;
  while (value >> length) ++length;
  return length;
}

// By repeated squaring of the mantissa.
uint32_t log2_256(uint32_t value) {
  const unsigned whole = bit_length(value) - 1;
  uint64_t mantissa = uint64_t{value} << (31 - whole);  // in [2^31, 2^32)
  uint32_t result = whole;
  for (int bit = 0; bit < 8; ++bit) {
    mantissa = mantissa * mantissa >> 31;
    const uint32_t carry = static_cast<uint32_t>(mantissa >> 32);
    mantissa >>= carry;
    result = result << 1 | carry;
  }
  return result;
}

Tables Tables::build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                     size_t count, uint32_t precision, bool closed) {
  if (precision < 1 || precision > kMaxPrecision) throw std::invalid_argument("precision must be 1 to 12 bits");
  if (count < 1 || count > kMaxTables) throw std::invalid_argument("there must be 1 to 65536 tables");
  Tables result;
  result.precision = precision;
  result.closed = closed;
  const uint32_t whole = 1u << precision;
  size_t used = 0;
  for (size_t t = 0; t < count; ++t) {  // all checks before the large allocations
    const std::string where = "table " + std::to_string(t) + ": ";
    if (sizes[t] < 2 || sizes[t] > kMaxEntries) throw std::invalid_argument(where + "needs 2 to 256 entries");
    if (offsets[t] < -kMaxOffset || offsets[t] > kMaxOffset) throw std::invalid_argument(where + "offset beyond 2^24");
    if (sizes[t] > total - used) throw std::invalid_argument(where + "frequencies are missing");
    uint64_t sum = 0;
    for (uint32_t j = 0; j < sizes[t]; ++j) {
      if (frequencies[used + j] < 1 || frequencies[used + j] >= whole)
        throw std::invalid_argument(where + "every frequency must be at least 1 and below 2^precision");
      sum += frequencies[used + j];
    }
    if (sum != whole) throw std::invalid_argument(where + "frequencies must sum to 2^precision");
    used += sizes[t];
  }
  if (used != total) throw std::invalid_argument("there are more frequencies than the sizes say");

  result.tables.reserve(count);
  result.entries.reserve(total);
  result.costs.reserve(total);
  result.offsets.assign(offsets, offsets + count);
  result.ranges.reserve(count);
  result.lookup.resize(count << precision);
  int32_t lowest = kMaxOffset, highest = -kMaxOffset;
  uint32_t* slot = result.lookup.data();
  for (size_t t = 0; t < count; ++t) {
    const unsigned length = bit_length(sizes[t]);
    const uint32_t last = closed ? sizes[t] : sizes[t] - 1;
    const uint32_t first = static_cast<uint32_t>(result.entries.size());
    result.tables.push_back({offsets[t], last, first, length > 4 ? length - 4 : 0});
    result.ranges.push_back(first << 8 | (last - 1));
    const int32_t top = offsets[t] + static_cast<int32_t>(last) - 1;
    lowest = offsets[t] < lowest ? offsets[t] : lowest;
    highest = top > highest ? top : highest;
    uint32_t start = 0;
    for (uint32_t j = 0; j < sizes[t]; ++j) {
      const uint32_t frequency = *frequencies++;
      result.entries.push_back(encoder_entry(frequency, start, precision));
      result.costs.push_back(static_cast<uint16_t>(256 * precision - log2_256(frequency)));
      const uint32_t number = j == last ? kEscapeMark : j;
      for (uint32_t k = 0; k < frequency; ++k) *slot++ = k << 20 | frequency << 8 | number;
      start += frequency;
    }
  }
  std::vector<uint8_t> bytes = {static_cast<uint8_t>(precision), closed};
  for (size_t t = 0; t < count; ++t) {
    for (const uint32_t value : {static_cast<uint32_t>(offsets[t]), sizes[t]}) {
      for (int k = 0; k < 4; ++k) bytes.push_back(static_cast<uint8_t>(value >> (8 * k)));
    }
  }
  for (const uint64_t entry : result.entries) {
    bytes.push_back(static_cast<uint8_t>(entry));
    bytes.push_back(static_cast<uint8_t>(entry >> 8 & 15));
  }
  result.fingerprint = crc32c(bytes.data(), bytes.size());
  result.lowest = lowest;
  result.highest = highest;
  return result;
}

bool valid_indexes(const Tables& tables, Indexes indexes, size_t count) {
  switch (indexes.kind) {
    case IndexKind::same: return indexes.same < tables.size();
    case IndexKind::u8: return largest(static_cast<const uint8_t*>(indexes.data), count) < tables.size();
    case IndexKind::u16: return largest(static_cast<const uint16_t*>(indexes.data), count) < tables.size();
    default: return largest(static_cast<const uint32_t*>(indexes.data), count) < tables.size();
  }
}

}  // namespace siglum::rans
