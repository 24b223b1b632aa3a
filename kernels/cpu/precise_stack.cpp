// A stack on one 64-bit rANS state: bits-back coding, and the streams of coders that keep escapes in line.
//
// An escape is followed by the number of its nibbles (a digit 15 means that another adds to it), then the nibbles of
// the folded symbol from the lowest, each as 4 bits of the state.
#include <stdexcept>

#include "precise.hpp"

namespace siglum::precise {
namespace {

constexpr unsigned kNibble = 4;
constexpr uint32_t kMaxDigits = 8;  // of 32 bits

// The top of the words, while symbols go in and out.
struct Top {
  uint64_t x;
  uint32_t* words;  // one beyond the next word

  void put_bits(uint32_t value) {
    if (x >= uint64_t{1} << (kStateBits - kNibble)) {
      *words++ = static_cast<uint32_t>(x);
      x >>= 32;
    }
    x = x << kNibble | value;
  }

  template <class Entry>
  void put(const Entry& entry, unsigned precision) {
    const unsigned due = x >= uint64_t{entry.frequency} << (kStateBits - precision);
    *words = static_cast<uint32_t>(x);  // there is always room for one that is not kept
    words += due;
    x = advance_state(x >> (32 * due), entry, precision);
  }

  void put_escape(uint32_t folded) {
    uint32_t digits = 0;
    while (digits < kMaxDigits && folded >> (kNibble * digits)) ++digits;
    for (uint32_t k = digits; k-- > 0;) put_bits(folded >> (kNibble * k) & 15);
    put_bits(digits);
  }

  bool refill(const uint32_t* bottom) {
    if (x >= kLowest) return true;
    if (words == bottom) return false;
    x = x << 32 | *--words;
    return true;
  }

  // Status::corrupt for more than 32 bits.
  Status get_escape(const uint32_t* bottom, uint64_t& folded) {
    const uint32_t digits = static_cast<uint32_t>(x & 15);
    x >>= kNibble;
    if (!refill(bottom)) return Status::truncated;
    if (digits > kMaxDigits) return Status::corrupt;
    folded = 0;
    for (uint32_t k = 0; k < digits; ++k) {
      folded |= (x & 15) << (kNibble * k);
      x >>= kNibble;
      if (!refill(bottom)) return Status::truncated;
    }
    return Status::ok;
  }
};

}  // namespace

Status Stack::restore(const uint8_t* data, size_t size) {
  if (size < 8) return Status::truncated;
  const uint64_t state = load_word(data) | uint64_t{load_word(data + 4)} << 32;
  if (size % 4 || state < kLowest || state >> kStateBits) return Status::malformed;
  fill(data + 8, size - 8);
  state_ = state;
  return Status::ok;
}

Status Stack::fill(const uint8_t* data, size_t size) {
  if (size % 4) return Status::malformed;
  std::vector<uint32_t> words(size / 4);
  for (size_t i = 0; i < words.size(); ++i) words[words.size() - 1 - i] = load_word(data + 4 * i);
  words_.swap(words);
  state_ = kLowest;
  return Status::ok;
}

std::vector<uint8_t> Stack::to_bytes() const {
  std::vector<uint8_t> data(8 + 4 * words_.size());
  store_word(data.data(), static_cast<uint32_t>(state_));
  store_word(data.data() + 4, static_cast<uint32_t>(state_ >> 32));
  uint8_t* out = data.data() + 8;
  for (size_t i = words_.size(); i-- > 0; out += 4) store_word(out, words_[i]);
  return data;
}

template <class Index>
void Stack::push(const Tables& tables, const int32_t* symbols, size_t count, Index indexes) {
  const Table* all = tables.tables.data();
  size_t escapes = 0;
  for (size_t i = 0; i < count; ++i) {
    const Table& table = all[indexes[i]];
    if (static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset) < table.last) continue;
    if (tables.closed) throw std::out_of_range("a symbol is outside its closed table");
    if (fold(table, symbols[i]) >> 32) throw std::out_of_range("a symbol is more than 2^31 beyond its table");
    ++escapes;
  }
  const size_t old = words_.size();
  words_.resize(old + count + 2 * escapes + 1);  // an escape's digits are at most 36 bits
  Top top{state_, words_.data() + old};
  const EncoderEntry* entries = tables.encoding.data();
  for (size_t i = count; i-- > 0;) {
    const Table& table = all[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset);
    if (number >= table.last) top.put_escape(static_cast<uint32_t>(fold(table, symbols[i])));
    top.put(entries[table.first + (number < table.last ? number : table.last)], tables.precision);
  }
  state_ = top.x;
  words_.resize(static_cast<size_t>(top.words - words_.data()));
}

