// One channel of the lossless picture model: prediction, and the choice of a table for the residual. Integers only.
//
// Prediction: five fixed predictors are blended by their local errors (the idea of Meyer and Tischer, TMW, PCS 1997),
// then a normalised LMS stage corrects the blend from the errors of neighbours, the spread of the predictors and the
// errors of earlier channels of the same pixel. Context modelling of the error's size after CALIC (Wu and Memon, IEEE
// Trans. Comm. 45, 1997): three contexts keep a running mean of the absolute error, and their average names the scale.
// Written from the papers. docs/lossless.md specifies every integer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "lossless_tools.hpp"

namespace siglum::lossless {
namespace {  // each instruction set compiles its own copy

// Steps of 1, 1/2 ... octave: 0 for value 0.
template <int Fraction>
inline uint32_t level(uint32_t value, uint32_t limit) {
  const uint32_t v = value + 1;
  const int octave = floor_log2(v);
  const uint32_t result =
      static_cast<uint32_t>(octave) << Fraction | (((v << Fraction) >> octave) & ((1u << Fraction) - 1));
  return result < limit ? result : limit;
}

constexpr int kPredictors = 5;
constexpr int kTaps = 16;  // 12 used, the rest zero: whole vectors
constexpr size_t kBorder = 2;
constexpr int kLmsContexts = 8;

// What later pixels need of one sample. Errors and predictions are in eighths.
struct alignas(16) Sample {
  std::array<uint16_t, 8> errors{};  // of each predictor, absolute
  int16_t value = 0;
  int16_t error = 0;  // of the final prediction, before rounding
  int16_t size = 0;   // its magnitude
  int16_t pad[5] = {};
};

// Running mean of the absolute error, in 1/2048 of a level.
struct Mean {
  int32_t value = 8 * 256;
  int32_t count = 0;
  void learn(int32_t size) {
    value += static_cast<int32_t>(
        shift_right(int64_t{size * 256 - value} * kConstants.rate[static_cast<size_t>(count)], 16));
    if (count < kMeanLimit) ++count;
  }
};

// Table of the scale nearest to a mean absolute error.
inline uint32_t scale_of(uint32_t mean) {
  const uint32_t m = mean == 0 ? 1 : mean;
  const int octave = floor_log2(m);
  const uint32_t fraction = (octave >= 6 ? m >> (octave - 6) : m << (6 - octave)) & 63;
  const int32_t log = octave * 256 + kConstants.log2[fraction];
  return static_cast<uint32_t>(clamp(shift_right((log - 1990) * 1756 + 32768, 16), 0, kScales - 1));
}

class Channel {
 public:
  // A sample is in [low, low + 2^bits): residuals are taken modulo 2^bits.
  void begin(size_t width, int32_t low, int bits) {
    width_ = width;
    low_ = low;
    mask_ = (1 << bits) - 1;
    for (auto& row : rows_) row = Buffer<Sample>(width + 2 * kBorder);
  }

  void begin_row(size_t y) {
    row_ = y;
    for (size_t i = 0; i < kBorder; ++i) rows_[0][i] = rows_[1][kBorder];
  }

  void end_row() {
    for (size_t i = 0; i < kBorder; ++i) rows_[0][kBorder + width_ + i] = rows_[0][kBorder + width_ - 1];
    std::swap(rows_[1], rows_[2]);
    std::swap(rows_[0], rows_[1]);
  }

  const Sample& sample(size_t x) const { return rows_[0][kBorder + x]; }

  // A sample known without coding.
  void skip(size_t x, int32_t value) {
    Sample& s = rows_[0][kBorder + x];
    s = Sample{};
    s.value = static_cast<int16_t>(value);
  }

