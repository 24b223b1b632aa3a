// Lossless strips of 8-bit pixels: the model of lossless_channel.hpp and lossless_match.hpp on the rANS coder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rans.hpp"

namespace siglum::lossless {

constexpr size_t kTables = 64 + 67;  // scales, then binary tables
constexpr size_t kMaxGuesses = 4;    // of a pixel's colour, with matching

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

// The model over a strip; one for each instruction set, equal symbol for symbol.
struct Kernel {
  // Writes at most kMaxGuesses symbols a pixel (only with matching) and one a sample, and returns their number.
  size_t (*encode)(const uint8_t* pixels, const Strip& strip, const Mode& mode, int32_t* symbols, uint8_t* indexes);
  void (*decode)(rans::Decoder& decoder, const rans::Tables& tables, const Strip& strip, const Mode& mode,
                 uint8_t* pixels);
};
const Kernel& scalar_kernel();
const Kernel* avx2_kernel();  // null where it was not compiled; the CPU must have it

// The rANS payload, without the mode.
std::vector<uint8_t> encode(const uint8_t* pixels, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                            const Kernel& kernel);

// Any data is safe: at most one pass over the pixels, which are all written unless the status is not ok.
rans::Status decode(const uint8_t* data, size_t size, const Strip& strip, const Mode& mode, const rans::Tables& tables,
                    const Kernel& kernel, uint8_t* pixels);

}  // namespace siglum::lossless
