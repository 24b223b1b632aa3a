// Python's side of the search for the nearest codeword: releases the GIL, copies nothing. What arguments may be is
// checked in siglum.kernels.nearest, which knows their names; what keeps memory safe is checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "nearest.hpp"

namespace nb = nanobind;
namespace ns = siglum::nearest;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Floats = Array<const float, 2>;

const ns::Kernels& require_kernels(const std::string& isa) {
  const ns::Kernels* kernels = ns::find_kernels(isa.c_str());
  if (!kernels) throw std::invalid_argument("this CPU or this build has no " + isa);
  return *kernels;
}

void require(bool fits) {
  if (!fits) throw std::invalid_argument("arrays differ in shape");
}

ns::Vectors vectors_of(const Floats& x, std::size_t dimension, std::size_t threads) {
  require(x.shape(1) == dimension);
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  return {x.data(), x.shape(0), x.shape(1)};
}

std::int64_t report(std::size_t vector) {
  return vector == ns::all_finite ? -1 : static_cast<std::int64_t>(vector);
}

std::int64_t search(const ns::Packed& codebook, const std::string& isa, Floats x, Array<std::int32_t, 1> indices,
                    std::optional<Array<float, 1>> distances, std::size_t threads) {
  const ns::Vectors vectors = vectors_of(x, codebook.dimension(), threads);
  const ns::Kernels& kernels = require_kernels(isa);
  require(indices.shape(0) == vectors.count && (!distances || distances->shape(0) == vectors.count));
  float* to = distances ? distances->data() : nullptr;
  nb::gil_scoped_release released;
  return report(ns::search(kernels, vectors, codebook, indices.data(), to, threads));
}

std::int64_t top(const ns::Packed& codebook, const std::string& isa, Floats x, Array<std::int32_t, 2> indices,
                 Array<float, 2> distances, std::size_t threads) {
  const ns::Vectors vectors = vectors_of(x, codebook.dimension(), threads);
  const ns::Kernels& kernels = require_kernels(isa);
  const std::size_t wanted = indices.shape(1);
  require(indices.shape(0) == vectors.count && distances.shape(0) == vectors.count && distances.shape(1) == wanted &&
          wanted >= 1 && wanted <= codebook.count());
  nb::gil_scoped_release released;
  return report(ns::top(kernels, vectors, codebook, wanted, indices.data(), distances.data(), threads));
}

std::int64_t residual(const std::vector<const ns::Packed*>& stages, const std::string& isa, Floats x,
                      Array<std::int32_t, 2> codes, std::optional<Array<float, 2>> left, std::size_t threads) {
  require(!stages.empty() && codes.shape(0) == x.shape(0) && codes.shape(1) == stages.size());
  for (const ns::Packed* stage : stages) require(stage && stage->dimension() == x.shape(1));
  require(!left || (left->shape(0) == x.shape(0) && left->shape(1) == x.shape(1)));
  const ns::Vectors vectors = vectors_of(x, x.shape(1), threads);
  const ns::Kernels& kernels = require_kernels(isa);
  float* to = left ? left->data() : nullptr;
  nb::gil_scoped_release released;
  return report(ns::residual(kernels, vectors, stages, codes.data(), to, threads));
}

std::int64_t beam(const std::vector<const ns::Packed*>& stages, const std::string& isa, Floats x, std::size_t width,
                  Array<std::int32_t, 2> codes, std::size_t threads) {
  require(!stages.empty() && codes.shape(0) == x.shape(0) && codes.shape(1) == stages.size());
  for (const ns::Packed* stage : stages) require(stage && stage->dimension() == x.shape(1));
  require(width >= 1 && width <= ns::block);
  const ns::Vectors vectors = vectors_of(x, x.shape(1), threads);
  const ns::Kernels& kernels = require_kernels(isa);
  nb::gil_scoped_release released;
  return report(ns::beam(kernels, vectors, stages, width, codes.data(), threads));
}

std::int64_t accumulate(Floats x, Array<const std::int32_t, 1> indices, Array<std::int64_t, 1> counts,
                        Array<float, 2> sums, std::size_t threads) {
  const ns::Vectors vectors = vectors_of(x, sums.shape(1), threads);
  require(indices.shape(0) == vectors.count && counts.shape(0) == sums.shape(0));
  nb::gil_scoped_release released;
  return report(ns::accumulate(vectors, indices.data(), counts.shape(0), counts.data(), sums.data(), threads));
}

}  // namespace

void register_nearest(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  nb::class_<ns::Packed>(m, "NearestCodewords", "Use siglum.kernels.nearest.Packed.")
      .def(
          "__init__",
          [](ns::Packed* self, Floats codewords, std::optional<Array<const float, 1>> bias) {
            require(!bias || bias->shape(0) == codewords.shape(0));
            new (self) ns::Packed(codewords.data(), codewords.shape(0), codewords.shape(1),
                                  bias ? bias->data() : nullptr);
          },
          nb::arg("codewords").noconvert(), nb::arg("bias").noconvert().none());
  m.def("nearest_search", &search, nb::arg("codebook"), nb::arg("isa"), nb::arg("x").noconvert(),
        nb::arg("indices").noconvert(), nb::arg("distances").noconvert().none(), nb::arg("threads"));
  m.def("nearest_top", &top, nb::arg("codebook"), nb::arg("isa"), nb::arg("x").noconvert(),
        nb::arg("indices").noconvert(), nb::arg("distances").noconvert(), nb::arg("threads"));
  m.def("nearest_residual", &residual, nb::arg("stages"), nb::arg("isa"), nb::arg("x").noconvert(),
        nb::arg("codes").noconvert(), nb::arg("left").noconvert().none(), nb::arg("threads"));
  m.def("nearest_beam", &beam, nb::arg("stages"), nb::arg("isa"), nb::arg("x").noconvert(), nb::arg("width"),
        nb::arg("codes").noconvert(), nb::arg("threads"));
  m.def("nearest_accumulate", &accumulate, nb::arg("x").noconvert(), nb::arg("indices").noconvert(),
        nb::arg("counts").noconvert(), nb::arg("sums").noconvert(), nb::arg("threads"));
}
