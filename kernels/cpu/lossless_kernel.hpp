// The lossless model over a strip, the same code for both directions. Every instruction set includes this once.
#pragma once

#include "lossless_channel.hpp"
#include "lossless_colour.hpp"
#include "lossless_match.hpp"

#if defined(__GNUC__) || defined(__clang__)
#define SIGLUM_FLATTEN __attribute__((flatten))  // rans.hpp's inline code must not leave this file either
#else
#define SIGLUM_FLATTEN
#endif

namespace siglum::lossless {
namespace {

// Collects symbols and the tables that the model chose for them.
struct Recorder {
  int32_t* symbols;
  uint8_t* indexes;
  size_t count = 0;
  int32_t code(uint32_t index, int32_t symbol) {
    symbols[count] = symbol;
    indexes[count++] = static_cast<uint8_t>(index);
    return symbol;
  }
};

struct Player {
  rans::Decoder& decoder;
  const rans::Tables& tables;
  SIGLUM_FLATTEN int32_t code(uint32_t index, int32_t) { return decoder.decode_one(tables, index); }
};

// The model, the same for both directions: a Recorder reads the pixels, a Player (Decoding) writes them.
template <size_t Channels, bool Decoding, class Coder, class Pixel, class RowDone>
void run(Coder& coder, Pixel* pixels, const Strip& strip, const Mode& mode, RowDone row_done) {
  constexpr bool colourful = Channels >= 3;
  Channel channels[Channels];
  for (size_t c = 0; c < Channels; ++c) {
    const bool difference = mode.colour != Colour::plain && (c == 1 || c == 2);
    channels[c].begin(strip.width, difference ? -256 : 0, difference ? 9 : 8);
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

inline size_t encode_pixels(const uint8_t* pixels, const Strip& strip, const Mode& mode, int32_t* symbols,
                            uint8_t* indexes) {
  Recorder recorder{symbols, indexes};
  run<false>(recorder, pixels, strip, mode, [] { return true; });
  return recorder.count;
}

inline void decode_pixels(rans::Decoder& decoder, const rans::Tables& tables, const Strip& strip, const Mode& mode,
                          uint8_t* pixels) {
  Player player{decoder, tables};
  run<true>(player, pixels, strip, mode, [&] { return decoder.status() == rans::Status::ok; });
}

}  // namespace
}  // namespace siglum::lossless
