// AVX2 variant of the Gaussian over a codebook.
#include "codebook_kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace siglum::codebook {

#if defined(__AVX2__)
namespace {

using Vector = __m256i;

Vector load(const void* p) { return _mm256_loadu_si256(static_cast<const Vector*>(p)); }
void store(void* p, Vector v) { _mm256_storeu_si256(static_cast<Vector*>(p), v); }

// Two neighbouring int16 in every 32-bit lane.
Vector pair_of(const int16_t* p) {
  int32_t both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm256_set1_epi32(both);
}

int32_t sum_of(Vector v) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

int32_t distances(const Points& points, const uint32_t* chosen, size_t count, const int16_t* mean,
                  const int16_t* rate, int32_t* result) {
  const size_t padded = points.padded, pairs = points.pairs;
  const Vector most = _mm256_set1_epi32(0x7fffffff), limit = _mm256_set1_epi32(1 << 29);
  Vector least = most;
  for (size_t c = 0; c < count; ++c) {
    const int16_t* table = points.points + chosen[c] * pairs * padded * 2;
    const int32_t* bias = points.bias + chosen[c] * padded;
    int32_t* out = result + chosen[c] * padded;
    for (size_t p = 0; p < padded; p += 16) {
      Vector low = _mm256_setzero_si256(), high = low;
      for (size_t pair = 0; pair < pairs; ++pair) {
        const int16_t* row = table + (pair * padded + p) * 2;
        const Vector m = pair_of(mean + 2 * pair), r = pair_of(rate + 2 * pair);
        const Vector a = _mm256_mulhrs_epi16(_mm256_subs_epi16(load(row), m), r);
        const Vector b = _mm256_mulhrs_epi16(_mm256_subs_epi16(load(row + 16), m), r);
        low = _mm256_min_epu32(_mm256_add_epi32(low, _mm256_madd_epi16(a, a)), most);
        high = _mm256_min_epu32(_mm256_add_epi32(high, _mm256_madd_epi16(b, b)), most);
      }
      low = _mm256_sub_epi32(_mm256_min_epi32(low, limit), load(bias + p));
      high = _mm256_sub_epi32(_mm256_min_epi32(high, limit), load(bias + p + 8));
      least = _mm256_min_epi32(least, _mm256_min_epi32(low, high));
      store(out + p, low);
      store(out + p + 8, high);
    }
  }
  __m128i half = _mm_min_epi32(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
  half = _mm_min_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_min_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return _mm_cvtsi128_si32(half);
}

// Entry of a table of 16 by the low four bits.
Vector look_up(Vector first, Vector second, Vector index) {
  const Vector a = _mm256_permutevar8x32_epi32(first, index), b = _mm256_permutevar8x32_epi32(second, index);
  const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
  return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), upper));
}

uint64_t weights(int32_t* values, size_t padded, const uint32_t* chosen, size_t count, int32_t least,
                 const Exponentials& exponentials, int32_t* sums) {
  const Vector level0 = load(exponentials.level), level1 = load(exponentials.level + 8);
  const Vector step0 = load(exponentials.step), step1 = load(exponentials.step + 8);
  const Vector base = _mm256_set1_epi32(static_cast<int>(static_cast<uint32_t>(least) - (8u << 12)));
  const Vector byte = _mm256_set1_epi32(255);
  uint64_t total = 0;
  for (size_t c = 0; c < count; ++c) {
    int32_t* table = values + chosen[c] * padded;
    Vector sum = _mm256_setzero_si256();
    for (size_t p = 0; p < padded; p += 8) {
      const Vector t = _mm256_sub_epi32(load(table + p), base), index = _mm256_srli_epi32(t, 8);
      const Vector level = look_up(level0, level1, index), step = look_up(step0, step1, index);
      const Vector value = _mm256_sub_epi32(level, _mm256_madd_epi16(step, _mm256_and_si256(t, byte)));
      const Vector weight = _mm256_srlv_epi32(value, _mm256_srli_epi32(t, 12));
      store(table + p, weight);
      sum = _mm256_add_epi32(sum, weight);
    }
    sums[chosen[c]] = sum_of(sum);
    total += static_cast<uint32_t>(sums[chosen[c]]);
  }
  return total;
}

uint32_t shares(const int32_t* values, size_t padded, uint32_t factor, uint32_t* frequencies) {
  const Vector by = _mm256_set1_epi64x(factor), one = _mm256_set1_epi32(1);
  Vector sum = _mm256_setzero_si256();
  for (size_t p = 0; p < padded; p += 8) {
    const Vector w = load(values + p);
    const Vector even = _mm256_srli_epi64(_mm256_mul_epu32(w, by), 32);
    const Vector odd = _mm256_mul_epu32(_mm256_srli_epi64(w, 32), by);
    const Vector frequency = _mm256_add_epi32(_mm256_blend_epi32(even, odd, 0xaa), one);
    store(frequencies + p, frequency);
    sum = _mm256_add_epi32(sum, frequency);
  }
  return static_cast<uint32_t>(sum_of(sum));
}

size_t first_largest(const int32_t* values, size_t padded) {
  Vector most = load(values);
  for (size_t p = 8; p < padded; p += 8) most = _mm256_max_epi32(most, load(values + p));
  most = _mm256_max_epi32(most, _mm256_permute2x128_si256(most, most, 1));
  most = _mm256_max_epi32(most, _mm256_shuffle_epi32(most, 0x4e));
  most = _mm256_max_epi32(most, _mm256_shuffle_epi32(most, 0xb1));
  for (size_t p = 0;; p += 8) {
    const int same = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(load(values + p), most)));
    if (same) return p + static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(same)));
  }
}

void add_multiples(int32_t* sums, const int32_t* values, int32_t factor, size_t n) {
  const Vector by = _mm256_set1_epi32(factor);
  size_t p = 0;
  for (; p + 8 <= n; p += 8)
    store(sums + p, _mm256_add_epi32(load(sums + p), _mm256_mullo_epi32(load(values + p), by)));
  for (; p < n; ++p) sums[p] += factor * values[p];
}

// Sums of 8 lanes from the first on.
Vector prefix(Vector v) {
  v = _mm256_add_epi32(v, _mm256_slli_si256(v, 4));
  v = _mm256_add_epi32(v, _mm256_slli_si256(v, 8));
  const Vector lower = _mm256_permute2x128_si256(v, v, 0x08);  // the low half goes up, zeros come in
  return _mm256_add_epi32(v, _mm256_shuffle_epi32(lower, 0xff));
}

void cumulate(const uint32_t* frequencies, size_t padded, uint16_t* row) {
  const Vector last = _mm256_set1_epi32(7), word = _mm256_set1_epi32(0xffff);
  Vector carry = _mm256_setzero_si256();
  for (size_t p = 0; p < padded; p += 16) {
    const Vector low = _mm256_add_epi32(prefix(load(frequencies + p)), carry);
    carry = _mm256_permutevar8x32_epi32(low, last);
    const Vector high = _mm256_add_epi32(prefix(load(frequencies + p + 8)), carry);
    carry = _mm256_permutevar8x32_epi32(high, last);
    const Vector both = _mm256_packus_epi32(_mm256_and_si256(low, word), _mm256_and_si256(high, word));
    store(row + p, _mm256_permute4x64_epi64(both, 0xd8));
  }
}

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr Kernels kernels = {distances, weights, shares, first_largest, add_multiples, cumulate};
  return &kernels;
}
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace siglum::codebook
