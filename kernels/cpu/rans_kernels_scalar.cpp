// The table coder in plain C++: what every CPU runs, and what the others leave to it (few lanes, the ends of steps).
#include "rans.hpp"

namespace siglum::rans {
namespace {

template <class T>
bool place_each(const uint8_t* numbers, size_t count, const int32_t* offsets, const T* indexes, int32_t* symbols) {
  uint8_t marked = 0;
  for (size_t i = 0; i < count; ++i) {
    symbols[i] = offsets[indexes[i]] + numbers[i];
    marked |= numbers[i] == 255;
  }
  return marked;
}

bool place_indexed(const uint8_t* numbers, size_t count, const int32_t* offsets, size_t, Indexes indexes,
                   int32_t* symbols) {
  switch (indexes.kind) {
    case IndexKind::u8:
      return place_each(numbers, count, offsets, static_cast<const uint8_t*>(indexes.data), symbols);
    case IndexKind::u16:
      return place_each(numbers, count, offsets, static_cast<const uint16_t*>(indexes.data), symbols);
    default: return place_each(numbers, count, offsets, static_cast<const int32_t*>(indexes.data), symbols);
  }
}

template <class T>
bool number_each(const Ranges& ranges, const int32_t* symbols, size_t count, const T* indexes, uint16_t* numbers) {
  uint32_t escaped = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t range = ranges.ranges[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(ranges.offsets[indexes[i]]);
    const uint32_t last = (range & 255) + 1;
    escaped |= number >= last;
    numbers[i] = static_cast<uint16_t>((range >> 8) + (number < last ? number : last));
  }
  return escaped != 0;
}

bool number_indexed(const Ranges& ranges, const int32_t* symbols, size_t count, Indexes indexes, uint16_t* numbers) {
  switch (indexes.kind) {
    case IndexKind::u8:
      return number_each(ranges, symbols, count, static_cast<const uint8_t*>(indexes.data), numbers);
    case IndexKind::u16:
      return number_each(ranges, symbols, count, static_cast<const uint16_t*>(indexes.data), numbers);
    default: return number_each(ranges, symbols, count, static_cast<const int32_t*>(indexes.data), numbers);
  }
}

#include "rans_symbols.inc"

// Rows of one stream. Table names the table of a symbol: a constant or an array.
template <uint32_t Lanes, class Table>
void decode_rows(const uint32_t* lookup, unsigned precision, Stream& stream, Table indexes) {
  const uint32_t mask = (1u << precision) - 1;
  const uint8_t* words = stream.words;
  uint8_t* numbers = stream.numbers;
  uint32_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = stream.states[lane];
  size_t row = 0;
  for (; row < stream.rows && static_cast<size_t>(stream.end - words) >= 2 * Lanes; ++row) {
    for (uint32_t lane = 0; lane < Lanes; ++lane) {
      const uint32_t index = static_cast<uint32_t>(indexes(row * Lanes + lane));
      const uint32_t entry = lookup[(size_t{index} << precision) + (x[lane] & mask)];
      const uint32_t next = (entry >> 8 & 0xfff) * (x[lane] >> precision) + (entry >> 20);
      const uint32_t due = next < kLowest;
      x[lane] = next << (16 * due) | (load_word(words) & (0 - due));  // arithmetic: compilers turn ?: into a branch
      words += 2 * due;
      numbers[row * Lanes + lane] = static_cast<uint8_t>(entry);
    }
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) stream.states[lane] = x[lane];
  stream.words = words;
  stream.rows = row;
}

template <uint32_t Lanes>
void decode_rows(const uint32_t* lookup, unsigned precision, Stream& stream) {
  const Indexes& indexes = stream.indexes;
  switch (indexes.kind) {
    case IndexKind::same: {
      const uint32_t same = indexes.same;
      return decode_rows<Lanes>(lookup, precision, stream, [same](size_t) { return same; });
    }
    case IndexKind::u8: {
      const uint8_t* each = static_cast<const uint8_t*>(indexes.data);
      return decode_rows<Lanes>(lookup, precision, stream, [each](size_t i) { return each[i]; });
    }
    case IndexKind::u16: {
      const uint16_t* each = static_cast<const uint16_t*>(indexes.data);
      return decode_rows<Lanes>(lookup, precision, stream, [each](size_t i) { return each[i]; });
    }
    default: {
      const int32_t* each = static_cast<const int32_t*>(indexes.data);
      return decode_rows<Lanes>(lookup, precision, stream, [each](size_t i) { return each[i]; });
    }
  }
}

void decode(uint32_t lanes, const uint32_t* lookup, unsigned precision, Stream* streams, size_t count) {
  for (size_t s = 0; s < count; ++s) {
    switch (lanes) {
      case 1: decode_rows<1>(lookup, precision, streams[s]); break;
      case 2: decode_rows<2>(lookup, precision, streams[s]); break;
      case 4: decode_rows<4>(lookup, precision, streams[s]); break;
      case 8: decode_rows<8>(lookup, precision, streams[s]); break;
      case 16: decode_rows<16>(lookup, precision, streams[s]); break;
      default: decode_rows<32>(lookup, precision, streams[s]); break;
    }
  }
}

template <uint32_t Lanes>
uint8_t* encode_rows(const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                     uint32_t* states, uint8_t* out) {
  uint32_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states[lane];
  while (rows-- > 0) {
    for (uint32_t lane = Lanes; lane-- > 0;)
      encode_symbol(x[lane], entries[numbers[rows * Lanes + lane]], precision, out);
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) states[lane] = x[lane];
  return out;
}

uint8_t* encode(uint32_t lanes, const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                uint32_t* states, uint8_t* out) {
  switch (lanes) {
    case 1: return encode_rows<1>(entries, precision, numbers, rows, states, out);
    case 2: return encode_rows<2>(entries, precision, numbers, rows, states, out);
    case 4: return encode_rows<4>(entries, precision, numbers, rows, states, out);
    case 8: return encode_rows<8>(entries, precision, numbers, rows, states, out);
    case 16: return encode_rows<16>(entries, precision, numbers, rows, states, out);
    default: return encode_rows<32>(entries, precision, numbers, rows, states, out);
  }
}

constexpr Kernels kernels = {decode, place, shift, number, find, encode};

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::rans
