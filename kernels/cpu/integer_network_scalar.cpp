// Plain C++ variant of the integer network: any compiler, any CPU.
#include "integer_network_kernels.hpp"

#include <type_traits>
#include <utility>

namespace siglum::integer_network {
namespace {

struct Lanes {
  static constexpr std::size_t width = 8, positions = 2, vectors = 1;

  struct Sum {
    std::uint32_t
        value[width];  // unsigned: wraps instead of undefined behaviour should a caller skip the bound
  };
  struct Weight {
    const std::int16_t* pair;
  };
  struct Scale {
    const std::int32_t* multiplier;
    int shift;
    std::int64_t low, high;

    Scale(const Requantisation& r, std::size_t channel)
        : multiplier(r.multiplier + channel), shift(r.shift), low(r.low), high(r.high) {}
  };
  using FarScale = Scale;
  using NearScale = Scale;

  static Sum load_sum(const std::int32_t* p) {
    Sum sum;
    for (std::size_t i = 0; i < width; ++i) sum.value[i] = static_cast<std::uint32_t>(p[i]);
    return sum;
  }
  static Weight load_weight(const std::int16_t* p) { return {p}; }
  static Sum dot_pair(Sum sum, const std::int16_t* in, Weight w) {
    const std::int32_t first = in[0], second = in[1];
    for (std::size_t i = 0; i < width; ++i) {
      sum.value[i] += static_cast<std::uint32_t>(first * w.pair[2 * i]) +
                      static_cast<std::uint32_t>(second * w.pair[2 * i + 1]);
    }
    return sum;
  }
  static Sum dot_lanes(Sum sum, const std::int16_t* in, Weight w) {
    for (std::size_t i = 0; i < width; ++i) {
      sum.value[i] += static_cast<std::uint32_t>(static_cast<std::int32_t>(in[i]) * w.pair[2 * i]);
    }
    return sum;
  }
  static void store(Sum sum, const Scale& scale, std::int16_t* out) {
    const std::int64_t half = std::int64_t{1} << (scale.shift - 1);
    for (std::size_t i = 0; i < width; ++i) {
      const std::int64_t acc = static_cast<std::int32_t>(sum.value[i]);
      std::int64_t value = (acc * scale.multiplier[i] + half) >> scale.shift;
      value = value < scale.low ? scale.low : value;
      out[i] = static_cast<std::int16_t>(value > scale.high ? scale.high : value);
    }
  }
};

#include "integer_network_kernel.inc"

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::integer_network
