// Small parts of the lossless model. Files of several instruction sets include this: all that is compiled here is
// local to its file, so that the linker cannot give code for one instruction set to another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace siglum::lossless {

constexpr int kScales = 64;
constexpr int kMeanLimit = 64;
constexpr int kBitLevels = 67;

struct Constants {
  std::array<uint32_t, 1024> weight;      // of a predictor, by its local error
  std::array<uint32_t, 1025> reciprocal;  // 2^22 / n
  std::array<int32_t, kMeanLimit + 1> rate;
  std::array<uint8_t, 64> log2;                    // of 1 + (i + 1/2) / 64, in 1/256
  std::array<int32_t, kBitLevels> miss_frequency;  // of the binary tables, in 1/4096
  std::array<uint8_t, 4096> miss_level;            // the nearest of them
};
extern const Constants kConstants;  // lossless.cpp

namespace {

// Arithmetic shift, rounding towards minus infinity. Every compiler that builds this shifts signed values that way.
inline int32_t shift_right(int32_t value, int bits) { return value >> bits; }
inline int64_t shift_right(int64_t value, int bits) { return value >> bits; }

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline int32_t most(int32_t a, int32_t b) { return a < b ? b : a; }
inline int32_t clamp(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }
inline int32_t magnitude(int32_t value) { return value < 0 ? -value : value; }

inline int floor_log2(uint32_t value) {  // of value >= 1
#if defined(__GNUC__) || defined(__clang__)
  return 31 - __builtin_clz(value);
#else
  int result = 0;
  while (value >>= 1) ++result;
  return result;
#endif
}

// A vector of fixed size.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) : data_(new T[count]()) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    T* const mine = data_;
    data_ = other.data_;
    other.data_ = mine;
    return *this;
  }
  ~Buffer() { delete[] data_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
};

}  // namespace
}  // namespace siglum::lossless
