// IEEE halves in integers, for what is left of a row and where the CPU converts none.
#pragma once

#include <cstdint>

#include "isa.hpp"

namespace siglum::kv {

SIGLUM_INLINE float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  std::uint32_t exponent = half >> 10 & 31, mantissa = half & 1023, bits;
  if (exponent == 31) {
    bits = 0x7f800000u | mantissa << 13;
  } else if (exponent) {
    bits = (exponent + 112) << 23 | mantissa << 13;
  } else {
    const float tiny = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    __builtin_memcpy(&bits, &tiny, sizeof bits);
  }
  bits |= sign;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest, ties to even; what is too large becomes the largest half.
SIGLUM_INLINE std::uint16_t float_to_half(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7bff);
  if (bits < 0x38800000u) {  // below 2^-14: units of 2^-24
    float size;
    __builtin_memcpy(&size, &bits, sizeof size);
    const float shifted = size + 0.5f;  // whose last bit is 2^-24
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    return static_cast<std::uint16_t>(sign | (bits - 0x3f000000u));
  }
  bits += 0xfff + (bits >> 13 & 1) - (112u << 23);
  return static_cast<std::uint16_t>(sign | bits >> 13);
}

}  // namespace siglum::kv
