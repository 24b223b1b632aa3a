// The precise profile of the rANS coder: 64-bit states, 32-bit words, tables of 16 to 24 bits and of any alphabet.
//
// State x in [2^31, 2^63), which leaves at least 7 bits above the widest table, so that rounding costs less than
// 0.01 %. One to four lanes; symbol i of a step belongs to lane i mod lanes and each step starts at lane 0. As in
// rans.hpp the encoder walks downwards and writes words backwards, and escapes go to a side stream. `Stack` is the
// same arithmetic on one state that grows and shrinks in place (bits-back); its bytes are those of a 64-bit rANS with
// escapes in line.
//
// Payload: u8 (bits 0-1: log2 of lanes; bit 2: a side stream follows; bits 3-7: exponent of lane 0), [varint bytes of
// the side stream], one bit string (exponents of the other lanes at 5 bits, then of each lane the 31 + exponent bits
// under the leading one of its state), words (u32, little-endian), side stream. No symbol at all is the single byte 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rans.hpp"

namespace siglum::precise {

using rans::BitReader;
using rans::BitWriter;
using rans::Status;

constexpr unsigned kLowestBits = 31;
constexpr uint64_t kLowest = uint64_t{1} << kLowestBits;  // every state is at least this; the encoder starts from it
constexpr unsigned kStateBits = 63;
constexpr unsigned kExponentBits = 5;
constexpr uint32_t kMaxLanes = 4;
constexpr uint32_t kMinPrecision = 16;
constexpr uint32_t kMaxPrecision = 24;
constexpr uint32_t kMaxTables = 1u << 16;
constexpr int32_t kMaxOffset = 1 << 24;
constexpr uint64_t kLaneShare = 20000;  // a lane more for each kLaneShare times the bits that its state costs

// What the encoder needs of an entry: x / frequency = (x * reciprocal) >> (64 + shift).
struct EncoderEntry {
  uint64_t reciprocal;
  uint32_t frequency;
  uint32_t bias_shift;  // bias:27 | shift:5
};

struct Interval {
  uint32_t start;
  uint32_t frequency;
};

// Where the decoder looks first: the entry that holds the bucket's first slot, with what the state needs of it.
struct Bucket {
  Interval interval;
  uint32_t number;
  uint32_t last;  // entry that holds the bucket's last slot
};

// The buckets of a table: as many as suit its entries. slot >> shift is a slot's bucket.
struct Grid {
  uint32_t first;
  uint32_t shift;
};

struct Found {
  Interval interval;
  uint32_t number;
};

// Entries 0..last-1 are the symbols offset..offset+last-1; in an open table entry `last` is the escape.
struct Table {
  int32_t offset;
  uint32_t last;
  uint32_t first;  // of its entries in Tables::encoding and Tables::intervals
  uint32_t order;  // of the exp-Golomb code of its escapes
};

// Immutable once built; shared between threads.
struct Tables {
  uint32_t precision = 0;
  bool closed = false;    // no escapes
  std::vector<Table> tables;
  std::vector<EncoderEntry> encoding;
  std::vector<uint16_t> costs;      // of each entry, in 1/256 bit
  std::vector<Interval> intervals;  // of each entry
  std::vector<Grid> grids;          // of each table
  std::vector<Bucket> buckets;

  // frequencies: table after table. Throws std::invalid_argument if a rule is broken.
  static Tables build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                      size_t count, uint32_t precision, bool closed);
  size_t size() const { return tables.size(); }

  // The entry that holds a slot.
  Found find(uint32_t index, uint32_t slot) const {
    const Bucket& bucket = buckets[grids[index].first + (slot >> grids[index].shift)];
    if (slot - bucket.interval.start < bucket.interval.frequency) return {bucket.interval, bucket.number};
    const uint32_t number = search(slot, bucket.number + 1, bucket.last);
    return {intervals[number], number};
  }

  // The last entry in [low, high] that does not start beyond the slot.
  uint32_t search(uint32_t slot, uint32_t low, uint32_t high) const {
    const Interval* base = intervals.data() + low;
    for (uint32_t count = high - low + 1; count > 1;) {
      const uint32_t half = count / 2;
      base += base[half].start <= slot ? half : 0;
      count -= half;
    }
    return static_cast<uint32_t>(base - intervals.data());
  }
};

