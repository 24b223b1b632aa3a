// Conditional means of a multivariate Gaussian in Cholesky form, N(mu, L D L^T), exact in integers.
//
// mu and L are int32 with 16 fraction bits. Component i of a vector has the mean
//   m_i = mu_i + ((sum_{j<i} L_ij e_j + half) >> s),   half = s ? 2^(s-1) : 0
// with residuals e_j of s fraction bits; sums are modulo 2^64 in two's complement and >> rounds down, so that any
// input gives the same result everywhere. Real vectors: s = 0, e_j = k_j, the coded integers. Integer vectors: s = 8,
// e_j = (y_j << 8) - (m_j >> 8), modulo 2^32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "multivariate_kernels.hpp"

namespace siglum::multivariate {

constexpr int kShift = 16;
constexpr int kResidualShift = 8;
constexpr size_t kMaxDimension = 16;
constexpr int64_t kMaxMagnitude = int64_t{1} << 30;  // of a coded residual

// Rows of `count` values, or of a single one that holds for all vectors.
struct Rows {
  const int32_t* data;
  bool same;
};

struct Prior {
  const Kernels* kernels;
  size_t dimension, count;
  Rows mean;     // dimension rows
  Rows factors;  // L_10, L_20, L_21, L_30 ...: dimension * (dimension - 1) / 2 rows
};

// Arrays are (dimension, count), a row a component.

// Real vectors to coded integers, k_i = floor(y_i - m_i + 1/2) with y rounded to 16 fraction bits. False if a value is
// not a number, or too large.
bool residuals(const Prior& prior, const double* values, int32_t* coded, size_t threads);

// Coded integers to real vectors: m_i + k_i with 16 fraction bits.
void reconstruct(const Prior& prior, const int32_t* coded, int64_t* values, size_t threads);

// Integer vectors to coded integers y_i - shift_i and the sixteenths -8 to 7 by which m_i, rounded to sixteenths,
// exceeds shift_i.
void residuals_integer(const Prior& prior, const int32_t* values, int32_t* coded, int8_t* fractions, size_t threads);

// One component of that for decoding: residuals holds the rows before `component`; its row receives -(m >> 8).
void predict_integer(const Prior& prior, size_t component, int32_t* residuals, int32_t* shifts, int8_t* fractions,
                     size_t threads);

// After the component was decoded: values = shifts + coded (both `count`), and its residuals.
void settle_integer(const Prior& prior, size_t component, int32_t* residuals, const int32_t* shifts,
                    const int32_t* coded, int32_t* values, size_t threads);

}  // namespace siglum::multivariate
