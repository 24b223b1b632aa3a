#include "lossless.hpp"

#include "lossless_channel.hpp"
#include "lossless_colour.hpp"

namespace siglum::lossless {

namespace {

Constants make_constants() {
  Constants k{};
  for (uint32_t i = 0; i < k.weight.size(); ++i) k.weight[i] = (1u << 24) / ((i + 4) * (i + 4));
  for (uint32_t i = 1; i < k.reciprocal.size(); ++i) k.reciprocal[i] = ((1u << 22) + i / 2) / i;
  for (int32_t i = 0; i <= kMeanLimit; ++i) k.rate[static_cast<size_t>(i)] = 5 * 65536 / (5 * i + 8);
  k.log2 = {3,   9,   14,  20,  25,  30,  36,  41,  46,  51,  56,  61,  66,  71,  75,  80,  85,  89,  94,  98,  103, 107,
            111, 116, 120, 124, 128, 132, 136, 140, 144, 148, 152, 155, 159, 163, 167, 170, 174, 178, 181, 185, 188, 192,
            195, 198, 202, 205, 208, 212, 215, 218, 221, 224, 228, 231, 234, 237, 240, 243, 246, 249, 252, 255};
  int32_t f = 1;
  for (size_t i = 0; i < kBitLevels / 2; ++i) {
    k.miss_frequency[i] = f;
    k.miss_frequency[kBitLevels - 1 - i] = 4095 - f;
    f += most(1, f / 4);
  }
  k.miss_frequency[kBitLevels / 2] = 2048;
  size_t level = 0;
  for (int32_t i = 0; i < 4096; ++i) {
    while (level + 1 < kBitLevels && 2 * i >= k.miss_frequency[level] + k.miss_frequency[level + 1]) ++level;
    k.miss_level[static_cast<size_t>(i)] = static_cast<uint8_t>(level);
  }
  return k;
}

}  // namespace

const Constants kConstants = make_constants();

Survey survey(const uint8_t* pixels, const Strip& strip) {
  const size_t stride = strip.width * strip.channels, count = strip.channels;
  uint64_t equal = 0, seen = 0;
  std::array<uint64_t, 3> costs{};
  for (size_t y = 1; y < strip.height; y += 3) {
    for (size_t x = 1; x < strip.width; ++x) {
      const uint8_t* const p = pixels + y * stride + x * count;
      const uint32_t colour = pack(p, count);
      equal += colour == pack(p - count, count) || colour == pack(p - stride, count) ? 1 : 0;
      ++seen;
      for (size_t m = 0; m < (count >= 3 ? costs.size() : 0); ++m) {
        const Colour mode = static_cast<Colour>(m);
        const Samples v = forward(mode, p, 3), w = forward(mode, p - count, 3), n = forward(mode, p - stride, 3),
                      nw = forward(mode, p - stride - count, 3);
        for (size_t c = 0; c < 3; ++c) {
          const int32_t prediction = clamp(w[c] + n[c] - nw[c], least(w[c], n[c]), most(w[c], n[c]));
          costs[m] += level<3>(static_cast<uint32_t>(magnitude(v[c] - prediction)), 127);
        }
      }
    }
  }
  size_t best = 0;
  for (size_t m = 1; m < costs.size(); ++m) {
    const uint64_t margin = m == 2 && best == 1 ? costs[m] / 64 : 0;  // of equals, green suits the predictors better
    if (costs[m] + margin < costs[best]) best = m;
  }
  return {static_cast<Colour>(best), strip.height == 1 || strip.width == 1 || 8 * equal >= 3 * seen};
}

std::vector<uint8_t> encode(const uint8_t* pixels, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                            const Kernel& kernel) {
  const size_t samples = strip.height * strip.width * (strip.channels + (mode.match ? kMaxGuesses : 0));
  const std::unique_ptr<int32_t[]> symbols(new int32_t[samples]);  // not cleared: pages that stay unused cost nothing
  const std::unique_ptr<uint8_t[]> indexes(new uint8_t[samples]);
  const size_t count = kernel.encode(pixels, strip, mode, symbols.get(), indexes.get());
  rans::Encoder encoder;
  encoder.append(tables, {rans::SymbolKind::i32, symbols.get()}, count, {rans::IndexKind::u8, 0, indexes.get()});
  return encoder.finish();
}

rans::Status decode(const uint8_t* data, size_t size, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                    const Kernel& kernel, uint8_t* pixels) {
  rans::Decoder decoder;
  const rans::Status status = decoder.open(data, size);
  if (status != rans::Status::ok) return status;
  decoder.begin_step();
  kernel.decode(decoder, tables, strip, mode, pixels);
  return decoder.finish();
}

}  // namespace siglum::lossless
