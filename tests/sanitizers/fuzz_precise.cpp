// The precise coder and its stack.
#include <stdexcept>

#include "fuzz.hpp"
#include "precise.hpp"

namespace fuzz {
namespace {

using namespace siglum::precise;

constexpr const char* kStatusNames[] = {"ok", "truncated", "malformed", "corrupt"};

Tables make_tables(Random& random) {
  const uint32_t precision = kMinPrecision + static_cast<uint32_t>(random.below(9));
  std::vector<uint32_t> flat, sizes;
  std::vector<int32_t> offsets;
  for (uint64_t t = random.pick(std::vector<uint64_t>{1, 1, 2, 5, 64}); t-- > 0;) {
    const size_t entries = random.one_in(50) ? 1 + random.below(65536) : random.one_in(4) ? 1 + random.below(3000) : 1 + random.below(40);
    const std::vector<uint32_t> table = frequencies(random, entries, precision);
    flat.insert(flat.end(), table.begin(), table.end());
    sizes.push_back(static_cast<uint32_t>(entries));
    offsets.push_back(random.one_in(9) ? kMaxOffset : random.one_in(9) ? -kMaxOffset : static_cast<int32_t>(random.below(200)) - 100);
  }
  return Tables::build(flat.data(), flat.size(), sizes.data(), offsets.data(), sizes.size(), precision, random.one_in(2));
}

struct Case {
  const Tables* tables;
  std::vector<uint8_t> indexes;
  std::vector<int32_t> symbols;
  Bytes payload, stack;
};

Case make_case(Random& random, const Tables& tables) {
  Case made{&tables, {}, {}, {}, {}};
  for (size_t i = random.size(9000); i-- > 0;) {
    const uint8_t index = static_cast<uint8_t>(random.below(tables.size()));
    const Table& table = tables.tables[index];
    int32_t symbol = table.offset + static_cast<int32_t>(random.below(table.last ? table.last : 1));
    if (!tables.closed && (table.last == 0 || random.one_in(100)))
      symbol = static_cast<int32_t>(random.below(1u << 30)) - (1 << 29);
    made.indexes.push_back(index);
    made.symbols.push_back(symbol);
  }
  Exact<uint8_t> indexes(made.indexes);
  Exact<int32_t> symbols(made.symbols);
  Encoder encoder(1u << random.below(3));
  encoder.append(tables, symbols.data(), symbols.size() / 2, static_cast<const uint8_t*>(indexes.data()));
  encoder.append(tables, symbols.data() + symbols.size() / 2, symbols.size() - symbols.size() / 2,
                 static_cast<const uint8_t*>(indexes.data()) + symbols.size() / 2);
  made.payload = encoder.finish();
  Stack stack;
  stack.push(tables, symbols.data(), symbols.size(), static_cast<const uint8_t*>(indexes.data()));
  made.stack = stack.to_bytes();
  return made;
}

// Direct symbols from a decoder or a stack, until it has no more.
template <class Coder>
Status pop_rows(Random& random, Coder pop) {
  const uint32_t precision = 1 + static_cast<uint32_t>(random.below(kMaxPrecision));
  const size_t columns = 2 + random.size(1200);
  std::vector<uint32_t> rows = cumulative_rows<uint32_t>(random, random.below(40), columns, precision);
  if (random.one_in(4) && !rows.empty()) rows[random.below(rows.size())] = static_cast<uint32_t>(random.next());
  Exact<uint32_t> exact(rows);
  Exact<int32_t> numbers(rows.size() / columns);
  const Status status = pop(exact.data(), columns - 1, numbers.size(), precision, numbers.data());
  for (size_t i = 0; i < numbers.size() && status == Status::ok; ++i)
    expect(numbers.data()[i] >= 0 && static_cast<size_t>(numbers.data()[i]) < columns - 1, "no such entry");
  return status;
}

Status decode(Random& random, const Case& base, const Tables& tables, const Bytes& bytes, bool as_coded) {
  Exact<uint8_t> data(bytes);
  Decoder decoder;
  decoder.open(data.data(), data.size());
  const size_t count = as_coded || random.one_in(2) ? base.symbols.size() : random.size(20000);
  std::vector<uint8_t> which = base.indexes;
  which.resize(count);
  for (uint8_t& index : which) index = static_cast<uint8_t>(index % tables.size());
  Exact<uint8_t> indexes(which);
  Exact<int32_t> symbols(count);
  const uint8_t* const from = indexes.data();
  const size_t half = count / 2;
  if (!as_coded && random.one_in(3)) {
    const uint32_t precision = 1 + static_cast<uint32_t>(random.below(kMaxPrecision));
    pop_rows(random, [&](auto... arguments) { return decoder.decode_direct(arguments...); });
    decoder.begin_step();
    for (int i = 0; i < 20; ++i) {
      const uint32_t lanes = 1 + static_cast<uint32_t>(random.below(decoder.lanes()));
      Exact<uint32_t> slots(lanes), sizes(lanes);
      decoder.peek(lanes, precision, slots.data());
      for (uint32_t k = 0; k < lanes; ++k)
        sizes.data()[k] = 1 + static_cast<uint32_t>(random.below((1u << precision) - slots.data()[k]));
      expect(decoder.advance(slots.data(), sizes.data(), lanes, precision), "an interval that begins at its slot");
    }
  }
  decoder.decode(tables, from, half, symbols.data());
  decoder.decode(tables, from + half, count - half, symbols.data() + half);
  const Status status = decoder.finish();
  if (as_coded) {
    expect(status == Status::ok, "an intact payload is refused");
    expect(std::equal(base.symbols.begin(), base.symbols.end(), symbols.data()), "an intact payload decodes wrongly");
  }
  return status;
}

Status pop(Random& random, const Case& base, const Tables& tables, const Bytes& bytes, bool as_coded) {
  Exact<uint8_t> data(bytes);
  Stack stack;
  Status status = random.one_in(5) && !as_coded ? stack.fill(data.data(), data.size() / 4 * 4)
                                                : stack.restore(data.data(), data.size());
  if (status != Status::ok) return status;
  std::vector<uint8_t> which = base.indexes;
  if (!as_coded && random.one_in(2)) which.resize(random.size(20000));
  for (uint8_t& index : which) index = static_cast<uint8_t>(index % tables.size());
  Exact<uint8_t> indexes(which);
  Exact<int32_t> symbols(which.size());
  const uint8_t* const from = indexes.data();
  const Bytes before = stack.to_bytes();
  status = stack.pop(tables, from, which.size(), symbols.data());
  if (status != Status::ok) {
    expect(stack.to_bytes() == before, "a failed pop changed the stack");
  } else if (tables.closed) {  // bits back: what was popped goes back on
    stack.push(tables, symbols.data(), symbols.size(), from);
    expect(stack.to_bytes() == before, "pop and push are no inverses");
  }
  if (as_coded) {
    expect(status == Status::ok, "an intact stack is refused");
    expect(std::equal(base.symbols.begin(), base.symbols.end(), symbols.data()), "an intact stack decodes wrongly");
  }
  for (int i = 0; i < 10; ++i) {
    pop_rows(random, [&](auto... arguments) { return stack.pop_direct(arguments...); });
    const uint32_t precision = 1 + static_cast<uint32_t>(random.below(kMaxPrecision));
    const uint32_t slot = stack.peek(precision);
    stack.advance(slot, 1 + static_cast<uint32_t>(random.below((1u << precision) - slot)), precision);
  }
  return status;
}

}  // namespace

void precise_coder(Random& random, Tally& tally, uint64_t inputs) {
  std::vector<Tables> models;
  for (int k = 0; k < 4; ++k) models.push_back(make_tables(random));
  std::vector<Case> cases;
  for (int k = 0; k < 24; ++k) cases.push_back(make_case(random, random.pick(models)));
  for (uint64_t i = 0; i < inputs; ++i) {
    const Case& base = random.pick(cases);
    const Case& other = random.pick(cases);
    const bool swapped = random.one_in(5), stack = random.one_in(2);
    const Tables& tables = swapped ? random.pick(models) : *base.tables;
    const Damage damage = static_cast<Damage>(random.below(static_cast<uint64_t>(Damage::count)));
    const Bytes bytes = damaged(random, stack ? base.stack : base.payload, stack ? other.stack : other.payload, damage);
    const bool as_coded = damage == Damage::none && !swapped && random.one_in(2);
    const double start = cpu_seconds();
    const Status status = (stack ? pop : decode)(random, base, tables, bytes, as_coded);
    tally.add(stack ? "precise stack" : "precise", damage, kStatusNames[static_cast<int>(status)], cpu_seconds() - start);
  }
}

}  // namespace fuzz
