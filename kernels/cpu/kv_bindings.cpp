// Python's side of key-value caches: checks types and shapes, releases the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "kv.hpp"

namespace nb = nanobind;
using namespace siglum::kv;
namespace rans = siglum::rans;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Floats = Array<const float, 1>;
using Integers = Array<const std::int32_t, 1>;
using Angles = Array<const float, 2>;

void require(bool holds, const char* otherwise) {
  if (!holds) throw std::invalid_argument(otherwise);
}

Sample sample_of(const std::string& dtype) {
  if (dtype == "float16") return Sample::f16;
  if (dtype == "bfloat16") return Sample::bf16;
  require(dtype == "float32", "samples are float16, bfloat16 or float32");
  return Sample::f32;
}

Rotation rotation_of(const Angles& cos, const Angles& sin, bool interleaved, std::size_t tokens, std::size_t dim) {
  const std::size_t half = cos.shape(1);
  if (!half) return {nullptr, nullptr, 0, false};
  require(sin.shape(0) == cos.shape(0) && sin.shape(1) == half && cos.shape(0) == tokens && 2 * half <= dim,
          "cosines and sines are (tokens, half of the channels that are turned)");
  return {cos.data(), sin.data(), 2 * half, interleaved};
}

void check_chosen(const Integers& chosen, std::size_t limit) {
  for (std::size_t i = 0; i < chosen.shape(0); ++i)
    require(chosen.data()[i] >= 0 && static_cast<std::size_t>(chosen.data()[i]) < limit, "a component does not exist");
}

// A layer's (heads, tokens, channels), the channels side by side.
template <class T>
using Layer = nb::ndarray<T, nb::ndim<3>, nb::device::cpu>;

template <class T>
T* begin(const Layer<T>& layer, std::size_t head) {
  return layer.data() + static_cast<std::ptrdiff_t>(head) * layer.stride(0);
}

template <class T>
void check_layer(const Layer<T>& layer, std::size_t dim, std::size_t tokens) {
  require(layer.shape(2) == dim && layer.shape(1) == tokens, "a layer is (heads, tokens, channels)");
  require(dim == 1 || layer.stride(2) == 1, "the channels of a layer lie side by side");
  require(layer.stride(1) >= 0, "the tokens of a layer are in order");
}

template <class T>
void synthesise(const Synthesis& self, Array<const std::int32_t, 2> symbols, Angles cos, Angles sin, bool interleaved,
                const std::string& dtype, nb::ndarray<T, nb::ndim<4>, nb::device::cpu> out) {
  Synthesis::Target target{{}, static_cast<std::size_t>(out.stride(2)), sample_of(dtype)};
  require((target.kind == Sample::f32) == (sizeof(T) == 4), "the type of the samples is not that of the array");
  require(out.shape(2) == symbols.shape(0) && out.shape(3) == self.dim() && symbols.shape(1) == self.count(),
          "symbols are (tokens, components), samples (layers, heads, tokens, channels)");
  require(out.shape(0) * out.shape(1) == self.parts(), "there are other heads than in the transform");
  require((self.dim() == 1 || out.stride(3) == 1) && out.stride(2) >= 0, "channels lie side by side");
  for (std::size_t layer = 0; layer < out.shape(0); ++layer)
    for (std::size_t head = 0; head < out.shape(1); ++head)
      target.parts.push_back(out.data() + static_cast<std::ptrdiff_t>(layer) * out.stride(0) +
                             static_cast<std::ptrdiff_t>(head) * out.stride(1));
  const Rotation turned = rotation_of(cos, sin, interleaved, symbols.shape(0), self.dim());
  nb::gil_scoped_release release;
  self.run(symbols.data(), symbols.shape(0), turned, target);
}

