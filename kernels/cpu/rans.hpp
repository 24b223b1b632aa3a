// Interleaved rANS with integer tables (Duda, arXiv 1311.2540; interleaving: Giesen, arXiv 1402.3392).
//
// State x in [2^15, 2^31), 16-bit renormalisation, 1 to 32 lanes. Symbol i of a step belongs to lane i mod lanes and
// each step starts at lane 0. The encoder walks downwards and writes words backwards, so the decoder reads forwards,
// lanes in increasing order taking consecutive words. Escape payloads stand in a side stream in symbol order.
//
// Payload: u8 (bits 0-2: log2 of lanes; bit 3: a side stream follows; bits 4-7: exponent of lane 0), [varint bytes of
// the side stream], the exponents of the other lanes (4 bits each), then of every lane the 15 + exponent bits of its
// final state below the leading one (least significant bit first, filled to a byte), words (u16, little-endian),
// side stream. A chunk without any symbol is the single byte 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "rans_kernels.hpp"

namespace siglum::rans {

constexpr uint32_t kLowest = 1u << 15;  // every state is at least this; the encoder starts from it
constexpr unsigned kStateBits = 31;
constexpr unsigned kExponentBits = 4;  // a state is 2^(15 + exponent) and the bits below it
constexpr uint32_t kMaxLanes = 32;
constexpr uint32_t kMaxPrecision = 12;
constexpr uint32_t kMaxDirectPrecision = 15;
constexpr uint32_t kMaxEntries = 256;  // with the escape
constexpr uint32_t kMaxTables = 1u << 16;
constexpr int32_t kMaxOffset = 1 << 24;  // so that offset + entry never overflows
constexpr uint8_t kEscapeMark = 255;     // entry number of the escape in the decoder's lookup, in every table

enum class Status { ok = 0, truncated = 1, malformed = 2, corrupt = 3 };

unsigned bit_length(uint32_t value);
uint32_t log2_256(uint32_t value);  // in 1/256, from integers only, so that every machine chooses the same lanes

// Entries 0..last-1 are the symbols offset..offset+last-1; entry `last` is the escape, unless the tables are closed.
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
  std::vector<int32_t> offsets;  // of each table, as the kernels want them
  std::vector<uint32_t> ranges;  // of each table: start:24 | last - 1:8
  int32_t lowest = 0, highest = 0;  // of all symbols that have an entry
  bool closed = false;  // no escapes: every entry is a symbol
  uint32_t fingerprint = 0;  // CRC32C of what decides about symbols

  // frequencies: table after table. Throws std::invalid_argument if a rule is broken.
  static Tables build(const uint32_t* frequencies, size_t total, const uint32_t* sizes, const int32_t* offsets,
                      size_t count, uint32_t precision, bool closed);
  size_t size() const { return tables.size(); }
};

// True if every index names a table; the bulk functions rely on it.
bool valid_indexes(const Tables& tables, Indexes indexes, size_t count);

// The largest power of two, 1 to 32, whose states cost at most 1 % of the chunk.
uint32_t choose_lanes(uint64_t total_bits);

// A vector that leaves new elements as they are.
template <class T>
class Buffer {
 public:
  T* extend(size_t count) {
    if (size_ + count > capacity_) {
      const size_t capacity = size_ + count > 2 * capacity_ ? size_ + count : 2 * capacity_;
      std::unique_ptr<T[]> larger(new T[capacity]);
      for (size_t i = 0; i < size_; ++i) larger[i] = data_[i];
      data_ = std::move(larger);
      capacity_ = capacity;
    }
    size_ += count;
    return data_.get() + size_ - count;
  }
  void shrink(size_t size) { size_ = size; }
  size_t size() const { return size_; }
  const T* data() const { return data_.get(); }

 private:
  std::unique_ptr<T[]> data_;
  size_t size_ = 0, capacity_ = 0;
};

// Bits, least significant first.
class BitWriter {
 public:
  void put(uint64_t value, unsigned count);  // count <= 33, value < 2^count
  void clear();
  const std::vector<uint8_t>& padded();  // with zeros to a byte; put nothing more before clear()
  size_t bits() const { return bytes_.size() * 8 + pending_; }

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
  // lanes 0: chosen at the end. Throws std::invalid_argument unless 1, 2, 4 ... 32.
  explicit Encoder(uint32_t lanes = 0, const Kernels* kernels = best_kernels());

  // One step. Indexes must be valid. Throws std::out_of_range and leaves the encoder as it was if a symbol has no entry
  // in closed tables, or if the payload of its escape would not fit into 32 bits.
  void append(const Tables& tables, Symbols symbols, size_t count, Indexes indexes);

