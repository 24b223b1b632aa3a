// Plain C++ variant of the search for the nearest codeword: any compiler, any CPU. Its fused multiply-add is the C
// library's where the compiler's target has none.
#include <cmath>
#include <limits>

#include "isa.hpp"
#include "nearest_kernels.hpp"

namespace siglum::nearest {
namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();

struct Lanes {
  static constexpr int width = 1, vectors = 2;

  using Vector = float;
  using Index = std::int32_t;
  static Vector load(const float* p) { return *p; }
  static void store(float* p, Vector v) { *p = v; }
  static Vector broadcast(const float* p) { return *p; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return std::fma(a, b, c); }
  static Index broadcast_index(std::int32_t i) { return i; }
  static Index load_index(const std::int32_t* p) { return *p; }
  static void store_index(std::int32_t* p, Index i) { *p = i; }
  static void keep(Vector score, Index at, Vector& best, Index& index) {
    if (score > best) {
      best = score;
      index = at;
    }
  }

  using Mask = bool;
  static Mask greater(Vector a, Vector b) { return a > b; }
  static bool any(Mask mask) { return mask; }
  static Vector choose(Mask mask, Vector a, Vector b) { return mask ? a : b; }
  static Index choose_index(Mask mask, Index a, Index b) { return mask ? a : b; }
};

#include "nearest_kernel.inc"

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::nearest
