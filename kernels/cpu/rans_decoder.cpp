// The decoder's bulk loop: whole rows of lanes while the words surely suffice, then symbol by symbol.
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
  for (unsigned k = 0; k < 8 && first + k < size_; ++k) bits |= uint64_t{data_[first + k]} << (8 * k);
  return bits >> (position_ & 7);
}

bool BitReader::finished() const {
  const uint64_t bits = uint64_t{8} * size_;
  return position_ <= bits && bits - position_ < 8 && peek() == 0;
}

Status Decoder::open(const uint8_t* data, size_t size) {
  *this = Decoder();
  if (size == 0) return status_ = Status::truncated;
  const uint8_t head = data[0];
  if (head & 0xf0 || (head & 7) > 5) return status_ = Status::malformed;
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
  const size_t state_bytes = (kStateBits * lanes_ + 7) / 8;
  if (size - position < state_bytes || size - position - state_bytes < escape_bytes)
    return status_ = Status::truncated;
  BitReader packed(data + position, state_bytes);
  for (uint32_t lane = 0; lane < lanes_; ++lane) {
    states_[lane] = static_cast<uint32_t>(packed.peek() & ((uint64_t{1} << kStateBits) - 1));
    packed.skip(kStateBits);
    if (states_[lane] < kLowest) return status_ = Status::malformed;
  }
  if (!packed.finished()) return status_ = Status::malformed;
  words_ = data + position + state_bytes;
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

template <uint32_t Lanes, class Index>
size_t Decoder::decode_rows(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  const unsigned precision = tables.precision;
  const uint32_t mask = (1u << precision) - 1;
  const uint32_t* lookup = tables.lookup.data();
  const Table* all = tables.tables.data();
  const uint8_t* words = words_;
  uint32_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states_[lane];
  size_t i = 0;
  for (; count - i >= Lanes && static_cast<size_t>(end_ - words) >= 2 * Lanes; i += Lanes) {
    uint32_t escaped = 0;
    for (uint32_t lane = 0; lane < Lanes; ++lane) {
      const uint32_t index = static_cast<uint32_t>(indexes[i + lane]);
      const uint32_t entry = lookup[(size_t{index} << precision) + (x[lane] & mask)];
      const uint32_t number = entry & 0xff;
      const uint32_t next = (entry >> 8 & 0xfff) * (x[lane] >> precision) + (entry >> 20);
      const uint32_t due = next < kLowest;
      x[lane] = next << (16 * due) | (load_word(words) & (0 - due));  // arithmetic: compilers turn ?: into a branch
      words += 2 * due;
      escaped |= number + 1;  // bit 8 is set by the mark only
      symbols[i + lane] = all[index].offset + static_cast<int32_t>(number);
    }
    if (escaped & 0x100) {
      for (size_t k = i; k < i + Lanes; ++k) {
        const Table& table = all[indexes[k]];
        if (symbols[k] == table.offset + kEscapeMark) symbols[k] = read_escape(table);
      }
    }
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) states_[lane] = x[lane];
  words_ = words;
  return i;
}

template <class Index>
Status Decoder::decode(const Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  begin_step();
  if (empty_ && count && status_ == Status::ok) fail(Status::truncated);
  size_t i = 0;
  if (status_ == Status::ok) {
    switch (lanes_) {
      case 1: i = decode_rows<1>(tables, indexes, count, symbols); break;
      case 2: i = decode_rows<2>(tables, indexes, count, symbols); break;
      case 4: i = decode_rows<4>(tables, indexes, count, symbols); break;
      case 8: i = decode_rows<8>(tables, indexes, count, symbols); break;
      case 16: i = decode_rows<16>(tables, indexes, count, symbols); break;
      default: i = decode_rows<32>(tables, indexes, count, symbols); break;
    }
  }
  for (; i < count && status_ == Status::ok; ++i)
    symbols[i] = decode_one(tables, static_cast<uint32_t>(indexes[i]));
  for (; i < count; ++i) symbols[i] = 0;
  begin_step();
  return status_;
}

template Status Decoder::decode(const Tables&, Same, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const uint8_t*, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const uint16_t*, size_t, int32_t*);
template Status Decoder::decode(const Tables&, const int32_t*, size_t, int32_t*);

Status Decoder::finish() {
  if (status_ != Status::ok || empty_) return status_;
  for (uint32_t lane = 0; lane < lanes_; ++lane)
    if (states_[lane] != kLowest) fail(Status::corrupt);
  if (words_ != end_ || !escapes_.finished()) fail(Status::corrupt);
  return status_;
}

}  // namespace siglum::rans
