// What each instruction set implements of a float network. Plain pointers only: the files that are compiled
// with special flags must not instantiate shared templates, or the linker may keep a copy that other CPUs
// cannot run.
//
// Activations are rows of positions of `stride` floats, a whole number of vectors; what lies in the padding
// is finite and meets weights of zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::float_network {

// sums -> out: (act(sum) * gain) + residual; the bias is where the sums start.
struct Epilogue {
  const float* bias;      // one a channel
  const float* gain;      // one a channel, or nullptr
  const float* residual;  // positions as `out`, may be `out` itself; or nullptr
  std::size_t residual_stride;
  bool activation;  // x * clamp(x + 1/2, 0, 1)
};

// Where the input channels of a position lie: `segments` runs of `depth` floats, `segment` floats apart. Two
// runs are the two rows of a 2 x 2 cell of positions: space to depth without a copy.
struct Operand {
  const float* data;
  std::size_t stride;  // between positions
  std::size_t segments, segment, depth;
};

struct Kernels {
  // Channels a block. Weights are packed [block][input channel][width], those of a 3x3 layer [block][tap][width].
  std::size_t width;

  void (*pointwise)(const Operand& in, const float* weight, std::size_t blocks, const Epilogue& epilogue,
                    float* out, std::size_t out_stride, std::size_t positions);

  // One row of a 3x3 layer with zero padding left and right; the three rows have `columns` positions each.
  void (*depthwise)(const float* above, const float* centre, const float* below, std::size_t columns,
                    std::size_t stride, const float* weight, const float* bias, std::size_t blocks, float* out);

  // Samples 0..255 -> sample / 128 - 1, which bfloat16 holds exactly.
  void (*samples_in)(const std::uint8_t* in, float* out, std::size_t count);
  // value -> clamp(round((value + 1/2) * 255), 0, 255).
  void (*samples_out)(const float* in, std::uint8_t* out, std::size_t count);
  // Inverse hyperbolic sine, within 1e-6 of the larger of 1 and the result.
  void (*asinh)(const float* in, float* out, std::size_t count);
};

// As Kernels::pointwise with operands rounded to bfloat16 and sums in float32. Weights are packed
// [block][pair of input channels][16][2], every segment padded to a multiple of 16 channels; at most
// max_rounded_rows input channels with the padding.
using RoundedProducts = void (*)(const Operand& in, const std::uint16_t* weight, std::size_t blocks,
                                 const Epilogue& epilogue, float* out, std::size_t out_stride, std::size_t positions);
constexpr std::size_t max_rounded_rows = 4096;

// nullptr where the compiler or the target has no such instructions.
RoundedProducts bf16_products();
const Kernels* scalar_kernels();
const Kernels* neon_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::float_network
