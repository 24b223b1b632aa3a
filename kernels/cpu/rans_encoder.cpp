// The encoder: steps are kept as entry numbers and coded at the end, last symbol first.
#include <stdexcept>
#include <utility>

#include "rans.hpp"

namespace siglum::rans {
namespace {

// Symbols of an escape outside [offset, offset + last): 0, 2, 4 ... upwards from the range, 1, 3, 5 ... downwards.
uint64_t fold(const Table& table, int32_t symbol) {
  const int64_t above = int64_t{symbol} - table.offset - table.last;
  return above >= 0 ? 2 * static_cast<uint64_t>(above) : 2 * static_cast<uint64_t>(int64_t{table.offset} - 1 - symbol) + 1;
}

// Exp-Golomb of the table's order: the high part plus one as zeros, a one, its lower bits; then the low part.
void put_escape(BitWriter& writer, uint32_t folded, unsigned order) {
  const uint64_t high = (uint64_t{folded} >> order) + 1;
  unsigned length = 0;
  while (high >> (length + 1)) ++length;
  writer.put(uint64_t{1} << length, length + 1);
  writer.put(high ^ uint64_t{1} << length, length);
  writer.put(folded & ((uint64_t{1} << order) - 1), order);
}

// The same with the entry's bounds instead of its reciprocal.
void encode_direct(uint32_t& x, uint32_t start, uint32_t frequency, unsigned precision, uint8_t*& out) {
  if (x >= uint64_t{frequency} << (kStateBits - precision)) {
    *--out = static_cast<uint8_t>(x >> 8);
    *--out = static_cast<uint8_t>(x);
    x >>= 16;
  }
  x = (x / frequency << precision) + x % frequency + start;
}

struct Escape {
  uint32_t folded;
  unsigned order;
};

template <class T>
const int32_t* widen(const void* symbols, size_t count, int32_t* wide) {
  const T* narrow = static_cast<const T*>(symbols);
  for (size_t i = 0; i < count; ++i) wide[i] = narrow[i];
  return wide;
}

// Symbols of any type as int32, a block at a time.
const int32_t* widen(Symbols symbols, size_t count, int32_t* wide) {
  switch (symbols.kind) {
    case SymbolKind::i8: return widen<int8_t>(symbols.data, count, wide);
    case SymbolKind::u8: return widen<uint8_t>(symbols.data, count, wide);
    case SymbolKind::i16: return widen<int16_t>(symbols.data, count, wide);
    case SymbolKind::u16: return widen<uint16_t>(symbols.data, count, wide);
    default: return static_cast<const int32_t*>(symbols.data);
  }
}

// The kernels' numbering for tables of more than 2^16 entries.
bool number_wide(const Tables& tables, const int32_t* symbols, size_t count, Indexes indexes, uint32_t* numbers) {
  uint32_t escaped = 0;
  for (size_t i = 0; i < count; ++i) {
    const Table& table = tables.tables[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset);
    escaped |= number >= table.last;
    numbers[i] = table.start + (number < table.last ? number : table.last);
  }
  return escaped != 0;
}

void collect_escapes(const Tables& tables, const int32_t* symbols, size_t count, Indexes indexes,
                     std::vector<Escape>& escapes) {
  for (size_t i = 0; i < count; ++i) {
    const Table& table = tables.tables[indexes[i]];
    if (static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset) < table.last) continue;
    if (tables.closed) throw std::out_of_range("a symbol has no entry, and these tables have no escapes");
    const uint64_t folded = fold(table, symbols[i]);
    if (folded >> 32) throw std::out_of_range("a symbol is more than 2^31 beyond its table");
    escapes.push_back({static_cast<uint32_t>(folded), table.order});
  }
}

}  // namespace

uint32_t choose_lanes(uint64_t total_bits) {
  uint32_t lanes = 1;
  while (lanes < kMaxLanes && 2 * lanes * kStateBits <= total_bits / 100) lanes *= 2;
  return lanes;
}

