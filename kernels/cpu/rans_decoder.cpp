// The decoder: whole rows of lanes by the kernels while the words surely suffice, then symbol by symbol.
#include <cstring>
#include <stdexcept>

#include "rans.hpp"

namespace siglum::rans {
namespace {

unsigned trailing_zeros(uint64_t value) {
#if defined(__GNUC__)
  return static_cast<unsigned>(__builtin_ctzll(value));
#else
  unsigned count = 0;
  while (!(value >> count & 1)) ++count;
  return count;
#endif
}

}  // namespace

uint64_t BitReader::peek() const {
  const uint64_t first = position_ >> 3;
  uint64_t bits = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (first + 8 <= size_) {
    std::memcpy(&bits, data_ + first, 8);
    return bits >> (position_ & 7);
  }
#endif
  for (unsigned k = 0; k < 8 && first + k < size_; ++k) bits |= uint64_t{data_[first + k]} << (8 * k);
  return bits >> (position_ & 7);
}

bool BitReader::finished() const {
  const uint64_t bits = uint64_t{8} * size_;
  return position_ <= bits && bits - position_ < 8 && peek() == 0;
}

Status Decoder::open(const uint8_t* data, size_t size) {
  *this = Decoder(kernels_);
  if (size == 0) return status_ = Status::truncated;
  const uint8_t head = data[0];
  if ((head & 7) > 5) return status_ = Status::malformed;
  if (size == 1) return status_ = head ? Status::truncated : Status::ok;
  size_t position = 1;
  size_t escape_bytes = 0;
  if (head & 8) {
    unsigned shift = 0;
    for (;; shift += 7) {
      if (position == size) return status_ = Status::truncated;
      if (shift > 56) return status_ = Status::malformed;
      const uint8_t byte = data[position++];
      escape_bytes |= static_cast<size_t>(static_cast<uint64_t>(byte & 127) << shift);
      if (byte < 128) {
        if (byte == 0) return status_ = Status::malformed;  // an empty side stream or a padded number
        break;
      }
    }
  }
  lanes_ = 1u << (head & 7);
  if (size - position < escape_bytes) return status_ = Status::truncated;
  const uint8_t* const first = data + position;
  const size_t left = size - position - escape_bytes;
  BitReader packed(first, left);
  unsigned exponents[kMaxLanes] = {static_cast<unsigned>(head >> 4)};
  size_t state_bits = 15u * lanes_ + exponents[0];
  for (uint32_t lane = 1; lane < lanes_; ++lane) {
    exponents[lane] = static_cast<unsigned>(packed.peek() & 15);
    packed.skip(kExponentBits);
    state_bits += kExponentBits + exponents[lane];
  }
  const size_t state_bytes = (state_bits + 7) / 8;
  if (left < state_bytes) return status_ = Status::truncated;
  for (uint32_t lane = 0; lane < lanes_; ++lane) {
    const uint32_t leading = kLowest << exponents[lane];
    states_[lane] = leading | static_cast<uint32_t>(packed.peek() & (leading - 1));
    packed.skip(15 + exponents[lane]);
  }
  if (packed.peek() & ((1u << (8 * state_bytes - state_bits)) - 1)) return status_ = Status::malformed;
  words_ = first + state_bytes;
  end_ = data + size - escape_bytes;
  if ((end_ - words_) % 2) return status_ = Status::malformed;
  escapes_ = BitReader(end_, escape_bytes);
  empty_ = false;
  return status_;
}

int32_t Decoder::read_escape(const Table& table) {
  if (status_ != Status::ok) return 0;  // what follows an error means nothing, and costs nothing
  uint64_t bits = escapes_.peek() & ((uint64_t{1} << 33) - 1);
  const unsigned length = bits ? trailing_zeros(bits) : 33;
  if (length + table.order > 32) {
    escapes_.skip(length + 1);
    fail(escapes_.overrun() ? Status::truncated : Status::corrupt);
    return 0;
  }
  escapes_.skip(length + 1);
  bits = escapes_.peek();
  escapes_.skip(length + table.order);
  const uint64_t high = ((uint64_t{1} << length) | (bits & ((uint64_t{1} << length) - 1))) - 1;
  const uint64_t folded = high << table.order | (bits >> length & ((uint64_t{1} << table.order) - 1));
  const int64_t steps = static_cast<int64_t>(folded >> 1);
  const int64_t symbol = folded & 1 ? int64_t{table.offset} - 1 - steps : int64_t{table.offset} + table.last + steps;
  if (escapes_.overrun()) fail(Status::truncated);
  if (folded >> 32 || symbol < INT32_MIN || symbol > INT32_MAX) fail(Status::corrupt);
  return status_ == Status::ok ? static_cast<int32_t>(symbol) : 0;
}

namespace {

constexpr size_t kBlock = 4096;  // symbols between two placements: their numbers stay in the first cache

template <class T>
bool put(void* symbols, size_t i, int32_t symbol) {
  static_cast<T*>(symbols)[i] = static_cast<T>(symbol);
  return static_cast<T>(symbol) == symbol;
}

// False if the type cannot hold the symbol.
bool put(MutableSymbols symbols, size_t i, int32_t symbol) {
  switch (symbols.kind) {
    case SymbolKind::i8: return put<int8_t>(symbols.data, i, symbol);
    case SymbolKind::u8: return put<uint8_t>(symbols.data, i, symbol);
    case SymbolKind::i16: return put<int16_t>(symbols.data, i, symbol);
    case SymbolKind::u16: return put<uint16_t>(symbols.data, i, symbol);
    default: return put<int32_t>(symbols.data, i, symbol);
  }
}

}  // namespace

// Bytes of one table: numbers can be decoded to where the symbols belong, in fewer passes over memory.
bool Decoder::in_place(Indexes indexes, MutableSymbols symbols) {
  return indexes.kind == IndexKind::same && symbol_size(symbols.kind) == 1;
}

// Symbols of decoded numbers, escapes from the side stream.
void Decoder::place(const Tables& tables, Indexes indexes, const uint8_t* numbers, size_t count,
                    MutableSymbols symbols) {
  bool marked;
  uint8_t mark = kEscapeMark;
  if (in_place(indexes, symbols)) {
    const uint8_t offset = static_cast<uint8_t>(tables.offsets[indexes.same]);
    marked = kernels_->shift(static_cast<uint8_t*>(symbols.data), count, offset);
    mark = static_cast<uint8_t>(mark + offset);
  } else {
    marked = kernels_->place(numbers, count, tables.offsets.data(), tables.size(), indexes, symbols);
  }
  if (!marked || tables.closed) return;
  const uint8_t* const end = numbers + count;
  const uint8_t* found = numbers;
  while ((found = static_cast<const uint8_t*>(std::memchr(found, mark, static_cast<size_t>(end - found))))) {
    const size_t i = static_cast<size_t>(found - numbers);
    if (!put(symbols, i, read_escape(tables.tables[indexes[i]]))) fail(Status::corrupt);
    if (++found == end) break;
  }
}

// The symbols of a step that are left after whole rows; zeros after an error.
void Decoder::decode_tail(const Tables& tables, Indexes indexes, size_t first, size_t count, MutableSymbols symbols) {
  size_t i = first;
  for (; i < count && status_ == Status::ok; ++i) {
    if (!put(symbols, i, decode_one(tables, indexes[i]))) fail(Status::corrupt);
  }
  for (; i < count; ++i) put(symbols, i, 0);
  begin_step();
}

Status Decoder::decode(const Tables& tables, Indexes indexes, size_t count, MutableSymbols symbols) {
  const Task task = {this, indexes, count, symbols};
  decode_together(tables, &task, 1);
  return status_;
}

void Decoder::decode_together(const Tables& tables, const Task* tasks, size_t count) {
  uint8_t numbers[kMostInFlight][kBlock];
  size_t done[kMostInFlight] = {};
  bool going[kMostInFlight];
  for (size_t t = 0; t < count; ++t) {
    Decoder& decoder = *tasks[t].decoder;
    decoder.begin_step();
    if (decoder.empty_ && tasks[t].count) decoder.fail(Status::truncated);
    going[t] = tasks[t].count != 0;
  }
  while (true) {
    Stream streams[kMostInFlight];
    size_t of[kMostInFlight], wanted[kMostInFlight], active = 0;
    for (size_t t = 0; t < count; ++t) {
      if (!going[t]) continue;
      Decoder& decoder = *tasks[t].decoder;
      const size_t left = tasks[t].count - done[t];
      const size_t rows = (left < kBlock ? left : kBlock) / decoder.lanes_;
      going[t] = rows && decoder.status_ == Status::ok;
      if (!going[t]) continue;
      const MutableSymbols to = tasks[t].symbols + done[t];
      uint8_t* const into = in_place(tasks[t].indexes, to) ? static_cast<uint8_t*>(to.data) : numbers[t];
      streams[active] = {decoder.states_, decoder.words_, decoder.end_, tasks[t].indexes + done[t], into, rows};
      wanted[active] = rows;
      of[active++] = t;
    }
    if (!active) break;
    const Decoder& first = *tasks[of[0]].decoder;
    bool alike = true;
    for (size_t s = 1; s < active; ++s) alike &= tasks[of[s]].decoder->lanes_ == first.lanes_;
    for (size_t s = 0; s < active; s += alike ? active : 1)
      first.kernels_->decode(tasks[of[s]].decoder->lanes_, tables.lookup.data(), tables.precision, streams + s,
                             alike ? active : 1);
    for (size_t s = 0; s < active; ++s) {
      const size_t t = of[s];
      Decoder& decoder = *tasks[t].decoder;
      decoder.words_ = streams[s].words;
      const size_t length = streams[s].rows * decoder.lanes_;
      decoder.place(tables, tasks[t].indexes + done[t], streams[s].numbers, length, tasks[t].symbols + done[t]);
      done[t] += length;
      going[t] = streams[s].rows == wanted[s];
    }
  }
  for (size_t t = 0; t < count; ++t)
    tasks[t].decoder->decode_tail(tables, tasks[t].indexes, done[t], tasks[t].count, tasks[t].symbols);
}

// Moves the lane's state past its entry.
void Decoder::take(uint32_t start, uint32_t frequency, uint32_t precision) {
  uint32_t x = states_[lane_];
  const uint32_t slot = x & ((1u << precision) - 1);
  x = frequency * (x >> precision) + slot - start;
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
}

namespace {

// Columns whose sum of frequencies is at most the slot, less one: the entry that holds it.
size_t find_entry(const uint16_t* row, size_t columns, uint32_t slot) {
  size_t below = 0;
  for (size_t j = 1; j < columns; ++j) below += row[j] <= slot;
  return below;
}

// The same by halving, for long rows.
size_t search_entry(const uint16_t* row, size_t columns, uint32_t slot) {
  size_t low = 0, high = columns - 1;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (row[middle] <= slot ? low : high) = middle;
  }
  return low;
}

void check_direct(uint32_t precision) {
  if (precision < 1 || precision > kMaxDirectPrecision) throw std::invalid_argument("precision must be 1 to 15 bits");
}

}  // namespace

