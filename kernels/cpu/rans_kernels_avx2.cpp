// The table coder with AVX2: 32 lanes are four vectors. Fewer lanes are left to plain C++.
#include "rans_kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>

namespace siglum::rans {
namespace {

constexpr size_t kLanes = 32;
constexpr size_t kInFlight = 2;  // streams

struct Permutations {
  alignas(32) uint8_t spread[256][8];  // for the set bits of the number, the next words in order
  alignas(16) uint8_t gather[256][8];  // the lanes of the set bits, at the upper end
};

constexpr Permutations make_permutations() {
  Permutations result{};
  for (int bits = 0; bits < 256; ++bits) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane) count += bits >> lane & 1;
    int next = 0;
    for (int lane = 0; lane < 8; ++lane) {
      if (!(bits >> lane & 1)) continue;
      result.gather[bits][8 - count + next] = static_cast<uint8_t>(lane);
      result.spread[bits][lane] = static_cast<uint8_t>(next++);
    }
  }
  return result;
}

constexpr Permutations kPermutations = make_permutations();

__m256i permutation(const uint8_t (&lanes)[8]) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(lanes)));
}

// 8 indexes from an array of T as dwords.
template <class T>
__m256i load_indexes(const T* indexes) {
  if constexpr (sizeof(T) == 1) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(indexes)));
  } else if constexpr (sizeof(T) == 2) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indexes)));
  } else {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indexes));
  }
}

template <class T>
bool place_each(const uint8_t* numbers, size_t count, const int32_t* offsets, const T* indexes, int32_t* symbols) {
  __m256i marked = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i number = load_indexes(numbers + i);
    marked = _mm256_or_si256(marked, _mm256_cmpeq_epi32(number, _mm256_set1_epi32(255)));
    const __m256i offset = _mm256_i32gather_epi32(offsets, load_indexes(indexes + i), 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols + i), _mm256_add_epi32(number, offset));
  }
  bool escaped = _mm256_movemask_epi8(marked) != 0;
  for (; i < count; ++i) {
    symbols[i] = offsets[indexes[i]] + numbers[i];
    escaped |= numbers[i] == 255;
  }
  return escaped;
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
  __m256i inside = _mm256_set1_epi32(-1);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i index = load_indexes(indexes + i);
    const __m256i range = _mm256_i32gather_epi32(reinterpret_cast<const int*>(ranges.ranges), index, 4);
    const __m256i offset = _mm256_i32gather_epi32(ranges.offsets, index, 4);
    const __m256i symbol = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols + i));
    const __m256i number = _mm256_sub_epi32(symbol, offset);
    const __m256i last = _mm256_and_si256(range, _mm256_set1_epi32(255));  // less one
    const __m256i least = _mm256_min_epu32(number, last);
    const __m256i within = _mm256_cmpeq_epi32(least, number);
    inside = _mm256_and_si256(inside, within);
    // outside, the escape: one after the last symbol
    const __m256i entry = _mm256_add_epi32(_mm256_add_epi32(_mm256_srli_epi32(range, 8), least),
                                           _mm256_andnot_si256(within, _mm256_set1_epi32(1)));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(entry, entry), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(numbers + i), _mm256_castsi256_si128(packed));
  }
  bool any = _mm256_movemask_epi8(inside) != -1;
  for (; i < count; ++i) {
    const uint32_t range = ranges.ranges[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(ranges.offsets[indexes[i]]);
    const uint32_t last = (range & 255) + 1;
    any |= number >= last;
    numbers[i] = static_cast<uint16_t>((range >> 8) + (number < last ? number : last));
  }
  return any;
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

// One table for all: the lookup already points at it.
struct One {
  One operator+(size_t) const { return *this; }
  __m256i operator()(size_t) const { return _mm256_setzero_si256(); }
};

template <class T>
struct Each {
  const T* indexes;
  unsigned precision;
  Each operator+(size_t i) const { return {indexes + i, precision}; }
  __m256i operator()(size_t i) const {
    return _mm256_sll_epi32(load_indexes(indexes + i), _mm_cvtsi32_si128(static_cast<int>(precision)));
  }
};

// All gathers before all arithmetic before all refills: this order, and several streams, hide the gathers' latency.
template <int Streams, class Select>
void decode_rows(const uint32_t* lookup, unsigned precision, Stream* streams, const Select* select, size_t rows) {
  constexpr int kVectors = 4 * Streams;
  const __m256i mask = _mm256_set1_epi32((1 << precision) - 1), low8 = _mm256_set1_epi32(255);
  const __m256i low12 = _mm256_set1_epi32(0xfff);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(precision));
  const int* table = reinterpret_cast<const int*>(lookup);
  __m256i x[kVectors];
  const uint8_t* words[Streams];
  for (int s = 0; s < Streams; ++s) {
    words[s] = streams[s].words;
    for (int v = 0; v < 4; ++v)
      x[4 * s + v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(streams[s].states + 8 * v));
  }
  size_t row = 0;
  for (; row < rows; ++row) {
    bool enough = true;
    for (int s = 0; s < Streams; ++s) enough &= static_cast<size_t>(streams[s].end - words[s]) >= 2 * kLanes;
    if (!enough) break;
    __m256i entry[kVectors];
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      const __m256i base = select[k / 4](row * kLanes + 8 * (k % 4));
      entry[k] = _mm256_i32gather_epi32(table, _mm256_or_si256(_mm256_and_si256(x[k], mask), base), 4);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(entry[k], 8), low12);
      x[k] = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srl_epi32(x[k], shift)),
                              _mm256_srli_epi32(entry[k], 20));
    }
