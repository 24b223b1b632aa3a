// The precise encoder: steps are kept as entry numbers and coded at the end, last symbol first.
#include <stdexcept>
#include <utility>

#include "precise.hpp"

namespace siglum::precise {
namespace {

// Exp-Golomb of the table's order, as in rans_encoder.cpp.
void put_escape(BitWriter& writer, uint32_t folded, unsigned order) {
  const uint64_t high = (uint64_t{folded} >> order) + 1;
  unsigned length = 0;
  while (high >> (length + 1)) ++length;
  writer.put(uint64_t{1} << length, length + 1);
  writer.put(high ^ uint64_t{1} << length, length);
  writer.put(folded & ((uint64_t{1} << order) - 1), order);
}

struct FromTables {
  const EncoderEntry* entries;
  template <class Number>
  const EncoderEntry& operator()(Number number) const {
    return entries[number];
  }
};

struct FromIntervals {
  const Interval& operator()(const Interval& interval) const { return interval; }
};

// One symbol on one lane, without a branch: the word is always stored and kept only if it is due.
template <class Entry>
inline void encode_symbol(uint64_t& state, const Entry& entry, unsigned precision, uint8_t*& out) {
  uint64_t x = state;
  const unsigned due = x >= uint64_t{entry.frequency} << (kStateBits - precision);
  store_word(out - 4, static_cast<uint32_t>(x));
  out -= 4 * due;
  x >>= 32 * due;
  state = advance_state(x, entry, precision);
}

template <uint32_t Lanes, class Entries, class Number>
uint8_t* encode_step(const Entries& entries, unsigned precision, const Number* numbers, size_t count, uint64_t* states,
                     uint8_t* out) {
  size_t i = count;
  while (i % Lanes) {
    --i;
    encode_symbol(states[i % Lanes], entries(numbers[i]), precision, out);
  }
  uint64_t x[Lanes];
  for (uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states[lane];
  while (i) {
    i -= Lanes;
    for (uint32_t lane = Lanes; lane-- > 0;) encode_symbol(x[lane], entries(numbers[i + lane]), precision, out);
  }
  for (uint32_t lane = 0; lane < Lanes; ++lane) states[lane] = x[lane];
  return out;
}

template <class Entries, class Number>
uint8_t* encode_step(uint32_t lanes, const Entries& entries, unsigned precision, const Number* numbers, size_t count,
                     uint64_t* states, uint8_t* out) {
  switch (lanes) {
    case 1: return encode_step<1>(entries, precision, numbers, count, states, out);
    case 2: return encode_step<2>(entries, precision, numbers, count, states, out);
    default: return encode_step<4>(entries, precision, numbers, count, states, out);
  }
}

struct Escape {
  uint32_t folded;
  unsigned order;
};

template <class Index, class Number>
void number_step(const Tables& tables, const int32_t* symbols, size_t count, Index indexes, Number* numbers,
                 std::vector<Escape>& escapes) {
  const Table* all = tables.tables.data();
  for (size_t i = 0; i < count; ++i) {
    const Table& table = all[indexes[i]];
    const uint32_t number = static_cast<uint32_t>(symbols[i]) - static_cast<uint32_t>(table.offset);
    if (number >= table.last) {
      if (tables.closed) throw std::out_of_range("a symbol is outside its closed table");
      const uint64_t folded = fold(table, symbols[i]);
      if (folded >> 32) throw std::out_of_range("a symbol is more than 2^31 beyond its table");
      escapes.push_back({static_cast<uint32_t>(folded), table.order});
    }
    numbers[i] = static_cast<Number>(table.first + (number < table.last ? number : table.last));
  }
}

}  // namespace

Encoder::Encoder(uint32_t lanes) : lanes_(lanes) {
  if (lanes > kMaxLanes || lanes == 3) throw std::invalid_argument("lanes must be 1, 2 or 4");
}

template <class Index>
void Encoder::append(const Tables& tables, const int32_t* symbols, size_t count, Index indexes) {
  if (count == 0) return;
  Step step{&tables, tables.precision, count, nullptr, nullptr, nullptr};
  std::vector<Escape> escapes;
  if (tables.encoding.size() <= 1u << 16) {
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

void Encoder::append_direct(const uint32_t* starts, const uint32_t* frequencies, size_t count, uint32_t precision) {
  check_intervals(starts, frequencies, count, precision);
  if (count == 0) return;
  Step step{nullptr, precision, count, nullptr, nullptr, std::unique_ptr<Interval[]>(new Interval[count])};
  for (size_t i = 0; i < count; ++i) step.intervals[i] = {starts[i], frequencies[i]};
  steps_.push_back(std::move(step));
}

// Ideal cost of what was appended; counting stops soon after `enough`.
uint64_t Encoder::total_bits(uint64_t enough) const {
  const uint64_t escaped = escapes_.bits();
  uint64_t units = 0;
  for (const Step& step : steps_) {
    for (size_t i = 0; i < step.count; ++i) {
      units += step.intervals ? 256 * step.precision - rans::log2_256(step.intervals[i].frequency)
                              : step.tables->costs[step.narrow ? step.narrow[i] : step.wide[i]];
      if (i % 1024 == 0 && escaped + units / 256 >= enough) return escaped + units / 256;
    }
  }
  return escaped + units / 256;
}

std::vector<uint8_t> Encoder::finish() {
  std::vector<Step> steps;
  uint32_t lanes = lanes_;
  if (!lanes) {
    constexpr uint64_t kLaneBits = kLaneShare * (kLowestBits + kExponentBits);
    const uint64_t bits = total_bits(kLaneBits * kMaxLanes);
    for (lanes = 1; lanes < kMaxLanes && 2 * lanes * kLaneBits <= bits;) lanes *= 2;
  }
  steps.swap(steps_);
  const std::vector<uint8_t> escapes = escapes_.padded();
  escapes_.clear();
  if (steps.empty()) return {0};

  size_t symbols = 0;
  for (const Step& step : steps) symbols += step.count;
  const size_t capacity = 4 * (symbols + 1);  // at most a word a symbol, and room for one that is not kept
  const std::unique_ptr<uint8_t[]> words(new uint8_t[capacity]);
  uint8_t* const end = words.get() + capacity;
  uint8_t* first = end;
  uint64_t states[kMaxLanes] = {kLowest, kLowest, kLowest, kLowest};
  for (size_t s = steps.size(); s-- > 0;) {
    Step& step = steps[s];
    if (step.intervals) {
      first = encode_step(lanes, FromIntervals{}, step.precision, step.intervals.get(), step.count, states, first);
    } else {
      const FromTables entries{step.tables->encoding.data()};
      first = step.narrow
                  ? encode_step(lanes, entries, step.precision, step.narrow.get(), step.count, states, first)
                  : encode_step(lanes, entries, step.precision, step.wide.get(), step.count, states, first);
    }
    step = Step{};  // its memory is not needed any more
  }

  unsigned exponents[kMaxLanes] = {};
  for (uint32_t lane = 0; lane < lanes; ++lane)
    while (states[lane] >> (kLowestBits + 1 + exponents[lane])) ++exponents[lane];
  std::vector<uint8_t> payload;
  payload.reserve(1 + 10 + 9 * kMaxLanes + static_cast<size_t>(end - first) + escapes.size());
  payload.push_back(static_cast<uint8_t>(lanes / 2 | (escapes.empty() ? 0 : 4) | exponents[0] << 3));
  if (!escapes.empty()) {
    size_t rest = escapes.size();
    for (; rest >= 128; rest >>= 7) payload.push_back(static_cast<uint8_t>(rest | 128));
    payload.push_back(static_cast<uint8_t>(rest));
  }
  BitWriter packed;
  for (uint32_t lane = 1; lane < lanes; ++lane) packed.put(exponents[lane], kExponentBits);
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    packed.put(states[lane] & (kLowest - 1), kLowestBits);
    packed.put((states[lane] >> kLowestBits) & ((uint64_t{1} << exponents[lane]) - 1), exponents[lane]);
  }
  payload.insert(payload.end(), packed.padded().begin(), packed.padded().end());
  payload.insert(payload.end(), first, end);
  payload.insert(payload.end(), escapes.begin(), escapes.end());
  return payload;
}

}  // namespace siglum::precise
