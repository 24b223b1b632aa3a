// The table coder: steps, pairs of chunks, symbol by symbol, direct steps, frames; all lanes, index and symbol types.
#include <stdexcept>

#include "checksum.hpp"
#include "fuzz.hpp"
#include "rans.hpp"
#include "rans_chunks.hpp"

namespace fuzz {
namespace {

using namespace siglum::rans;

constexpr const char* kStatusNames[] = {"ok", "truncated", "malformed", "corrupt", "checksum", "other tables"};

std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> found;
  for (const char* name : {"scalar", "neon", "avx2", "avx512"})
    if (const Kernels* kernels = kernels_named(name)) found.push_back(kernels);
  return found;
}

struct Model {
  Tables tables;
  std::vector<std::vector<uint32_t>> frequencies;
};

Model make_model(Random& random) {
  Model model;
  const uint32_t precision = 8 + static_cast<uint32_t>(random.below(5));
  const size_t count = random.pick(std::vector<size_t>{1, 1, 2, 3, 16, 64, 65, 300});
  const bool closed = random.one_in(2);
  std::vector<uint32_t> flat, sizes;
  std::vector<int32_t> offsets;
  for (size_t t = 0; t < count; ++t) {
    const size_t most = std::min<size_t>(256, (size_t{1} << precision) - 1);
    const size_t entries = random.one_in(3) ? 2 + random.below(most - 1) : 2 + random.below(std::min<size_t>(most - 1, 30));
    model.frequencies.push_back(frequencies(random, entries, precision));
    flat.insert(flat.end(), model.frequencies.back().begin(), model.frequencies.back().end());
    sizes.push_back(static_cast<uint32_t>(entries));
    offsets.push_back(random.one_in(20) ? kMaxOffset : random.one_in(20) ? -kMaxOffset : static_cast<int32_t>(random.below(120)) - 100);
  }
  model.tables = Tables::build(flat.data(), flat.size(), sizes.data(), offsets.data(), count, precision, closed);
  return model;
}

// Indexes of any type into any tables, in memory of their exact size.
struct IndexArray {
  IndexArray(Random& random, size_t count, size_t tables, IndexKind kind) : kind(kind), same(static_cast<uint32_t>(random.below(tables))), bytes(count * index_size(kind)) {
    for (size_t i = 0; i < count; ++i) {
      const uint32_t index = static_cast<uint32_t>(random.below(tables));
      std::memcpy(bytes.data() + i * index_size(kind), &index, index_size(kind));
    }
  }
  Indexes view() { return {kind, same, bytes.data()}; }
  IndexKind kind;
  uint32_t same;
  Exact<uint8_t> bytes;
};

IndexKind any_index_kind(Random& random, size_t tables) {
  return random.pick(tables > 256 ? std::vector<IndexKind>{IndexKind::same, IndexKind::u16, IndexKind::i32}
                                  : std::vector<IndexKind>{IndexKind::same, IndexKind::u8, IndexKind::u16, IndexKind::i32});
}

SymbolKind any_symbol_kind(Random& random, const Tables& tables) {
  std::vector<SymbolKind> kinds = {SymbolKind::i32};
  if (tables.lowest >= -128 && tables.highest < 128) kinds.push_back(SymbolKind::i8);
  if (tables.lowest >= 0 && tables.highest < 256) kinds.push_back(SymbolKind::u8);
  if (tables.lowest >= -32768 && tables.highest < 32768) kinds.push_back(SymbolKind::i16);
  if (tables.lowest >= 0 && tables.highest < 65536) kinds.push_back(SymbolKind::u16);
  return random.pick(kinds);
}

std::vector<int32_t> any_symbols(Random& random, const Tables& tables, Indexes indexes, size_t count) {
  std::vector<int32_t> symbols(count);
  for (size_t i = 0; i < count; ++i) {
    const Table& table = tables.tables[indexes[i]];
    const uint32_t slot = static_cast<uint32_t>(random.below(uint64_t{1} << tables.precision));
    const uint32_t number = tables.lookup[(size_t{indexes[i]} << tables.precision) | slot] & 0xff;
    symbols[i] = table.offset + static_cast<int32_t>(number);
    if (!tables.closed && number == kEscapeMark)
      symbols[i] = table.offset + static_cast<int32_t>(table.last + random.below(random.one_in(9) ? 1u << 30 : 100));
    if (!tables.closed && random.one_in(200)) symbols[i] = static_cast<int32_t>(random.below(1u << 30)) - (1 << 29);
  }
  return symbols;
}

// A payload of one or more steps, as it was coded.
struct Case {
  const Model* model;
  std::vector<std::unique_ptr<IndexArray>> indexes;
  std::vector<std::vector<int32_t>> steps;
  uint32_t lanes;
  Bytes payload;
};

Case make_case(Random& random, const Model& model, const std::vector<const Kernels*>& kernels, Tally& tally) {
  Case made{&model, {}, {}, 1u << random.below(6), {}};
  const IndexKind kind = any_index_kind(random, model.tables.size());
  for (uint64_t s = 1 + random.below(3); s-- > 0;) {
    const size_t count = random.size(9000);
    made.indexes.emplace_back(new IndexArray(random, count, model.tables.size(), kind));
    made.steps.push_back(any_symbols(random, model.tables, made.indexes.back()->view(), count));
  }
  for (const Kernels* isa : kernels) {
    Encoder encoder(made.lanes, isa);
    for (size_t s = 0; s < made.steps.size(); ++s) {
      Exact<int32_t> symbols(made.steps[s]);
      encoder.append(model.tables, {SymbolKind::i32, symbols.data()}, symbols.size(), made.indexes[s]->view());
    }
    Bytes payload = encoder.finish();
    expect(made.payload.empty() || payload == made.payload, "instruction sets encode differently");
    made.payload = std::move(payload);
    tally.note("chunks encoded");
  }
  return made;
}

int32_t value_at(const MutableSymbols& symbols, size_t i) { return Symbols{symbols.kind, symbols.data}[i]; }

// One way to run a damaged payload: which tables, how many symbols, which types.
struct Plan {
  const Tables* tables;
  std::vector<std::unique_ptr<IndexArray>> own;  // where tables or counts are not the case's
  std::vector<Indexes> indexes;
  std::vector<size_t> counts;
  SymbolKind kind;
  bool as_coded;
};

Plan make_plan(Random& random, const Case& base, const std::vector<Model>& models) {
  Plan plan{&base.model->tables, {}, {}, {}, SymbolKind::i32, true};
  const bool swapped = random.one_in(5), recounted = random.one_in(5);
  if (swapped) plan.tables = &random.pick(models).tables;
  plan.as_coded = !swapped && !recounted;
  const IndexKind kind = any_index_kind(random, plan.tables->size());
  for (size_t s = 0; s < base.steps.size(); ++s) {
    plan.counts.push_back(recounted ? random.size(20000) : base.steps[s].size());
    if (plan.as_coded) {
      plan.indexes.push_back(base.indexes[s]->view());
    } else {
      plan.own.emplace_back(new IndexArray(random, plan.counts[s], plan.tables->size(), kind));
      plan.indexes.push_back(plan.own.back()->view());
    }
    expect(valid_indexes(*plan.tables, plan.indexes[s], plan.counts[s]), "valid indexes refused");
  }
  if (!plan.as_coded || random.one_in(3)) plan.kind = any_symbol_kind(random, *plan.tables);
  return plan;
}

using Output = std::vector<std::unique_ptr<Exact<uint8_t>>>;

Output outputs(const Plan& plan) {
  Output result;
  for (const size_t count : plan.counts) result.emplace_back(new Exact<uint8_t>(count * symbol_size(plan.kind)));
  return result;
}

bool same(const Output& a, const Output& b) {
  for (size_t s = 0; s < a.size(); ++s)
    if (a[s]->size() && std::memcmp(a[s]->data(), b[s]->data(), a[s]->size())) return false;
  return true;
}

Status run_steps(const Plan& plan, Exact<uint8_t>& data, const Kernels* isa, Output& out) {
  Decoder decoder(isa);
  decoder.open(data.data(), data.size());
  for (size_t s = 0; s < plan.counts.size(); ++s)
    decoder.decode(*plan.tables, plan.indexes[s], plan.counts[s], {plan.kind, out[s]->data()});
  return decoder.finish();
}

// Compares the outcomes of all instruction sets, and what is intact with what was coded.
std::string decode_steps(Random& random, const Case& base, const std::vector<Model>& models, const Bytes& bytes,
                         bool intact, const std::vector<const Kernels*>& kernels) {
  const Plan plan = make_plan(random, base, models);
  Exact<uint8_t> data(bytes);
  Output first;
  Status status{};
  for (const Kernels* isa : kernels) {
    Output out = outputs(plan);
    const Status got = run_steps(plan, data, isa, out);
    if (first.empty()) {
      first = std::move(out);
      status = got;
      continue;
    }
    expect((got == Status::ok) == (status == Status::ok), "instruction sets disagree on the status");
    expect(status != Status::ok || same(first, out), "instruction sets decode differently");
  }
  if (intact && plan.as_coded && plan.kind == SymbolKind::i32) {
    expect(status == Status::ok, "an intact payload is refused");
    for (size_t s = 0; s < base.steps.size(); ++s)
      for (size_t i = 0; i < base.steps[s].size(); ++i)
        expect(value_at({plan.kind, first[s]->data()}, i) == base.steps[s][i], "an intact payload decodes wrongly");
  }
  return kStatusNames[static_cast<int>(status)];
}

// Two to four chunks in flight: one damaged, the others its partner, of lengths of their own.
std::string decode_together(Random& random, const Case& base, const std::vector<Model>& models, const Bytes& bytes,
                            const Bytes& partner, const std::vector<const Kernels*>& kernels) {
  const Plan plan = make_plan(random, base, models);
  const size_t members = 2 + random.below(kMostInFlight - 1);
  std::vector<Exact<uint8_t>> data;
  std::vector<size_t> counts;
  for (size_t d = 0; d < members; ++d) {
    data.emplace_back(d ? partner : bytes);
    const size_t fewer = random.below(plan.counts[0] + 1);
    counts.push_back(d == 0 || random.one_in(2) ? plan.counts[0] : fewer);
  }
  std::string outcome;
  for (const Kernels* isa : kernels) {
    std::string each;
    std::vector<Decoder> alone(members, Decoder(isa)), together(members, Decoder(isa));
    std::vector<Exact<uint8_t>> out, expected;
    std::vector<Decoder::Task> tasks;
    for (size_t d = 0; d < members; ++d) {
      out.emplace_back(counts[d] * symbol_size(plan.kind));
      expected.emplace_back(counts[d] * symbol_size(plan.kind));
    }
    for (size_t d = 0; d < members; ++d) {
      together[d].open(data[d].data(), data[d].size());
      alone[d].open(data[d].data(), data[d].size());
      alone[d].decode(*plan.tables, plan.indexes[0], counts[d], {plan.kind, expected[d].data()});
      tasks.push_back({&together[d], plan.indexes[0], counts[d], {plan.kind, out[d].data()}});
    }
    Decoder::decode_together(*plan.tables, tasks.data(), members);
    for (size_t d = 0; d < members; ++d) {
      expect(together[d].status() == alone[d].status(), "a chunk in company has another status than alone");
      if (together[d].status() == Status::ok && out[d].size())
        expect(!std::memcmp(out[d].data(), expected[d].data(), out[d].size()), "a chunk in company decodes differently");
      each += together[d].finish() == Status::ok ? 'o' : 'x';
      expect((each[d] == 'o') == (alone[d].finish() == Status::ok), "a chunk in company ends differently");
    }
    expect(outcome.empty() || outcome == each, "instruction sets disagree on chunks in flight");
    outcome = each;
  }
  return outcome[0] == 'o' ? "ok" : "refused in company";
}

// Symbol by symbol, with steps in between whose tables only the caller knows.
std::string decode_mixed(Random& random, const Case& base, const std::vector<Model>& models, const Bytes& bytes,
                         const Kernels* isa) {
  const Plan plan = make_plan(random, base, models);
  Exact<uint8_t> data(bytes);
  Decoder decoder(isa);
  decoder.open(data.data(), data.size());
  const uint32_t precision = 1 + static_cast<uint32_t>(random.below(15));
  try {
    for (size_t s = 0; s < plan.counts.size(); ++s) {
      const size_t count = std::min<size_t>(plan.counts[s], 500);
      switch (random.below(3)) {
        case 0:
          decoder.begin_step();
          for (size_t i = 0; i < count; ++i) decoder.decode_one(*plan.tables, plan.indexes[s][i]);
          break;
        case 1: {
          const size_t columns = 2 + random.size(1200);
          std::vector<uint16_t> rows = cumulative_rows<uint16_t>(random, std::min<size_t>(count, 40), columns, precision);
          const size_t used = rows.size() / columns;
          if (random.one_in(4) && used) rows[random.below(rows.size())] = static_cast<uint16_t>(random.next());
          Exact<uint16_t> exact(rows);
          Exact<int32_t> numbers(used);
          decoder.decode_direct(exact.data(), columns, used, precision, numbers.data());
          break;
        }
        default:
          decoder.begin_step();
          for (size_t i = 0; i < count; ++i) {
            const size_t lanes = 1 + random.below(decoder.lanes());
            Exact<uint32_t> slots(lanes), sizes(lanes);
            decoder.peek(lanes, precision, slots.data());
            for (size_t k = 0; k < lanes; ++k) {
              sizes.data()[k] = 1 + static_cast<uint32_t>(random.below((1u << precision) - slots.data()[k]));
              if (random.one_in(300)) slots.data()[k] = static_cast<uint32_t>(random.next());
            }
            decoder.advance(slots.data(), sizes.data(), lanes, precision);
          }
      }
    }
  } catch (const std::invalid_argument&) {
    return "invalid argument";
  }
  return kStatusNames[static_cast<int>(decoder.finish())];
}

void put_varint(Bytes& bytes, uint64_t value) {
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 128));
  bytes.push_back(static_cast<uint8_t>(value));
}

