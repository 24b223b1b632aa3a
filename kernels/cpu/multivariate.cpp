#include "multivariate.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "parallel.hpp"

namespace siglum::multivariate {
namespace {

constexpr size_t kBlock = 512;            // vectors whose sums stay in the first cache
constexpr size_t kPerThread = 1u << 14;   // fewer values are not worth a thread
constexpr double kMaxValue = 1 << 24;

template <class Function>
void in_blocks(const Prior& prior, size_t threads, const Function& function) {
  const size_t worth = prior.count * prior.dimension / kPerThread;
  Team team(std::max<size_t>(1, std::min(threads, worth)));
  team.rows(prior.count, [&](size_t begin, size_t end) {
    for (size_t v = begin; v < end; v += kBlock) function(v, std::min(kBlock, end - v));
  });
}

int64_t wrap(uint64_t value) { return static_cast<int64_t>(value); }
int32_t wrap32(uint64_t value) { return static_cast<int32_t>(static_cast<uint32_t>(value)); }

// Means of component i for the vectors [begin, begin + n); row j of the residuals begins at j * stride.
template <int Shift>
void means(const Prior& prior, size_t i, size_t begin, size_t n, const int32_t* residuals, size_t stride,
           int64_t* result) {
  uint64_t sums[kBlock];
  const uint64_t half = Shift ? uint64_t{1} << (Shift ? Shift - 1 : 0) : 0;
  std::fill(sums, sums + n, half);
  const size_t first = i * (i - 1) / 2;
  for (size_t j = 0; j < i; ++j) {
    const int32_t* row = residuals + j * stride;
    if (prior.factors.same) {
      prior.kernels->add_multiples(sums, prior.factors.data[first + j], row, n);
    } else {
      prior.kernels->add_products(sums, prior.factors.data + (first + j) * prior.count + begin, row, n);
    }
  }
  const int32_t* mean = prior.mean.data + (prior.mean.same ? i : i * prior.count + begin);
  const size_t step = prior.mean.same ? 0 : 1;
  for (size_t v = 0; v < n; ++v)
    result[v] = wrap(static_cast<uint64_t>(int64_t{mean[v * step]}) + static_cast<uint64_t>(wrap(sums[v]) >> Shift));
}

// The mean rounded to sixteenths: the nearest integer and what is left of it.
void split(int64_t mean, int32_t& shift, int8_t& fraction) {
  const int64_t sixteenths = wrap(static_cast<uint64_t>(mean) + (1u << (kShift - 5))) >> (kShift - 4);
  const int64_t whole = (sixteenths + 8) >> 4;
  shift = wrap32(static_cast<uint64_t>(whole));
  fraction = static_cast<int8_t>(sixteenths - whole * 16);
}

int32_t negative_mean(int64_t mean) { return wrap32(-static_cast<uint64_t>(mean >> (kShift - kResidualShift))); }

int32_t residual(int32_t value, int32_t negative) {
  return wrap32((static_cast<uint64_t>(int64_t{value}) << kResidualShift) + static_cast<uint64_t>(int64_t{negative}));
}

}  // namespace

bool residuals(const Prior& prior, const double* values, int32_t* coded, size_t threads) {
  std::atomic<bool> good{true};
  in_blocks(prior, threads, [&](size_t begin, size_t n) {
    int64_t mean[kBlock];
    bool fine = true;
    for (size_t i = 0; i < prior.dimension; ++i) {
      means<0>(prior, i, begin, n, coded + begin, prior.count, mean);
      const double* y = values + i * prior.count + begin;
      int32_t* k = coded + i * prior.count + begin;
      for (size_t v = 0; v < n; ++v) {
        const bool usable = std::fabs(y[v]) <= kMaxValue;  // false for a NaN
        const int64_t fixed = std::llrint((usable ? y[v] : 0.0) * (1 << kShift));
        const int64_t away = wrap(static_cast<uint64_t>(fixed) - static_cast<uint64_t>(mean[v]) + (1u << (kShift - 1)));
        const int64_t rounded = away >> kShift;
        fine = fine && usable && rounded >= -kMaxMagnitude && rounded <= kMaxMagnitude;
        k[v] = wrap32(static_cast<uint64_t>(rounded));
      }
    }
    if (!fine) good = false;
  });
  return good;
}

void reconstruct(const Prior& prior, const int32_t* coded, int64_t* values, size_t threads) {
  in_blocks(prior, threads, [&](size_t begin, size_t n) {
    for (size_t i = 0; i < prior.dimension; ++i) {
      int64_t* out = values + i * prior.count + begin;
      const int32_t* k = coded + i * prior.count + begin;
      means<0>(prior, i, begin, n, coded + begin, prior.count, out);
      for (size_t v = 0; v < n; ++v)
        out[v] = wrap(static_cast<uint64_t>(out[v]) + (static_cast<uint64_t>(int64_t{k[v]}) << kShift));
    }
  });
}

void residuals_integer(const Prior& prior, const int32_t* values, int32_t* coded, int8_t* fractions,
                       size_t threads) {
  in_blocks(prior, threads, [&](size_t begin, size_t n) {
    int64_t mean[kBlock];
    int32_t rows[kMaxDimension * kBlock];
    for (size_t i = 0; i < prior.dimension; ++i) {
      means<kResidualShift>(prior, i, begin, n, rows, kBlock, mean);
      const size_t at = i * prior.count + begin;
      for (size_t v = 0; v < n; ++v) {
        int32_t shift;
        split(mean[v], shift, fractions[at + v]);
        coded[at + v] = wrap32(static_cast<uint64_t>(int64_t{values[at + v]} - int64_t{shift}));
        rows[i * kBlock + v] = residual(values[at + v], negative_mean(mean[v]));
      }
    }
  });
}

void predict_integer(const Prior& prior, size_t component, int32_t* residuals, int32_t* shifts, int8_t* fractions,
                     size_t threads) {
  in_blocks(prior, threads, [&](size_t begin, size_t n) {
    int64_t mean[kBlock];
    means<kResidualShift>(prior, component, begin, n, residuals + begin, prior.count, mean);
    int32_t* row = residuals + component * prior.count + begin;
    for (size_t v = 0; v < n; ++v) {
      split(mean[v], shifts[begin + v], fractions[begin + v]);
      row[v] = negative_mean(mean[v]);
    }
  });
}

void settle_integer(const Prior& prior, size_t component, int32_t* residuals, const int32_t* shifts,
                    const int32_t* coded, int32_t* values, size_t threads) {
  in_blocks(prior, threads, [&](size_t begin, size_t n) {
    int32_t* row = residuals + component * prior.count + begin;
    for (size_t v = 0; v < n; ++v) {
      values[begin + v] = wrap32(static_cast<uint64_t>(int64_t{shifts[begin + v]} + int64_t{coded[begin + v]}));
      row[v] = residual(values[begin + v], row[v]);
    }
  });
}

}  // namespace siglum::multivariate
