// What each instruction set implements for key-value caches. Plain pointers only: the files that are compiled with
// special flags must not instantiate shared templates, or the linker may keep a copy that other CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::kv {

enum class Sample : std::uint8_t { f16, bf16, f32 };

// How the keys of consecutive tokens are turned: (token, dim / 2) cosines and sines; none if cos is nullptr.
struct Rotation {
  const float* cos;
  const float* sin;
  std::size_t dim;
  bool interleaved;
};

struct Kernels {
  // Rows of `dim` samples, `stride` samples apart -> less what they were turned by and less the mean, as floats
  // `out_stride` apart. Returns 0, or what is not 0 if a sample is not finite.
  float (*take)(const void* in, std::size_t stride, Sample kind, std::size_t rows, std::size_t dim,
                const Rotation& turned, const float* mean, float* out, std::size_t out_stride);

  // Rows of `dim` floats, which are overwritten -> turned, as finite samples.
  void (*put)(float* in, std::size_t in_stride, std::size_t rows, std::size_t dim, const Rotation& turned, Sample kind,
              void* out, std::size_t stride);

  // Sum of weight * (value^2 + 1/12), and the same kept for each value.
  float (*energy)(const float* values, const float* weight, std::size_t count);
  void (*add_energy)(const float* values, float factor, float* sums, std::size_t count);

  // To the nearest; true if one is beyond `largest`, or no number.
  bool (*symbols)(const float* values, float largest, std::int32_t* out, std::size_t count);
};

// Products of operands that are rounded to bfloat16, with sums in float32.
struct Rounded {
  // Operands: rows of `depth`, an even number. Weights [block][pair of rows][16][2]. Out: from bias, 16 a block.
  void (*product)(const std::uint16_t* in, std::size_t depth, const std::uint16_t* weight, std::size_t blocks,
                  const float* bias, float* out, std::size_t out_stride, std::size_t positions);
  void (*round)(const float* in, std::uint16_t* out, std::size_t count);
  void (*round_integers)(const std::int32_t* in, std::uint16_t* out, std::size_t count);
  // Two rows side by side, in pairs.
  void (*round_pairs)(const float* first, const float* second, std::uint16_t* out, std::size_t count);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* neon_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Rounded* bf16_kernels();

}  // namespace siglum::kv