// Stands for an index array in which every index is the same.
struct Same {
  uint32_t index;
  uint32_t operator[](size_t) const { return index; }
  Same operator+(size_t) const { return *this; }
};

// In the templates below Index is Same, const uint8_t*, const uint16_t* or const int32_t*.
template <class Index>
bool valid_indexes(const Tables& tables, Index indexes, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t index = static_cast<uint32_t>(indexes[i]);
    largest = index > largest ? index : largest;
  }
  return count == 0 || largest < tables.size();
}

// Frequencies in proportion to weights, by largest remainders; see entropy/tables.py. Throws std::invalid_argument
// unless 1 <= count <= 2^precision, precision <= 24, and the weights sum to 1 .. 2^64 - 1.
void normalise(const uint64_t* weights, size_t count, uint32_t precision, uint32_t* frequencies);

// Collects steps and codes them all at the end. The tables must live until finish().
class Encoder {
 public:
  explicit Encoder(uint32_t lanes = 0);  // 0: chosen at the end. Throws std::invalid_argument unless 1, 2, 4.

  // One step. Indexes must be valid. Throws std::out_of_range and leaves the encoder as it was if the payload of an
  // escape would not fit into 32 bits, or a closed table lacks a symbol.
  template <class Index>
  void append(const Tables& tables, const int32_t* symbols, size_t count, Index indexes);
  // One step without tables. Throws std::invalid_argument unless every interval lies in [0, 2^precision).
  void append_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision);

  std::vector<uint8_t> finish();  // the encoder is empty afterwards

 private:
  struct Step {
    const Tables* tables;
    uint32_t precision;
    size_t count;
    std::unique_ptr<uint16_t[]> narrow;     // entry numbers, where 16 bits hold them all
    std::unique_ptr<uint32_t[]> wide;       // else
    std::unique_ptr<Interval[]> intervals;  // of a step without tables
  };
  uint64_t total_bits(uint64_t enough) const;

  uint32_t lanes_;
  std::vector<Step> steps_;
  BitWriter escapes_;
};

// Decodes one payload, step by step. The data must outlive it. Any data is safe, and a loop never runs longer than the
// caller's count.
class Decoder {
 public:
  Status open(const uint8_t* data, size_t size);

  template <class Index>
  Status decode(const Tables& tables, Index indexes, size_t count, int32_t* symbols);
  // Row i of `cumulative` has columns + 1 values that rise from 0 to 2^precision: entry k is [row[k], row[k + 1]).
  // The rows are checked: Status::malformed if one breaks this.
  Status decode_direct(const uint32_t* cumulative, size_t columns, size_t count, uint32_t precision, int32_t* numbers);

  // Symbol by symbol, with tables that only the caller knows. begin_step() starts a step, as every decode does.
  void begin_step() { lane_ = 0; }
  uint32_t lanes() const { return lanes_; }
  void peek(uint32_t count, uint32_t precision, uint32_t* slots) const;  // count <= lanes
  // False, and nothing taken, unless each interval holds its slot. Status as ever.
  bool advance(const uint32_t* starts, const uint32_t* frequencies, uint32_t count, uint32_t precision);

  Status status() const { return status_; }
  Status finish();  // every state back at its start, every word and escape read

 private:
  template <uint32_t Lanes, bool Checked, class Index>
  size_t decode_rows(const Tables& tables, Index indexes, size_t count, int32_t* symbols);
  template <uint32_t Lanes, class Index>
  size_t decode_lanes(const Tables& tables, Index indexes, size_t count, int32_t* symbols);
  void take(uint64_t x);  // x is the state of the lane after its symbol, before renormalisation
  int32_t read_escape(const Table& table);
  Status fail(Status status) { return status_ == Status::ok ? status_ = status : status_; }

  uint64_t states_[kMaxLanes] = {};
  const uint8_t* words_ = nullptr;
  const uint8_t* end_ = nullptr;
  uint32_t lanes_ = 1;
  uint32_t lane_ = 0;
  bool empty_ = true;  // the chunk without symbols, which has no states
  Status status_ = Status::ok;
  BitReader escapes_;
};