  // One step of symbols whose entries are [start, start + frequency) of 2^precision. Throws std::invalid_argument and
  // leaves the encoder as it was unless 1 <= frequency, start + frequency <= 2^precision, precision 1 to 15.
  void append_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision);

  std::vector<uint8_t> finish();       // the encoder is empty afterwards
  void finish(std::vector<uint8_t>& payload);  // the same, at the end of `payload`; keeps its buffers for the next chunk

 private:
  struct Step {
    const Tables* tables;  // null: a direct step
    size_t count;
    size_t first;  // of its numbers
    bool wide;
    uint32_t precision;
  };
  uint64_t total_bits(uint64_t enough) const;

  uint32_t lanes_;
  const Kernels* kernels_;
  std::vector<Step> steps_;
  Buffer<uint16_t> narrow_;  // entry numbers of steps whose tables have at most 2^16 entries
  Buffer<uint32_t> wide_;    // of other tables; start | frequency << 16 of direct steps
  Buffer<uint8_t> words_;
  BitWriter escapes_;
};

// Decodes one payload, step by step. The data must outlive it. Any data is safe: after the end it reads zeros and
// remembers that it did, and a loop never runs longer than the caller's count.
class Decoder {
 public:
  explicit Decoder(const Kernels* kernels = best_kernels()) : kernels_(kernels) {}
  Status open(const uint8_t* data, size_t size);

  // One step. Indexes must be valid, and every symbol with an entry must fit into the type of `symbols`; `symbols`
  // holds count values, whatever the status.
  Status decode(const Tables& tables, Indexes indexes, size_t count, MutableSymbols symbols);

  // One step of each of 1 to kMostInFlight decoders at once, for their latencies to overlap. The results are those of
  // as many calls. Indexes are all of one kind, and the same index if that is one for all.
  struct Task {
    Decoder* decoder;
    Indexes indexes;
    size_t count;
    MutableSymbols symbols;
  };
  static void decode_together(const Tables& tables, const Task* tasks, size_t count);

  // One step whose symbols have tables of their own: rows of `columns` cumulative frequencies from 0 to 2^precision.
  // Throws std::invalid_argument if a row is no such table where it is looked up.
  Status decode_direct(const uint16_t* cumulative, size_t columns, size_t count, uint32_t precision, int32_t* numbers);

  // A step symbol by symbol, for a codec whose contexts follow from one symbol to the next. `index` must be valid.
  void begin_step() { lane_ = 0; }
  int32_t decode_one(const Tables& tables, uint32_t index);

  // The same where the caller finds the entries: slots of the next symbols, at most as many as lanes; then their
  // entries. `advance` throws std::invalid_argument and takes nothing unless every entry holds its slot.
  void peek(size_t count, uint32_t precision, uint32_t* slots) const;
  Status advance(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision);

  uint32_t lanes() const { return lanes_; }
  Status status() const { return status_; }
  Status finish();  // every state back at its start, every word and escape read

 private:
  static bool in_place(Indexes indexes, MutableSymbols symbols);
  void place(const Tables& tables, Indexes indexes, const uint8_t* numbers, size_t count, MutableSymbols symbols);
  void decode_tail(const Tables& tables, Indexes indexes, size_t first, size_t count, MutableSymbols symbols);
  void take(uint32_t start, uint32_t frequency, uint32_t precision);
  int32_t read_escape(const Table& table);
  void fail(Status status) {
    if (status_ == Status::ok) status_ = status;
  }

  const Kernels* kernels_;
  uint32_t states_[kMaxLanes] = {};
  const uint8_t* words_ = nullptr;
  const uint8_t* end_ = nullptr;
  uint32_t lanes_ = 1;
  uint32_t lane_ = 0;
  bool empty_ = true;  // the chunk without symbols, which has no states
  Status status_ = Status::ok;
  BitReader escapes_;
};

SIGLUM_INLINE uint32_t load_word(const uint8_t* p) { return uint32_t{p[0]} | uint32_t{p[1]} << 8; }

// One symbol on one lane, without a branch: the word is always stored and kept only if it is due.
SIGLUM_INLINE void encode_symbol(uint32_t& state, uint64_t entry, unsigned precision, uint8_t*& out) {
  const uint32_t frequency = static_cast<uint32_t>(entry & 0xfff);
  uint32_t x = state;
  const unsigned due = x >= (frequency << (kStateBits - precision));
  out[-2] = static_cast<uint8_t>(x);
  out[-1] = static_cast<uint8_t>(x >> 8);
  out -= 2 * due;
  x >>= 16 * due;
  const uint32_t quotient = static_cast<uint32_t>(x * (entry >> 32) >> (entry >> 25 & 63));
  state = x + static_cast<uint32_t>(entry >> 12 & 0x1fff) + quotient * ((1u << precision) - frequency);
}

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
  return number == kEscapeMark && !tables.closed ? read_escape(table) : table.offset + number;
}

}  // namespace siglum::rans