void put_u32(Bytes& bytes, uint32_t value) {
  for (int k = 0; k < 4; ++k) bytes.push_back(static_cast<uint8_t>(value >> (8 * k)));
}

// A frame with right checksums around damaged payloads, sometimes damaged itself.
std::string decode_frame(Random& random, const Case& base, const Bytes& bytes, const Bytes& partner, Damage damage,
                         const std::vector<const Kernels*>& kernels) {
  const size_t chunk = std::max<size_t>(1, base.steps[0].size());
  const size_t chunks = 1 + random.below(4);
  const uint64_t count = random.one_in(9) ? random.next() >> random.below(64) : (chunks - 1) * chunk + 1 + random.below(chunk);
  Bytes frame, payloads;
  put_varint(frame, count);
  put_varint(frame, random.one_in(30) ? random.next() >> random.below(64) : chunk);
  put_u32(frame, random.one_in(30) ? 0 : base.model->tables.fingerprint);
  for (size_t c = 0; c < chunks; ++c) {
    const Bytes& payload = random.one_in(3) ? bytes : random.one_in(2) ? partner : base.payload;
    put_varint(frame, payload.size());
    put_u32(frame, siglum::crc32c(payload.data(), payload.size()));
    payloads.insert(payloads.end(), payload.begin(), payload.end());
  }
  put_u32(frame, siglum::crc32c(frame.data(), frame.size()));
  frame.insert(frame.end(), payloads.begin(), payloads.end());
  if (random.one_in(3)) frame = damaged(random, frame, bytes, damage);

  Exact<uint8_t> data(frame);
  Frame parsed;
  FrameStatus status = parse(data.data(), data.size(), parsed);
  if (status != FrameStatus::ok) return std::string(kStatusNames[static_cast<int>(status)]) + " frame";
  if (parsed.count == 0 || parsed.count > 100000) return "a frame of other size";  // the caller's limit
  IndexArray indexes(random, parsed.count, base.model->tables.size(), any_index_kind(random, base.model->tables.size()));
  const size_t first = random.one_in(2) ? 0 : random.below(parsed.count);
  const size_t wanted = random.one_in(2) ? parsed.count - first : random.below(parsed.count - first + 1);
  std::string outcome;
  for (const Kernels* isa : kernels) {
    Exact<int32_t> out(wanted);
    const FrameStatus got = decompress(base.model->tables, data.data(), parsed, first, wanted, indexes.view(),
                                       {SymbolKind::i32, out.data()}, 1 + random.below(2) * random.one_in(20), isa);
    const std::string name = got == FrameStatus::ok ? "ok" : "refused in a frame";
    expect(outcome.empty() || outcome == name, "instruction sets disagree on a frame");
    outcome = name;
  }
  return outcome;
}

}  // namespace

