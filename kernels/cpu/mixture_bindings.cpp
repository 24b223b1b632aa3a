// Python's side of the mixtures: checks shapes and values, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "mixture.hpp"

namespace nb = nanobind;
namespace mx = siglum::mixture;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Weights = Array<const int32_t, 2>;
using Indexes = Array<const uint16_t, 2>;
using Numbers = Array<const int32_t, 1>;

mx::Components components_of(const mx::Mixture& self, const Weights& weights, const Weights& shifts,
                             const Indexes& tables) {
  if (shifts.shape(0) != weights.shape(0) || shifts.shape(1) != weights.shape(1) ||
      tables.shape(0) != weights.shape(0) || tables.shape(1) != weights.shape(1)) {
    throw std::invalid_argument("arrays differ in shape");
  }
  const mx::Components components = {weights.shape(0), weights.shape(1), weights.data(), shifts.data(), tables.data()};
  if (!self.valid(components)) {
    throw std::invalid_argument(
        "weights must not be negative and must sum to 1 to 2^18, and means and scales must be in range");
  }
  return components;
}

// The windows are made by `windows`: what does not fit is an error of the caller's.
void check_windows(const mx::Mixture& self, const mx::Components& components, const Numbers& bases,
                   const Numbers& widths) {
  if (bases.shape(0) != components.count || widths.shape(0) != components.count)
    throw std::invalid_argument("arrays differ in length");
  std::vector<int32_t> low(components.count), wide(components.count);
  self.windows(components, low.data(), wide.data());
  for (size_t v = 0; v < components.count; ++v) {
    if (bases.data()[v] != low[v] || widths.data()[v] != wide[v]) throw std::invalid_argument("windows do not fit");
  }
}

void windows(const mx::Mixture& self, Weights weights, Weights shifts, Indexes tables, Array<int32_t, 1> bases,
             Array<int32_t, 1> widths) {
  const mx::Components components = components_of(self, weights, shifts, tables);
  if (bases.shape(0) != components.count || widths.shape(0) != components.count)
    throw std::invalid_argument("arrays differ in length");
  self.windows(components, bases.data(), widths.data());
}

void rows(const mx::Mixture& self, Weights weights, Weights shifts, Indexes tables, Numbers bases, Numbers widths,
          Array<uint16_t, 2> out, size_t threads) {
  const mx::Components components = components_of(self, weights, shifts, tables);
  check_windows(self, components, bases, widths);
  if (out.shape(0) != components.count) throw std::invalid_argument("arrays differ in length");
  for (size_t v = 0; v < components.count; ++v) {
    if (static_cast<size_t>(widths.data()[v]) + 2 > out.shape(1)) throw std::invalid_argument("rows are too short");
  }
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  nb::gil_scoped_release released;
  self.rows(components, bases.data(), widths.data(), out.shape(1) - 1, out.data(), threads);
}

void entries(const mx::Mixture& self, Weights weights, Weights shifts, Indexes tables, Numbers bases, Numbers widths,
             Numbers chosen, Array<uint16_t, 1> starts, Array<uint16_t, 1> frequencies, size_t threads) {
  const mx::Components components = components_of(self, weights, shifts, tables);
  check_windows(self, components, bases, widths);
  if (chosen.shape(0) != components.count || starts.shape(0) != components.count ||
      frequencies.shape(0) != components.count) {
    throw std::invalid_argument("arrays differ in length");
  }
  for (size_t v = 0; v < components.count; ++v) {
    if (chosen.data()[v] < 0 || chosen.data()[v] > widths.data()[v])
      throw std::invalid_argument("there is no such entry");
  }
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  nb::gil_scoped_release released;
  self.entries(components, bases.data(), widths.data(), chosen.data(), starts.data(), frequencies.data(), threads);
}

}  // namespace

void register_mixture(nb::module_& m) {
  nb::class_<mx::Mixture>(m, "Mixture", "Use siglum.entropy.mixture.")
      .def("__init__",
           [](mx::Mixture* self, const std::string& isa, Array<const uint32_t, 1> frequencies, Array<const uint32_t, 1> sizes,
              Array<const int32_t, 1> offsets) {
             size_t total = 0;
             for (size_t t = 0; t < sizes.shape(0); ++t) total += sizes.data()[t];
             if (offsets.shape(0) != sizes.shape(0) || total != frequencies.shape(0))
               throw std::invalid_argument("arrays differ in length");
             new (self) mx::Mixture(siglum::codebook::require_kernels(isa.c_str()), frequencies.data(), sizes.data(), offsets.data(), sizes.shape(0));
           })
      .def("windows", &windows, nb::arg("weights").noconvert(), nb::arg("shifts").noconvert(),
           nb::arg("tables").noconvert(), nb::arg("bases").noconvert(), nb::arg("widths").noconvert())
      .def("rows", &rows, nb::arg("weights").noconvert(), nb::arg("shifts").noconvert(),
           nb::arg("tables").noconvert(), nb::arg("bases").noconvert(), nb::arg("widths").noconvert(),
           nb::arg("rows").noconvert(), nb::arg("threads"))
      .def("entries", &entries, nb::arg("weights").noconvert(), nb::arg("shifts").noconvert(),
           nb::arg("tables").noconvert(), nb::arg("bases").noconvert(), nb::arg("widths").noconvert(),
           nb::arg("entries").noconvert(), nb::arg("starts").noconvert(), nb::arg("frequencies").noconvert(),
           nb::arg("threads"));
}
