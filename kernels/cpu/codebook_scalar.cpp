// Plain variant of the Gaussian over a codebook.
#include "codebook_kernels.hpp"

namespace siglum::codebook {
namespace {

int32_t distances(const int16_t* points, size_t pairs, size_t padded, const int16_t* mean, const int16_t* rate,
                  const int32_t* bias, int32_t* out) {
  for (size_t p = 0; p < padded; ++p) out[p] = 0;
  for (size_t pair = 0; pair < pairs; ++pair) {
    const int16_t* row = points + pair * padded * 2;
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
  int32_t least = 0x7fffffff;
  for (size_t p = 0; p < padded; ++p) {
    out[p] = (out[p] < 1 << 30 ? out[p] : 1 << 30) - bias[p];
    least = out[p] < least ? out[p] : least;
  }
  return least;
}

uint64_t weights(int32_t* values, size_t padded, int32_t least, const Exponentials& exponentials) {
  uint64_t sum = 0;
  for (size_t p = 0; p < padded; ++p) {
    const uint32_t t = static_cast<uint32_t>(values[p]) - static_cast<uint32_t>(least) + (8u << 12);
    const uint32_t i = t >> 8 & 15, back = t >> 12;
    const int32_t level = exponentials.level[i] - exponentials.step[i] * static_cast<int32_t>(t & 255);
    values[p] = back > 31 ? 0 : level >> back;
    sum += static_cast<uint32_t>(values[p]);
  }
  return sum;
}

void shares(const int32_t* values, size_t padded, uint32_t factor, uint32_t* frequencies) {
  for (size_t p = 0; p < padded; ++p)
    frequencies[p] = 1 + static_cast<uint32_t>(uint64_t{static_cast<uint32_t>(values[p])} * factor >> 32);
}

}  // namespace

const Kernels* scalar_kernels() {
  static constexpr Kernels kernels = {distances, weights, shares};
  return &kernels;
}

}  // namespace siglum::codebook
