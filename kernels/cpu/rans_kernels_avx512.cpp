// The table coder with AVX-512: 32 lanes are two vectors. Fewer lanes are left to plain C++.
#include "rans_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>

namespace siglum::rans {
namespace {

constexpr size_t kLanes = 32;
constexpr size_t kInFlight = 4;  // streams

// 16 indexes from an array of T as dwords.
template <class T>
__m512i load_indexes(const T* indexes) {
  if constexpr (sizeof(T) == 1) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indexes)));
  } else if constexpr (sizeof(T) == 2) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(indexes)));
  } else {
    return _mm512_loadu_si512(indexes);
  }
}

// Values of up to 64 tables in registers: permutations cost a fraction of a gather.
class SmallTable {
 public:
  SmallTable(const void* values, size_t count) {
    const int32_t* from = static_cast<const int32_t*>(values);
    for (size_t k = 0; k < 4; ++k) {
      const size_t left = count > 16 * k ? count - 16 * k : 0;
      part_[k] = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1), from + 16 * k);
    }
  }
  __m512i operator()(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi32(part_[0], index, part_[1]);
    const __m512i high = _mm512_permutex2var_epi32(part_[2], index, part_[3]);
    return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
  }

 private:
  __m512i part_[4];
};

class LargeTable {
 public:
  LargeTable(const void* values, size_t) : values_(values) {}
  __m512i operator()(__m512i index) const { return _mm512_i32gather_epi32(index, values_, 4); }

 private:
  const void* values_;
};

template <class Lookup, class T>
bool place_each(const uint8_t* numbers, size_t count, const int32_t* offsets, size_t tables, const T* indexes,
                int32_t* symbols) {
  const Lookup offset_of(offsets, tables);
  __mmask16 marked = 0;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m512i number = load_indexes(numbers + i);
    marked |= _mm512_cmpeq_epi32_mask(number, _mm512_set1_epi32(255));
    _mm512_storeu_si512(symbols + i, _mm512_add_epi32(number, offset_of(load_indexes(indexes + i))));
  }
  bool escaped = marked != 0;
  for (; i < count; ++i) {
    symbols[i] = offsets[indexes[i]] + numbers[i];
    escaped |= numbers[i] == 255;
  }
  return escaped;
}

template <class T>
bool place_each(const uint8_t* numbers, size_t count, const int32_t* offsets, size_t tables, Indexes indexes,
                int32_t* symbols) {
  const T* each = static_cast<const T*>(indexes.data);
  if (tables <= 64) return place_each<SmallTable>(numbers, count, offsets, tables, each, symbols);
  return place_each<LargeTable>(numbers, count, offsets, tables, each, symbols);
}

bool place_indexed(const uint8_t* numbers, size_t count, const int32_t* offsets, size_t tables, Indexes indexes,
                   int32_t* symbols) {
  switch (indexes.kind) {
    case IndexKind::u8: return place_each<uint8_t>(numbers, count, offsets, tables, indexes, symbols);
    case IndexKind::u16: return place_each<uint16_t>(numbers, count, offsets, tables, indexes, symbols);
    default: return place_each<int32_t>(numbers, count, offsets, tables, indexes, symbols);
  }
}

template <class Lookup, class T>
bool number_each(const Ranges& ranges, const int32_t* symbols, size_t count, const T* indexes, uint16_t* numbers) {
  const Lookup offset_of(ranges.offsets, ranges.count), range_of(ranges.ranges, ranges.count);
  __mmask16 escaped = 0;
  size_t i = 0;
  for (; i < count; i += 16) {
    // the last block overlaps the one before; where there is none, plain code follows
    if (i + 16 > count) {
      if (count < 16) break;
      i = count - 16;
    }
    const __m512i index = load_indexes(indexes + i);
    const __m512i range = range_of(index);
    const __m512i number = _mm512_sub_epi32(_mm512_loadu_si512(symbols + i), offset_of(index));
    const __m512i last = _mm512_add_epi32(_mm512_and_si512(range, _mm512_set1_epi32(255)), _mm512_set1_epi32(1));
    escaped |= _mm512_cmpge_epu32_mask(number, last);
    const __m512i entry = _mm512_add_epi32(_mm512_srli_epi32(range, 8), _mm512_min_epu32(number, last));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(numbers + i), _mm512_cvtepi32_epi16(entry));
  }
  bool any = escaped != 0;
  for (; i < count; ++i) {
    const uint32_t range = ranges.ranges[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(ranges.offsets[indexes[i]]);
    const uint32_t last = (range & 255) + 1;
    any |= number >= last;
    numbers[i] = static_cast<uint16_t>((range >> 8) + (number < last ? number : last));
  }
  return any;
}

