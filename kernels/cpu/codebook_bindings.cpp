// Python's side of the Gaussian over a codebook: checks shapes and values, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "codebook.hpp"

namespace nb = nanobind;
namespace cb = siglum::codebook;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Means = Array<const int16_t, 2>;
using Scales = Array<const uint8_t, 2>;
using Numbers = Array<const int32_t, 1>;
using Output = Array<uint16_t, 1>;
using Rows = Array<uint16_t, 2>;

void create(cb::Codebook* self, const std::string& isa, Means points, Numbers bias, Numbers counts, Means centres,
            Numbers centre_bias, Means centre_rates, Array<const int32_t, 2> norms, Array<const int16_t, 1> rates,
            Array<const int32_t, 2> exponentials, int32_t refine) {
  const size_t dimension = points.shape(1), cells = counts.shape(0);
  size_t total = 0;
  for (size_t c = 0; c < cells; ++c) {
    if (counts.data()[c] < 1) throw std::invalid_argument("a cell is empty");
    total += static_cast<size_t>(counts.data()[c]);
  }
  if (points.shape(0) != total || bias.shape(0) != total || centres.shape(0) != cells ||
      centres.shape(1) != dimension || centre_bias.shape(0) != cells || centre_rates.shape(0) != dimension ||
      centre_rates.shape(1) != cb::kScales || norms.shape(0) != dimension || norms.shape(1) != cb::kScales ||
      rates.shape(0) != cb::kScales || exponentials.shape(0) != 2 || exponentials.shape(1) != 16) {
    throw std::invalid_argument("arrays differ in shape");
  }
  new (self) cb::Codebook(cb::require_kernels(isa.c_str()), dimension, points.data(), bias.data(), counts.data(), cells,
                          centres.data(), centre_bias.data(), centre_rates.data(), norms.data(), rates.data(),
                          exponentials.data(), refine);
}

cb::Vectors vectors_of(const cb::Codebook& self, const Means& mean, const Scales& scale, size_t threads) {
  if (mean.shape(1) != self.dimension() || scale.shape(1) != self.dimension() || scale.shape(0) != mean.shape(0))
    throw std::invalid_argument("mean and scale must have the codebook's dimension");
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  const cb::Vectors vectors = {mean.data(), scale.data(), mean.shape(0)};
  if (!self.valid_scales(vectors)) throw std::invalid_argument("scales are 0 to 63");
  return vectors;
}

void check_count(size_t size, const cb::Vectors& vectors) {
  if (size != vectors.count) throw std::invalid_argument("arrays differ in length");
}

void check_cells(const cb::Codebook& self, const Numbers& chosen, const cb::Vectors& vectors) {
  check_count(chosen.shape(0), vectors);
  if (!self.valid_cells(chosen.data(), vectors.count)) throw std::invalid_argument("there is no such cell");
}

void cell_rows(const cb::Codebook& self, Means mean, Scales scale, Rows rows, size_t threads) {
  const cb::Vectors vectors = vectors_of(self, mean, scale, threads);
  check_count(rows.shape(0), vectors);
  if (rows.shape(1) != self.cells() + 1) throw std::invalid_argument("rows have the wrong width");
  nb::gil_scoped_release released;
  self.cell_rows(vectors, rows.data(), threads);
}

void member_rows(const cb::Codebook& self, Means mean, Scales scale, Numbers chosen, Rows rows, size_t threads) {
  const cb::Vectors vectors = vectors_of(self, mean, scale, threads);
  check_cells(self, chosen, vectors);
  check_count(rows.shape(0), vectors);
  if (rows.shape(1) != self.members() + 1) throw std::invalid_argument("rows have the wrong width");
  nb::gil_scoped_release released;
  self.member_rows(vectors, chosen.data(), rows.data(), threads);
}

void cell_entries(const cb::Codebook& self, Means mean, Scales scale, Numbers chosen, Output starts,
                  Output frequencies, size_t threads) {
  const cb::Vectors vectors = vectors_of(self, mean, scale, threads);
  check_cells(self, chosen, vectors);
  check_count(starts.shape(0), vectors);
  check_count(frequencies.shape(0), vectors);
  nb::gil_scoped_release released;
  self.cell_entries(vectors, chosen.data(), starts.data(), frequencies.data(), threads);
}

void member_entries(const cb::Codebook& self, Means mean, Scales scale, Numbers chosen, Numbers entry, Output starts,
                    Output frequencies, size_t threads) {
  const cb::Vectors vectors = vectors_of(self, mean, scale, threads);
  check_cells(self, chosen, vectors);
  check_count(entry.shape(0), vectors);
  check_count(starts.shape(0), vectors);
  check_count(frequencies.shape(0), vectors);
  if (!self.valid_entries(chosen.data(), entry.data(), vectors.count))
    throw std::invalid_argument("there is no such member");
  nb::gil_scoped_release released;
  self.member_entries(vectors, chosen.data(), entry.data(), starts.data(), frequencies.data(), threads);
}

}  // namespace

void register_codebook(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  nb::class_<cb::Codebook>(m, "Codebook", "Use siglum.entropy.codebook.")
      .def("__init__", &create, nb::arg("isa"), nb::arg("points").noconvert(), nb::arg("bias").noconvert(),
           nb::arg("counts").noconvert(), nb::arg("centres").noconvert(), nb::arg("centre_bias").noconvert(),
           nb::arg("centre_rates").noconvert(), nb::arg("norms").noconvert(), nb::arg("rates").noconvert(),
           nb::arg("exponentials").noconvert(), nb::arg("refine"))
      .def("cell_rows", &cell_rows, nb::arg("mean").noconvert(), nb::arg("scale").noconvert(),
           nb::arg("rows").noconvert(), nb::arg("threads"))
      .def("member_rows", &member_rows, nb::arg("mean").noconvert(), nb::arg("scale").noconvert(),
           nb::arg("cells").noconvert(), nb::arg("rows").noconvert(), nb::arg("threads"))
      .def("cell_entries", &cell_entries, nb::arg("mean").noconvert(), nb::arg("scale").noconvert(),
           nb::arg("cells").noconvert(), nb::arg("starts").noconvert(), nb::arg("frequencies").noconvert(),
           nb::arg("threads"))
      .def("member_entries", &member_entries, nb::arg("mean").noconvert(), nb::arg("scale").noconvert(),
           nb::arg("cells").noconvert(), nb::arg("entries").noconvert(), nb::arg("starts").noconvert(),
           nb::arg("frequencies").noconvert(), nb::arg("threads"));
}