template <class T>
bool analyse_typed(const Analysis& self, const nb::list& layers, Angles cos, Angles sin, bool interleaved,
                   const std::string& dtype, Array<float, 2> out) {
  Analysis::Source source{{}, {}, sample_of(dtype)};
  for (nb::handle item : layers) {
    const auto layer = nb::cast<Layer<const T>>(item);
    check_layer<const T>(layer, self.dim(), out.shape(0));
    for (std::size_t head = 0; head < layer.shape(0); ++head) {
      source.parts.push_back(begin<const T>(layer, head));
      source.strides.push_back(static_cast<std::size_t>(layer.stride(1)));
    }
  }
  require(source.parts.size() == self.parts(), "there are other heads than in the transform");
  require(out.shape(1) == self.count(), "components are (tokens, count)");
  const Rotation turned = rotation_of(cos, sin, interleaved, out.shape(0), self.dim());
  nb::gil_scoped_release release;
  return self.run(source, out.shape(0), turned, out.data());
}

bool analyse(const Analysis& self, const nb::list& layers, Angles cos, Angles sin, bool interleaved,
             const std::string& dtype, Array<float, 2> out) {
  return sample_of(dtype) == Sample::f32
             ? analyse_typed<float>(self, layers, cos, sin, interleaved, dtype, out)
             : analyse_typed<std::uint16_t>(self, layers, cos, sin, interleaved, dtype, out);
}

// Everything that does not change between the blocks of a group.
struct Coder {
  Coder(const std::string& isa, const rans::Tables& bank, Integers tables, Floats precisions, std::int32_t band,
        std::int32_t band_table, std::int32_t token_table, std::int32_t most, double unit, std::int32_t ignored,
        float limit)
      : base(tables.data(), tables.data() + tables.shape(0)),
        precision(precisions.data(), precisions.data() + precisions.shape(0)), kernels(find_kernels(isa)),
        largest(limit) {
    require(kernels != nullptr, "this CPU or this build has no such instructions");
    require(precision.size() == base.size(), "there is a precision a component");
    require(bank.size() >= 1 && bank.size() <= 256, "1 to 256 tables");
    for (std::int32_t table : {band_table, token_table})
      require(table >= 0 && static_cast<std::size_t>(table) < bank.size(), "a table does not exist");
    require(band >= 1 && most >= 0 && most <= 1000, "a band has a component, a correction is at most 1000");
    const rans::Kernels* found = rans::kernels_named(isa.c_str());
    coding = {&bank, found ? found : rans::scalar_kernels(), base.data(), base.size(), band, band_table, token_table,
              most};
    statistics = {precision.data(), unit, ignored};
  }
  Coder(const Coder&) = delete;

  std::vector<std::int32_t> base;
  std::vector<float> precision;
  Coding coding;
  Statistics statistics;
  const Kernels* kernels;
  float largest;
};

nb::bytes decode_bodies(const Coder& self, const nb::list& bodies, Integers tokens,
                        Array<const std::uint32_t, 1> crcs, Array<std::int32_t, 2> out) {
  std::vector<Body> found;
  std::size_t total = 0;
  require(tokens.shape(0) == bodies.size() && crcs.shape(0) == bodies.size(), "a block has tokens and a checksum");
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    const nb::bytes body = nb::cast<nb::bytes>(bodies[i]);
    require(tokens.data()[i] >= 0, "a block has tokens");
    const std::size_t some = static_cast<std::size_t>(tokens.data()[i]);
    found.push_back({static_cast<const std::uint8_t*>(body.data()), body.size(), some, crcs.data()[i]});
    total += some;
  }
  require(out.shape(0) == total && out.shape(1) == self.base.size(), "symbols are (tokens, components)");
  std::vector<Damage> damage(found.size(), Damage::none);
  {
    nb::gil_scoped_release release;
    decode(self.coding, found, out.data(), damage.data());
  }
  return nb::bytes(damage.data(), damage.size());
}

nb::list encode_values(const Coder& self, Array<const float, 2> values, Integers tokens, bool corrected) {
  std::vector<Coded> made;
  std::size_t total = 0;
  for (std::size_t i = 0; i < tokens.shape(0); ++i) {
    require(tokens.data()[i] >= 0, "a block has tokens");
    total += static_cast<std::size_t>(tokens.data()[i]);
  }
  require(values.shape(0) == total && values.shape(1) == self.base.size(), "values are (tokens, components)");
  {
    nb::gil_scoped_release release;
    rans::Encoder encoder(0, self.coding.kernels);
    const float* from = values.data();
    for (std::size_t i = 0; i < tokens.shape(0); ++i) {
      const std::size_t some = static_cast<std::size_t>(tokens.data()[i]);
      made.push_back(encode(self.coding, corrected ? &self.statistics : nullptr, *self.kernels, encoder, from, some,
                            self.largest));
      from += some * self.base.size();
    }
  }
  nb::list out;
  for (const Coded& one : made) {
    if (one.fits) {
      out.append(nb::make_tuple(nb::bytes(one.body.data(), one.body.size()), one.crc));
    } else {
      out.append(nb::none());
    }
  }
  return out;
}

}  // namespace

