// Mixtures of the Gaussian tables, mixed in integers: a table for every symbol.
//
// Component c of a symbol has an integer weight, an integer shift and one of the tables; symbol k has the mass
// sum_c weight_c * frequency_c(k - shift_c), the escape what is left of sum_c weight_c * 2^12; where the weights sum to
// less than 16 they are taken 16 times. The window of a
// symbol's table reaches from the lowest to the highest entry of its components, at most kWindow wide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codebook_kernels.hpp"

namespace siglum::mixture {

constexpr size_t kWindow = 1024;
constexpr int64_t kMaxWeight = 1 << 18;  // of all components together
constexpr int32_t kMaxShift = 1 << 24;
constexpr unsigned kPrecision = 15;

struct Components {
  size_t count, number;    // symbols; components of each
  const int32_t* weights;  // (count, number), like the others
  const int32_t* shifts;
  const uint16_t* tables;
};

// Immutable once built; shared between threads.
class Mixture {
 public:
  // Tables one after the other, escape last, each with sum 2^12.
  Mixture(const codebook::Kernels& kernels, const uint32_t* frequencies, const uint32_t* sizes, const int32_t* offsets,
          size_t tables);

  // False if a weight is negative, their sum is not 1 to kMaxWeight, or a table or a shift is out of range.
  bool valid(const Components& components) const;

  // Windows: symbol of entry 0, and entries without the escape. Components must be valid, here and below.
  void windows(const Components& components, int32_t* bases, int32_t* widths) const;

  // Cumulative rows (count, columns + 1), columns > every width: entry `width` is the escape.
  void rows(const Components& components, const int32_t* bases, const int32_t* widths, size_t columns,
            uint16_t* rows, size_t threads) const;

  // Start and frequency of entry entries[v], 0 to width.
  void entries(const Components& components, const int32_t* bases, const int32_t* widths, const int32_t* entries,
               uint16_t* starts, uint16_t* frequencies, size_t threads) const;

 private:
  struct Table {
    int32_t offset, size;  // size without the escape
    size_t first;
  };
  struct Scratch;
  void frequencies_of(const Components& components, size_t v, int64_t base, int64_t width, Scratch& scratch) const;
  template <class Function>
  void for_each(const Components& components, const int32_t* bases, const int32_t* widths, size_t threads,
                const Function& function) const;

  const codebook::Kernels& kernels_;
  std::vector<Table> tables_;
  std::vector<int32_t> frequencies_;
};

}  // namespace siglum::mixture