template void Stack::push(const Tables&, const int32_t*, size_t, Same);
template void Stack::push(const Tables&, const int32_t*, size_t, const uint8_t*);
template void Stack::push(const Tables&, const int32_t*, size_t, const uint16_t*);
template void Stack::push(const Tables&, const int32_t*, size_t, const int32_t*);

template <class Index>
Status Stack::pop(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  const unsigned precision = tables.precision;
  const uint32_t mask = (1u << precision) - 1;
  const Table* all = tables.tables.data();
  uint32_t* const bottom = words_.data();
  Top top{state_, bottom + words_.size()};
  for (size_t i = 0; i < count; ++i) {
    const uint32_t index = static_cast<uint32_t>(indexes[i]);
    const uint32_t slot = static_cast<uint32_t>(top.x) & mask;
    const Found found = tables.find(index, slot);
    uint64_t next = found.interval.frequency * (top.x >> precision) + (slot - found.interval.start);
    if (top.words != bottom) {
      const uint64_t due = next < kLowest;
      next = refill<1>(next, top.words[-1], due);
      top.words -= due;
    } else if (next < kLowest) {
      return Status::truncated;
    }
    top.x = next;
    const Table& table = all[index];
    const uint32_t number = found.number - table.first;
    int64_t symbol = int64_t{table.offset} + number;
    if (number == table.last) {
      uint64_t folded = 0;
      const Status status = top.get_escape(bottom, folded);
      if (status != Status::ok) return status;
      symbol = unfold(table, folded);
      if (symbol < INT32_MIN || symbol > INT32_MAX) return Status::corrupt;
    }
    symbols[i] = static_cast<int32_t>(symbol);
  }
  state_ = top.x;
  words_.resize(static_cast<size_t>(top.words - bottom));
  return Status::ok;
}

template Status Stack::pop(const Tables&, Same, size_t, int32_t*);
template Status Stack::pop(const Tables&, const uint8_t*, size_t, int32_t*);
template Status Stack::pop(const Tables&, const uint16_t*, size_t, int32_t*);
template Status Stack::pop(const Tables&, const int32_t*, size_t, int32_t*);

void Stack::push_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision) {
  check_intervals(starts, frequencies, count, precision);
  const size_t old = words_.size();
  words_.resize(old + count + 1);
  Top top{state_, words_.data() + old};
  for (size_t i = count; i-- > 0;) top.put(Interval{starts[i], frequencies[i]}, precision);
  state_ = top.x;
  words_.resize(static_cast<size_t>(top.words - words_.data()));
}

Status Stack::pop_direct(const uint32_t* cumulative, size_t columns, size_t count, uint32_t precision,
                         int32_t* numbers) {
  uint32_t* const bottom = words_.data();
  Top top{state_, bottom + words_.size()};
  for (size_t i = 0; i < count; ++i) {
    const uint32_t* row = cumulative + i * (columns + 1);
    if (!valid_row(row, columns, precision)) return Status::malformed;
    const uint32_t slot = static_cast<uint32_t>(top.x) & ((1u << precision) - 1);
    const size_t number = last_not_above(row, columns, slot);
    top.x = (row[number + 1] - row[number]) * (top.x >> precision) + (slot - row[number]);
    if (!top.refill(bottom)) return Status::truncated;
    numbers[i] = static_cast<int32_t>(number);
  }
  state_ = top.x;
  words_.resize(static_cast<size_t>(top.words - bottom));
  return Status::ok;
}

Status Stack::advance(uint32_t start, uint32_t frequency, uint32_t precision) {
  const uint32_t slot = peek(precision);
  if (slot - start >= frequency) return Status::malformed;
  Top top{frequency * (state_ >> precision) + (slot - start), words_.data() + words_.size()};
  if (!top.refill(words_.data())) return Status::truncated;
  state_ = top.x;
  words_.resize(static_cast<size_t>(top.words - words_.data()));
  return Status::ok;
}

}  // namespace siglum::precise