void BitWriter::put(uint64_t value, unsigned count) {
  accumulator_ |= value << pending_;
  pending_ += count;
  while (pending_ >= 8) {
    bytes_.push_back(static_cast<uint8_t>(accumulator_));
    accumulator_ >>= 8;
    pending_ -= 8;
  }
}

const std::vector<uint8_t>& BitWriter::padded() {
  if (pending_) bytes_.push_back(static_cast<uint8_t>(accumulator_));
  accumulator_ = pending_ = 0;
  return bytes_;
}

void BitWriter::clear() {
  bytes_.clear();
  accumulator_ = pending_ = 0;
}

Encoder::Encoder(uint32_t lanes, const Kernels* kernels) : lanes_(lanes), kernels_(kernels) {
  if (lanes > kMaxLanes || (lanes & (lanes - 1))) throw std::invalid_argument("lanes must be 1, 2, 4, 8, 16 or 32");
}

void Encoder::append(const Tables& tables, Symbols symbols, size_t count, Indexes indexes) {
  if (count == 0) return;
  constexpr size_t kBlock = 1024, kSearch = 64;
  int32_t wide[kBlock];
  std::vector<Escape> escapes;
  const bool many = tables.entries.size() > 1u << 16;
  const size_t first = many ? wide_.size() : narrow_.size();
  uint16_t* const numbers = many ? nullptr : narrow_.extend(count);
  uint32_t* const wide_numbers = many ? wide_.extend(count) : nullptr;
  const Ranges ranges = {tables.offsets.data(), tables.ranges.data(), tables.size()};
  try {
    for (size_t i = 0; i < count; i += kBlock) {
      const size_t length = count - i < kBlock ? count - i : kBlock;
      const int32_t* block = widen(symbols + i, length, wide);
      const bool escaped = many ? number_wide(tables, block, length, indexes + i, wide_numbers + i)
                                : kernels_->number(ranges, block, length, indexes + i, numbers + i);
      if (!escaped) continue;
      if (!many && indexes.kind == IndexKind::same) {
        const Table& table = tables.tables[indexes.same];
        const uint16_t mark = static_cast<uint16_t>(table.start + table.last);
        for (size_t k = 0; (k += kernels_->find(numbers + i + k, length - k, mark)) < length; ++k)
          collect_escapes(tables, block + k, 1, indexes, escapes);
        continue;
      }
      for (size_t k = 0; k < length; k += kSearch) {  // escapes are rare: first which few symbols have one
        const size_t few = length - k < kSearch ? length - k : kSearch;
        uint16_t unused[kSearch];
        if (many || kernels_->number(ranges, block + k, few, indexes + (i + k), unused))
          collect_escapes(tables, block + k, few, indexes + (i + k), escapes);
      }
    }
  } catch (...) {
    many ? wide_.shrink(first) : narrow_.shrink(first);
    throw;
  }
  steps_.push_back({&tables, count, first, many, tables.precision});
  for (const Escape& escape : escapes) put_escape(escapes_, escape.folded, escape.order);
}

void Encoder::append_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision) {
  if (precision < 1 || precision > kMaxDirectPrecision) throw std::invalid_argument("precision must be 1 to 15 bits");
  const uint32_t whole = 1u << precision;
  uint32_t wrong = 0;
  for (size_t i = 0; i < count; ++i)
    wrong |= (frequencies[i] - 1 >= whole) | (starts[i] >= whole) | (starts[i] + frequencies[i] > whole);
  if (wrong) throw std::invalid_argument("an entry is empty or leaves 2^precision");
  if (count == 0) return;
  const size_t first = wide_.size();
  uint32_t* const pairs = wide_.extend(count);
  for (size_t i = 0; i < count; ++i) pairs[i] = starts[i] | frequencies[i] << 16;
  steps_.push_back({nullptr, count, first, true, precision});
}

