// Plain C++ variant of the loops over samples of a cache.
#include "kv_half.hpp"
#include "kv_kernels.hpp"

namespace siglum::kv {
namespace {

struct Lanes {
  static constexpr std::size_t width = 1;
  static float load(const float* p) { return *p; }
  static void store(float* p, float v) { *p = v; }
  static float broadcast(float v) { return v; }
  static float subtract(float a, float b) { return a - b; }
  static float multiply(float a, float b) { return a * b; }
  static float multiply_add(float a, float b, float c) { return a * b + c; }
  static float total(float v) { return v; }
  static float load_half(const std::uint16_t* p) { return half_to_float(*p); }
  static void store_half(std::uint16_t* p, float v) { *p = float_to_half(v); }
};

#include "kv_kernel.inc"

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::kv
