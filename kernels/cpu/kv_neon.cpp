// NEON variant of the loops over samples of a cache.
#include "kv_half.hpp"
#include "kv_kernels.hpp"

#if defined(__ARM_NEON) && defined(__aarch64__)
#define SIGLUM_NEON 1
#include <arm_neon.h>
#endif

namespace siglum::kv {

#if defined(SIGLUM_NEON)
namespace {

struct Lanes {
  static constexpr std::size_t width = 4;
  static float32x4_t load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, float32x4_t v) { vst1q_f32(p, v); }
  static float32x4_t broadcast(float v) { return vdupq_n_f32(v); }
  static float32x4_t subtract(float32x4_t a, float32x4_t b) { return vsubq_f32(a, b); }
  static float32x4_t multiply(float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); }
  static float32x4_t multiply_add(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
  static float total(float32x4_t v) { return vaddvq_f32(v); }
  static float32x4_t load_half(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static void store_half(std::uint16_t* p, float32x4_t v) {
    const float32x4_t finite = vmaxq_f32(vminq_f32(v, vdupq_n_f32(65504.0f)), vdupq_n_f32(-65504.0f));
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(finite)));
  }
};

#include "kv_kernel.inc"

}  // namespace

const Kernels* neon_kernels() { return &kernels; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif

}  // namespace siglum::kv