// A stack of symbols on one state: what was pushed last is popped first. A failed push or pop leaves it as it was.
class Stack {
 public:
  // Bytes of a stack: state (u64), then words in the order of reading, all little-endian.
  Status restore(const uint8_t* data, size_t size);
  std::vector<uint8_t> to_bytes() const;
  // Content to start from, 4 bytes a word, the first popped first; and the way back, if the state is at its lowest.
  Status fill(const uint8_t* data, size_t size);

  // Pushes the last symbol first, so that pop gives them in order. Throws std::out_of_range as Encoder::append.
  template <class Index>
  void push(const Tables& tables, const int32_t* symbols, size_t count, Index indexes);
  template <class Index>
  Status pop(const Tables& tables, Index indexes, size_t count, int32_t* symbols);
  void push_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision);
  Status pop_direct(const uint32_t* cumulative, size_t columns, size_t count, uint32_t precision, int32_t* numbers);
  uint32_t peek(uint32_t precision) const { return static_cast<uint32_t>(state_ & ((uint64_t{1} << precision) - 1)); }
  Status advance(uint32_t start, uint32_t frequency, uint32_t precision);  // malformed: not the interval of the slot

  uint64_t state() const { return state_; }
  size_t words() const { return words_.size(); }

 private:
  uint64_t state_ = kLowest;
  std::vector<uint32_t> words_;  // the next to be read is the last
};

// True if row[0..columns] rises from 0 to 2^precision.
bool valid_row(const uint32_t* row, size_t columns, uint32_t precision);
// The last of row[0..columns-1] that is not above the slot; row[0] is 0. Entries without slots are passed over.
inline size_t last_not_above(const uint32_t* row, size_t columns, uint32_t slot) {
  size_t low = 0;
  while (columns > 1) {
    const size_t half = columns / 2;
    low += row[low + half] <= slot ? half : 0;
    columns -= half;
  }
  return low;
}
// Throws std::invalid_argument unless 1 <= precision <= 24 and every interval lies within it.
void check_intervals(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision);

// Symbols outside [offset, offset + last): 0, 2, 4 ... upwards from the range, 1, 3, 5 ... downwards.
inline uint64_t fold(const Table& table, int32_t symbol) {
  const int64_t above = int64_t{symbol} - table.offset - table.last;
  return above >= 0 ? 2 * static_cast<uint64_t>(above)
                    : 2 * static_cast<uint64_t>(int64_t{table.offset} - 1 - symbol) + 1;
}

inline int64_t unfold(const Table& table, uint64_t folded) {
  const int64_t steps = static_cast<int64_t>(folded >> 1);
  return folded & 1 ? int64_t{table.offset} - 1 - steps : int64_t{table.offset} + table.last + steps;
}

inline uint64_t divide(uint64_t x, const EncoderEntry& entry) {
  __extension__ typedef unsigned __int128 wide;
  return static_cast<uint64_t>(static_cast<wide>(x) * entry.reciprocal >> 64) >> (entry.bias_shift & 31);
}

// The state after an entry; before, `x` must be below frequency << (63 - precision).
inline uint64_t advance_state(uint64_t x, const EncoderEntry& entry, unsigned precision) {
  return x + (entry.bias_shift >> 5) + divide(x, entry) * ((uint64_t{1} << precision) - entry.frequency);
}

inline uint64_t advance_state(uint64_t x, const Interval& interval, unsigned precision) {
  const uint64_t quotient = x / interval.frequency;
  return (quotient << precision) + (x - quotient * interval.frequency) + interval.start;
}

// x with a word below it if one is due. On one lane a branch, wrong at times, is faster than waiting for its condition;
// several lanes wait for nothing, and have arithmetic (compilers turn ?: into a branch).
template <uint32_t Lanes>
inline uint64_t refill(uint64_t x, uint64_t word, uint64_t due) {
  if (Lanes == 1) return due ? x << 32 | word : x;
  return x << (32 * due) | (word & (0 - due));
}

inline void store_word(uint8_t* p, uint32_t word) {
  p[0] = static_cast<uint8_t>(word);
  p[1] = static_cast<uint8_t>(word >> 8);
  p[2] = static_cast<uint8_t>(word >> 16);
  p[3] = static_cast<uint8_t>(word >> 24);
}

inline uint32_t load_word(const uint8_t* p) {
  return uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

}  // namespace siglum::precise
