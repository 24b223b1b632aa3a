// Probabilities of codewords under a Gaussian, exact in integers; docs/entropy-models.md has the formulas.
//
// Codewords c (int16) stand cell after cell. A vector brings a mean (int16 a dimension) and a scale number 0..63 a
// dimension. Energy of a codeword, in units of 2^-12 bit: sum of u^2, u = (sat16(c - mean) * rate + 2^14) >> 15. Its
// weight is 2^16 times 2^-(energy - bias) relative to the likeliest; frequencies are in proportion, each at least 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codebook_kernels.hpp"

namespace siglum::codebook {

constexpr size_t kScales = 64;
constexpr size_t kMaxDimension = 64;
constexpr size_t kMaxEntries = 256;  // cells, and members of a cell
constexpr unsigned kPrecision = 15;

struct Vectors {
  const int16_t* mean;   // (count, dimension)
  const uint8_t* scale;  // (count, dimension), each < kScales
  size_t count;
};

// Immutable once built; shared between threads.
class Codebook {
 public:
  // points (sum of counts, dimension); centre_rates and norms (dimension, kScales). Throws std::invalid_argument if
  // a count is not 1 to 256, or there are more than 256 cells or 64 dimensions.
  Codebook(const Kernels& kernels, size_t dimension, const int16_t* points, const int32_t* bias,
           const int32_t* counts, size_t cells, const int16_t* centres, const int32_t* centre_bias,
           const int16_t* centre_rates, const int32_t* norms, const int16_t* rates, const int32_t* exponentials,
           int32_t refine);

  size_t dimension() const { return dimension_; }
  size_t cells() const { return cells_; }
  size_t members() const { return members_; }  // of the largest cell

  // Cumulative rows (count, cells + 1) or (count, members + 1); smaller cells repeat the last value.
  void cell_rows(const Vectors& vectors, uint16_t* rows, size_t threads) const;
  void member_rows(const Vectors& vectors, const int32_t* chosen, uint16_t* rows, size_t threads) const;

  // Start and frequency of one entry a vector. `chosen` and `entry` must be valid.
  void cell_entries(const Vectors& vectors, const int32_t* chosen, uint16_t* starts, uint16_t* frequencies,
                    size_t threads) const;
  void member_entries(const Vectors& vectors, const int32_t* chosen, const int32_t* entry, uint16_t* starts,
                      uint16_t* frequencies, size_t threads) const;

  bool valid_scales(const Vectors& vectors) const;
  bool valid_cells(const int32_t* chosen, size_t count) const;
  bool valid_entries(const int32_t* chosen, const int32_t* entry, size_t count) const;

 private:
  struct Level {  // tables of points, packed for the kernels
    size_t padded = 0;
    std::vector<int16_t> points;
    std::vector<int32_t> bias;
    Points view(size_t pairs) const { return {points.data(), bias.data(), pairs, padded}; }
  };
  struct Scratch;
  Level pack(const int16_t* points, const int32_t* bias, const size_t* counts, size_t tables) const;
  void set_rates(const Vectors& vectors, size_t v, Scratch& scratch) const;
  void cell_frequencies(Scratch& scratch) const;
  void member_frequencies(size_t cell, Scratch& scratch) const;
  void share(const int32_t* weights, size_t count, size_t padded, uint64_t total, Scratch& scratch) const;
  void write_row(const Scratch& scratch, size_t count, size_t padded, size_t width, uint16_t* row) const;
  template <class Function>
  void for_each(const Vectors& vectors, size_t threads, const Function& function) const;

  const Kernels& kernels_;
  size_t dimension_, pairs_, cells_, members_ = 0;
  std::vector<size_t> counts_;  // members of each cell
  Level levels_;                // a table a cell
  Level centres_;               // a single table
  std::vector<int16_t> centre_rates_;
  std::vector<int32_t> norms_;
  int16_t rates_[kScales];
  Exponentials exponentials_;
  int32_t refine_;
};

}  // namespace siglum::codebook
