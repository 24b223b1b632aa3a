// Integer tables: validation, encoder entries, decoder lookup.
#include <stdexcept>
#include <string>

#include "rans.hpp"

namespace siglum::rans {
namespace {

unsigned bit_length(uint32_t value) {
  unsigned length = 0;
  while (value >> length) ++length;
  return length;
}

// log2 in 1/256, by repeated squaring of the mantissa: integers only, so that every machine chooses the same lanes.
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

}  // namespace

Tables Tables::build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                     size_t count, uint32_t precision) {
  if (precision < 1 || precision > kMaxPrecision) throw std::invalid_argument("precision must be 1 to 12 bits");
  if (count < 1 || count > kMaxTables) throw std::invalid_argument("there must be 1 to 65536 tables");
  Tables result;
  result.precision = precision;
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
  result.lookup.resize(count << precision);
  uint32_t* slot = result.lookup.data();
  for (size_t t = 0; t < count; ++t) {
    const unsigned length = bit_length(sizes[t]);
    const uint32_t last = sizes[t] - 1;
    result.tables.push_back(
        {offsets[t], last, static_cast<uint32_t>(result.entries.size()), length > 4 ? length - 4 : 0});
    uint32_t start = 0;
    for (uint32_t j = 0; j <= last; ++j) {
      const uint32_t frequency = *frequencies++;
      result.entries.push_back(encoder_entry(frequency, start, precision));
      result.costs.push_back(static_cast<uint16_t>(256 * precision - log2_256(frequency)));
      const uint32_t number = j == last ? kEscapeMark : j;
      for (uint32_t k = 0; k < frequency; ++k) *slot++ = k << 20 | frequency << 8 | number;
      start += frequency;
    }
  }
  return result;
}

template <class Index>
bool valid_indexes(const Tables& tables, Index indexes, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t index = static_cast<uint32_t>(indexes[i]);
    largest = index > largest ? index : largest;
  }
  return count == 0 || largest < tables.size();
}

template <>
bool valid_indexes(const Tables& tables, Same same, size_t) {
  return same.index < tables.size();
}

template bool valid_indexes(const Tables&, const uint8_t*, size_t);
template bool valid_indexes(const Tables&, const uint16_t*, size_t);
template bool valid_indexes(const Tables&, const int32_t*, size_t);

}  // namespace siglum::rans
