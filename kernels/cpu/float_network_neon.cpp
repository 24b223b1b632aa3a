// NEON variant of the float network, for 64-bit ARM.
#include "float_network_kernels.hpp"

#if defined(__ARM_NEON) && defined(__aarch64__)
#define SIGLUM_NEON 1
#include <arm_neon.h>
#endif

namespace siglum::float_network {

#if defined(SIGLUM_NEON)
namespace {

struct Lanes {
  static constexpr int width = 4, positions = 6, vectors = 4;

  using Vector = float32x4_t;
  static Vector load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vector v) { vst1q_f32(p, v); }
  static Vector broadcast(const float* p) { return vld1q_dup_f32(p); }
  static Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector multiply(Vector a, Vector b) { return vmulq_f32(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static Vector activation(Vector v) {
    const Vector low = vmaxq_f32(vaddq_f32(v, vdupq_n_f32(0.5f)), vdupq_n_f32(0.0f));
    return vmulq_f32(v, vminq_f32(low, vdupq_n_f32(1.0f)));
  }
};

#include "float_network_kernel.inc"

}  // namespace

const Kernels* neon_kernels() { return &kernels; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif

}  // namespace siglum::float_network
