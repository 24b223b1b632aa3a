// AVX-512 variant of the Gaussian over a codebook.
#include "codebook_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace siglum::codebook {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
namespace {

using Vector = __m512i;

// Two neighbouring int16 in every 32-bit lane.
Vector pair_of(const int16_t* p) {
  return _mm512_set1_epi32(static_cast<int>(static_cast<uint16_t>(p[0]) | uint32_t{static_cast<uint16_t>(p[1])} << 16));
}

// Adds the squares of a pair of dimensions; the sum stops at 2^31 - 1.
Vector add_pair(Vector sum, const int16_t* points, Vector mean, Vector rate) {
  const Vector u = _mm512_mulhrs_epi16(_mm512_subs_epi16(_mm512_loadu_si512(points), mean), rate);
  return _mm512_dpwssds_epi32(sum, u, u);
}

Vector finish(Vector sum, const int32_t* bias, int32_t* out) {
  const Vector limit = _mm512_set1_epi32(1 << 30);
  const Vector distance = _mm512_sub_epi32(_mm512_min_epi32(sum, limit), _mm512_loadu_si512(bias));
  _mm512_storeu_si512(out, distance);
  return distance;
}

int32_t distances(const int16_t* points, size_t pairs, size_t padded, const int16_t* mean, const int16_t* rate,
                  const int32_t* bias, int32_t* out) {
  Vector least = _mm512_set1_epi32(0x7fffffff);
  size_t p = 0;
  for (; p + 32 <= padded; p += 32) {  // two sums in flight
    Vector low = _mm512_setzero_si512(), high = low;
    for (size_t pair = 0; pair < pairs; ++pair) {
      const int16_t* row = points + (pair * padded + p) * 2;
      const Vector m = pair_of(mean + 2 * pair), r = pair_of(rate + 2 * pair);
      low = add_pair(low, row, m, r);
      high = add_pair(high, row + 32, m, r);
    }
    least = _mm512_min_epi32(least, finish(low, bias + p, out + p));
    least = _mm512_min_epi32(least, finish(high, bias + p + 16, out + p + 16));
  }
  for (; p < padded; p += 16) {
    Vector sum = _mm512_setzero_si512();
    for (size_t pair = 0; pair < pairs; ++pair)
      sum = add_pair(sum, points + (pair * padded + p) * 2, pair_of(mean + 2 * pair), pair_of(rate + 2 * pair));
    least = _mm512_min_epi32(least, finish(sum, bias + p, out + p));
  }
  return _mm512_reduce_min_epi32(least);
}

uint64_t weights(int32_t* values, size_t padded, int32_t least, const Exponentials& exponentials) {
  const Vector levels = _mm512_loadu_si512(exponentials.level), steps = _mm512_loadu_si512(exponentials.step);
  const Vector base = _mm512_set1_epi32(static_cast<int>(static_cast<uint32_t>(least) - (8u << 12)));
  const Vector byte = _mm512_set1_epi32(255), word = _mm512_set1_epi64(0xffffffff);
  Vector sum = _mm512_setzero_si512();
  for (size_t p = 0; p < padded; p += 16) {
    const Vector t = _mm512_sub_epi32(_mm512_loadu_si512(values + p), base), index = _mm512_srli_epi32(t, 8);
    const Vector level = _mm512_permutexvar_epi32(index, levels), step = _mm512_permutexvar_epi32(index, steps);
    const Vector value = _mm512_sub_epi32(level, _mm512_mullo_epi32(step, _mm512_and_si512(t, byte)));
    const Vector weight = _mm512_srlv_epi32(value, _mm512_srli_epi32(t, 12));
    _mm512_storeu_si512(values + p, weight);
    sum = _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_and_si512(weight, word), _mm512_srli_epi64(weight, 32)));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum));
}

void shares(const int32_t* values, size_t padded, uint32_t factor, uint32_t* frequencies) {
  const Vector by = _mm512_set1_epi64(factor), one = _mm512_set1_epi32(1);
  for (size_t p = 0; p < padded; p += 16) {
    const Vector w = _mm512_loadu_si512(values + p);
    const Vector even = _mm512_srli_epi64(_mm512_mul_epu32(w, by), 32);
    const Vector odd = _mm512_mul_epu32(_mm512_srli_epi64(w, 32), by);
    _mm512_storeu_si512(frequencies + p, _mm512_add_epi32(_mm512_mask_blend_epi32(0xaaaa, even, odd), one));
  }
}

}  // namespace

const Kernels* avx512_kernels() {
  static constexpr Kernels kernels = {distances, weights, shares};
  return &kernels;
}
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::codebook
