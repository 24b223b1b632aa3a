// Reversible colour transforms of one pixel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lossless.hpp"
#include "lossless_tools.hpp"

namespace siglum::lossless {
namespace {

using Samples = std::array<int32_t, 4>;

inline Samples forward(Colour colour, const uint8_t* p, size_t channels) {
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

inline void inverse(Colour colour, const Samples& s, uint8_t* p, size_t channels) {
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

inline uint32_t pack(const uint8_t* p, size_t channels) {
  uint32_t colour = 0;
  for (size_t c = 0; c < channels; ++c) colour |= uint32_t{p[c]} << (8 * c);
  return colour;
}

}  // namespace
}  // namespace siglum::lossless
