// Lossless strips of 8-bit pixels: the model of lossless_channel.hpp and lossless_match.hpp on the rANS coder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rans.hpp"

namespace siglum::lossless {

constexpr size_t kTables = 64 + 67;  // scales, then binary tables

enum class Colour : uint8_t { plain = 0, green = 1, ycocg = 2 };

struct Mode {
  Colour colour = Colour::plain;  // other than plain: three or four channels
  bool match = false;
};

struct Strip {
  size_t height, width, channels;  // 1 to 4 channels, interleaved
};

// What a strip looks like, for the choice of modes.
struct Survey {
  Colour colour;  // the transform with the smallest residuals of a simple predictor
  bool repeats;   // so many pixels equal a neighbour that matching is worth a trial
};
Survey survey(const uint8_t* pixels, const Strip& strip);

// The rANS payload, without the mode.
std::vector<uint8_t> encode(const uint8_t* pixels, const Strip& strip, const Mode& mode, const rans::Tables& tables);

// Any data is safe: at most one pass over the pixels, which are all written unless the status is not ok.
rans::Status decode(const uint8_t* data, size_t size, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                    uint8_t* pixels);

}  // namespace siglum::lossless