void table_coder(Random& random, Tally& tally, uint64_t inputs) {
  static const std::vector<const Kernels*> kernels = all_kernels();
  std::vector<Model> models;
  for (int k = 0; k < 4; ++k) models.push_back(make_model(random));
  std::vector<Case> cases;
  for (int k = 0; k < 24; ++k) cases.push_back(make_case(random, random.pick(models), kernels, tally));
  for (uint64_t i = 0; i < inputs; ++i) {
    const Case& base = random.pick(cases);
    const Case& other = random.pick(cases);
    const Damage damage = static_cast<Damage>(random.below(static_cast<uint64_t>(Damage::count)));
    const Bytes bytes = damaged(random, base.payload, other.payload, damage);
    const Bytes partner = random.one_in(2) ? base.payload : damaged(random, other.payload, base.payload, damage);
    const double start = cpu_seconds();
    std::string outcome, family;
    switch (random.below(6)) {
      case 0: family = "table, in flight"; outcome = decode_together(random, base, models, bytes, partner, kernels); break;
      case 1: family = "table, mixed"; outcome = decode_mixed(random, base, models, bytes, random.pick(kernels)); break;
      case 2: family = "frames"; outcome = decode_frame(random, base, bytes, partner, damage, kernels); break;
      default:
        family = "table, steps";
        outcome = decode_steps(random, base, models, bytes, damage == Damage::none, kernels);
    }
    tally.add(family, damage, outcome, cpu_seconds() - start);
  }
}

}  // namespace fuzz
