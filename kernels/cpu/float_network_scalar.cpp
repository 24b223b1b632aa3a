// Plain C++ variant of the float network: any compiler, any CPU. Four floats side by side, which compilers turn
// into whatever vectors every CPU of a family has.
#include "float_network_kernels.hpp"

namespace siglum::float_network {
namespace {

struct Lanes {
  static constexpr int width = 4, positions = 4, vectors = 2;

#if defined(__GNUC__)
  using Vector = float __attribute__((vector_size(16)));
  static Vector load(const float* p) { return Vector{p[0], p[1], p[2], p[3]}; }
  static Vector broadcast(const float* p) { return Vector{*p, *p, *p, *p}; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector multiply(Vector a, Vector b) { return a * b; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
#else
  struct Vector {
    float value[width];
    float operator[](int i) const { return value[i]; }
    float& operator[](int i) { return value[i]; }
  };
  static Vector load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static Vector broadcast(const float* p) { return {{*p, *p, *p, *p}}; }
  static Vector add(Vector a, Vector b) { return {{a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]}}; }
  static Vector multiply(Vector a, Vector b) { return {{a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]}}; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return add(multiply(a, b), c); }
#endif
  static void store(float* p, Vector v) {
    for (int i = 0; i < width; ++i) p[i] = v[i];
  }
  static Vector activation(Vector v) {
    for (int i = 0; i < width; ++i) {
      const float gate = v[i] + 0.5f, low = gate > 0.0f ? gate : 0.0f;
      v[i] *= low < 1.0f ? low : 1.0f;
    }
    return v;
  }
};

#include "float_network_kernel.inc"

}  // namespace

const Kernels* scalar_kernels() { return &kernels; }

}  // namespace siglum::float_network
