// Python's side of the phases: checks types and shapes, releases the GIL, copies nothing.
#include "phases.hpp"

#include "latents_arrays.hpp"

using namespace siglum::phases;
using namespace siglum::latents;

namespace {

void lean_arrays(Latents<const std::int16_t> factors, Latents<std::int16_t> deviation, Latents<float> mean, int phase,
                 std::size_t threads, const std::string& isa) {
  const auto by = grid_of(factors);
  const auto values = grid_of(deviation);
  const auto means = grid_of(mean);
  require(same(values, means) && by.rows == values.rows && by.columns == values.columns &&
              by.channels == neighbours * values.channels && phase >= 0 && phase < phases,
          "the arrays do not fit each other");
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  lean(by, values, means, phase, threads, row_functions);
}

void settle_arrays(Latents<const std::int32_t> symbols, Latents<std::int16_t> deviation, std::size_t threads, const std::string& isa) {
  const auto from = grid_of(symbols);
  const auto to = grid_of(deviation);
  require(same(from, to), "the arrays do not fit each other");
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  settle(from, to, threads, row_functions);
}

void join_arrays(Latents<const std::int16_t> features, Latents<const std::int16_t> deviation,
                 Array<const std::int32_t, 1> gain, std::int32_t limit, Latents<std::int16_t> out,
                 std::size_t threads, const std::string& isa) {
  const auto one = grid_of(features);
  const auto other = grid_of(deviation);
  const auto to = grid_of(out);
  require(one.rows == to.rows && one.columns == to.columns && other.rows == to.rows && other.columns == to.columns &&
              one.channels + 2 * other.channels == to.channels && gain.shape(0) == other.channels,
          "the arrays do not fit each other");
  require(limit >= 0 && limit <= 32767, "the limit must be 0 to 32767");
  for (std::size_t i = 0; i < gain.shape(0); ++i) {
    require(gain.data()[i] >= 0 && gain.data()[i] <= 65535, "a gain must be 0 to 65535");
  }
  check_threads(threads);
  const Rows& row_functions = require_rows(isa);
  nb::gil_scoped_release released;
  join(one, other, gain.data(), limit, to, threads, row_functions);
}

}  // namespace

void register_phases(nb::module_& m) {
  m.def("phases_lean", &lean_arrays, nb::arg("factors").noconvert(), nb::arg("deviation").noconvert(),
        nb::arg("mean").noconvert(), nb::arg("phase"), nb::arg("threads"), nb::arg("isa"));
  m.def("phases_settle", &settle_arrays, nb::arg("symbols").noconvert(), nb::arg("deviation").noconvert(),
        nb::arg("threads"), nb::arg("isa"));
  m.def("phases_join", &join_arrays, nb::arg("features").noconvert(), nb::arg("deviation").noconvert(),
        nb::arg("gain").noconvert(), nb::arg("limit"), nb::arg("out").noconvert(), nb::arg("threads"), nb::arg("isa"));
}
