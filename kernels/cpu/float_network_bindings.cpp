// Python's side of the float network: checks types and shapes, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "float_network.hpp"

namespace nb = nanobind;
using namespace siglum::float_network;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T>
using Picture = nb::ndarray<T, nb::ndim<3>, nb::device::cpu>;
using Weight = Array<const float, 2>;
using Vector = Array<const float, 1>;
using Taps = Array<const float, 3>;

Matrix matrix_of(const Weight& weight, const Vector& bias) {
  if (bias.shape(0) != weight.shape(0)) throw std::invalid_argument("one bias an output channel");
  return {weight.data(), bias.data(), weight.shape(0), weight.shape(1)};
}

void check_taps(const Taps& weight, const Vector& bias) {
  if (weight.shape(0) != 3 || weight.shape(1) != 3) throw std::invalid_argument("3x3 weights are (3, 3, C)");
  if (bias.shape(0) != weight.shape(2)) throw std::invalid_argument("one bias a channel");
}

template <class T>
Plane<T> plane_of(const Picture<T>& array, std::size_t channels) {
  if (array.shape(2) != channels) throw std::invalid_argument("an array has the wrong number of channels");
  if (channels > 1 && array.stride(2) != 1) throw std::invalid_argument("the last axis of an array must be contiguous");
  return {array.data(), array.shape(0), array.shape(1), array.stride(0), array.stride(1)};
}

void run(const Network& network, const Source& in, const Vector& gains, const Target& out, std::size_t top,
         std::size_t left, std::size_t threads) {
  if (gains.shape(0) != network.gain_count()) throw std::invalid_argument("one gain a channel that takes one");
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  nb::gil_scoped_release released;
  network.run(in, gains.data(), out, top, left, threads);
}

template <class T>
Source source_of(const Network& network, const Picture<const T>& x) {
  Source in;
  if constexpr (sizeof(T) == 1) {
    if (network.input() != Input::samples) throw std::invalid_argument("the network reads floats");
    in.samples = plane_of<const T>(x, 3);
  } else {
    if (network.input() == Input::samples) throw std::invalid_argument("the network reads samples");
    in.floats = plane_of<const T>(x, network.in_channels());
  }
  return in;
}

template <class T>
Target target_of(const Network& network, const Picture<T>& out) {
  Target target;
  if constexpr (sizeof(T) == 1) {
    if (network.output() != Output::samples) throw std::invalid_argument("the network writes floats");
    target.samples = plane_of<T>(out, 3);
  } else {
    if (network.output() == Output::samples) throw std::invalid_argument("the network writes samples");
    target.floats = plane_of<T>(out, network.out_channels());
  }
  return target;
}

template <class In, class Out>
void run_typed(const Network& network, Picture<const In> x, Vector gains, Picture<Out> out, std::size_t top,
               std::size_t left, std::size_t threads) {
  run(network, source_of<In>(network, x), gains, target_of<Out>(network, out), top, left, threads);
}

template <class Class, class In, class Out>
void define_run(Class& type) {
  // noconvert: an array of another type is an error, not a hidden copy.
  type.def("run", &run_typed<In, Out>, nb::arg("x").noconvert(), nb::arg("gains").noconvert(),
           nb::arg("out").noconvert(), nb::arg("top"), nb::arg("left"), nb::arg("threads"));
}

}  // namespace

void register_float_network(nb::module_& m) {
  nb::enum_<Grid>(m, "FloatGrid").value("same", Grid::same).value("down", Grid::down).value("up", Grid::up);
  nb::enum_<Branch>(m, "FloatBranch")
      .value("replace", Branch::replace)
      .value("aside", Branch::aside)
      .value("add", Branch::add);
  nb::enum_<Input>(m, "FloatInput")
      .value("floats", Input::floats)
      .value("scaled", Input::scaled)
      .value("asinh", Input::asinh)
      .value("samples", Input::samples);
  nb::enum_<Output>(m, "FloatOutput").value("floats", Output::floats).value("samples", Output::samples);

  m.def("has_bfloat16", [](const std::string& isa) { return find_rounded(isa.c_str()) != nullptr; }, nb::arg("isa"),
        "Whether layers of that variant that may be rounded are.");

  nb::class_<Network> type(m, "FloatNetwork", "Use siglum.kernels.float_network.");
  type.def(
          "__init__",
          [](Network* self, const std::string& isa, Input input, std::size_t channels, std::size_t multiple,
             Output output) {
            const Kernels* kernels = find_kernels(isa.c_str());
            if (!kernels) throw std::invalid_argument("this CPU or this build has no " + isa);
            new (self) Network(*kernels, find_rounded(isa.c_str()), input, channels, multiple, output);
          },
          nb::arg("isa"), nb::arg("input"), nb::arg("channels"), nb::arg("multiple"), nb::arg("output"))
      .def(
          "add_pointwise",
          [](Network& self, Weight weight, Vector bias, bool activation, Grid grid, Branch branch, bool gained,
             bool may_round) {
            self.add_pointwise(matrix_of(weight, bias), activation, grid, branch, gained, may_round);
          },
          nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), nb::arg("activation"), nb::arg("grid"),
          nb::arg("branch"), nb::arg("gained"), nb::arg("may_round"))
      .def(
          "add_depthwise",
          [](Network& self, Taps weight, Vector bias) {
            check_taps(weight, bias);
            self.add_depthwise(weight.data(), bias.data(), weight.shape(2));
          },
          nb::arg("weight").noconvert(), nb::arg("bias").noconvert())
      .def(
          "add_block",
          [](Network& self, Weight enter, Vector enter_bias, Taps taps, Vector taps_bias, Weight leave,
             Vector leave_bias, Weight widen, Vector widen_bias, Weight narrow, Vector narrow_bias, bool may_round) {
            check_taps(taps, taps_bias);
            if (taps.shape(2) != enter.shape(0)) throw std::invalid_argument("3x3 weights do not fit their block");
            self.add_block(matrix_of(enter, enter_bias), taps.data(), taps_bias.data(), matrix_of(leave, leave_bias),
                           matrix_of(widen, widen_bias), matrix_of(narrow, narrow_bias), may_round);
          },
          nb::arg("enter").noconvert(), nb::arg("enter_bias").noconvert(), nb::arg("taps").noconvert(),
          nb::arg("taps_bias").noconvert(), nb::arg("leave").noconvert(), nb::arg("leave_bias").noconvert(),
          nb::arg("widen").noconvert(), nb::arg("widen_bias").noconvert(), nb::arg("narrow").noconvert(),
          nb::arg("narrow_bias").noconvert(), nb::arg("may_round"))
      .def("output_size", [](const Network& self, std::size_t height, std::size_t width) {
        const Size size = self.output_size(height, width);
        return nb::make_tuple(size.height, size.width, size.channels);
      });
  define_run<decltype(type), std::uint8_t, float>(type);
  define_run<decltype(type), float, float>(type);
  define_run<decltype(type), float, std::uint8_t>(type);
  define_run<decltype(type), std::uint8_t, std::uint8_t>(type);
}
