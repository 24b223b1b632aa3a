// The table coder with NEON: 32 lanes are eight vectors, entries are looked up one by one. Few lanes, numbering and
// placing are left to plain C++, which compilers vectorise for this architecture anyway.
#include "rans_kernels.hpp"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

namespace siglum::rans {
namespace {

constexpr size_t kLanes = 32;
constexpr size_t kInFlight = 2;  // streams
constexpr int kVectors = 8;

struct Permutations {
  alignas(16) uint8_t spread[16][16];  // for the set bits of the number, the next words in order, as dwords
  alignas(16) uint8_t gather[16][16];  // low words of the lanes of the set bits, at the upper end of eight bytes
  uint8_t bytes[16];                   // two for each set bit
};

constexpr Permutations make_permutations() {
  Permutations result{};
  for (int bits = 0; bits < 16; ++bits) {
    for (int k = 0; k < 16; ++k) result.spread[bits][k] = result.gather[bits][k] = 255;
    int count = 0;
    for (int lane = 0; lane < 4; ++lane) count += bits >> lane & 1;
    int next = 0;
    for (int lane = 0; lane < 4; ++lane) {
      if (!(bits >> lane & 1)) continue;
      for (int k = 0; k < 2; ++k) {
        result.spread[bits][4 * lane + k] = static_cast<uint8_t>(2 * next + k);
        result.gather[bits][8 - 2 * count + 2 * next + k] = static_cast<uint8_t>(4 * lane + k);
      }
      ++next;
    }
    result.bytes[bits] = static_cast<uint8_t>(2 * count);
  }
  return result;
}

constexpr Permutations kPermutations = make_permutations();

unsigned bits_of(uint32x4_t mask) {
  static const uint32_t weights[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(mask, vld1q_u32(weights)));
}

// One table for all: the lookup already points at it.
struct One {
  One operator+(size_t) const { return *this; }
  uint32_t operator()(size_t) const { return 0; }
};

template <class T>
struct Each {
  const T* indexes;
  unsigned precision;
  Each operator+(size_t i) const { return {indexes + i, precision}; }
  uint32_t operator()(size_t i) const { return static_cast<uint32_t>(indexes[i]) << precision; }
};

template <class Select>
uint32x4_t look_up(const uint32_t* lookup, uint32x4_t slots, const Select& select, size_t i) {
  uint32x4_t entry = vdupq_n_u32(lookup[select(i) + vgetq_lane_u32(slots, 0)]);
  entry = vld1q_lane_u32(lookup + (select(i + 1) + vgetq_lane_u32(slots, 1)), entry, 1);
  entry = vld1q_lane_u32(lookup + (select(i + 2) + vgetq_lane_u32(slots, 2)), entry, 2);
  return vld1q_lane_u32(lookup + (select(i + 3) + vgetq_lane_u32(slots, 3)), entry, 3);
}

// All lookups of a row before all arithmetic before all refills.
template <class Select>
void decode_row(const uint32_t* lookup, unsigned precision, uint32x4_t* x, const Select& select, size_t row,
                const uint8_t*& words, uint8_t* numbers) {
  const uint32x4_t mask = vdupq_n_u32((1u << precision) - 1), low12 = vdupq_n_u32(0xfff);
  const int32x4_t shift = vdupq_n_s32(-static_cast<int>(precision));
  uint32x4_t entry[kVectors];
  for (int v = 0; v < kVectors; ++v)
    entry[v] = look_up(lookup, vandq_u32(x[v], mask), select, row * kLanes + 4 * static_cast<size_t>(v));
  for (int v = 0; v < kVectors; ++v) {
    const uint32x4_t frequency = vandq_u32(vshrq_n_u32(entry[v], 8), low12);
    x[v] = vmlaq_u32(vshrq_n_u32(entry[v], 20), frequency, vshlq_u32(x[v], shift));
  }
  for (int v = 0; v < kVectors; v += 4) {
    const uint16x8_t first = vcombine_u16(vmovn_u32(entry[v]), vmovn_u32(entry[v + 1]));
    const uint16x8_t second = vcombine_u16(vmovn_u32(entry[v + 2]), vmovn_u32(entry[v + 3]));
    vst1q_u8(numbers + row * kLanes + 4 * v, vcombine_u8(vmovn_u16(first), vmovn_u16(second)));
  }
  for (int v = 0; v < kVectors; ++v) {
    const uint32x4_t due = vcltq_u32(x[v], vdupq_n_u32(1u << 15));
    const unsigned bits = bits_of(due);
    const uint8x16_t next = vcombine_u8(vld1_u8(words), vdup_n_u8(0));
    const uint32x4_t spread = vreinterpretq_u32_u8(vqtbl1q_u8(next, vld1q_u8(kPermutations.spread[bits])));
    x[v] = vbslq_u32(due, vorrq_u32(vshlq_n_u32(x[v], 16), spread), x[v]);
    words += kPermutations.bytes[bits];
  }
}

template <int Streams, class Select>
void decode_rows(const uint32_t* lookup, unsigned precision, Stream* streams, const Select* select, size_t rows) {
  uint32x4_t x[Streams][kVectors];
  const uint8_t* words[Streams];
  for (int s = 0; s < Streams; ++s) {
    words[s] = streams[s].words;
    for (int v = 0; v < kVectors; ++v) x[s][v] = vld1q_u32(streams[s].states + 4 * v);
  }
  size_t row = 0;
  for (; row < rows; ++row) {
    bool enough = true;
    for (int s = 0; s < Streams; ++s) enough &= static_cast<size_t>(streams[s].end - words[s]) >= 2 * kLanes;
    if (!enough) break;
    for (int s = 0; s < Streams; ++s)
      decode_row(lookup, precision, x[s], select[s], row, words[s], streams[s].numbers);
  }
  for (int s = 0; s < Streams; ++s) {
    streams[s].words = words[s];
    streams[s].rows = row;
    for (int v = 0; v < kVectors; ++v) vst1q_u32(streams[s].states + 4 * v, x[s][v]);
  }
}

void copy_entry(const uint64_t* from, uint64_t* to) { *to = *from; }

#include "rans_pairs.inc"

uint8_t* encode_rows(const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                     uint32_t* states, uint8_t* out) {
  const uint32x4_t low12 = vdupq_n_u32(0xfff), low13 = vdupq_n_u32(0x1fff), whole = vdupq_n_u32(1u << precision);
  const int32x4_t limit_shift = vdupq_n_s32(static_cast<int>(31 - precision));
  uint32x4_t x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = vld1q_u32(states + 4 * v);
  for (size_t row = rows; row-- > 0;) {
    alignas(16) uint64_t chosen[kLanes];
    fetch(entries, numbers + row * kLanes, chosen);
    for (int v = kVectors; v-- > 0;) {
      const uint32x4x2_t entry = vld2q_u32(reinterpret_cast<const uint32_t*>(chosen + 4 * v));  // lower, upper halves
      const uint32x4_t frequency = vandq_u32(entry.val[0], low12);
      const uint32x4_t due = vcgeq_u32(x[v], vshlq_u32(frequency, limit_shift));
      const unsigned bits = bits_of(due);
      const uint8x16_t words = vqtbl1q_u8(vreinterpretq_u8_u32(x[v]), vld1q_u8(kPermutations.gather[bits]));
      vst1_u8(out - 8, vget_low_u8(words));  // what is not due lies below, to be overwritten
      out -= kPermutations.bytes[bits];
      const uint32x4_t y = vbslq_u32(due, vshrq_n_u32(x[v], 16), x[v]);
      const uint32x4_t product = vcombine_u32(vshrn_n_u64(vmull_u32(vget_low_u32(y), vget_low_u32(entry.val[1])), 32),
                                              vshrn_n_u64(vmull_high_u32(y, entry.val[1]), 32));
      // shifts are 32 to 63, and the 32 are done; the sixth bit is that 32, so five bits are the rest
      const int32x4_t rest = vnegq_s32(vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32(entry.val[0], 25), vdupq_n_u32(31))));
      const uint32x4_t quotient = vshlq_u32(product, rest);
      const uint32x4_t bias = vandq_u32(vshrq_n_u32(entry.val[0], 12), low13);
      x[v] = vmlaq_u32(vaddq_u32(y, bias), quotient, vsubq_u32(whole, frequency));
    }
  }
  for (int v = 0; v < kVectors; ++v) vst1q_u32(states + 4 * v, x[v]);
  return out;
}

uint8_t* encode(uint32_t lanes, const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                uint32_t* states, uint8_t* out) {
  if (lanes != kLanes) return scalar_kernels()->encode(lanes, entries, precision, numbers, rows, states, out);
  return encode_rows(entries, precision, numbers, rows, states, out);
}

}  // namespace

const Kernels* neon_kernels() {
  static const Kernels kernels = {decode,
                                  scalar_kernels()->place,
                                  scalar_kernels()->shift,
                                  scalar_kernels()->number,
                                  scalar_kernels()->find,
                                  encode};
  return &kernels;
}

}  // namespace siglum::rans

#else

namespace siglum::rans {

const Kernels* neon_kernels() { return nullptr; }

}  // namespace siglum::rans

#endif
