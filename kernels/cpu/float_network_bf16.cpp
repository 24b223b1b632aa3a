// Matrix products with bfloat16 operands and float32 sums, for CPUs that multiply pairs of them (AVX512_BF16).
#include "float_network_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#define SIGLUM_BF16 1
#include <immintrin.h>
#endif

namespace siglum::float_network {

#if defined(SIGLUM_BF16)
namespace {

constexpr int width = 16, positions = 8, vectors = 3;
constexpr std::size_t scratch_size = 1 << 15;

// Rows of operands, rounded; `rows` of them for each position.
struct Rounded {
  const std::uint16_t* data;
  std::size_t rows;
};

// As pointwise_tile of float_network_kernel.inc, two input channels a step.
template <int P, int V>
inline void tile(const Rounded& in, std::size_t position, const std::uint16_t* weight, std::size_t block,
                 const Epilogue& epilogue, std::size_t channel, float* out, std::size_t out_stride) {
  __m512 sum[P][V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const __m512 bias = _mm512_loadu_ps(epilogue.bias + channel + v * width);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) sum[p][v] = bias;
  }
  const std::uint16_t* const from = in.data + position * in.rows;
  for (std::size_t k = 0; k < in.rows; k += 2) {
    __m512bh weights[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      weights[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weight + v * block + k * width));
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      int pair;
      __builtin_memcpy(&pair, from + p * in.rows + k, sizeof pair);
      const __m512bh value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[p][v] = _mm512_dpbf16_ps(sum[p][v], value, weights[v]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    float* to = out + (position + p) * out_stride + channel;
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      __m512 value = sum[p][v];
      if (epilogue.activation) {
        const __m512 shifted = _mm512_add_ps(value, _mm512_set1_ps(0.5f));
        const __m512 gate = _mm512_min_ps(_mm512_max_ps(shifted, _mm512_setzero_ps()), _mm512_set1_ps(1.0f));
        value = _mm512_mul_ps(value, gate);
      }
      if (epilogue.gain) value = _mm512_mul_ps(value, _mm512_loadu_ps(epilogue.gain + channel + v * width));
      if (epilogue.residual) {
        const float* other = epilogue.residual + (position + p) * epilogue.residual_stride + channel;
        value = _mm512_add_ps(value, _mm512_loadu_ps(other + v * width));
      }
      _mm512_storeu_ps(to + v * width, value);
    }
  }
}

template <int V>
inline void panel(const Rounded& in, const std::uint16_t* weight, std::size_t block, const Epilogue& epilogue,
                  std::size_t channel, float* out, std::size_t out_stride, std::size_t count) {
  std::size_t p = 0;
  for (; p + positions <= count; p += positions) {
    tile<positions, V>(in, p, weight, block, epilogue, channel, out, out_stride);
  }
  for (; p + 2 <= count; p += 2) tile<2, V>(in, p, weight, block, epilogue, channel, out, out_stride);
  if (p < count) tile<1, V>(in, p, weight, block, epilogue, channel, out, out_stride);
}

void products(const Operand& in, const std::uint16_t* weight, std::size_t blocks, const Epilogue& epilogue, float* out,
              std::size_t out_stride, std::size_t count) {
  alignas(64) std::uint16_t scratch[scratch_size];
  const std::size_t run = (in.depth + width - 1) / width * width, rows = in.segments * run, block = rows * width;
  const std::size_t most = scratch_size / rows;
  for (std::size_t first = 0; first < count;) {
    const std::size_t some = count - first < most ? count - first : most;
    std::uint16_t* to = scratch;
    for (std::size_t p = 0; p < some; ++p) {
      for (std::size_t s = 0; s < in.segments; ++s) {
        const float* from = in.data + (first + p) * in.stride + s * in.segment;
        for (std::size_t k = 0; k < run; k += width, to += width) {
          const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + k));
          _mm256_store_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(rounded));
        }
      }
    }
    const Rounded operand = {scratch, rows};
    Epilogue part = epilogue;
    if (part.residual) part.residual += first * part.residual_stride;
    float* const target = out + first * out_stride;
    std::size_t b = 0;
    for (; b + vectors <= blocks; b += vectors) {
      panel<vectors>(operand, weight + b * block, block, part, b * width, target, out_stride, some);
    }
    for (; b < blocks; ++b) panel<1>(operand, weight + b * block, block, part, b * width, target, out_stride, some);
    first += some;
  }
}

}  // namespace

RoundedProducts bf16_products() { return &products; }
#else
RoundedProducts bf16_products() { return nullptr; }
#endif

}  // namespace siglum::float_network
