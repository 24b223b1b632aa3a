// Python's side of the latents' arithmetic: checks types and shapes, releases the GIL, copies nothing.
#include "latents_arrays.hpp"

using namespace siglum::latents;

namespace {

void predict_arrays(Latents<const std::int16_t> prior, Array<const float, 1> unit, Latents<float> mean,
                    Latents<std::uint8_t> index, std::size_t threads, const std::string& isa) {
  const auto from = grid_of(prior);
  const auto means = grid_of(mean);
  const auto indices = grid_of(index);
  require(same(means, indices) && from.channels == 2 * means.channels && unit.shape(0) == means.channels &&
              from.rows >= means.rows && from.columns >= means.columns,
          "the arrays do not fit each other");
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  predict(from, unit.data(), means, indices, threads, row_functions);
}

void choose_arrays(Latents<const float> latent, Latents<const float> mean, Latents<const std::uint8_t> index,
                   Array<const float, 1> weight, Array<const float, 2> bits, int skip, Latents<std::int32_t> symbols,
                   std::size_t threads) {
  const auto values = grid_of(latent);
  const auto means = grid_of(mean);
  const auto indices = grid_of(index);
  const auto out = grid_of(symbols);
  require(same(values, means) && same(values, indices) && same(values, out) && weight.shape(0) == out.channels &&
              bits.shape(0) == 64 && bits.shape(1) == costed + 1,
          "the arrays do not fit each other");
  check_threads(threads);
  nb::gil_scoped_release released;
  choose(values, means, indices, weight.data(), bits.data(), skip, out, threads);
}

void reconstruct_arrays(Latents<const std::int32_t> symbols, Latents<const float> mean,
                        Latents<const std::uint8_t> index, Array<const float, 2> offsets, Latents<float> out,
                        std::size_t threads, const std::string& isa) {
  const auto values = grid_of(symbols);
  const auto means = grid_of(mean);
  const auto indices = grid_of(index);
  const auto to = grid_of(out);
  require(same(values, means) && same(values, indices) && same(values, to) && offsets.shape(0) == 64 &&
              offsets.shape(1) == offset_classes,
          "the arrays do not fit each other");
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  reconstruct(values, means, indices, offsets.data(), to, threads, row_functions);
}

std::size_t gather_arrays(Latents<const std::int32_t> symbols, Latents<const std::uint8_t> index, int skip,
                          Array<std::int32_t, 1> coded, Array<std::uint8_t, 1> coded_index) {
  const auto from = grid_of(symbols);
  const auto indices = grid_of(index);
  const std::size_t count = from.rows * from.columns * from.channels;
  require(same(from, indices) && coded.shape(0) > count && coded_index.shape(0) > count,
          "the arrays do not fit each other");  // one more: the loop writes before it knows
  nb::gil_scoped_release released;
  return gather(from, indices, skip, coded.data(), coded_index.data());
}

std::size_t tables_array(Latents<const std::uint8_t> index, int skip, Array<std::uint8_t, 1> coded_index) {
  const auto indices = grid_of(index);
  require(coded_index.shape(0) > indices.rows * indices.columns * indices.channels,
          "the arrays do not fit each other");
  nb::gil_scoped_release released;
  return coded_tables(indices, skip, coded_index.data());
}

std::size_t scatter_arrays(Array<const std::int32_t, 1> coded, Latents<const std::uint8_t> index, int skip,
                           Latents<std::int32_t> symbols) {
  const auto indices = grid_of(index);
  const auto to = grid_of(symbols);
  require(same(indices, to), "the arrays do not fit each other");
  nb::gil_scoped_release released;
  return scatter(coded.data(), coded.shape(0), indices, skip, to);
}

}  // namespace

void register_latents(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  m.def("latents_predict", &predict_arrays, nb::arg("prior").noconvert(), nb::arg("unit").noconvert(),
        nb::arg("mean").noconvert(), nb::arg("index").noconvert(), nb::arg("threads"), nb::arg("isa"));
  m.def("latents_choose", &choose_arrays, nb::arg("latent").noconvert(), nb::arg("mean").noconvert(),
        nb::arg("index").noconvert(), nb::arg("weight").noconvert(), nb::arg("bits").noconvert(), nb::arg("skip"),
        nb::arg("symbols").noconvert(), nb::arg("threads"));
  m.def("latents_reconstruct", &reconstruct_arrays, nb::arg("symbols").noconvert(), nb::arg("mean").noconvert(),
        nb::arg("index").noconvert(), nb::arg("offsets").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"), nb::arg("isa"));
  m.def("latents_gather", &gather_arrays, nb::arg("symbols").noconvert(), nb::arg("index").noconvert(),
        nb::arg("skip"), nb::arg("coded").noconvert(), nb::arg("coded_index").noconvert());
  m.def("latents_tables", &tables_array, nb::arg("index").noconvert(), nb::arg("skip"),
        nb::arg("coded_index").noconvert());
  m.def("latents_scatter", &scatter_arrays, nb::arg("coded").noconvert(), nb::arg("index").noconvert(),
        nb::arg("skip"), nb::arg("symbols").noconvert());
}
