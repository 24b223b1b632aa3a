// The entropy code of blocks: corrections of scales, then symbols, in tables that integers choose.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "checksum.hpp"
#include "kv.hpp"

namespace siglum::kv {
namespace {

constexpr std::uint8_t bands_flag = 1, tokens_flag = 2;


std::uint32_t checksum(const std::int32_t* numbers, std::size_t count, std::uint32_t crc) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
  for (std::size_t i = 0; i < count; ++i) {
    std::uint8_t bytes[4];
    for (int k = 0; k < 4; ++k) bytes[k] = static_cast<std::uint8_t>(static_cast<std::uint32_t>(numbers[i]) >> 8 * k);
    crc = crc32c(bytes, 4, crc);
  }
  return crc;
#else
  return crc32c(reinterpret_cast<const std::uint8_t*>(numbers), 4 * count, crc);
#endif
}

rans::Indexes same(std::int32_t table) {
  return {rans::IndexKind::same, static_cast<std::uint32_t>(table), nullptr};
}

std::size_t bands_of(const Coding& coding) {
  return (coding.count + static_cast<std::size_t>(coding.band) - 1) / static_cast<std::size_t>(coding.band);
}

// (tokens, count) tables; corrections may be empty.
void choose(const Coding& coding, const std::vector<std::int32_t>& band, const std::vector<std::int32_t>& token,
            std::size_t tokens, std::vector<std::uint8_t>& out) {
  const std::size_t count = coding.count;
  const std::int32_t last = static_cast<std::int32_t>(coding.tables->size()) - 1;
  std::vector<std::int16_t> row(count);
  for (std::size_t j = 0; j < count; ++j) {
    const std::int32_t more = band.empty() ? 0 : band[j / static_cast<std::size_t>(coding.band)];
    row[j] = static_cast<std::int16_t>(std::min(coding.base[j] + more, 1000));
  }
  out.resize(tokens * count);
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::int16_t more = static_cast<std::int16_t>(token.empty() ? 0 : 2 * token[t]);
    std::uint8_t* const to = out.data() + t * count;
    for (std::size_t j = 0; j < count; ++j) {
      const std::int16_t table = static_cast<std::int16_t>(row[j] + more);
      to[j] = static_cast<std::uint8_t>(table < 0 ? 0 : table > last ? last : table);
    }
  }
}

Damage damage_of(rans::Status status) { return static_cast<Damage>(status); }

// What is decoded before the symbols of a block.
struct Opened {
  explicit Opened(const rans::Kernels* kernels) : decoder(kernels) {}

  Damage open(const Coding& coding, const Body& body) {
    if (!body.size || body.data[0] & ~(bands_flag | tokens_flag)) return Damage::flags;
    if (decoder.open(body.data + 1, body.size - 1) != rans::Status::ok) return damage_of(decoder.status());
    crc = 0;
    band.resize(body.data[0] & bands_flag ? bands_of(coding) : 0);
    token.resize(body.data[0] & tokens_flag ? body.tokens : 0);
    for (auto [numbers, table] : {std::pair{&band, coding.band_table}, std::pair{&token, coding.token_table}}) {
      if (numbers->empty()) continue;
      const rans::MutableSymbols to = {rans::SymbolKind::i32, numbers->data()};
      const rans::Status status = decoder.decode(*coding.tables, same(table), numbers->size(), to);
      if (status != rans::Status::ok) return damage_of(status);
      for (std::int32_t number : *numbers)
        if (number < -coding.most || number > coding.most) return Damage::range;
      crc = checksum(numbers->data(), numbers->size(), crc);
    }
    choose(coding, band, token, body.tokens, index);
    return Damage::none;
  }

  rans::Decoder decoder;
  std::vector<std::int32_t> band, token;
  std::vector<std::uint8_t> index;
  std::uint32_t crc = 0;
};

std::int32_t rounded(double energy, double unit, std::int32_t most) {
  const double logarithm = std::log(std::max(energy, 1e-12)) / (2 * unit);
  return static_cast<std::int32_t>(std::clamp(std::nearbyint(logarithm), -double(most), double(most)));
}

// Bits that tables of another scale cost, over 1 / (2 ln 2) a symbol.
double excess(double logarithm) {
  const double ratio = std::exp(logarithm);
  return ratio - 1 - logarithm;
}

