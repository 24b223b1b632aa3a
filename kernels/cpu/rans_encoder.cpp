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

// One symbol on one lane, without a branch: the word is always stored and kept only if it is due.
inline void encode_symbol(uint32_t& state, uint64_t entry, unsigned precision, uint8_t*& out) {
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

template <uint32_t Lanes, class Number>
uint8_t* encode_step(const Tables& tables, const Number* numbers, size_t count, uint32_t* states, uint8_t* out) {
  const unsigned precision = tables.precision;
  const uint64_t* entries = tables.entries.data();
  size_t i = count;
  while (i % Lanes) {
    --i;
    encode_symbol(states[i % Lanes], entries[numbers[i]], precision, out);
  }
  uint32_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states[lane];
  while (i) {
    i -= Lanes;
    for (uint32_t lane = Lanes; lane-- > 0;) encode_symbol(x[lane], entries[numbers[i + lane]], precision, out);
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) states[lane] = x[lane];
  return out;
}

template <class Number>
uint8_t* encode_step(uint32_t lanes, const Tables& tables, const Number* numbers, size_t count, uint32_t* states,
                     uint8_t* out) {
  switch (lanes) {
    case 1: return encode_step<1>(tables, numbers, count, states, out);
    case 2: return encode_step<2>(tables, numbers, count, states, out);
    case 4: return encode_step<4>(tables, numbers, count, states, out);
    case 8: return encode_step<8>(tables, numbers, count, states, out);
    case 16: return encode_step<16>(tables, numbers, count, states, out);
    default: return encode_step<32>(tables, numbers, count, states, out);
  }
}

// Numbers of the entries of a block; true if there is an escape among them.
template <class Index, class Number>
bool number_entries(const Tables& tables, const int32_t* symbols, size_t count, Index indexes, Number* numbers) {
  const Table* all = tables.tables.data();
  uint32_t escaped = 0;
  for (size_t i = 0; i < count; ++i) {
    const Table& table = all[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset);
    const bool escape = number >= table.last;
    escaped |= escape;
    numbers[i] = static_cast<Number>(table.start + (escape ? table.last : number));
  }
  return escaped != 0;
}

struct Escape {
  uint32_t folded;
  unsigned order;
};

template <class Index, class Number>
void number_step(const Tables& tables, const int32_t* symbols, size_t count, Index indexes, Number* numbers,
                 std::vector<Escape>& escapes) {
  constexpr size_t kBlock = 256;
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t length = count - first < kBlock ? count - first : kBlock;
    if (!number_entries(tables, symbols + first, length, indexes + first, numbers + first)) continue;
    for (size_t i = first; i < first + length; ++i) {
      const Table& table = tables.tables[indexes[i]];
      if (numbers[i] != table.start + table.last) continue;
      const uint64_t folded = fold(table, symbols[i]);
      if (folded >> 32) throw std::out_of_range("a symbol is more than 2^31 beyond its table");
      escapes.push_back({static_cast<uint32_t>(folded), table.order});
    }
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

std::vector<uint8_t> BitWriter::finish() {
  if (pending_) bytes_.push_back(static_cast<uint8_t>(accumulator_));
  accumulator_ = pending_ = 0;
  std::vector<uint8_t> bytes;
  bytes.swap(bytes_);
  return bytes;
}

Encoder::Encoder(uint32_t lanes) : lanes_(lanes) {
  if (lanes > kMaxLanes || (lanes & (lanes - 1))) throw std::invalid_argument("lanes must be 1, 2, 4, 8, 16 or 32");
}

template <class Index>
void Encoder::append(const Tables& tables, const int32_t* symbols, size_t count, Index indexes) {
  if (count == 0) return;
  Step step{&tables, count, nullptr, nullptr};
  std::vector<Escape> escapes;
  if (tables.entries.size() <= 1u << 16) {
    step.narrow.reset(new uint16_t[count]);
    number_step(tables, symbols, count, indexes, step.narrow.get(), escapes);
  } else {
    step.wide.reset(new uint32_t[count]);
    number_step(tables, symbols, count, indexes, step.wide.get(), escapes);
  }
  steps_.push_back(std::move(step));
  for (const Escape& escape : escapes) put_escape(escapes_, escape.folded, escape.order);
}

template void Encoder::append(const Tables&, const int32_t*, size_t, Same);
template void Encoder::append(const Tables&, const int32_t*, size_t, const uint8_t*);
template void Encoder::append(const Tables&, const int32_t*, size_t, const uint16_t*);
template void Encoder::append(const Tables&, const int32_t*, size_t, const int32_t*);

// Ideal cost of what was appended; counting stops soon after `enough`.
uint64_t Encoder::total_bits(uint64_t enough) const {
  uint64_t total = escapes_.bits();
  uint64_t units = 0;
  for (const Step& step : steps_) {
    const uint16_t* costs = step.tables->costs.data();
    for (size_t i = 0; i < step.count; ++i) {
      units += costs[step.narrow ? step.narrow[i] : step.wide[i]];
      if (i % 4096 == 0 && total + units / 256 >= enough) return total + units / 256;
    }
  }
  return total + units / 256;
}

std::vector<uint8_t> Encoder::finish() {
  std::vector<Step> steps;
  uint32_t lanes = lanes_;
  if (!lanes) lanes = choose_lanes(total_bits(uint64_t{100} * kStateBits * kMaxLanes));
  steps.swap(steps_);
  const std::vector<uint8_t> escapes = escapes_.finish();
  if (steps.empty()) return {0};

  size_t symbols = 0;
  for (const Step& step : steps) symbols += step.count;
  const size_t capacity = 2 * (symbols + 1);  // at most a word a symbol, and room for one that is not kept
  const std::unique_ptr<uint8_t[]> words(new uint8_t[capacity]);
  uint8_t* const end = words.get() + capacity;
  uint8_t* first = end;
  uint32_t states[kMaxLanes];
  for (uint32_t& state : states) state = kLowest;
  for (size_t s = steps.size(); s-- > 0;) {
    const Step& step = steps[s];
    first = step.narrow ? encode_step(lanes, *step.tables, step.narrow.get(), step.count, states, first)
                        : encode_step(lanes, *step.tables, step.wide.get(), step.count, states, first);
  }

  std::vector<uint8_t> payload;
  payload.reserve(1 + 10 + 4 * kMaxLanes + static_cast<size_t>(end - first) + escapes.size());
  uint8_t exponent = 0;
  while (1u << exponent < lanes) ++exponent;
  payload.push_back(exponent | (escapes.empty() ? 0 : 8));
  if (!escapes.empty()) {
    size_t rest = escapes.size();
    for (; rest >= 128; rest >>= 7) payload.push_back(static_cast<uint8_t>(rest | 128));
    payload.push_back(static_cast<uint8_t>(rest));
  }
  BitWriter packed;
  for (uint32_t lane = 0; lane < lanes; ++lane) packed.put(states[lane], kStateBits);
  const std::vector<uint8_t> packed_states = packed.finish();
  payload.insert(payload.end(), packed_states.begin(), packed_states.end());
  payload.insert(payload.end(), first, end);
  payload.insert(payload.end(), escapes.begin(), escapes.end());
  return payload;
}

}  // namespace siglum::rans
