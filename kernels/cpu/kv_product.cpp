// Matrices packed for one instruction set, and the passes over a group of layers that use them.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "isa.hpp"
#include "kv.hpp"

namespace siglum::kv {
namespace {

constexpr std::size_t run_tokens = 96;  // operands of a pass stay in the second-level cache

std::size_t blocks_of(std::size_t width, std::size_t lanes) { return (width + lanes - 1) / lanes; }

// Nearest, ties to even, in the upper half of a float.
float upper(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::uint16_t upper_bits(float value) {
  const float rounded = upper(value);
  std::uint32_t bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

}  // namespace

const Kernels* find_kernels(const std::string& isa) {
  if (!cpu_has(isa.c_str())) return nullptr;
  const Kernels* const found = isa == "neon"     ? neon_kernels()
                               : isa == "avx2"   ? avx2_kernels()
                               : isa == "avx512" ? avx512_kernels()
                                                 : nullptr;
  return found ? found : scalar_kernels();  // which a compiler without conversions of halves leaves
}

const Rounded* find_rounded(const std::string& isa) {
  return float_network::find_rounded(isa.c_str()) ? bf16_kernels() : nullptr;
}

Product::Product(const std::string& isa, bool may_round, std::size_t depth, std::size_t parts, std::size_t width)
    : rounded_(may_round ? find_rounded(isa) : nullptr), floats_(float_network::find_kernels(isa.c_str())),
      lanes_(rounded_ || !floats_ ? 16 : floats_->width), depth_((depth + 1) / 2 * 2), parts_(parts), width_(width),
      blocks_(blocks_of(width, lanes_)) {
  if (!floats_) throw std::invalid_argument("this CPU or this build has no " + isa);
  const std::size_t numbers = parts * blocks_ * lanes_ * depth_;
  weights_ = float_network::Buffer(std::max<std::size_t>(1, rounded_ ? numbers / 2 : numbers));
  bias_.assign(parts * blocks_ * lanes_, 0.0f);
  if (width % lanes_ && numbers) std::memset(weights_.data(), 0, weights_.size() * sizeof(float));
}

void Product::set(std::size_t pair, const float* first, const float* second) {
  const std::vector<float> zeros(second ? 0 : parts_ * width_, 0.0f);
  if (!second) second = zeros.data();
  for (std::size_t part = 0; part < parts_; ++part) {
    for (std::size_t b = 0; b < blocks_; ++b) {
      const std::size_t from = part * width_ + b * lanes_, some = std::min(lanes_, width_ - b * lanes_);
      const std::size_t block = (part * blocks_ + b) * depth_ * lanes_;
      if (rounded_) {
        std::uint16_t* to = reinterpret_cast<std::uint16_t*>(weights_.data()) + block + 2 * pair * lanes_;
        rounded_->round_pairs(first + from, second + from, to, some);
      } else {
        float* to = weights_.data() + block + 2 * pair * lanes_;
        std::memcpy(to, first + from, some * sizeof(float));
        std::memcpy(to + lanes_, second + from, some * sizeof(float));
      }
    }
  }
}

void Product::set_bias(const float* bias) {
  for (std::size_t part = 0; part < parts_; ++part)
    std::copy_n(bias + part * width_, width_, bias_.data() + part * padded_width());
}

void Product::run(const void* operands, std::size_t positions, std::size_t part, float* out,
                  std::size_t out_stride) const {
  const std::size_t first = part * blocks_ * depth_ * lanes_;
  const float* const bias = bias_.data() + part * padded_width();
  if (rounded_) {
    const std::uint16_t* weights = reinterpret_cast<const std::uint16_t*>(weights_.data()) + first;
    rounded_->product(static_cast<const std::uint16_t*>(operands), depth_, weights, blocks_, bias, out, out_stride,
                      positions);
    return;
  }
  const float_network::Operand in = {static_cast<const float*>(operands), depth_, 1, 0, depth_};
  const float_network::Epilogue epilogue = {bias, nullptr, nullptr, 0, false};
  floats_->pointwise(in, weights_.data() + first, blocks_, epilogue, out, out_stride, positions);
}

Synthesis::Synthesis(const std::string& isa, bool may_round, const Matrix& matrix, const std::int32_t* chosen,
                     std::size_t count, const std::uint8_t* strong, const float* offsets, float step,
                     const float* mean, std::size_t dim)
    : kernels_(find_kernels(isa)), count_(count), dim_(dim), parts_(matrix.columns / dim), strong_([&] {
        std::vector<std::uint32_t> found;
        const bool rounded = may_round && find_rounded(isa);
        for (std::size_t j = 0; j < count; ++j)
          if (rounded && strong[j]) found.push_back(static_cast<std::uint32_t>(j));
        return found;
      }()),
      product_(isa, may_round, count + 2 * strong_.size(), parts_, dim) {
  const std::size_t width = matrix.columns, rows = count + 2 * strong_.size();
  std::vector<float> pair(2 * width), bias(mean, mean + width);
  // A strong symbol is a sum of two numbers that bfloat16 holds, and so is nearly its row: all products but the least.
  for (std::size_t r = 0; r < rows; ++r) {
    const bool extra = r >= count;
    const std::size_t j = extra ? strong_[(r - count) / 2] : r;
    const float* from = matrix.data + static_cast<std::size_t>(chosen[j]) * width;
    float* const to = pair.data() + r % 2 * width;
    for (std::size_t i = 0; i < width; ++i) to[i] = from[i] * step;
    if (!extra && offsets[j] != 0.0f)
      for (std::size_t i = 0; i < width; ++i) bias[i] += offsets[j] * to[i];
    if (extra && (r - count) % 2)
      for (std::size_t i = 0; i < width; ++i) to[i] -= upper(to[i]);
    if (r % 2) product_.set(r / 2, pair.data(), pair.data() + width);
  }
  if (rows % 2) product_.set(rows / 2, pair.data(), nullptr);
  product_.set_bias(bias.data());
}

void Synthesis::operands(const std::int32_t* symbols, std::size_t tokens, void* out) const {
  const std::size_t depth = product_.depth();
  const Rounded* const rounded = product_.rounded();
  for (std::size_t t = 0; t < tokens; ++t, symbols += count_) {
    if (!rounded) {
      float* to = static_cast<float*>(out) + t * depth;
      for (std::size_t j = 0; j < count_; ++j) to[j] = static_cast<float>(symbols[j]);
      if (count_ < depth) to[count_] = 0;
      continue;
    }
    std::uint16_t* to = static_cast<std::uint16_t*>(out) + t * depth;
    rounded->round_integers(symbols, to, count_);
    to += count_;
    for (std::uint32_t j : strong_) {  // the rest of the symbol with the row; the symbol with the rest of the row
      const float value = static_cast<float>(symbols[j]);
      *to++ = upper_bits(value - upper(value));
      *to++ = upper_bits(value);
    }
    if (count_ % 2) *to = 0;
  }
}

void Synthesis::run(const std::int32_t* symbols, std::size_t tokens, const Rotation& turned, const Target& out) const {
  const std::size_t padded = product_.padded_width();
  const std::size_t bytes = out.kind == Sample::f32 ? 4 : 2;
  float_network::Buffer operand(run_tokens * product_.operand_bytes() / sizeof(float) + 16);
  float_network::Buffer sums(run_tokens * padded);
  for (std::size_t first = 0; first < tokens; first += run_tokens) {
    const std::size_t some = std::min(run_tokens, tokens - first);
    operands(symbols + first * count_, some, operand.data());
    Rotation here = turned;
    if (here.cos) {
      here.cos += first * (here.dim / 2);
      here.sin += first * (here.dim / 2);
    }
    for (std::size_t part = 0; part < parts_; ++part) {
      product_.run(operand.data(), some, part, sums.data(), padded);
      kernels_->put(sums.data(), padded, some, dim_, here, out.kind,
                    static_cast<char*>(out.parts[part]) + first * out.stride * bytes, out.stride);
    }
  }
}

Analysis::Analysis(const std::string& isa, bool may_round, const Matrix& matrix, const std::int32_t* chosen,
                   std::size_t count, const float* offsets, float factor, const float* mean, std::size_t dim)
    : kernels_(find_kernels(isa)), count_(count), dim_(dim), parts_(matrix.rows / dim),
      mean_(mean, mean + matrix.rows), product_(isa, may_round, matrix.rows, 1, count) {
  std::vector<float> pair(2 * count), bias(count);
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    const float* from = matrix.data + r * matrix.columns;
    float* const to = pair.data() + r % 2 * count;
    for (std::size_t j = 0; j < count; ++j) to[j] = from[chosen[j]] * factor;
    if (r % 2) product_.set(r / 2, pair.data(), pair.data() + count);
  }
  if (matrix.rows % 2) product_.set(matrix.rows / 2, pair.data(), nullptr);
  for (std::size_t j = 0; j < count; ++j) bias[j] = -offsets[j];
  product_.set_bias(bias.data());
}

bool Analysis::run(const Source& in, std::size_t tokens, const Rotation& turned, float* out) const {
  const std::size_t padded = product_.padded_width(), depth = product_.depth(), width = parts_ * dim_;
  const std::size_t bytes = in.kind == Sample::f32 ? 4 : 2;
  const Rounded* const rounded = product_.rounded();
  float_network::Buffer operand(run_tokens * product_.operand_bytes() / sizeof(float) + 16);
  float_network::Buffer rows(run_tokens * dim_), sums(run_tokens * padded);
  float odd = 0;
  for (std::size_t first = 0; first < tokens; first += run_tokens) {
    const std::size_t some = std::min(run_tokens, tokens - first);
    Rotation here = turned;
    if (here.cos) {
      here.cos += first * (here.dim / 2);
      here.sin += first * (here.dim / 2);
    }
    for (std::size_t part = 0; part < parts_; ++part) {
      const char* from = static_cast<const char*>(in.parts[part]) + first * in.strides[part] * bytes;
      float* const direct = operand.data() + part * dim_;
      odd += kernels_->take(from, in.strides[part], in.kind, some, dim_, here, mean_.data() + part * dim_,
                            rounded ? rows.data() : direct, rounded ? dim_ : depth);
      if (!rounded) continue;
      std::uint16_t* const to = reinterpret_cast<std::uint16_t*>(operand.data()) + part * dim_;
      for (std::size_t t = 0; t < some; ++t) rounded->round(rows.data() + t * dim_, to + t * depth, dim_);
    }
    if (width < depth) {
      for (std::size_t t = 0; t < some; ++t) {
        if (rounded) {
          reinterpret_cast<std::uint16_t*>(operand.data())[t * depth + width] = 0;
        } else {
          operand.data()[t * depth + width] = 0;
        }
      }
    }
    if (padded == count_) {
      product_.run(operand.data(), some, 0, out + first * count_, count_);
      continue;
    }
    product_.run(operand.data(), some, 0, sums.data(), padded);
    for (std::size_t t = 0; t < some; ++t)
      std::memcpy(out + (first + t) * count_, sums.data() + t * padded, count_ * sizeof(float));
  }
  return odd == 0;
}

}  // namespace siglum::kv