#pragma GCC unroll 2
    for (int s = 0; s < Streams; ++s) {
      __m256i number[4];
      for (int v = 0; v < 4; ++v) number[v] = _mm256_and_si256(entry[4 * s + v], low8);
      const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(number[0], number[1]),
                                                _mm256_packus_epi32(number[2], number[3]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(streams[s].numbers + row * kLanes),
                          _mm256_permutevar8x32_epi32(bytes, order));
    }
    unsigned due[kVectors];
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {  // states are below 2^31, so that signed comparison serves
      const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(1 << 15), x[k]);
      due[k] = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(below)));
    }
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      const __m256i next =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words[k / 4])));
      const __m256i spread = _mm256_permutevar8x32_epi32(next, permutation(kPermutations.spread[due[k]]));
      const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(x[k], 16), spread);
      const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(1 << 15), x[k]);
      x[k] = _mm256_blendv_epi8(x[k], filled, below);
      words[k / 4] += 2 * __builtin_popcount(due[k]);
    }
  }
  for (int s = 0; s < Streams; ++s) {
    streams[s].words = words[s];
    streams[s].rows = row;
    for (int v = 0; v < 4; ++v)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(streams[s].states + 8 * v), x[4 * s + v]);
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
  alignas(32) uint64_t ring[kAhead][kLanes];
  const __m256i low12 = _mm256_set1_epi64x(0xfff), low13 = _mm256_set1_epi64x(0x1fff), low6 = _mm256_set1_epi64x(63);
  const __m256i whole = _mm256_set1_epi64x(1ll << precision);
  const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m128i limit_shift = _mm_cvtsi32_si128(static_cast<int>(31 - precision));
  __m256i x[8];
  for (int g = 0; g < 8; ++g)
    x[g] = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(states + 4 * g)));
  for (size_t k = 0; k < kAhead && k < rows; ++k)
    fetch(entries, numbers + (rows - 1 - k) * kLanes, ring[(rows - 1 - k) % kAhead]);
  for (size_t row = rows; row-- > 0;) {
    const uint64_t* from = ring[row % kAhead];
#pragma GCC unroll 4
    for (int h = 3; h >= 0; --h) {
      __m256i entry[2], frequency[2], below[2];
      unsigned due = 0;
      for (int g = 0; g < 2; ++g) {
        entry[g] = _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 8 * h + 4 * g));
        frequency[g] = _mm256_and_si256(entry[g], low12);
        below[g] = _mm256_cmpgt_epi64(_mm256_sll_epi64(frequency[g], limit_shift), x[2 * h + g]);
        due |= static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(below[g]))) << (4 * g);
      }
      due ^= 255;
      const __m256i low = _mm256_blend_epi32(_mm256_permutevar8x32_epi32(x[2 * h], even),
                                             _mm256_permutevar8x32_epi32(x[2 * h + 1], even), 0xf0);
      const __m256i chosen = _mm256_and_si256(
          _mm256_permutevar8x32_epi32(low, permutation(kPermutations.gather[due])), _mm256_set1_epi32(0xffff));
      const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out - 16), words);  // what is not due lies below, to be overwritten
      out -= 2 * __builtin_popcount(due);
      for (int g = 0; g < 2; ++g) {
        __m256i& state = x[2 * h + g];
        const __m256i y = _mm256_blendv_epi8(_mm256_srli_epi64(state, 16), state, below[g]);
        const __m256i product = _mm256_mul_epu32(y, _mm256_srli_epi64(entry[g], 32));
        const __m256i quotient = _mm256_srlv_epi64(product, _mm256_and_si256(_mm256_srli_epi64(entry[g], 25), low6));
        const __m256i bias = _mm256_and_si256(_mm256_srli_epi64(entry[g], 12), low13);
        state = _mm256_add_epi64(_mm256_add_epi64(y, bias),
                                 _mm256_mul_epu32(quotient, _mm256_sub_epi64(whole, frequency[g])));
      }
    }
    if (row >= kAhead) fetch(entries, numbers + (row - kAhead) * kLanes, ring[row % kAhead]);
  }
  for (int g = 0; g < 8; ++g) {
    const __m256i low = _mm256_permutevar8x32_epi32(x[g], even);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(states + 4 * g), _mm256_castsi256_si128(low));
  }
  return out;
}

uint8_t* encode(uint32_t lanes, const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                uint32_t* states, uint8_t* out) {
  if (lanes != kLanes) return scalar_kernels()->encode(lanes, entries, precision, numbers, rows, states, out);
  return encode_rows(entries, precision, numbers, rows, states, out);
}

constexpr Kernels kernels = {decode, place, shift, number, find, encode};

}  // namespace

const Kernels* avx2_kernels() { return &kernels; }

}  // namespace siglum::rans

#else

namespace siglum::rans {

const Kernels* avx2_kernels() { return nullptr; }

}  // namespace siglum::rans

#endif