template <class T>
bool number_each(const Ranges& ranges, const int32_t* symbols, size_t count, Indexes indexes, uint16_t* numbers) {
  const T* each = static_cast<const T*>(indexes.data);
  if (ranges.count <= 64) return number_each<SmallTable>(ranges, symbols, count, each, numbers);
  return number_each<LargeTable>(ranges, symbols, count, each, numbers);
}

bool number_indexed(const Ranges& ranges, const int32_t* symbols, size_t count, Indexes indexes, uint16_t* numbers) {
  switch (indexes.kind) {
    case IndexKind::u8: return number_each<uint8_t>(ranges, symbols, count, indexes, numbers);
    case IndexKind::u16: return number_each<uint16_t>(ranges, symbols, count, indexes, numbers);
    default: return number_each<int32_t>(ranges, symbols, count, indexes, numbers);
  }
}

#include "rans_symbols.inc"

// One table for all: the lookup already points at it.
struct One {
  One operator+(size_t) const { return *this; }
  __m512i operator()(size_t) const { return _mm512_setzero_si512(); }
};

template <class T>
struct Each {
  const T* indexes;
  unsigned precision;
  Each operator+(size_t i) const { return {indexes + i, precision}; }
  __m512i operator()(size_t i) const {
    return _mm512_sll_epi32(load_indexes(indexes + i), _mm_cvtsi32_si128(static_cast<int>(precision)));
  }
};

// Takes words for the lanes of `due`, in order; returns where the next ones stand.
const uint8_t* refill(__m512i& x, __mmask16 due, const uint8_t* words) {
  const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  const __m512i spread = _mm512_maskz_expand_epi32(due, next);
  x = _mm512_mask_or_epi32(x, due, _mm512_slli_epi32(x, 16), spread);
  return words + 2 * __builtin_popcount(due);
}

// All gathers before all arithmetic before all refills: this order, and several streams, hide the gathers' latency.
template <int Streams, class Select>
void decode_rows(const uint32_t* lookup, unsigned precision, Stream* streams, const Select* select, size_t rows) {
  constexpr int kVectors = 2 * Streams;
  const __m512i mask = _mm512_set1_epi32((1 << precision) - 1);
  const __m512i lowest = _mm512_set1_epi32(1 << 15), low12 = _mm512_set1_epi32(0xfff);
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(precision));
  __m512i x[kVectors];
  const uint8_t* words[Streams];
  for (int s = 0; s < Streams; ++s) {
    words[s] = streams[s].words;
    for (int v = 0; v < 2; ++v) x[2 * s + v] = _mm512_loadu_si512(streams[s].states + 16 * v);
  }
  size_t row = 0;
  while (row < rows) {
    size_t safe = rows - row;  // rows for which every stream has words, whatever is decoded
    for (int s = 0; s < Streams; ++s) {
      const size_t rows_of_words = static_cast<size_t>(streams[s].end - words[s]) / (2 * kLanes);
      safe = rows_of_words < safe ? rows_of_words : safe;
    }
    if (safe == 0) break;
    for (const size_t stop = row + safe; row < stop; ++row) {
      __m512i entry[kVectors];
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) {
        const __m512i slot = _mm512_or_si512(_mm512_and_si512(x[k], mask), select[k / 2](row * kLanes + 16 * (k % 2)));
        entry[k] = _mm512_i32gather_epi32(slot, lookup, 4);
      }
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) {
        const __m512i frequency = _mm512_and_si512(_mm512_srli_epi32(entry[k], 8), low12);
        x[k] = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srl_epi32(x[k], shift)),
                                _mm512_srli_epi32(entry[k], 20));
      }
      __mmask16 due[kVectors];
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) {
        due[k] = _mm512_cmplt_epu32_mask(x[k], lowest);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(streams[k / 2].numbers + row * kLanes + 16 * (k % 2)),
                         _mm512_cvtepi32_epi8(entry[k]));
      }
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) words[k / 2] = refill(x[k], due[k], words[k / 2]);
    }
  }
  for (int s = 0; s < Streams; ++s) {
    streams[s].words = words[s];
    streams[s].rows = row;
    for (int v = 0; v < 2; ++v) _mm512_storeu_si512(streams[s].states + 16 * v, x[2 * s + v]);
  }
}

