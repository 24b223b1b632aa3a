// What each instruction set implements of an integer network. Plain pointers only: the files that are
// compiled with special flags must not instantiate shared templates, or the linker may keep a copy that other
// CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum::integer_network {

// int32 accumulators -> int16: clamp((int64(acc) * multiplier + (1 << (shift - 1))) >> shift, low, high).
// bias and multiplier have one entry a channel, padded to whole blocks.
struct Requantisation {
  const std::int32_t* bias;
  const std::int32_t* multiplier;
  int shift;
  std::int32_t low, high;
};

struct Kernels {
  // Output channels a block. Weights are packed [block][step][width][2] int16: a step is a pair of input
  // channels of a pointwise layer, or a tap of a depthwise one (whose second weight is zero).
  std::size_t width;

  // positions x 2 * pairs channels -> positions x blocks * width channels; strides in elements.
  void (*pointwise)(const std::int16_t* in, std::size_t in_stride, std::size_t pairs,
                    const std::int16_t* weight, std::size_t blocks, const Requantisation& requantisation,
                    std::int16_t* out, std::size_t out_stride, std::size_t positions);

  // 3x3 with zero padding, rows [begin, end) of an image of height x columns positions.
  void (*depthwise)(const std::int16_t* in, std::size_t stride, std::size_t height, std::size_t columns,
                    const std::int16_t* weight, std::size_t blocks, const Requantisation& requantisation,
                    std::int16_t* out, std::size_t begin, std::size_t end);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace siglum::integer_network
