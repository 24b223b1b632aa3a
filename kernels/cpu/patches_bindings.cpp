// Python's side of the patch coder: checks types and shapes, releases the GIL, copies nothing but payloads.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.hpp"
#include "patches.hpp"

namespace nb = nanobind;
namespace patches = siglum::patches;
namespace rans = siglum::rans;

namespace {

template <class T, int D>
using Array = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Picture = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu>;
using Values = nb::ndarray<float, nb::ndim<3>, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void create(patches::Coder* self, const std::string& isa, Array<std::int8_t, 2> weight, Array<std::int8_t, 2> first,
            Array<std::int8_t, 3> means, Array<std::int16_t, 1> magnitudes, int skip) {
  const std::size_t group = patches::group_sizes[0];
  require(weight.shape(0) == patches::channels && weight.shape(1) == 4 * patches::quads && first.shape(0) == group &&
              first.shape(1) == patches::first_inputs && means.shape(0) == 2 && means.shape(1) == group && means.shape(2) == patches::mean_inputs &&
              magnitudes.shape(0) == patches::magnitude_count,
          "the arrays do not fit each other");
  require(skip >= 1 && skip < static_cast<int>(patches::tables), "skip must be 1 to 63");
  new (self) patches::Coder(isa.c_str(), weight.data(), first.data(), means.data(), magnitudes.data(), skip);
}

void add_pointwise(patches::Coder& self, Array<std::int8_t, 2> weight, Array<std::int32_t, 1> multiplier, int shift,
                   int low, int high) {
  require(multiplier.shape(0) == weight.shape(0), "one multiplier an output channel");
  self.add_pointwise(weight.data(), weight.shape(0), weight.shape(1), multiplier.data(), shift, low, high);
}

void add_depthwise(patches::Coder& self, Array<std::int8_t, 3> weight, Array<std::int32_t, 1> multiplier, int shift,
                   int low, int high) {
  require(weight.shape(0) == 3 && weight.shape(1) == 3 && multiplier.shape(0) == weight.shape(2),
          "depthwise weights are (3, 3, C), with a multiplier a channel");
  self.add_depthwise(weight.data(), weight.shape(2), multiplier.data(), shift, low, high);
}

void check_tables(const rans::Tables& bank, const rans::Tables& flags) {
  require(bank.size() == patches::tables && flags.size() == 1, "the tables are not those of the bank and the flags");
}

// (payload, crc) of each tile.
nb::list encode(const patches::Coder& self, Picture pixels, Array<float, 1> scales, Array<std::int32_t, 1> biases,
                Array<std::int16_t, 2> thresholds, std::size_t groups, Array<std::int32_t, 2> tiles,
                const rans::Tables& bank, const rans::Tables& flags, std::size_t threads) {
  require(pixels.shape(0) >= 1 && pixels.shape(1) >= 1 && pixels.shape(2) == 3 && pixels.stride(2) == 1 &&
              pixels.stride(1) == 3,
          "a picture is (H, W, 3) uint8 with whole rows");
  require(self.complete() && biases.shape(0) == self.bias_count() && scales.shape(0) == patches::channels &&
              thresholds.shape(0) == 2 && thresholds.shape(1) == patches::tables && groups <= patches::group_count &&
              tiles.shape(1) == 4,
          "the arrays do not fit the coder");
  require(threads >= 1 && threads <= 1024, "the number of threads must be 1 to 1024");
  check_tables(bank, flags);
  const patches::Pixels picture = {pixels.data(), pixels.shape(0), pixels.shape(1), pixels.stride(0)};
  const std::size_t rows = (picture.height + patches::side - 1) / patches::side;
  const std::size_t columns = (picture.width + patches::side - 1) / patches::side;
  std::vector<patches::Tile> places;
  for (std::size_t i = 0; i < tiles.shape(0); ++i) {
    const std::int32_t* t = tiles.data() + 4 * i;
    require(t[0] >= 0 && t[0] < t[1] && t[2] >= 0 && t[2] < t[3] && static_cast<std::size_t>(t[1]) <= rows &&
                static_cast<std::size_t>(t[3]) <= columns,
            "a tile is not within the picture");
    places.push_back({static_cast<std::size_t>(t[0]), static_cast<std::size_t>(t[1]), static_cast<std::size_t>(t[2]),
                      static_cast<std::size_t>(t[3])});
  }
  for (std::size_t i = 0; i < 2 * patches::tables; ++i)
    require(thresholds.data()[i] >= 0 && thresholds.data()[i] < 1 << patches::fraction, "thresholds are 0 to 31");
  std::vector<patches::Coded> coded(places.size());
  {
    nb::gil_scoped_release released;
    const patches::Level level = {scales.data(), biases.data(), thresholds.data(), nullptr};
    siglum::Team team(std::min(threads, places.size()));
    std::atomic<std::size_t> next{0};
    team.rows(team.size(), [&](std::size_t, std::size_t) {
      for (std::size_t i; (i = next.fetch_add(1)) < places.size();)
        coded[i] = self.encode(picture, places[i], level, groups, bank, flags);
    });
  }
  nb::list result;
  for (const patches::Coded& one : coded)
    result.append(nb::make_tuple(nb::bytes(one.payload.data(), one.payload.size()), one.crc));
  return result;
}

// (status, crc) of a tile.
nb::tuple decode(const patches::Coder& self, Array<std::uint8_t, 1> payload, Array<std::int32_t, 1> biases,
                 Array<float, 2> offsets, const rans::Tables& bank, const rans::Tables& flags, Values values) {
  require(self.complete() && biases.shape(0) == self.bias_count() && offsets.shape(0) == patches::tables &&
              offsets.shape(1) == patches::offset_classes && values.shape(0) >= 1 && values.shape(1) >= 1 &&
              values.shape(2) == patches::channels && values.stride(2) == 1,
          "the arrays do not fit the coder");
  check_tables(bank, flags);
  std::uint32_t crc = 0;
  rans::Status status;
  {
    nb::gil_scoped_release released;
    const patches::Level level = {nullptr, biases.data(), nullptr, offsets.data()};
    status = self.decode(payload.data(), payload.size(), values.shape(0), values.shape(1), level, bank, flags,
                         values.data(), values.stride(0), values.stride(1), crc);
  }
  return nb::make_tuple(static_cast<int>(status), crc);
}

}  // namespace