// A move of the vector unit, which the compiler will not turn into gathers.
void copy_entry(const uint64_t* from, uint64_t* to) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

#include "rans_pairs.inc"

uint8_t* encode_rows(const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                     uint32_t* states, uint8_t* out) {
  constexpr size_t kAhead = 4;  // rows
  alignas(64) uint64_t ring[kAhead][kLanes];
  const __m512i low12 = _mm512_set1_epi64(0xfff), low13 = _mm512_set1_epi64(0x1fff), low6 = _mm512_set1_epi64(63);
  const __m512i whole = _mm512_set1_epi64(1ll << precision);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m128i limit_shift = _mm_cvtsi32_si128(static_cast<int>(31 - precision));
  __m512i x[4];
  for (int g = 0; g < 4; ++g)
    x[g] = _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * g)));
  for (size_t k = 0; k < kAhead && k < rows; ++k)
    fetch(entries, numbers + (rows - 1 - k) * kLanes, ring[(rows - 1 - k) % kAhead]);
  for (size_t row = rows; row-- > 0;) {
    const uint64_t* from = ring[row % kAhead];
    __m512i entry[4], frequency[4];
    __mmask8 due[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      entry[g] = _mm512_load_si512(from + 8 * g);
      frequency[g] = _mm512_and_si512(entry[g], low12);
      due[g] = _mm512_cmpge_epu64_mask(x[g], _mm512_sll_epi64(frequency[g], limit_shift));
    }
#pragma GCC unroll 2
    for (int h = 1; h >= 0; --h) {
      const __m512i low = _mm512_permutex2var_epi32(x[2 * h], even, x[2 * h + 1]);
      const __mmask16 both = static_cast<__mmask16>(due[2 * h] | due[2 * h + 1] << 8);
      const unsigned count = static_cast<unsigned>(__builtin_popcount(both));
      out -= 2 * count;
      _mm256_mask_storeu_epi16(out, static_cast<__mmask16>((1u << count) - 1),
                               _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(both, low)));
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const __m512i y = _mm512_mask_srli_epi64(x[g], due[g], x[g], 16);
      const __m512i product = _mm512_mul_epu32(y, _mm512_srli_epi64(entry[g], 32));
      const __m512i quotient = _mm512_srlv_epi64(product, _mm512_and_si512(_mm512_srli_epi64(entry[g], 25), low6));
      const __m512i bias = _mm512_and_si512(_mm512_srli_epi64(entry[g], 12), low13);
      x[g] = _mm512_add_epi64(_mm512_add_epi64(y, bias),
                              _mm512_mul_epu32(quotient, _mm512_sub_epi64(whole, frequency[g])));
    }
    if (row >= kAhead) fetch(entries, numbers + (row - kAhead) * kLanes, ring[row % kAhead]);
  }
  for (int g = 0; g < 4; ++g)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * g), _mm512_cvtepi64_epi32(x[g]));
  return out;
}

uint8_t* encode(uint32_t lanes, const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                uint32_t* states, uint8_t* out) {
  if (lanes != kLanes) return scalar_kernels()->encode(lanes, entries, precision, numbers, rows, states, out);
  return encode_rows(entries, precision, numbers, rows, states, out);
}

constexpr Kernels kernels = {decode, place, shift, number, find, encode};

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }

}  // namespace siglum::rans

#else

namespace siglum::rans {

const Kernels* avx512_kernels() { return nullptr; }

}  // namespace siglum::rans

#endif