// Ideal cost of what was appended; counting stops soon after `enough`.
uint64_t Encoder::total_bits(uint64_t enough) const {
  const uint64_t limit = enough > escapes_.bits() ? 256 * (enough - escapes_.bits()) : 0;
  uint64_t units = 0;
  for (const Step& step : steps_) {
    const uint32_t* wide = wide_.data() + step.first;
    const uint16_t* narrow = narrow_.data() + step.first;
    for (size_t i = 0; i < step.count && units < limit;) {
      const size_t stop = step.count - i < 1024 ? step.count : i + 1024;
      if (!step.tables) {
        for (; i < stop; ++i) units += 256 * step.precision - log2_256(wide[i] >> 16);
      } else if (step.wide) {
        for (; i < stop; ++i) units += step.tables->costs[wide[i]];
      } else {
        for (; i < stop; ++i) units += step.tables->costs[narrow[i]];
      }
    }
  }
  return escapes_.bits() + units / 256;
}

std::vector<uint8_t> Encoder::finish() {
  std::vector<uint8_t> payload;
  finish(payload);
  return payload;
}

void Encoder::finish(std::vector<uint8_t>& payload) {
  if (steps_.empty()) {
    payload.push_back(0);
    return;
  }
  const uint32_t lanes = lanes_ ? lanes_ : choose_lanes(total_bits(uint64_t{100} * kStateBits * kMaxLanes));
  size_t symbols = 0;
  for (const Step& step : steps_) symbols += step.count;
  const size_t capacity = 2 * symbols + 16;  // at most a word a symbol, and what is stored but not kept
  words_.shrink(0);
  uint8_t* const end = words_.extend(capacity) + capacity;
  uint8_t* first = end;
  uint32_t states[kMaxLanes];
  for (uint32_t& state : states) state = kLowest;
  for (size_t s = steps_.size(); s-- > 0;) {
    const Step& step = steps_[s];
    size_t i = step.count;
    if (!step.tables || step.wide) {
      const uint32_t* wide = wide_.data() + step.first;
      while (i-- > 0) {
        uint32_t& state = states[i & (lanes - 1)];
        if (step.tables) {
          encode_symbol(state, step.tables->entries[wide[i]], step.precision, first);
        } else {
          encode_direct(state, wide[i] & 0xffff, wide[i] >> 16, step.precision, first);
        }
      }
      continue;
    }
    const uint16_t* narrow = narrow_.data() + step.first;
    const uint64_t* entries = step.tables->entries.data();
    while (i & (lanes - 1)) {
      --i;
      encode_symbol(states[i & (lanes - 1)], entries[narrow[i]], step.precision, first);
    }
    first = kernels_->encode(lanes, entries, step.precision, narrow, i / lanes, states, first);
  }

  const std::vector<uint8_t>& side = escapes_.padded();
  payload.reserve(payload.size() + 1 + 10 + 4 * kMaxLanes + static_cast<size_t>(end - first) + side.size());
  unsigned exponents[kMaxLanes], log_lanes = 0;
  while (1u << log_lanes < lanes) ++log_lanes;
  for (uint32_t lane = 0; lane < lanes; ++lane) exponents[lane] = bit_length(states[lane]) - 16;
  payload.push_back(static_cast<uint8_t>(log_lanes | (side.empty() ? 0 : 8) | exponents[0] << 4));
  if (!side.empty()) {
    size_t rest = side.size();
    for (; rest >= 128; rest >>= 7) payload.push_back(static_cast<uint8_t>(rest | 128));
    payload.push_back(static_cast<uint8_t>(rest));
  }
  BitWriter packed;
  for (uint32_t lane = 1; lane < lanes; ++lane) packed.put(exponents[lane], kExponentBits);
  for (uint32_t lane = 0; lane < lanes; ++lane)
    packed.put(states[lane] ^ kLowest << exponents[lane], 15 + exponents[lane]);
  payload.insert(payload.end(), packed.padded().begin(), packed.padded().end());
  payload.insert(payload.end(), first, end);
  payload.insert(payload.end(), side.begin(), side.end());
  steps_.clear();
  narrow_.shrink(0);
  wide_.shrink(0);
  words_.shrink(0);
  escapes_.clear();
}

}  // namespace siglum::rans
