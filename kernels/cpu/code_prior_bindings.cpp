// Python's side of the prior of codes: checks shapes and values, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "code_prior.hpp"

namespace nb = nanobind;
using siglum::code_prior::CodePrior;
using siglum::code_prior::Frames;
using siglum::code_prior::Sizes;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Codes = Array<const int32_t, 2>;
using Numbers = Array<const int32_t, 1>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

Frames frames_of(const CodePrior& self, const Codes& codes, const Numbers& counts) {
  const Sizes& sizes = self.sizes();
  require(codes.shape(1) == sizes.codes && counts.shape(0) == codes.shape(0),
          "codes are (frames, codes), counts (frames,)");
  for (size_t t = 0; t < counts.shape(0); ++t) {
    const int32_t count = counts.data()[t];
    require(count >= 0 && static_cast<size_t>(count) <= sizes.stages(), "a count is out of range");
    for (size_t i = 0; i < static_cast<size_t>(count) * sizes.groups; ++i) {
      const int32_t code = codes.data()[t * sizes.codes + i];
      require(code >= 0 && static_cast<size_t>(code) < sizes.words, "a code is out of range");
    }
  }
  return {codes.data(), counts.data(), codes.shape(0)};
}

nb::bytes encode(const CodePrior& self, Codes codes, Numbers counts) {
  const Frames frames = frames_of(self, codes, counts);
  std::vector<uint8_t> payload;
  {
    nb::gil_scoped_release released;
    payload = self.encode(frames);
  }
  return nb::bytes(payload.data(), payload.size());
}

int decode(const CodePrior& self, Array<const uint8_t, 1> payload, Array<int32_t, 2> codes, Array<int32_t, 1> counts) {
  require(codes.shape(1) == self.sizes().codes && counts.shape(0) == codes.shape(0),
          "codes are (frames, codes), counts (frames,)");
  nb::gil_scoped_release released;
  return static_cast<int>(
      self.decode(payload.data(), payload.shape(0), counts.shape(0), codes.data(), counts.data()));
}

void frequencies(const CodePrior& self, Codes codes, Numbers counts, Array<uint16_t, 3> of_codes,
                 Array<uint16_t, 1> of_counts) {
  const Frames frames = frames_of(self, codes, counts);
  require(of_codes.shape(0) == frames.count && of_codes.shape(1) == codes.shape(1) && of_codes.shape(2) == 2 &&
              of_counts.shape(0) == frames.count + 1,
          "frequencies are (frames, codes, 2) and (frames + 1,)");
  nb::gil_scoped_release released;
  self.frequencies(frames, of_codes.data(), of_counts.data());
}

void choose(const CodePrior& self, Array<const float, 2> latents, Array<const float, 3> books, Numbers layout,
            Numbers counts, float weight, Array<int32_t, 2> codes) {
  const Sizes& sizes = self.sizes();
  const size_t count = latents.shape(0), width = books.shape(1);
  require(books.shape(0) == sizes.codes && books.shape(2) == sizes.words && width >= 1,
          "books are (codes, width, words)");
  require(latents.shape(1) == sizes.groups * width && counts.shape(0) == count && codes.shape(0) == count &&
              codes.shape(1) == sizes.codes,
          "latents are (frames, groups * width), counts (frames,), codes (frames, codes)");
  require(layout.shape(0) == sizes.codes, "the layout has a group for each code");
  for (size_t i = 0; i < sizes.codes; ++i) {
    const int32_t own = layout.data()[i];
    require(own >= 0 && static_cast<size_t>(own) < sizes.groups, "a group is out of range");
  }
  for (size_t t = 0; t < count; ++t) {
    const int32_t own = counts.data()[t];
    require(own >= 0 && static_cast<size_t>(own) <= sizes.stages(), "a count is out of range");
  }
  nb::gil_scoped_release released;
  self.choose({latents.data(), books.data(), count, width, layout.data()}, counts.data(), weight, codes.data());
}

void logits(const CodePrior& self, Codes codes, Numbers counts, Array<int16_t, 3> out) {
  const Frames frames = frames_of(self, codes, counts);
  require(out.shape(0) == frames.count && out.shape(1) == codes.shape(1) && out.shape(2) == self.sizes().words,
          "logits are (frames, codes, words)");
  nb::gil_scoped_release released;
  self.logits(frames, out.data());
}

}  // namespace

void register_code_prior(nb::module_& m) {
  nb::class_<CodePrior>(m, "CodePrior", "Use siglum.codecs.audio.prior.")
      .def("__init__",
           [](CodePrior* self, const std::string& isa, Array<const int8_t, 3> words, size_t groups, size_t frame,
              size_t context, size_t taps, std::vector<int> averages, std::vector<std::vector<size_t>> sees,
              Array<const int32_t, 2> exponentials) {
             require(exponentials.shape(0) == 2 && exponentials.shape(1) == 16, "exponentials are (2, 16)");
             Sizes sizes = {words.shape(0), groups, words.shape(1), words.shape(2), frame, context, taps,
                            std::move(averages), std::move(sees)};
             new (self) CodePrior(isa.c_str(), std::move(sizes), words.data(), exponentials.data());
           },
           nb::arg("isa"), nb::arg("words").noconvert(), nb::arg("groups"), nb::arg("frame"), nb::arg("context"),
           nb::arg("taps"), nb::arg("averages"), nb::arg("sees"), nb::arg("exponentials").noconvert())
      .def("add_layer",
           [](CodePrior& self, size_t network, Array<const int8_t, 2> weight, Numbers bias, Numbers multiplier,
              int shift, int low, int high) {
             require(bias.shape(0) == weight.shape(0) && multiplier.shape(0) == weight.shape(0),
                     "one bias and multiplier an output channel");
             self.add_layer(network, weight.data(), weight.shape(0), weight.shape(1), bias.data(), multiplier.data(),
                            shift, low, high);
           },
           nb::arg("network"), nb::arg("weight").noconvert(), nb::arg("bias").noconvert(),
           nb::arg("multiplier").noconvert(), nb::arg("shift"), nb::arg("low"), nb::arg("high"))
      .def("check", &CodePrior::check)
      .def("encode", &encode, nb::arg("codes").noconvert(), nb::arg("counts").noconvert())
      .def("decode", &decode, nb::arg("payload").noconvert(), nb::arg("codes").noconvert(),
           nb::arg("counts").noconvert())
      .def("frequencies", &frequencies, nb::arg("codes").noconvert(), nb::arg("counts").noconvert(),
           nb::arg("of_codes").noconvert(), nb::arg("of_counts").noconvert())
      .def("choose", &choose, nb::arg("latents").noconvert(), nb::arg("books").noconvert(), nb::arg("layout").noconvert(),
           nb::arg("counts").noconvert(), nb::arg("weight"), nb::arg("codes").noconvert())
      .def("logits", &logits, nb::arg("codes").noconvert(), nb::arg("counts").noconvert(),
           nb::arg("out").noconvert());
}
