// Python's side of the walk: checks types and shapes, releases the GIL, copies biases only.
#include <nanobind/stl/vector.h>

#include <utility>
#include <vector>

#include "latents_arrays.hpp"
#include "walk.hpp"

using namespace siglum::latents;
using siglum::integer_network::Biased;
using siglum::integer_network::Network;
using siglum::walk::Prior;
using siglum::walk::Tile;
namespace rans = siglum::rans;

namespace {

using Integers = Array<const std::int32_t, 1>;

// The prior, and what it looks at.
struct Level {
  std::vector<nb::object> networks;
  Prior prior;
};

Biased biased(const nb::object& network, const Integers& biases) {
  const Network& found = nb::cast<const Network&>(network);
  require(biases.shape(0) == found.bias_count(), "one bias an output channel of a layer");
  return Biased(found, biases.data());
}

void make_level(Level* self, std::vector<nb::object> networks, const std::vector<Integers>& biases,
                std::vector<std::size_t> bounds, Integers gain, std::int32_t limit) {
  require(bounds.size() >= 2 && networks.size() == 3 * (bounds.size() - 1) && biases.size() == networks.size(),
          "a prior has a network for the hyperlatents and three a group, but that the first has no mix");
  const std::size_t groups = bounds.size() - 1;
  std::vector<Biased> mix, leave, factors;
  for (std::size_t n = 1; n < networks.size(); ++n) {
    (n < groups ? mix : n < 2 * groups ? leave : factors).push_back(biased(networks[n], biases[n]));
  }
  Prior prior = {biased(networks[0], biases[0]), std::move(mix), std::move(leave), std::move(factors),
                 std::move(bounds), std::vector<std::int32_t>(gain.data(), gain.data() + gain.shape(0)), limit};
  prior.check();
  new (self) Level{std::move(networks), std::move(prior)};
}

Tile tile_of(const Prior& prior, const std::int16_t* z, std::size_t z_rows, std::size_t z_columns,
             std::size_t z_channels, const Array<const float, 1>& unit, int skip, const Array<float, 3>& mean,
             const Array<std::uint8_t, 3>& index, const Array<std::int32_t, 3>& symbols) {
  const std::size_t rows = mean.shape(0), columns = mean.shape(1), channels = prior.channels();
  for (std::size_t axis = 0; axis < 3; ++axis) {
    require(mean.shape(axis) == index.shape(axis) && mean.shape(axis) == symbols.shape(axis),
            "the arrays do not fit each other");
  }
  require(rows && columns && mean.shape(2) == channels && unit.shape(0) == channels &&
              z_channels == prior.hyper.network().inputs() && rows <= 4 * z_rows && columns <= 4 * z_columns,
          "the arrays do not fit each other");
  require(skip >= 0 && skip <= 63, "the skip must be 0 to 63");
  return {rows, columns, z, z_rows, z_columns, unit.data(), skip, mean.data(), index.data(), symbols.data()};
}

// Status of the coder; -1 where a hyperlatent is out of range.
int decode_arrays(const Level& self, Array<const std::uint8_t, 1> payload, const rans::Tables& tables,
           Array<const std::uint8_t, 1> hyper_tables, std::int32_t bound, Array<std::int32_t, 3> z,
           Array<const float, 1> unit, int skip, Array<float, 3> mean, Array<std::uint8_t, 3> index,
           Array<std::int32_t, 3> symbols, std::size_t threads, const std::string& isa) {
  const std::size_t count = z.size(), channels = z.shape(2);
  require(hyper_tables.shape(0) == channels, "one table a channel of the hyperlatents");
  require(bound >= 0 && bound <= 32767, "the bound must be that of an int16");
  require(tables.size() == 64, "the tables must be 64");
  for (std::size_t c = 0; c < channels; ++c) require(hyper_tables.data()[c] < 64, "an index names no table");
  std::vector<std::int16_t> narrow(count);
  const Tile tile = tile_of(self.prior, narrow.data(), z.shape(0), z.shape(1), channels, unit, skip, mean, index, symbols);
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  const rans::Kernels* const kernels = rans::kernels_named(isa.c_str());
  nb::gil_scoped_release released;
  rans::Decoder decoder(kernels ? kernels : rans::scalar_kernels());
  rans::Status status = decoder.open(payload.data(), payload.size());
  if (status != rans::Status::ok) return static_cast<int>(status);
  std::vector<std::uint8_t> indexes(count);
  for (std::size_t i = 0; i < count; ++i) indexes[i] = hyper_tables.data()[i % channels];
  status = decoder.decode(tables, {rans::IndexKind::u8, 0, indexes.data()}, count, {rans::SymbolKind::i32, z.data()});
  if (status != rans::Status::ok) return static_cast<int>(status);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t value = z.data()[i];
    if (value > bound || value < -bound) return -1;
    narrow[i] = static_cast<std::int16_t>(value);
  }
  status = siglum::walk::decode(self.prior, tile, decoder, tables, threads, row_functions);
  return static_cast<int>(status == rans::Status::ok ? decoder.finish() : status);
}

void choose_arrays(const Level& self, Array<const std::int16_t, 3> z, Array<const float, 1> unit, int skip,
            Array<const float, 3> latent, Array<const float, 1> weight, Array<const float, 2> bits,
            Array<float, 3> mean, Array<std::uint8_t, 3> index, Array<std::int32_t, 3> symbols, std::size_t threads,
            const std::string& isa) {
  const Tile tile =
      tile_of(self.prior, z.data(), z.shape(0), z.shape(1), z.shape(2), unit, skip, mean, index, symbols);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    require(latent.shape(axis) == symbols.shape(axis), "the arrays do not fit each other");
  }
  require(weight.shape(0) == symbols.shape(2) && bits.shape(0) == 64 && bits.shape(1) == costed + 1,
          "the arrays do not fit each other");
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  siglum::walk::choose(self.prior, tile, latent.data(), weight.data(), bits.data(), threads, row_functions);
}

}  // namespace

void register_walk(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  nb::class_<Level>(m, "WalkLevel", "Use siglum.kernels.walk.")
      .def("__init__", &make_level, nb::arg("networks"), nb::arg("biases"), nb::arg("bounds"),
           nb::arg("gain").noconvert(), nb::arg("limit"))
      .def("decode", &decode_arrays, nb::arg("payload").noconvert(), nb::arg("tables"), nb::arg("hyper_tables").noconvert(),
           nb::arg("bound"), nb::arg("z").noconvert(), nb::arg("unit").noconvert(), nb::arg("skip"),
           nb::arg("mean").noconvert(), nb::arg("index").noconvert(), nb::arg("symbols").noconvert(),
           nb::arg("threads"), nb::arg("isa"))
      .def("choose", &choose_arrays, nb::arg("z").noconvert(), nb::arg("unit").noconvert(), nb::arg("skip"),
           nb::arg("latent").noconvert(), nb::arg("weight").noconvert(), nb::arg("bits").noconvert(),
           nb::arg("mean").noconvert(), nb::arg("index").noconvert(), nb::arg("symbols").noconvert(),
           nb::arg("threads"), nb::arg("isa"));
}
