// NEON variant of the search for the nearest codeword, for 64-bit ARM.
#include "isa.hpp"
#include "nearest_kernels.hpp"

#if defined(__ARM_NEON) && defined(__aarch64__)
#define SIGLUM_NEON 1
#include <arm_neon.h>
#endif

namespace siglum::nearest {

#if defined(SIGLUM_NEON)
namespace {

constexpr float lowest = -__builtin_inff();

struct Lanes {
  static constexpr int width = 4, vectors = 4;

  using Vector = float32x4_t;
  using Index = int32x4_t;
  static Vector load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vector v) { vst1q_f32(p, v); }
  static Vector broadcast(const float* p) { return vld1q_dup_f32(p); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static Index broadcast_index(std::int32_t i) { return vdupq_n_s32(i); }
  static Index load_index(const std::int32_t* p) { return vld1q_s32(p); }
  static void store_index(std::int32_t* p, Index i) { vst1q_s32(p, i); }
  static void keep(Vector score, Index at, Vector& best, Index& index) {
    const uint32x4_t better = vcgtq_f32(score, best);
    best = vbslq_f32(better, score, best);
    index = vbslq_s32(better, at, index);
  }

  using Mask = uint32x4_t;
  static Mask greater(Vector a, Vector b) { return vcgtq_f32(a, b); }
  static bool any(Mask mask) { return vmaxvq_u32(mask) != 0; }
  static Vector choose(Mask mask, Vector a, Vector b) { return vbslq_f32(mask, a, b); }
  static Index choose_index(Mask mask, Index a, Index b) { return vbslq_s32(mask, a, b); }
};

#include "nearest_kernel.inc"

}  // namespace

const Kernels* neon_kernels() { return &kernels; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif

}  // namespace siglum::nearest
