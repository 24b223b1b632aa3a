// AVX-512 variant of the patch coder: four products of bytes an instruction (VNNI), 32 coefficients at a time.
#include "patches_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include <cstring>
#include <utility>

namespace siglum::patches {
namespace {

#include "patches_kernel.inc"

inline void store(__m512i sum, const std::int32_t* offset, const float* scale, std::int16_t* out) {
  const __m512i centred = _mm512_sub_epi32(_mm512_slli_epi32(sum, 1), _mm512_loadu_si512(offset));
  const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(centred), _mm512_loadu_ps(scale));
  const __m512 bounded = _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(-32767.0f)), _mm512_set1_ps(32767.0f));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(bounded)));
}

// A load of its own: as the operand of every product it would be repeated for every patch.
inline __m512i load(const std::int8_t* weights) {
  __m512i loaded = _mm512_loadu_si512(weights);
#if defined(__GNUC__)
  __asm__("" : "+v"(loaded));
#endif
  return loaded;
}

inline __m512i broadcast(const std::uint8_t* four) {
  std::int32_t samples;
  std::memcpy(&samples, four, 4);
  return _mm512_set1_epi32(samples);
}

// sum += samples * weights; written out, as GCC 12 copies every sum before and after the intrinsic.
inline void dot(__m512i& sum, __m512i samples, __m512i weights) {
#if defined(__GNUC__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(samples), "v"(weights));
#else
  sum = _mm512_dpbusd_epi32(sum, samples, weights);
#endif
}

// P patches by B blocks of 16 channels, one vector of sums each. TILE counts to P * B, PATCHES to P and BLOCKS to B, so
// that every index is a constant from the start; GCC 12 keeps 12 sums in registers, of 24 it stores each in every step.
template <std::size_t B, std::size_t... TILE, std::size_t... PATCHES, std::size_t... BLOCKS>
inline void project_tile(const std::uint8_t* pixels, std::ptrdiff_t row, const std::int8_t* w,
                         const std::int32_t* offset, const float* scale, std::int16_t* out, std::size_t stride,
                         std::index_sequence<TILE...>, std::index_sequence<PATCHES...>,
                         std::index_sequence<BLOCKS...>) {
  constexpr std::size_t panel = quads * block * 4;
  __m512i sum[] = {(static_cast<void>(TILE), _mm512_setzero_si512())...};
  for (std::size_t y = 0; y < side; ++y, pixels += row) {
    for (std::size_t x = 0; x < row_bytes; x += 4, w += block * 4) {
      const __m512i weights[] = {load(w + BLOCKS * panel)...};
      const __m512i samples[] = {broadcast(pixels + PATCHES * row_bytes + x)...};
      (dot(sum[TILE], samples[TILE / B], weights[TILE % B]), ...);
    }
  }
  (store(sum[TILE], offset + TILE % B * block, scale + TILE % B * block, out + TILE / B * stride + TILE % B * block), ...);
}

template <std::size_t P, std::size_t B, class... Arguments>
inline void project_tile_of(const Arguments&... arguments) {
  project_tile<B>(arguments..., std::make_index_sequence<P * B>(), std::make_index_sequence<P>(),
                  std::make_index_sequence<B>());
}

template <std::size_t B>
inline void project_panels(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* w,
                           const std::int32_t* offset, const float* scale, std::int16_t* out, std::size_t stride) {
  constexpr std::size_t together = 12 / B;
  std::size_t p = 0;
  for (; p + together <= count; p += together)
    project_tile_of<together, B>(pixels + p * row_bytes, row, w, offset, scale, out + p * stride, stride);
  for (; p < count; ++p)
    project_tile_of<1, B>(pixels + p * row_bytes, row, w, offset, scale, out + p * stride, stride);
}

void project(const std::uint8_t* pixels, std::ptrdiff_t row, std::size_t count, const std::int8_t* weight,
             std::size_t blocks, const std::int32_t* offset, const float* scale, std::int16_t* out,
             std::size_t stride) {
  std::size_t b = 0;  // the weights of two blocks stay in the first-level cache
  for (; b + 2 <= blocks; b += 2)
    project_panels<2>(pixels, row, count, weight + b * quads * block * 4, offset + b * block, scale + b * block,
                      out + b * block, stride);
  for (; b < blocks; ++b)
    project_panels<1>(pixels, row, count, weight + b * quads * block * 4, offset + b * block, scale + b * block,
                      out + b * block, stride);
}

