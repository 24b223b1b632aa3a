// The precise decoder: rows of lanes without a check while the words surely suffice, then with one.
#include "precise.hpp"

namespace siglum::precise {

Status Decoder::open(const uint8_t* data, size_t size) {
  *this = Decoder();
  if (size == 0) return fail(Status::truncated);
  const uint8_t head = data[0];
  if ((head & 3) == 3) return fail(Status::malformed);
  if (size == 1) return head ? fail(Status::truncated) : Status::ok;
  size_t position = 1;
  uint64_t escape_bytes = 0;
  if (head & 4) {
    unsigned shift = 0;
    for (;; shift += 7) {
      if (position == size) return fail(Status::truncated);
      if (shift > 56) return fail(Status::malformed);
      const uint8_t byte = data[position++];
      escape_bytes |= uint64_t{byte & 127u} << shift;
      if (byte < 128) {
        if (byte == 0) return fail(Status::malformed);  // an empty side stream or a padded number
        break;
      }
    }
  }
  lanes_ = 1u << (head & 3);
  BitReader packed(data + position, size - position);
  unsigned exponents[kMaxLanes] = {static_cast<unsigned>(head >> 3)};
  unsigned bits = (lanes_ - 1) * kExponentBits;
  for (uint32_t lane = 1; lane < lanes_; ++lane) {
    exponents[lane] = packed.peek() & 31;
    packed.skip(kExponentBits);
  }
  for (uint32_t lane = 0; lane < lanes_; ++lane) bits += kLowestBits + exponents[lane];
  const size_t state_bytes = (bits + 7) / 8;
  if (size - position < state_bytes || size - position - state_bytes < escape_bytes) return fail(Status::truncated);
  for (uint32_t lane = 0; lane < lanes_; ++lane) {
    const uint64_t low = packed.peek() & (kLowest - 1);
    packed.skip(kLowestBits);
    const uint64_t high = packed.peek() & ((uint64_t{1} << exponents[lane]) - 1);
    packed.skip(exponents[lane]);
    states_[lane] = ((uint64_t{1} << exponents[lane]) | high) << kLowestBits | low;
  }
  if (bits % 8 && data[position + state_bytes - 1] >> bits % 8) return fail(Status::malformed);  // filling
  words_ = data + position + state_bytes;
  end_ = data + (size - static_cast<size_t>(escape_bytes));
  if ((end_ - words_) % 4) return fail(Status::malformed);
  escapes_ = BitReader(end_, static_cast<size_t>(escape_bytes));
  empty_ = false;
  return Status::ok;
}

int32_t Decoder::read_escape(const Table& table) {
  if (status_ != Status::ok) return 0;  // what follows an error means nothing, and costs nothing
  uint64_t bits = escapes_.peek();
  unsigned length = 0;
  while (length + table.order <= 32 && !(bits >> length & 1)) ++length;
  escapes_.skip(length + 1);
  if (length + table.order > 32) {
    fail(escapes_.overrun() ? Status::truncated : Status::corrupt);
    return 0;
  }
  bits = escapes_.peek();
  escapes_.skip(length + table.order);
  const uint64_t high = ((uint64_t{1} << length) | (bits & ((uint64_t{1} << length) - 1))) - 1;
  const uint64_t folded = high << table.order | (bits >> length & ((uint64_t{1} << table.order) - 1));
  const int64_t symbol = unfold(table, folded);
  if (escapes_.overrun()) fail(Status::truncated);
  if (folded >> 32 || symbol < INT32_MIN || symbol > INT32_MAX) fail(Status::corrupt);
  return status_ == Status::ok ? static_cast<int32_t>(symbol) : 0;
}

template <uint32_t Lanes, bool Checked, class Index>
size_t Decoder::decode_rows(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  const unsigned precision = tables.precision;
  const uint32_t mask = (1u << precision) - 1;
  const Table* all = tables.tables.data();
  const uint8_t* words = words_;
  uint64_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states_[lane];
  size_t i = 0;
  for (; count - i >= Lanes && (Checked || static_cast<size_t>(end_ - words) >= 4 * Lanes); i += Lanes) {
    bool escaped = false;
    for (uint32_t lane = 0; lane < Lanes; ++lane) {
      const uint32_t index = static_cast<uint32_t>(indexes[i + lane]);
      const uint32_t slot = static_cast<uint32_t>(x[lane]) & mask;
      const Found found = tables.find(index, slot);
      const uint64_t next = found.interval.frequency * (x[lane] >> precision) + (slot - found.interval.start);
      const uint64_t due = next < kLowest;
      if (Checked) {
        x[lane] = next;
        if (due) {
          const bool missing = words == end_;
          if (missing) fail(Status::truncated);
          x[lane] = next << 32 | (missing ? 0 : load_word(words));  // in range: next is at least 2^7
          words += missing ? 0 : 4;
        }
      } else {
        x[lane] = refill<Lanes>(next, load_word(words), due);
        words += 4 * due;
      }
      const Table& table = all[index];
      escaped |= found.number - table.first == table.last;
      symbols[i + lane] = table.offset + static_cast<int32_t>(found.number - table.first);
    }
    if (escaped) {
      for (size_t k = i; k < i + Lanes; ++k) {
        const Table& table = all[indexes[k]];
        if (symbols[k] == table.offset + static_cast<int32_t>(table.last)) symbols[k] = read_escape(table);
      }
    }
    if (Checked && status_ != Status::ok) break;
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) states_[lane] = x[lane];
  words_ = words;
  return i;
}

template <uint32_t Lanes, class Index>
size_t Decoder::decode_lanes(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  const size_t i = decode_rows<Lanes, false>(tables, indexes, count, symbols);
  if (status_ != Status::ok) return i;
  return i + decode_rows<Lanes, true>(tables, indexes + i, count - i, symbols + i);
}

void Decoder::take(uint64_t x) {
  if (x < kLowest) {
    uint32_t word = 0;
    if (words_ != end_) {
      word = load_word(words_);
      words_ += 4;
    } else {
      fail(Status::truncated);
    }
    x = x << 32 | word;
  }
  states_[lane_] = x;
  lane_ = (lane_ + 1) & (lanes_ - 1);
}

template <class Index>
Status Decoder::decode(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  begin_step();
  if (empty_ && count) fail(Status::truncated);
  size_t i = 0;
  if (status_ == Status::ok) {
    switch (lanes_) {
      case 1: i = decode_lanes<1>(tables, indexes, count, symbols); break;
      case 2: i = decode_lanes<2>(tables, indexes, count, symbols); break;
      default: i = decode_lanes<4>(tables, indexes, count, symbols); break;
    }
  }
  for (; i < count && status_ == Status::ok; ++i) {  // less than a row
    const uint32_t index = static_cast<uint32_t>(indexes[i]);
    const Table& table = tables.tables[index];
    uint32_t slot = 0;
    peek(1, tables.precision, &slot);
    const Found found = tables.find(index, slot);
    take(found.interval.frequency * (states_[lane_] >> tables.precision) + (slot - found.interval.start));
    const uint32_t number = found.number - table.first;
    symbols[i] = number == table.last ? read_escape(table) : table.offset + static_cast<int32_t>(number);
  }
  for (; i < count; ++i) symbols[i] = 0;
  begin_step();
  return status_;
}

template Status Decoder::decode(const Tables&, Same, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const uint8_t*, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const uint16_t*, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const int32_t*, size_t, int32_t*);

Status Decoder::decode_direct(const uint32_t* cumulative, size_t columns, size_t count, uint32_t precision,
                              int32_t* numbers) {
  begin_step();
  for (size_t i = 0; i < count; ++i)
    if (!valid_row(cumulative + i * (columns + 1), columns, precision)) return Status::malformed;
  if (empty_ && count) fail(Status::truncated);
  for (size_t i = 0; i < count; ++i) {
    numbers[i] = 0;
    if (status_ != Status::ok) continue;
    const uint32_t* row = cumulative + i * (columns + 1);
    uint32_t slot = 0;
    peek(1, precision, &slot);
    const size_t number = last_not_above(row, columns, slot);
    take((row[number + 1] - row[number]) * (states_[lane_] >> precision) + (slot - row[number]));
    numbers[i] = static_cast<int32_t>(number);
  }
  begin_step();
  return status_;
}

void Decoder::peek(uint32_t count, uint32_t precision, uint32_t* slots) const {
  for (uint32_t k = 0; k < count; ++k)
    slots[k] = static_cast<uint32_t>(states_[(lane_ + k) & (lanes_ - 1)]) & ((1u << precision) - 1);
}

bool Decoder::advance(const uint32_t* starts, const uint32_t* frequencies, uint32_t count, uint32_t precision) {
  uint32_t slots[kMaxLanes];
  peek(count, precision, slots);
  for (uint32_t k = 0; k < count; ++k)
    if (slots[k] - starts[k] >= frequencies[k]) return false;
  if (empty_ && count) fail(Status::truncated);
  for (uint32_t k = 0; k < count && status_ == Status::ok; ++k)
    take(uint64_t{frequencies[k]} * (states_[lane_] >> precision) + (slots[k] - starts[k]));
  return true;
}

Status Decoder::finish() {
  if (status_ != Status::ok || empty_) return status_;
  for (uint32_t lane = 0; lane < lanes_; ++lane)
    if (states_[lane] != kLowest) fail(Status::corrupt);
  if (words_ != end_ || !escapes_.finished()) fail(Status::corrupt);
  return status_;
}

}  // namespace siglum::precise