void correct(const Coding& coding, const Statistics& statistics, const Kernels& kernels, const float* values,
             std::size_t tokens, std::vector<std::int32_t>& band, std::vector<std::int32_t>& token) {
  const std::size_t count = coding.count, size = static_cast<std::size_t>(coding.band);
  std::vector<float> weight(count), sums(count);
  std::size_t strong = 0;
  for (std::size_t j = 0; j < count; ++j) {
    const bool counts = coding.base[j] > statistics.strongest_ignored;
    weight[j] = counts ? statistics.precision[j] : 0;
    strong += counts;
  }
  if (!strong || tokens < 2) return;
  const double unit = statistics.table;
  double saved = 0, lost = 0;
  token.resize(tokens);
  for (std::size_t t = 0; t < tokens; ++t) {
    const float* row = values + t * count;
    token[t] = rounded(double(kernels.energy(row, weight.data(), count)) / double(strong), 2 * unit, coding.most);
    kernels.add_energy(row, static_cast<float>(std::exp(-4 * unit * token[t])), sums.data(), count);
    saved += double(strong) * excess(4 * unit * token[t]);
  }
  band.resize(bands_of(coding));
  for (std::size_t b = 0; b < band.size(); ++b) {
    const std::size_t first = b * size, stop = std::min(first + size, count);
    double energy = 0;
    std::size_t some = 0;
    for (std::size_t j = first; j < stop; ++j) {
      energy += double(sums[j]) * statistics.precision[j];
      some += weight[j] != 0;
    }
    band[b] = rounded(energy / double(tokens) / double(stop - first), unit, coding.most);
    lost += double(some * tokens) * excess(2 * unit * band[b]);
  }
  const double bits = 1 / (2 * std::log(2.0));
  if (lost * bits <= 3 * double(band.size()) + 8) band.clear();
  if (saved * bits <= 3 * double(tokens)) token.clear();
}

}  // namespace

void decode(const Coding& coding, const std::vector<Body>& bodies, std::int32_t* symbols, Damage* damage) {
  std::vector<Opened> opened(rans::kMostInFlight, Opened(coding.kernels));
  for (std::size_t first = 0; first < bodies.size(); first += rans::kMostInFlight) {
    const std::size_t some = std::min(rans::kMostInFlight, bodies.size() - first);
    rans::Decoder::Task tasks[rans::kMostInFlight];
    std::size_t of[rans::kMostInFlight], going = 0;
    std::int32_t* starts[rans::kMostInFlight];
    for (std::size_t i = 0; i < some; ++i) {
      const Body& body = bodies[first + i];
      starts[i] = symbols;
      damage[first + i] = opened[i].open(coding, body);
      const std::size_t count = body.tokens * coding.count;
      if (damage[first + i] == Damage::none) {
        tasks[going] = {&opened[i].decoder,
                        {rans::IndexKind::u8, 0, opened[i].index.data()},
                        count,
                        {rans::SymbolKind::i32, symbols}};
        of[going++] = i;
      }
      symbols += count;
    }
    rans::Decoder::decode_together(*coding.tables, tasks, going);
    for (std::size_t g = 0; g < going; ++g) {
      Opened& one = opened[of[g]];
      const Body& body = bodies[first + of[g]];
      Damage& found = damage[first + of[g]];
      found = damage_of(one.decoder.finish());
      if (found == Damage::none && checksum(starts[of[g]], body.tokens * coding.count, one.crc) != body.crc)
        found = Damage::checksum;
    }
  }
}

Coded encode(const Coding& coding, const Statistics* statistics, const Kernels& kernels, rans::Encoder& encoder,
             const float* values, std::size_t tokens, float largest) {
  Coded made;
  std::vector<std::int32_t> band, token, symbols(tokens * coding.count);
  if (kernels.symbols(values, largest, symbols.data(), symbols.size())) {
    made.fits = false;
    return made;
  }
  if (statistics) correct(coding, *statistics, kernels, values, tokens, band, token);
  std::vector<std::uint8_t> index;
  choose(coding, band, token, tokens, index);
  made.body.push_back(static_cast<std::uint8_t>((band.empty() ? 0 : bands_flag) | (token.empty() ? 0 : tokens_flag)));
  for (auto [numbers, table] : {std::pair{&band, coding.band_table}, std::pair{&token, coding.token_table}}) {
    if (numbers->empty()) continue;
    encoder.append(*coding.tables, {rans::SymbolKind::i32, numbers->data()}, numbers->size(), same(table));
    made.crc = checksum(numbers->data(), numbers->size(), made.crc);
  }
  encoder.append(*coding.tables, {rans::SymbolKind::i32, symbols.data()}, symbols.size(),
                 {rans::IndexKind::u8, 0, index.data()});
  made.crc = checksum(symbols.data(), symbols.size(), made.crc);
  encoder.finish(made.body);
  return made;
}

}  // namespace siglum::kv
