#include "lossless.hpp"

#include "lossless_channel.hpp"
#include "lossless_match.hpp"

namespace siglum::lossless {

Constants::Constants() {
  for (uint32_t i = 0; i < weight.size(); ++i) weight[i] = (1u << 24) / ((i + 4) * (i + 4));
  reciprocal[0] = 0;
  for (uint32_t i = 1; i < reciprocal.size(); ++i) reciprocal[i] = ((1u << 22) + i / 2) / i;
  for (int32_t i = 0; i <= kMeanLimit; ++i) rate[static_cast<size_t>(i)] = 5 * 65536 / (5 * i + 8);
}
const Constants kConstants;

const std::array<uint8_t, 64> kLog2 = {
    3,   9,   14,  20,  25,  30,  36,  41,  46,  51,  56,  61,  66,  71,  75,  80,  85,  89,  94,  98,  103, 107,
    111, 116, 120, 124, 128, 132, 136, 140, 144, 148, 152, 155, 159, 163, 167, 170, 174, 178, 181, 185, 188, 192,
    195, 198, 202, 205, 208, 212, 215, 218, 221, 224, 228, 231, 234, 237, 240, 243, 246, 249, 252, 255};

BitRows::BitRows() {
  int32_t f = 1;
  for (size_t i = 0; i < kBitLevels / 2; ++i) {
    frequency[i] = f;
    frequency[kBitLevels - 1 - i] = 4095 - f;
    f += std::max(1, f / 4);
  }
  frequency[kBitLevels / 2] = 2048;
  size_t row = 0;
  for (int32_t f4096 = 0; f4096 < 4096; ++f4096) {
    while (row + 1 < kBitLevels && 2 * f4096 >= frequency[row] + frequency[row + 1]) ++row;
    nearest[static_cast<size_t>(f4096)] = static_cast<uint8_t>(row);
  }
}
const BitRows kBitRows;

namespace {

// Collects symbols and the tables that the model chose for them.
struct Recorder {
  std::vector<int32_t> symbols;
  std::vector<uint8_t> indexes;
  int32_t code(uint32_t index, int32_t symbol) {
    symbols.push_back(symbol);
    indexes.push_back(static_cast<uint8_t>(index));
    return symbol;
  }
};

struct Player {
  rans::Decoder& decoder;
  const rans::Tables& tables;
  int32_t code(uint32_t index, int32_t) { return decoder.decode_one(tables, index); }
};

using Samples = std::array<int32_t, 4>;

Samples forward(Colour colour, const uint8_t* p, size_t channels) {
  Samples s{};
  for (size_t c = 0; c < channels; ++c) s[c] = p[c];
  const int32_t r = s[0], g = s[1], b = s[2];
  if (colour == Colour::green) {
    s[0] = g;
    s[1] = r - g;
    s[2] = b - g;
  } else if (colour == Colour::ycocg) {  // Malvar and Sullivan, JVT-I014, 2003
    s[1] = r - b;
    const int32_t t = b + shift_right(s[1], 1);
    s[2] = g - t;
    s[0] = t + shift_right(s[2], 1);
  }
  return s;
}

void inverse(Colour colour, const Samples& s, uint8_t* p, size_t channels) {
  Samples v = s;
  if (colour == Colour::green) {
    v[1] = s[0];
    v[0] = s[1] + s[0];
    v[2] = s[2] + s[0];
  } else if (colour == Colour::ycocg) {
    const int32_t t = s[0] - shift_right(s[2], 1);
    v[1] = s[2] + t;
    v[2] = t - shift_right(s[1], 1);
    v[0] = v[2] + s[1];
  }
  for (size_t c = 0; c < channels; ++c) p[c] = static_cast<uint8_t>(v[c] & 255);
}

uint32_t pack(const uint8_t* p, size_t channels) {
  uint32_t colour = 0;
  for (size_t c = 0; c < channels; ++c) colour |= uint32_t{p[c]} << (8 * c);
  return colour;
}

// The model, the same for both directions: a Recorder reads the pixels, a Player (Decoding) writes them.
template <size_t Channels, bool Decoding, class Coder, class Pixel, class RowDone>
void run(Coder& coder, Pixel* pixels, const Strip& strip, const Mode& mode, RowDone row_done) {
  constexpr bool colourful = Channels >= 3;
  std::vector<Channel> channels;
  for (size_t c = 0; c < Channels; ++c) {
    const bool difference = mode.colour != Colour::plain && (c == 1 || c == 2);
    channels.emplace_back(strip.width, difference ? -256 : 0, difference ? 9 : 8);
  }
  Matcher matcher(mode.match ? strip.width : 0, mode.match ? strip.height * strip.width : 0);
  for (size_t y = 0; y < strip.height; ++y) {
    for (Channel& channel : channels) channel.begin_row(y);
    Pixel* p = pixels + y * strip.width * Channels;
    for (size_t x = 0; x < strip.width; ++x, p += Channels) {
      Samples s{};
      uint32_t colour = 0;
      bool hit = false;
      if constexpr (!Decoding) s = forward(mode.colour, p, Channels);
      if (mode.match) {
        if constexpr (!Decoding) colour = pack(p, Channels);
        hit = matcher.code(coder, x, colour);
      }
      if (hit) {
        if constexpr (Decoding) {
          for (size_t c = 0; c < Channels; ++c) p[c] = static_cast<uint8_t>(colour >> (8 * c));
          s = forward(mode.colour, p, Channels);
        }
        for (size_t c = 0; c < Channels; ++c) channels[c].skip(x, s[c]);
      } else {
        s[0] = channels[0].code(coder, x, s[0], nullptr, nullptr);
        if constexpr (colourful) {
          s[1] = channels[1].code(coder, x, s[1], &channels[0].sample(x), nullptr);
          s[2] = channels[2].code(coder, x, s[2], &channels[0].sample(x), &channels[1].sample(x));
        }
        for (size_t c = colourful ? 3 : 1; c < Channels; ++c) s[c] = channels[c].code(coder, x, s[c], nullptr, nullptr);
        if constexpr (Decoding) inverse(mode.colour, s, p, Channels);
      }
      if (mode.match) matcher.learn(x, pack(p, Channels), hit);
    }
    for (Channel& channel : channels) channel.end_row();
    if (mode.match) matcher.end_row();
    if (!row_done()) return;
  }
}

template <bool Decoding, class Coder, class Pixel, class RowDone>
void run(Coder& coder, Pixel* pixels, const Strip& strip, const Mode& mode, RowDone row_done) {
  switch (strip.channels) {
    case 1: return run<1, Decoding>(coder, pixels, strip, mode, row_done);
    case 2: return run<2, Decoding>(coder, pixels, strip, mode, row_done);
    case 3: return run<3, Decoding>(coder, pixels, strip, mode, row_done);
    default: return run<4, Decoding>(coder, pixels, strip, mode, row_done);
  }
}

}  // namespace

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
          const int32_t prediction = clamp(w[c] + n[c] - nw[c], std::min(w[c], n[c]), std::max(w[c], n[c]));
          costs[m] += level<3>(static_cast<uint32_t>(magnitude(v[c] - prediction)), 127);
        }
      }
    }
  }
  size_t best = 0;
  for (size_t m = 1; m < costs.size(); ++m) {
    if (costs[m] < costs[best]) best = m;
  }
  return {static_cast<Colour>(best), strip.height == 1 || strip.width == 1 || 16 * equal >= seen};
}

std::vector<uint8_t> encode(const uint8_t* pixels, const Strip& strip, const Mode& mode, const rans::Tables& tables) {
  Recorder recorder;
  const size_t samples = strip.height * strip.width * strip.channels;
  recorder.symbols.reserve(mode.match ? 0 : samples);
  recorder.indexes.reserve(mode.match ? 0 : samples);
  run<false>(recorder, pixels, strip, mode, [] { return true; });
  rans::Encoder encoder;
  encoder.append(tables, recorder.symbols.data(), recorder.symbols.size(),
                 static_cast<const uint8_t*>(recorder.indexes.data()));
  return encoder.finish();
}

rans::Status decode(const uint8_t* data, size_t size, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                    uint8_t* pixels) {
  rans::Decoder decoder;
  const rans::Status status = decoder.open(data, size);
  if (status != rans::Status::ok) return status;
  decoder.begin_step();
  Player player{decoder, tables};
  run<true>(player, pixels, strip, mode, [&] { return decoder.status() == rans::Status::ok; });
  return decoder.finish();
}

}  // namespace siglum::lossless