void register_kv(nb::module_& m) {
  m.def("kv_rounds", [](const std::string& isa) { return find_rounded(isa) != nullptr; });

  nb::class_<Synthesis>(m, "KvSynthesis", "Use siglum.codecs.kv.coding.")
      .def("__init__",
           [](Synthesis* self, const std::string& isa, bool may_round, Array<const float, 2> matrix, Integers chosen,
              Array<const std::uint8_t, 1> strong, Floats offsets, float step, Floats mean, std::size_t dim) {
             require(dim >= 1 && matrix.shape(1) % dim == 0 && matrix.shape(1) == mean.shape(0),
                     "a matrix is (components, heads * channels)");
             require(strong.shape(0) == chosen.shape(0) && offsets.shape(0) == chosen.shape(0),
                     "there is a flag and an offset a component");
             check_chosen(chosen, matrix.shape(0));
             nb::gil_scoped_release release;
             new (self) Synthesis(isa, may_round, {matrix.data(), matrix.shape(0), matrix.shape(1)}, chosen.data(),
                                  chosen.shape(0), strong.data(), offsets.data(), step, mean.data(), dim);
           })
      .def("run", &synthesise<std::uint16_t>, nb::arg("symbols").noconvert(), nb::arg("cos").noconvert(),
           nb::arg("sin").noconvert(), nb::arg("interleaved"), nb::arg("dtype"), nb::arg("out").noconvert())
      .def("run", &synthesise<float>, nb::arg("symbols").noconvert(), nb::arg("cos").noconvert(),
           nb::arg("sin").noconvert(), nb::arg("interleaved"), nb::arg("dtype"), nb::arg("out").noconvert());

  nb::class_<Analysis>(m, "KvAnalysis", "Use siglum.codecs.kv.coding.")
      .def("__init__",
           [](Analysis* self, const std::string& isa, bool may_round, Array<const float, 2> matrix, Integers chosen,
              Floats offsets, float factor, Floats mean, std::size_t dim) {
             require(dim >= 1 && matrix.shape(0) % dim == 0 && matrix.shape(0) == mean.shape(0),
                     "a matrix is (heads * channels, components)");
             require(offsets.shape(0) == chosen.shape(0), "there is an offset a component");
             check_chosen(chosen, matrix.shape(1));
             nb::gil_scoped_release release;
             new (self) Analysis(isa, may_round, {matrix.data(), matrix.shape(0), matrix.shape(1)}, chosen.data(),
                                 chosen.shape(0), offsets.data(), factor, mean.data(), dim);
           })
      .def("run", &analyse, nb::arg("layers"), nb::arg("cos").noconvert(), nb::arg("sin").noconvert(),
           nb::arg("interleaved"), nb::arg("dtype"), nb::arg("out").noconvert());

  nb::class_<Coder>(m, "KvCoder", "Use siglum.codecs.kv.coding.")
      .def(nb::init<const std::string&, const rans::Tables&, Integers, Floats, std::int32_t, std::int32_t,
                    std::int32_t, std::int32_t, double, std::int32_t, float>(),
           nb::keep_alive<1, 3>(), nb::arg("isa"), nb::arg("bank"), nb::arg("tables"), nb::arg("precisions"),
           nb::arg("band"), nb::arg("band_table"), nb::arg("token_table"), nb::arg("most"), nb::arg("unit"),
           nb::arg("ignored"), nb::arg("largest"))
      .def("decode", &decode_bodies, nb::arg("bodies"), nb::arg("tokens").noconvert(), nb::arg("crcs").noconvert(),
           nb::arg("out").noconvert())
      .def("encode", &encode_values, nb::arg("values").noconvert(), nb::arg("tokens").noconvert(),
           nb::arg("corrected"));
}