// Those of 16 lanes that are chosen, in front; returns how many.
inline std::size_t compress(__mmask16 chosen, __m256i residual, __m256i table, std::int16_t* coded, std::uint8_t* index) {
  if (!chosen) return 0;
  const __m512i residuals = _mm512_maskz_compress_epi32(chosen, _mm512_cvtepi16_epi32(residual));
  const __m512i tables_of = _mm512_maskz_compress_epi32(chosen, _mm512_cvtepi16_epi32(table));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(coded), _mm512_cvtepi32_epi16(residuals));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(index), _mm512_cvtepi32_epi8(tables_of));
  return static_cast<std::size_t>(__builtin_popcount(chosen));
}

std::size_t quantise(const Quantisation& rules, const std::int16_t* y, const std::int16_t* raw,
                     const std::int16_t* active, const std::int16_t* mean, std::size_t channels,
                     std::int16_t* symbols, std::int16_t* seen, std::int16_t* coded, std::uint8_t* index) {
  if (mean) return quantise_plain(rules, y, raw, active, mean, channels, symbols, seen, coded, index);
  const __m512i low0 = _mm512_loadu_si512(rules.thresholds), low1 = _mm512_loadu_si512(rules.thresholds + 32);
  const __m512i high0 = _mm512_loadu_si512(rules.thresholds + tables),
                high1 = _mm512_loadu_si512(rules.thresholds + tables + 32);
  const __m512i small0 = _mm512_loadu_si512(rules.magnitudes), small1 = _mm512_loadu_si512(rules.magnitudes + 32);
  const __m512i zero = _mm512_setzero_si512();
  std::size_t count = 0;
  for (std::size_t c = 0; c < channels; c += 32) {
    const __mmask32 there = channels - c < 32 ? (__mmask32{1} << (channels - c)) - 1 : ~__mmask32{0};
    const __m512i value = _mm512_maskz_loadu_epi16(there, y + c);
    const __m512i context = _mm512_maskz_loadu_epi16(there, raw + c);
    __m512i table = _mm512_srai_epi16(_mm512_adds_epi16(context, _mm512_set1_epi16(128)), 8);
    table = _mm512_min_epi16(_mm512_max_epi16(table, zero), _mm512_set1_epi16(tables - 1));
    table = _mm512_and_si512(table, _mm512_maskz_loadu_epi16(there, active + c));
    const __mmask32 chosen = _mm512_cmpge_epi16_mask(table, _mm512_set1_epi16(static_cast<short>(rules.skip)));
    if (!chosen) {
      _mm512_mask_storeu_epi16(symbols + c, there, zero);
      _mm512_mask_storeu_epi16(seen + c, there, _mm512_permutex2var_epi16(small0, zero, small1));
      continue;
    }
    const __m512i magnitude = _mm512_abs_epi16(value);
    const __mmask32 below = _mm512_cmplt_epi16_mask(magnitude, _mm512_set1_epi16(3 << (fraction - 1)));
    const __m512i add = _mm512_mask_blend_epi16(below, _mm512_permutex2var_epi16(high0, table, high1),
                                                _mm512_permutex2var_epi16(low0, table, low1));
    const __m512i size = _mm512_maskz_srli_epi16(chosen, _mm512_add_epi16(magnitude, add), fraction);
    const __m512i residual = _mm512_mask_sub_epi16(size, _mm512_movepi16_mask(value), zero, size);
    _mm512_mask_storeu_epi16(symbols + c, there, residual);
    _mm512_mask_storeu_epi16(seen + c, there, _mm512_permutex2var_epi16(small0, size, small1));
    if (_mm512_cmpgt_epi16_mask(size, _mm512_set1_epi16(63))) {
      for (std::size_t k = c; k < channels && k < c + 32; ++k) {
        const int large = symbols[k] < 0 ? -symbols[k] : symbols[k];
        seen[k] = rules.magnitudes[large < 255 ? large : 255];
      }
    }
    count += compress(static_cast<__mmask16>(chosen), _mm512_castsi512_si256(residual),
                      _mm512_castsi512_si256(table), coded + count, index + count);
    count += compress(static_cast<__mmask16>(chosen >> 16), _mm512_extracti64x4_epi64(residual, 1),
                      _mm512_extracti64x4_epi64(table, 1), coded + count, index + count);
  }
  return count;
}

constexpr Kernels kernels = {&project, &largest, &quantise};

}  // namespace

const Kernels* avx512_kernels() { return &kernels; }

}  // namespace siglum::patches

#else

namespace siglum::patches {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace siglum::patches

#endif