  // Codes one sample. `first` and `second` are the same pixel's samples of earlier channels, or null.
  template <class Coder>
  int32_t code(Coder& coder, size_t x, int32_t value, const Sample* first, const Sample* second) {
    Sample* const here = &rows_[0][kBorder + x];
    const Sample* const above = &rows_[1][kBorder + x];
    const Sample* const top = &rows_[2][kBorder + x];
    const int32_t w = here[-1].value, ww = here[-2].value;
    int32_t n = above[0].value, nw = above[-1].value, ne = above[1].value, nn = top[0].value, nne = top[1].value;
    if (row_ == 0) {
      n = nw = ne = nn = nne = w;
    } else if (row_ == 1) {
      nn = n;
      nne = ne;
    }
    const int32_t smaller = least(w, n), larger = most(w, n);
    const std::array<int32_t, kPredictors> predictions = {
        8 * (w + ne - n),
        8 * n + 2 * (n - nn) + 2 * (ne - nne),
        8 * w + 4 * (n - nw) + 2 * (w - ww),
        8 * (nw >= larger ? smaller : nw <= smaller ? larger : w + n - nw),
        4 * (w + n),
    };

    // Blend.
    alignas(16) uint16_t local[8];
    for (int i = 0; i < 8; ++i) {
      local[i] = static_cast<uint16_t>(2 * here[-1].errors[i] + 2 * above[0].errors[i] + above[-1].errors[i] +
                                       above[1].errors[i] + here[-2].errors[i]);
    }
    uint32_t weights[kPredictors], total = 0;
    for (int i = 0; i < kPredictors; ++i) {
      weights[i] = kConstants.weight[least(local[i] >> 2, 1023)];
      total += weights[i];
    }
    const int excess = most(floor_log2(total) - 9, 0);
    int32_t sum = 0;
    total = 0;
    for (int i = 0; i < kPredictors; ++i) {
      const uint32_t weight = weights[i] >> excess;
      total += weight;
      sum += static_cast<int32_t>(weight) * predictions[i];
    }
    const int32_t blend =
        static_cast<int32_t>(shift_right(int64_t{sum} * kConstants.reciprocal[total] + (1 << 21), 22));

    // Correction by LMS.
    const int32_t near = here[-1].size + above[0].size;
    const uint32_t energy = static_cast<uint32_t>(2 * near + above[-1].size + above[1].size + here[-2].size + top[0].size);
    alignas(16) int16_t taps[kTaps] = {here[-1].error, above[0].error, above[1].error, above[-1].error, here[-2].error,
                                       static_cast<int16_t>(first ? first->error : 0),
                                       static_cast<int16_t>(second ? second->error : 0)};
    for (int i = 0; i < kPredictors; ++i) {
      taps[7 + i] = static_cast<int16_t>(clamp(predictions[i] - blend, -4095, 4095));
    }
    int16_t* const lms = lms_[least(floor_log2(energy + 1) >> 1, kLmsContexts - 1)].data();
    int32_t correction = 0, power = 64;
    for (int i = 0; i < kTaps; ++i) {
      correction += taps[i] * lms[i];
      power += taps[i] * taps[i];
    }
    const int32_t prediction = clamp(blend + shift_right(correction, 14), 8 * low_, 8 * (low_ + mask_));

    // Table.
    const uint32_t gradient = static_cast<uint32_t>(magnitude(w - nw) + magnitude(n - nw) + magnitude(n - ne));
    int32_t low = predictions[0], high = predictions[0];
    for (int i = 1; i < kPredictors; ++i) {
      low = least(low, predictions[i]);
      high = most(high, predictions[i]);
    }
    const uint32_t spread = static_cast<uint32_t>(high - low);
    const uint32_t earlier = second ? static_cast<uint32_t>(first->size + second->size)
                                    : first ? static_cast<uint32_t>(2 * first->size) : 0;
    Mean& a = sizes_by_energy_[level<1>(energy >> 2, 31) * 8 + (first ? level<0>(earlier >> 2, 7) : 0)];
    Mean& b = sizes_by_gradient_[level<1>(gradient, 15) * 32 + level<1>(spread, 31)];
    Mean& c = sizes_by_shape_[(level<0>(energy >> 2, 15) * 16 + level<0>(static_cast<uint32_t>(near), 15)) * 8 +
                              level<0>(spread >> 1, 7)];
    const uint32_t mean = static_cast<uint32_t>(2 * a.value + b.value + c.value) >> 2;

    // Residual, modulo the range.
    const int32_t rounded = shift_right(prediction + 4, 3);
    const int32_t half = (mask_ + 1) >> 1;
    const uint32_t symbol = static_cast<uint32_t>(
        coder.code(scale_of(mean), ((value - rounded + half) & mask_) - half));
    value = low_ + static_cast<int32_t>((static_cast<uint32_t>(rounded - low_) + symbol) & static_cast<uint32_t>(mask_));

    // Learn.
    const int32_t error = 8 * value - prediction;
    const int32_t size = magnitude(error);
    for (int i = 0; i < kPredictors; ++i) {
      here->errors[i] = static_cast<uint16_t>(least(magnitude(8 * value - predictions[i]), 8191));
    }
    here->value = static_cast<int16_t>(value);
    here->error = static_cast<int16_t>(error);
    here->size = static_cast<int16_t>(size);
    a.learn(size);
    b.learn(size);
    c.learn(size);
    const int16_t step = static_cast<int16_t>(
        clamp(shift_right(error * 65536, floor_log2(static_cast<uint32_t>(power))), -32767, 32767));
    for (int i = 0; i < kTaps; ++i) {
      const int32_t product = static_cast<int32_t>(step) * static_cast<int32_t>(taps[i]);
      lms[i] = static_cast<int16_t>(clamp(lms[i] + shift_right(product + 256, 9), -32767, 32767));
    }
    return value;
  }

 private:
  size_t width_ = 0;
  size_t row_ = 0;
  int32_t low_ = 0;
  int32_t mask_ = 0;
  std::array<Buffer<Sample>, 3> rows_;  // this one, the one above, the one above that
  std::array<std::array<int16_t, kTaps>, kLmsContexts> lms_{};
  Buffer<Mean> sizes_by_energy_ = Buffer<Mean>(32 * 8), sizes_by_gradient_ = Buffer<Mean>(16 * 32);
  Buffer<Mean> sizes_by_shape_ = Buffer<Mean>(16 * 16 * 8);
};

}  // namespace
}  // namespace siglum::lossless
