// The latents' arithmetic over the channels of one position, for each instruction set. Plain pointers only: the files
// that are compiled with special flags must not instantiate shared templates, or the linker may keep a copy that other
// CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::latents {

struct Rows {
  // means[i] = from[i] * unit[i]; indices[i] = clamp((from[n + i] + 128) >> 8, 0, 63)
  void (*predict)(const std::int16_t* from, const float* unit, float* means, std::uint8_t* indices, std::size_t n);
  // out[i] = symbols[i] + means[i]; here and below out may be means
  void (*add)(const std::int32_t* symbols, const float* means, float* out, std::size_t n);
  // out[i] = symbols[i] + means[i] - moves[index][clamp(symbols[i], -2, 2) + 2], of 64 x 5 moves
  void (*reconstruct)(const std::int32_t* symbols, const float* means, const std::uint8_t* indices, const float* moves,
                      float* out, std::size_t n);
  // The pull of four neighbours, known[k][i] * factors[k * n + i], into deviations and means; see phases.hpp.
  void (*lean)(const std::int16_t* factors, const std::int16_t* const* known, std::int16_t* deviation, float* means,
               std::size_t n);
  void (*settle)(const std::int32_t* symbols, std::int16_t* deviation, std::size_t n);
  void (*context)(const std::int16_t* deviation, const std::int32_t* gain, std::int32_t limit, std::int16_t* context,
                  std::int16_t* magnitude, std::size_t n);
  // What is coded of a position, in order: the indices that are not below `skip`; returns how many. Up to `row_slack`
  // elements more are written.
  std::size_t (*pack)(const std::uint8_t* indices, int skip, std::uint8_t* coded, std::size_t n);
  // The inverse, for symbols: zero where the index is below `skip`. Up to `row_slack` elements more are read.
  std::size_t (*unpack)(const std::int32_t* coded, const std::uint8_t* indices, int skip, std::int32_t* symbols,
                        std::size_t n);
};

constexpr std::size_t row_slack = 16;

// nullptr where the compiler or the target has no such instructions.
const Rows* scalar_rows();
const Rows* avx2_rows();
const Rows* avx512_rows();

// The variant of that name, or nullptr where the CPU or the build lacks it.
const Rows* find_rows(const char* isa);

}  // namespace siglum::latents
