// Thin bindings: shapes and modes are checked here, loops run without the GIL, statuses become errors in Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "lossless.hpp"

namespace nb = nanobind;
namespace lossless = siglum::lossless;
namespace rans = siglum::rans;

namespace {

using Pixels = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class Array>
lossless::Strip strip_of(const Array& pixels) {
  const lossless::Strip strip{pixels.shape(0), pixels.shape(1), pixels.shape(2)};
  if (strip.height == 0 || strip.width == 0 || strip.channels < 1 || strip.channels > 4) {
    throw std::invalid_argument("pixels must have shape (height, width, 1 to 4)");
  }
  return strip;
}

lossless::Mode mode_of(const lossless::Strip& strip, int colour, bool match, const rans::Tables& tables) {
  if (colour < 0 || colour > 2 || (colour != 0 && strip.channels < 3)) {
    throw std::invalid_argument("no such colour transform for this number of channels");
  }
  if (tables.size() != lossless::kTables) throw std::invalid_argument("not the tables of the lossless model");
  return {static_cast<lossless::Colour>(colour), match};
}

const lossless::Kernel& kernel_of(bool vectors) {
  const lossless::Kernel* const kernel = vectors ? lossless::avx2_kernel() : nullptr;
  return kernel != nullptr ? *kernel : lossless::scalar_kernel();
}

}  // namespace

void register_lossless(nb::module_& m) {
  m.def("lossless_survey", [](Pixels pixels) {
    const lossless::Strip strip = strip_of(pixels);
    lossless::Survey survey;
    {
      nb::gil_scoped_release release;
      survey = lossless::survey(pixels.data(), strip);
    }
    return nb::make_tuple(static_cast<int>(survey.colour), survey.repeats);
  });
  m.def("lossless_encode", [](Pixels pixels, int colour, bool match, const rans::Tables& tables, bool vectors) {
    const lossless::Strip strip = strip_of(pixels);
    const lossless::Mode mode = mode_of(strip, colour, match, tables);
    std::vector<uint8_t> payload;
    {
      nb::gil_scoped_release release;
      payload = lossless::encode(pixels.data(), strip, mode, tables, kernel_of(vectors));
    }
    return nb::bytes(payload.data(), payload.size());
  });
  m.def("lossless_decode", [](Bytes data, int colour, bool match, const rans::Tables& tables, Output pixels,
                            bool vectors) {
    const lossless::Strip strip = strip_of(pixels);
    const lossless::Mode mode = mode_of(strip, colour, match, tables);
    nb::gil_scoped_release release;
    return static_cast<int>(lossless::decode(data.data(), data.size(), strip, mode, tables,
                                             kernel_of(vectors), pixels.data()));
  });
}
