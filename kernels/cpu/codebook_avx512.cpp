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
  int32_t both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm512_set1_epi32(both);
}

// Adds the squares of a pair of dimensions; the sum stops at 2^31 - 1.
Vector add_pair(Vector sum, const int16_t* points, Vector mean, Vector rate) {
  const Vector u = _mm512_mulhrs_epi16(_mm512_subs_epi16(_mm512_loadu_si512(points), mean), rate);
  return _mm512_dpwssds_epi32(sum, u, u);
}

Vector finish(Vector sum, const int32_t* bias, int32_t* out) {
  const Vector limit = _mm512_set1_epi32(1 << 29);
  const Vector distance = _mm512_sub_epi32(_mm512_min_epi32(sum, limit), _mm512_loadu_si512(bias));
  _mm512_storeu_si512(out, distance);
  return distance;
}

int32_t distances(const Points& points, const uint32_t* chosen, size_t count, const int16_t* mean,
                  const int16_t* rate, int32_t* result) {
  const size_t padded = points.padded, pairs = points.pairs;
  Vector least = _mm512_set1_epi32(0x7fffffff);
  for (size_t c = 0; c < count; ++c) {
    const int16_t* table = points.points + chosen[c] * pairs * padded * 2;
    const int32_t* bias = points.bias + chosen[c] * padded;
    int32_t* out = result + chosen[c] * padded;
    size_t p = 0;
    for (; p + 32 <= padded; p += 32) {  // two sums in flight
      Vector low = _mm512_setzero_si512(), high = low;
      for (size_t pair = 0; pair < pairs; ++pair) {
        const int16_t* row = table + (pair * padded + p) * 2;
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
        sum = add_pair(sum, table + (pair * padded + p) * 2, pair_of(mean + 2 * pair), pair_of(rate + 2 * pair));
      least = _mm512_min_epi32(least, finish(sum, bias + p, out + p));
    }
  }
  return _mm512_reduce_min_epi32(least);
}

uint64_t weights(int32_t* values, size_t padded, const uint32_t* chosen, size_t count, int32_t least,
                 const Exponentials& exponentials, int32_t* sums) {
  const Vector levels = _mm512_loadu_si512(exponentials.level), steps = _mm512_loadu_si512(exponentials.step);
  const Vector base = _mm512_set1_epi32(static_cast<int>(static_cast<uint32_t>(least) - (8u << 12)));
  const Vector byte = _mm512_set1_epi32(255);
  uint64_t total = 0;
  for (size_t c = 0; c < count; ++c) {
    int32_t* table = values + chosen[c] * padded;
    Vector sum = _mm512_setzero_si512();
    for (size_t p = 0; p < padded; p += 16) {
      const Vector t = _mm512_sub_epi32(_mm512_loadu_si512(table + p), base), index = _mm512_srli_epi32(t, 8);
      const Vector level = _mm512_permutexvar_epi32(index, levels), step = _mm512_permutexvar_epi32(index, steps);
      const Vector value = _mm512_sub_epi32(level, _mm512_madd_epi16(step, _mm512_and_si512(t, byte)));
      const Vector weight = _mm512_srlv_epi32(value, _mm512_srli_epi32(t, 12));
      _mm512_storeu_si512(table + p, weight);
      sum = _mm512_add_epi32(sum, weight);
    }
    sums[chosen[c]] = _mm512_reduce_add_epi32(sum);
    total += static_cast<uint32_t>(sums[chosen[c]]);
  }
  return total;
}

uint32_t shares(const int32_t* values, size_t padded, uint32_t factor, uint32_t* frequencies) {
  const Vector by = _mm512_set1_epi64(factor), one = _mm512_set1_epi32(1);
  Vector sum = _mm512_setzero_si512();
  for (size_t p = 0; p < padded; p += 16) {
    const Vector w = _mm512_loadu_si512(values + p);
    const Vector even = _mm512_srli_epi64(_mm512_mul_epu32(w, by), 32);
    const Vector odd = _mm512_mul_epu32(_mm512_srli_epi64(w, 32), by);
    const Vector frequency = _mm512_add_epi32(_mm512_mask_blend_epi32(0xaaaa, even, odd), one);
    _mm512_storeu_si512(frequencies + p, frequency);
    sum = _mm512_add_epi32(sum, frequency);
  }
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(sum));
}

size_t first_largest(const int32_t* values, size_t padded) {
  Vector most = _mm512_loadu_si512(values);
  for (size_t p = 16; p < padded; p += 16) most = _mm512_max_epi32(most, _mm512_loadu_si512(values + p));
  most = _mm512_set1_epi32(_mm512_reduce_max_epi32(most));
  for (size_t p = 0;; p += 16) {
    const __mmask16 same = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(values + p), most);
    if (same) return p + static_cast<size_t>(__builtin_ctz(same));
  }
}

void add_multiples(int32_t* sums, const int32_t* values, int32_t factor, size_t n) {
  const Vector by = _mm512_set1_epi32(factor);
  for (size_t p = 0; p < n; p += 16) {
    const __mmask16 here = n - p < 16 ? static_cast<__mmask16>((1u << (n - p)) - 1) : static_cast<__mmask16>(0xffff);
    const Vector more = _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(here, values + p), by);
    _mm512_mask_storeu_epi32(sums + p, here, _mm512_add_epi32(_mm512_maskz_loadu_epi32(here, sums + p), more));
  }
}

// Lanes moved up by a number of places, zeros come in.
template <int Places>
Vector up(Vector v) {
  return _mm512_alignr_epi32(v, _mm512_setzero_si512(), 16 - Places);
}

void cumulate(const uint32_t* frequencies, size_t padded, uint16_t* row) {
  const Vector last = _mm512_set1_epi32(15);
  Vector carry = _mm512_setzero_si512();
  for (size_t p = 0; p < padded; p += 16) {
    Vector v = _mm512_loadu_si512(frequencies + p);
    v = _mm512_add_epi32(v, up<1>(v));
    v = _mm512_add_epi32(v, up<2>(v));
    v = _mm512_add_epi32(v, up<4>(v));
    v = _mm512_add_epi32(_mm512_add_epi32(v, up<8>(v)), carry);
    carry = _mm512_permutexvar_epi32(last, v);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + p), _mm512_cvtepi32_epi16(v));
  }
}

}  // namespace

const Kernels* avx512_kernels() {
  static constexpr Kernels kernels = {distances, weights, shares, first_largest, add_multiples, cumulate};
  return &kernels;
}
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace siglum::codebook
