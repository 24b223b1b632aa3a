// Blocks of key-value caches: their entropy code, and the products that turn samples into components and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "float_network.hpp"
#include "kv_kernels.hpp"
#include "rans.hpp"

namespace siglum::kv {

// The variant of a name, which this CPU has; or nullptr.
const Kernels* find_kernels(const std::string& isa);
const Rounded* find_rounded(const std::string& isa);

// Rows times a matrix, packed for one instruction set. Columns are `parts` stretches of `width`.
class Product {
 public:
  Product(const std::string& isa, bool may_round, std::size_t depth, std::size_t parts, std::size_t width);

  // Rows 2 * pair and 2 * pair + 1 of the matrix; the second may be nullptr at the end.
  void set(std::size_t pair, const float* first, const float* second);
  void set_bias(const float* bias);  // parts * width

  // Columns of one part, or of all if there is one: `padded_width()` floats a position.
  void run(const void* operands, std::size_t positions, std::size_t part, float* out, std::size_t out_stride) const;

  const Rounded* rounded() const { return rounded_; }
  std::size_t depth() const { return depth_; }            // of an operand, with padding: 16 bits each, or floats
  std::size_t padded_width() const { return blocks_ * lanes_; }
  std::size_t operand_bytes() const { return depth_ * (rounded_ ? sizeof(std::uint16_t) : sizeof(float)); }

 private:
  const Rounded* rounded_;
  const float_network::Kernels* floats_;
  std::size_t lanes_, depth_, parts_, width_, blocks_;
  float_network::Buffer weights_;
  std::vector<float> bias_;
};

struct Matrix {
  const float* data;
  std::size_t rows, columns;
};

// Symbols of components -> samples of a group of layers.
class Synthesis {
 public:
  // `chosen` rows of the matrix, times `step`; those that are `strong` have symbols that bfloat16 does not hold.
  // `offsets` are added to symbols. Tokens are mean + (symbols + offsets) @ matrix, in stretches of `dim`.
  Synthesis(const std::string& isa, bool may_round, const Matrix& matrix, const std::int32_t* chosen,
            std::size_t count, const std::uint8_t* strong, const float* offsets, float step, const float* mean,
            std::size_t dim);

  struct Target {
    std::vector<void*> parts;  // of each layer and head, its first token
    std::size_t stride;        // samples between tokens
    Sample kind;
  };
  // (tokens, count) symbols.
  void run(const std::int32_t* symbols, std::size_t tokens, const Rotation& turned, const Target& out) const;
  std::size_t count() const { return count_; }
  std::size_t parts() const { return parts_; }
  std::size_t dim() const { return dim_; }

 private:
  void operands(const std::int32_t* symbols, std::size_t tokens, void* out) const;

  const Kernels* kernels_;
  std::size_t count_, dim_, parts_;
  std::vector<std::uint32_t> strong_;
  Product product_;
};

// Samples of a group of layers -> components in steps.
class Analysis {
 public:
  // `chosen` columns of the matrix, times `factor`; components are (token - mean) @ matrix - offsets.
  Analysis(const std::string& isa, bool may_round, const Matrix& matrix, const std::int32_t* chosen, std::size_t count,
           const float* offsets, float factor, const float* mean, std::size_t dim);

  struct Source {
    std::vector<const void*> parts;  // of each layer and head, its first token
    std::vector<std::size_t> strides;  // samples between tokens
    Sample kind;
  };
  // Writes (tokens, count) floats; false if a sample is not finite.
  bool run(const Source& in, std::size_t tokens, const Rotation& turned, float* out) const;
  std::size_t count() const { return count_; }
  std::size_t parts() const { return parts_; }
  std::size_t dim() const { return dim_; }

 private:
  const Kernels* kernels_;
  std::size_t count_, dim_, parts_;
  std::vector<float> mean_;
  Product product_;
};

// What the code of a block depends on besides its symbols; see siglum.codecs.kv.coding.
struct Coding {
  const rans::Tables* tables;
  const rans::Kernels* kernels;
  const std::int32_t* base;  // table of each component
  std::size_t count;
  std::int32_t band, band_table, token_table, most;  // components a band; tables of corrections; their limit
};

enum class Damage : std::uint8_t { none, truncated, malformed, corrupt, flags, range, checksum };

struct Body {
  const std::uint8_t* data;
  std::size_t size;
  std::size_t tokens;
  std::uint32_t crc;
};

// Symbols (tokens, count) of blocks, one after the other, and what is wrong with each.
void decode(const Coding& coding, const std::vector<Body>& bodies, std::int32_t* symbols, Damage* damage);

// What decides about corrections of scales.
struct Statistics {
  const float* precision;  // 1 / variance of each component in squared steps, with what rounding adds
  double table;            // logarithm of the factor between tables
  std::int32_t strongest_ignored;  // corrections are for components of higher tables
};

struct Coded {
  std::vector<std::uint8_t> body;
  std::uint32_t crc = 0;
  bool fits = true;  // false if a symbol is too large
};

// A block of components (tokens, count); without corrections if `statistics` is nullptr.
Coded encode(const Coding& coding, const Statistics* statistics, const Kernels& kernels, rans::Encoder& encoder,
             const float* values, std::size_t tokens, float largest);

}  // namespace siglum::kv
