// Interleaved rANS with integer tables (Duda, arXiv 1311.2540; interleaving: Giesen, arXiv 1402.3392).
//
// State x in [2^15, 2^31), 16-bit renormalisation, 1 to 32 lanes. Symbol i of a step belongs to lane i mod lanes and
// each step starts at lane 0. The encoder walks downwards and writes words backwards, so the decoder reads forwards,
// lanes in increasing order taking consecutive words. Escape payloads stand in a side stream in symbol order.
//
// Payload: u8 (bits 0-2: log2 of lanes; bit 3: a side stream follows; others 0), [varint bytes of the side stream],
// the final states at 31 bits each (lane 0 first, least significant bit first), words (u16, little-endian),
// side stream. A chunk without any symbol is the single byte 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace siglum::rans {

constexpr uint32_t kLowest = 1u << 15;  // every state is at least this; the encoder starts from it
constexpr unsigned kStateBits = 31;
constexpr uint32_t kMaxLanes = 32;
constexpr uint32_t kMaxPrecision = 12;
constexpr uint32_t kMaxEntries = 256;  // with the escape
constexpr uint32_t kMaxTables = 1u << 16;
constexpr int32_t kMaxOffset = 1 << 24;  // so that offset + entry never overflows
constexpr int32_t kEscapeMark = 255;     // entry number of the escape in the decoder's lookup, in every table

enum class Status { ok = 0, truncated = 1, malformed = 2, corrupt = 3 };

// Entries 0..last-1 are the symbols offset..offset+last-1, entry `last` is the escape.
struct Table {
  int32_t offset;
  uint32_t last;
  uint32_t start;  // of its entries in Tables::entries
  uint32_t order;  // of the exp-Golomb code of its escapes
};

// Immutable once built; shared between threads.
struct Tables {
  uint32_t precision = 0;
  std::vector<Table> tables;
  // reciprocal:32 | 0:1 | shift:6 | bias:13 | frequency:12, with x / frequency = (x * reciprocal) >> shift
  std::vector<uint64_t> entries;
  std::vector<uint16_t> costs;   // of each entry, in 1/256 bit
  std::vector<uint32_t> lookup;  // at table << precision | slot: (slot - start of entry):12 | frequency:12 | entry:8

  // frequencies: table after table. Throws std::invalid_argument if a rule is broken.
  static Tables build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                      size_t count, uint32_t precision);
  size_t size() const { return tables.size(); }
};

// Stands for an index array in which every index is the same.
struct Same {
  uint32_t index;
  uint32_t operator[](size_t) const { return index; }
  Same operator+(size_t) const { return *this; }
};

// In the templates below Index is Same, const uint8_t*, const uint16_t* or const int32_t*.
// True if every index names a table; the bulk functions rely on it.
template <class Index>
bool valid_indexes(const Tables& tables, Index indexes, size_t count);

// The largest power of two, 1 to 32, whose states cost at most 1 % of the chunk.
uint32_t choose_lanes(uint64_t total_bits);

// Bits, least significant first.
class BitWriter {
 public:
  void put(uint64_t value, unsigned count);  // count <= 33, value < 2^count
  size_t bits() const { return bytes_.size() * 8 + pending_; }
  std::vector<uint8_t> finish();  // padded with zeros; empty afterwards

 private:
  std::vector<uint8_t> bytes_;
  uint64_t accumulator_ = 0;
  unsigned pending_ = 0;
};

class BitReader {
 public:
  BitReader() = default;
  BitReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint64_t peek() const;  // at least 57 bits, zeros after the end
  void skip(unsigned count) { position_ += count; }
  bool overrun() const { return position_ > uint64_t{8} * size_; }
  bool finished() const;  // nothing left but zeros that fill the last byte

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  uint64_t position_ = 0;
};

// Collects steps and codes them all at the end. The tables must live until finish().
class Encoder {
 public:
  explicit Encoder(uint32_t lanes = 0);  // 0: chosen at the end. Throws std::invalid_argument unless 1, 2, 4 ... 32.

  // One step. Indexes must be valid. Throws std::out_of_range and leaves the encoder as it was if the payload of an
  // escape would not fit into 32 bits.
  template <class Index>
  void append(const Tables& tables, const int32_t* symbols, size_t count, Index indexes);

  std::vector<uint8_t> finish();  // the encoder is empty afterwards

 private:
  struct Step {
    const Tables* tables;
    size_t count;
    std::unique_ptr<uint16_t[]> narrow;  // entry numbers, where 16 bits hold them all
    std::unique_ptr<uint32_t[]> wide;    // else
  };
  uint64_t total_bits(uint64_t enough) const;

  uint32_t lanes_;
  std::vector<Step> steps_;
  BitWriter escapes_;
};

// Decodes one payload, step by step. The data must outlive it. Any data is safe: after the end it reads zeros and
// remembers that it did, and a loop never runs longer than the caller's count.
class Decoder {
 public:
  Status open(const uint8_t* data, size_t size);

  // One step. Indexes must be valid; `symbols` holds count values, whatever the status.
  template <class Index>
  Status decode(const Tables& tables, Index indexes, size_t count, int32_t* symbols);

  // A step symbol by symbol, for a codec whose contexts follow from one symbol to the next. `index` must be valid.
  void begin_step() { lane_ = 0; }
  int32_t decode_one(const Tables& tables, uint32_t index);

  Status status() const { return status_; }
  Status finish();  // every state back at its start, every word and escape read

 private:
  template <uint32_t Lanes, class Index>
  size_t decode_rows(const Tables& tables, Index indexes, size_t count, int32_t* symbols);
  int32_t read_escape(const Table& table);
  void fail(Status status) {
    if (status_ == Status::ok) status_ = status;
  }

  uint32_t states_[kMaxLanes] = {};
  const uint8_t* words_ = nullptr;
  const uint8_t* end_ = nullptr;
  uint32_t lanes_ = 1;
  uint32_t lane_ = 0;
  bool empty_ = true;  // the chunk without symbols, which has no states
  Status status_ = Status::ok;
  BitReader escapes_;
};

inline uint32_t load_word(const uint8_t* p) { return uint32_t{p[0]} | uint32_t{p[1]} << 8; }

inline int32_t Decoder::decode_one(const Tables& tables, uint32_t index) {
  const uint32_t precision = tables.precision;
  uint32_t x = states_[lane_];
  const uint32_t entry = tables.lookup[(size_t{index} << precision) | (x & ((1u << precision) - 1))];
  x = (entry >> 8 & 0xfff) * (x >> precision) + (entry >> 20);
  if (x < kLowest) {
    uint32_t word = 0;
    if (end_ - words_ >= 2) {
      word = load_word(words_);
      words_ += 2;
    } else {
      fail(Status::truncated);
    }
    x = x << 16 | word;
  }
  states_[lane_] = x;
  lane_ = (lane_ + 1) & (lanes_ - 1);
  const int32_t number = static_cast<int32_t>(entry & 0xff);
  const Table& table = tables.tables[index];
  return number == kEscapeMark ? read_escape(table) : table.offset + number;
}

}  // namespace siglum::rans
