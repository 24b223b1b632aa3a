// Python's side of the integer network: checks dtype, shape and contiguity, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "integer_network.hpp"

namespace nb = nanobind;
using siglum::integer_network::find_kernels;
using siglum::integer_network::Kernels;
using siglum::integer_network::Network;
using siglum::integer_network::Size;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Multipliers = Array<const std::int32_t, 1>;

const Kernels& require_kernels(const std::string& isa) {
  const Kernels* kernels = find_kernels(isa.c_str());
  if (!kernels) throw std::invalid_argument("this CPU or this build has no " + isa);
  return *kernels;
}

void add_pointwise(Network& network, Array<const std::int8_t, 2> weight, Multipliers multiplier, int shift,
                   int low, int high) {
  if (multiplier.shape(0) != weight.shape(0)) throw std::invalid_argument("one multiplier an output channel");
  network.add_pointwise(weight.data(), weight.shape(0), weight.shape(1), multiplier.data(), shift, low, high);
}

void add_depthwise(Network& network, Array<const std::int8_t, 3> weight, Multipliers multiplier, int shift,
                   int low, int high) {
  if (weight.shape(0) != 3 || weight.shape(1) != 3)
    throw std::invalid_argument("depthwise weights are (3, 3, C)");
  if (multiplier.shape(0) != weight.shape(2)) throw std::invalid_argument("one multiplier a channel");
  network.add_depthwise(weight.data(), weight.shape(2), multiplier.data(), shift, low, high);
}

void run(const Network& network, Array<const std::int16_t, 4> in, Multipliers biases,
         Array<std::int16_t, 4> out, std::size_t threads) {
  const Size input = {in.shape(1), in.shape(2), in.shape(3)};
  const Size output = network.output_size(input);
  if (out.shape(0) != in.shape(0) || out.shape(1) != output.height || out.shape(2) != output.width ||
      out.shape(3) != output.channels) {
    throw std::invalid_argument("the output array has the wrong shape");
  }
  if (biases.shape(0) != network.bias_count())
    throw std::invalid_argument("one bias an output channel of a layer");
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  nb::gil_scoped_release released;
  network.run(in.data(), in.shape(0), input, biases.data(), out.data(), threads);
}

}  // namespace

void register_integer_network(nb::module_& m) {
  m.def(
      "has_isa", [](const std::string& isa) { return find_kernels(isa.c_str()) != nullptr; }, nb::arg("isa"),
      "Whether this CPU and this build run the variant of that name.");
  nb::class_<Network>(m, "IntegerNetwork", "Use siglum.entropy.integer_network.")
      .def(
          "__init__", [](Network* self, const std::string& isa) { new (self) Network(require_kernels(isa)); },
          nb::arg("isa"))
      // noconvert: an array of another type or layout is an error, not a hidden copy.
      .def("add_pointwise", &add_pointwise, nb::arg("weight").noconvert(), nb::arg("multiplier").noconvert(),
           nb::arg("shift"), nb::arg("low"), nb::arg("high"))
      .def("add_depthwise", &add_depthwise, nb::arg("weight").noconvert(), nb::arg("multiplier").noconvert(),
           nb::arg("shift"), nb::arg("low"), nb::arg("high"))
      .def("add_pixel_shuffle", &Network::add_pixel_shuffle)
      .def("run", &run, nb::arg("x").noconvert(), nb::arg("biases").noconvert(), nb::arg("out").noconvert(),
           nb::arg("threads"));
}
