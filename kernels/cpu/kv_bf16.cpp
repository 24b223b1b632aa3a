// Products with bfloat16 operands and float32 sums, for CPUs that multiply pairs of them (AVX512_BF16).
#include "kv_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#define SIGLUM_BF16 1
#include <immintrin.h>
#endif

namespace siglum::kv {

#if defined(SIGLUM_BF16)
namespace {

constexpr std::size_t width = 16;

// P positions x V vectors of outputs, whose sums stay in registers; two operands a step.
template <int P, int V>
inline void tile(const std::uint16_t* in, std::size_t depth, const std::uint16_t* weight, std::size_t block,
                 const float* bias, float* out, std::size_t out_stride) {
  __m512 sum[P][V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const __m512 start = _mm512_loadu_ps(bias + v * width);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) sum[p][v] = start;
  }
  for (std::size_t k = 0; k < depth; k += 2) {
    __m512bh weights[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      weights[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weight + v * block + k * width));
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      int pair;
      __builtin_memcpy(&pair, in + p * depth + k, sizeof pair);
      const __m512bh value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[p][v] = _mm512_dpbf16_ps(sum[p][v], value, weights[v]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + p * out_stride + v * width, sum[p][v]);
  }
}

template <int P, int V>
inline void panel(const std::uint16_t* in, std::size_t depth, const std::uint16_t* weight, const float* bias,
                  float* out, std::size_t out_stride, std::size_t positions) {
  const std::size_t block = depth * width;
  std::size_t p = 0;
  for (; p + P <= positions; p += P) {
    tile<P, V>(in + p * depth, depth, weight, block, bias, out + p * out_stride, out_stride);
  }
  for (; p + 2 <= positions; p += 2) {
    tile<2, V>(in + p * depth, depth, weight, block, bias, out + p * out_stride, out_stride);
  }
  if (p < positions) tile<1, V>(in + p * depth, depth, weight, block, bias, out + p * out_stride, out_stride);
}

void product(const std::uint16_t* in, std::size_t depth, const std::uint16_t* weight, std::size_t blocks,
             const float* bias, float* out, std::size_t out_stride, std::size_t positions) {
  std::size_t b = 0;
  const std::size_t block = depth * width;
  while (b < blocks) {
    const std::size_t left = blocks - b;
    const std::uint16_t* const from = weight + b * block;
    float* const to = out + b * width;
    if (left >= 4 && left != 5) {
      panel<6, 4>(in, depth, from, bias + b * width, to, out_stride, positions);
      b += 4;
    } else if (left >= 3) {
      panel<8, 3>(in, depth, from, bias + b * width, to, out_stride, positions);
      b += 3;
    } else if (left == 2) {
      panel<8, 2>(in, depth, from, bias + b * width, to, out_stride, positions);
      b += 2;
    } else {
      panel<8, 1>(in, depth, from, bias + b * width, to, out_stride, positions);
      b += 1;
    }
  }
}

void round(const float* in, std::uint16_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; i += width) {
    const __mmask16 some = count - i < width ? static_cast<__mmask16>((1u << (count - i)) - 1) : __mmask16(0xffff);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, in + i));
    _mm256_mask_storeu_epi16(out + i, some, reinterpret_cast<__m256i>(rounded));
  }
}

void round_integers(const std::int32_t* in, std::uint16_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; i += width) {
    const __mmask16 some = count - i < width ? static_cast<__mmask16>((1u << (count - i)) - 1) : __mmask16(0xffff);
    const __m512 values = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(some, in + i));
    _mm256_mask_storeu_epi16(out + i, some, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
  }
}

void round_pairs(const float* first, const float* second, std::uint16_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; i += width, out += 2 * width) {
    const __mmask16 some = count - i < width ? static_cast<__mmask16>((1u << (count - i)) - 1) : __mmask16(0xffff);
    const __m256bh a = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, first + i));
    const __m256bh b = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, second + i));
    const __m512i low = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(a));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(b)), 16);
    _mm512_mask_storeu_epi32(out, some, _mm512_or_si512(low, high));
  }
}

const Rounded kernels = {product, round, round_integers, round_pairs};

}  // namespace

const Rounded* bf16_kernels() { return &kernels; }
#else
const Rounded* bf16_kernels() { return nullptr; }
#endif

}  // namespace siglum::kv
