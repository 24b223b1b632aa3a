// What each instruction set implements of the patch coder. Plain pointers only: the files that are compiled with special
// flags must not instantiate shared templates, or the linker may keep a copy that other CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::patches {

constexpr std::size_t side = 16;               // pixels on a side of a patch
constexpr std::size_t row_bytes = 3 * side;    // of a patch
constexpr std::size_t quads = side * row_bytes / 4;  // groups of four samples of a patch
constexpr std::size_t block = 16;              // channels that are packed together
constexpr int fraction = 5;                    // coefficients are in 1/32 of their step
constexpr std::size_t tables = 64;             // scales of the Gaussian bank

// One position's channels of a group.
struct Quantisation {
  const std::int16_t* thresholds;  // (2, tables): what is added in 1/32 before rounding down, below 3/2 and above
  const std::int16_t* magnitudes;  // (256): what contexts see of |symbol|
  int skip;                        // below this table nothing is coded
};

struct Kernels {
  // Coefficients of `count` patches side by side: (2 * sum - offset) * scale, rounded, saturated, `blocks` * 16 channels a
  // patch. `pixels` is the first sample, `row` the bytes between rows; weight is [block][quads][16][4].
  void (*project)(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* weight,
                  std::size_t blocks, const std::int32_t* offset, const float* scale, std::int16_t* out,
                  std::size_t stride);

  // Largest magnitude of each channel so far, over `positions` of `channels` (a multiple of 8).
  void (*largest)(const std::int16_t* values, std::size_t stride, std::size_t positions, std::size_t channels,
                  std::int16_t* most);

  // Rounds the coefficients y of `channels` (a multiple of 8) at one position, under the tables that the context's output
  // `raw` (in 1/256) and the mask `active` (-1 or 0) name; `mean` (or null) is coded apart. Writes symbols and
  // magnitudes, appends what is coded (residuals and tables; up to `channels` entries are written beyond) and returns
  // how many those are.
  std::size_t (*quantise)(const Quantisation& rules, const std::int16_t* y, const std::int16_t* raw,
                          const std::int16_t* active, const std::int16_t* mean, std::size_t channels,
                          std::int16_t* symbols, std::int16_t* seen, std::int16_t* coded, std::uint8_t* index);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::patches
