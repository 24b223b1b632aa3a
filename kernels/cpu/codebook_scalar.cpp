// Plain variant of the Gaussian over a codebook.
#include "codebook_kernels.hpp"

namespace siglum::codebook {
namespace {

int32_t distances(const Points& points, const uint32_t* chosen, size_t count, const int16_t* mean,
                  const int16_t* rate, int32_t* result) {
  const size_t padded = points.padded;
  int32_t least = 0x7fffffff;
  for (size_t c = 0; c < count; ++c) {
    const int16_t* table = points.points + chosen[c] * points.pairs * padded * 2;
    const int32_t* bias = points.bias + chosen[c] * padded;
    int32_t* out = result + chosen[c] * padded;
    for (size_t p = 0; p < padded; ++p) out[p] = 0;
    for (size_t pair = 0; pair < points.pairs; ++pair) {
      const int16_t* row = table + pair * padded * 2;
      for (size_t p = 0; p < padded; ++p) {
        uint32_t sum = static_cast<uint32_t>(out[p]);
        for (size_t half = 0; half < 2; ++half) {
          int32_t difference = int32_t{row[2 * p + half]} - int32_t{mean[2 * pair + half]};
          difference = difference < -32768 ? -32768 : difference > 32767 ? 32767 : difference;
          const int32_t u = (difference * rate[2 * pair + half] + (1 << 14)) >> 15;
          sum += static_cast<uint32_t>(u * u);
        }
        out[p] = static_cast<int32_t>(sum < 0x7fffffffu ? sum : 0x7fffffffu);
      }
    }
    for (size_t p = 0; p < padded; ++p) {
      out[p] = (out[p] < 1 << 29 ? out[p] : 1 << 29) - bias[p];
      least = out[p] < least ? out[p] : least;
    }
  }
  return least;
}

uint64_t weights(int32_t* values, size_t padded, const uint32_t* chosen, size_t count, int32_t least,
                 const Exponentials& exponentials, int32_t* sums) {
  uint64_t total = 0;
  for (size_t c = 0; c < count; ++c) {
    int32_t* table = values + chosen[c] * padded;
    int32_t sum = 0;
    for (size_t p = 0; p < padded; ++p) {
      const uint32_t t = static_cast<uint32_t>(table[p]) - static_cast<uint32_t>(least) + (8u << 12);
      const uint32_t i = t >> 8 & 15, back = t >> 12;
      const int32_t level = exponentials.level[i] - exponentials.step[i] * static_cast<int32_t>(t & 255);
      table[p] = back > 31 ? 0 : level >> back;
      sum += table[p];
    }
    sums[chosen[c]] = sum;
    total += static_cast<uint32_t>(sum);
  }
  return total;
}

uint32_t shares(const int32_t* values, size_t padded, uint32_t factor, uint32_t* frequencies) {
  uint32_t sum = 0;
  for (size_t p = 0; p < padded; ++p) {
    frequencies[p] = 1 + static_cast<uint32_t>(uint64_t{static_cast<uint32_t>(values[p])} * factor >> 32);
    sum += frequencies[p];
  }
  return sum;
}

size_t first_largest(const int32_t* values, size_t padded) {
  size_t best = 0;
  for (size_t p = 1; p < padded; ++p) best = values[p] > values[best] ? p : best;
  return best;
}

void add_multiples(int32_t* sums, const int32_t* values, int32_t factor, size_t n) {
  for (size_t p = 0; p < n; ++p) sums[p] += factor * values[p];
}

void cumulate(const uint32_t* frequencies, size_t padded, uint16_t* row) {
  uint32_t sum = 0;
  for (size_t p = 0; p < padded; ++p) row[p] = static_cast<uint16_t>(sum += frequencies[p]);
}

}  // namespace

const Kernels* scalar_kernels() {
  static constexpr Kernels kernels = {distances, weights, shares, first_largest, add_multiples, cumulate};
  return &kernels;
}

}  // namespace siglum::codebook