void register_patches(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  nb::class_<patches::Coder>(m, "PatchCoder")
      .def("__init__", &create, nb::arg("isa"), nb::arg("weight").noconvert(), nb::arg("first").noconvert(),
           nb::arg("means").noconvert(), nb::arg("magnitudes").noconvert(), nb::arg("skip"))
      .def("add_pointwise", &add_pointwise, nb::arg("weight").noconvert(), nb::arg("multiplier").noconvert(),
           nb::arg("shift"), nb::arg("low"), nb::arg("high"))
      .def("add_depthwise", &add_depthwise, nb::arg("weight").noconvert(), nb::arg("multiplier").noconvert(),
           nb::arg("shift"), nb::arg("low"), nb::arg("high"))
      .def_prop_ro("complete", &patches::Coder::complete)
      .def_prop_ro("bias_count", &patches::Coder::bias_count)
      .def("encode", &encode, nb::arg("pixels").noconvert(), nb::arg("scales").noconvert(),
           nb::arg("biases").noconvert(), nb::arg("thresholds").noconvert(), nb::arg("groups"),
           nb::arg("tiles").noconvert(), nb::arg("bank"), nb::arg("flags"), nb::arg("threads"))
      .def("decode", &decode, nb::arg("payload").noconvert(), nb::arg("biases").noconvert(),
           nb::arg("offsets").noconvert(), nb::arg("bank"), nb::arg("flags"), nb::arg("values").noconvert());
}