Status Decoder::decode_direct(const uint16_t* cumulative, size_t columns, size_t count, uint32_t precision,
                              int32_t* numbers) {
  check_direct(precision);
  if (columns < 2) throw std::invalid_argument("a row of cumulative frequencies needs two columns at least");
  begin_step();
  if (empty_ && count) fail(Status::truncated);
  size_t i = 0;
  for (; i < count && status_ == Status::ok; ++i) {
    const uint16_t* row = cumulative + i * columns;
    const uint32_t slot = states_[lane_] & ((1u << precision) - 1);
    const size_t number = columns <= 128 ? find_entry(row, columns, slot) : search_entry(row, columns, slot);
    if (number + 1 >= columns || row[number] > slot || row[number + 1] <= slot || row[number + 1] > 1u << precision)
      throw std::invalid_argument("a row of cumulative frequencies does not rise from 0 to 2^precision");
    numbers[i] = static_cast<int32_t>(number);
    take(row[number], uint32_t{row[number + 1]} - row[number], precision);
  }
  for (; i < count; ++i) numbers[i] = 0;
  begin_step();
  return status_;
}

void Decoder::peek(size_t count, uint32_t precision, uint32_t* slots) const {
  check_direct(precision);
  if (count > lanes_) throw std::invalid_argument("there are fewer lanes than slots asked for");
  for (size_t i = 0; i < count; ++i)
    slots[i] = states_[(lane_ + i) & (lanes_ - 1)] & ((1u << precision) - 1);
}

Status Decoder::advance(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision) {
  check_direct(precision);
  if (count > lanes_) throw std::invalid_argument("there are fewer lanes than entries given");
  if (empty_ && count) fail(Status::truncated);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t slot = states_[(lane_ + i) & (lanes_ - 1)] & ((1u << precision) - 1);
    if (empty_) break;
    if (slot < starts[i] || slot - starts[i] >= frequencies[i] || uint64_t{starts[i]} + frequencies[i] > 1u << precision)
      throw std::invalid_argument("an entry does not hold its slot");
  }
  for (size_t i = 0; i < count && status_ == Status::ok; ++i) take(starts[i], frequencies[i], precision);
  return status_;
}

Status Decoder::finish() {
  if (status_ != Status::ok || empty_) return status_;
  for (uint32_t lane = 0; lane < lanes_; ++lane)
    if (states_[lane] != kLowest) fail(Status::corrupt);
  if (words_ != end_ || !escapes_.finished()) fail(Status::corrupt);
  return status_;
}

}  // namespace siglum::rans
