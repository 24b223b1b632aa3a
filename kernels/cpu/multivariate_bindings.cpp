// Python's side of the multivariate Gaussian: checks shapes, releases the GIL, copies nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "isa.hpp"
#include "multivariate.hpp"

namespace nb = nanobind;
namespace mv = siglum::multivariate;

namespace {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Parameters = Array<const int32_t, 2>;

const mv::Kernels* require_kernels(const std::string& isa) {
  if (!siglum::cpu_has(isa.c_str())) throw std::invalid_argument("this CPU has no " + isa);
  const mv::Kernels* kernels = isa == "avx2"     ? mv::avx2_kernels()
                               : isa == "avx512" ? mv::avx512_kernels()
                                                 : mv::scalar_kernels();
  if (!kernels) throw std::invalid_argument("this build has no " + isa);
  return kernels;
}

mv::Prior prior_of(const std::string& isa, size_t dimension, size_t count, const Parameters& mean,
                   const Parameters& factors, size_t threads) {
  const size_t pairs = dimension * (dimension - 1) / 2;
  if (dimension < 1 || dimension > mv::kMaxDimension) throw std::invalid_argument("1 to 16 components");
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  if (mean.shape(0) != dimension || factors.shape(0) != pairs) throw std::invalid_argument("parameters do not fit");
  for (const Parameters& rows : {mean, factors}) {
    if (rows.shape(0) && rows.shape(1) != 1 && rows.shape(1) != count)
      throw std::invalid_argument("parameters must be one for all vectors or one a vector");
  }
  return {require_kernels(isa), dimension, count, {mean.data(), mean.shape(1) == 1}, {factors.data(), factors.shape(1) == 1}};
}

template <class A, class B>
void check_same(const A& a, const B& b) {
  if (a.shape(0) != b.shape(0) || a.shape(1) != b.shape(1)) throw std::invalid_argument("arrays differ in shape");
}

template <class T>
void check_row(const Array<T, 1>& row, size_t count) {
  if (row.shape(0) != count) throw std::invalid_argument("a row has the wrong length");
}

bool residuals(const std::string& isa, Array<const double, 2> values, Parameters mean, Parameters factors, Array<int32_t, 2> coded,
               size_t threads) {
  check_same(values, coded);
  const mv::Prior prior = prior_of(isa, values.shape(0), values.shape(1), mean, factors, threads);
  nb::gil_scoped_release released;
  return mv::residuals(prior, values.data(), coded.data(), threads);
}

void reconstruct(const std::string& isa, Array<const int32_t, 2> coded, Parameters mean, Parameters factors, Array<int64_t, 2> values,
                 size_t threads) {
  check_same(values, coded);
  const mv::Prior prior = prior_of(isa, values.shape(0), values.shape(1), mean, factors, threads);
  nb::gil_scoped_release released;
  mv::reconstruct(prior, coded.data(), values.data(), threads);
}

void residuals_integer(const std::string& isa, Array<const int32_t, 2> values, Parameters mean, Parameters factors, Array<int32_t, 2> coded,
                       Array<int8_t, 2> fractions, size_t threads) {
  check_same(values, coded);
  check_same(values, fractions);
  const mv::Prior prior = prior_of(isa, values.shape(0), values.shape(1), mean, factors, threads);
  nb::gil_scoped_release released;
  mv::residuals_integer(prior, values.data(), coded.data(), fractions.data(), threads);
}

void predict_integer(const std::string& isa, size_t component, Array<int32_t, 2> residuals, Parameters mean, Parameters factors,
                     Array<int32_t, 1> shifts, Array<int8_t, 1> fractions, size_t threads) {
  const mv::Prior prior = prior_of(isa, residuals.shape(0), residuals.shape(1), mean, factors, threads);
  if (component >= prior.dimension) throw std::invalid_argument("there is no such component");
  check_row(shifts, prior.count);
  check_row(fractions, prior.count);
  nb::gil_scoped_release released;
  mv::predict_integer(prior, component, residuals.data(), shifts.data(), fractions.data(), threads);
}

void settle_integer(size_t component, Array<int32_t, 2> residuals, Array<const int32_t, 1> shifts,
                    Array<const int32_t, 1> coded, Array<int32_t, 1> values, size_t threads) {
  if (component >= residuals.shape(0) || residuals.shape(0) > mv::kMaxDimension)
    throw std::invalid_argument("there is no such component");
  if (threads < 1 || threads > 1024) throw std::invalid_argument("the number of threads must be 1 to 1024");
  const mv::Prior prior = {nullptr, residuals.shape(0), residuals.shape(1), {nullptr, true}, {nullptr, true}};
  check_row(shifts, prior.count);
  check_row(coded, prior.count);
  check_row(values, prior.count);
  nb::gil_scoped_release released;
  mv::settle_integer(prior, component, residuals.data(), shifts.data(), coded.data(), values.data(), threads);
}

}  // namespace

void register_multivariate(nb::module_& m) {
  // noconvert: an array of another type or layout is an error, not a hidden copy.
  m.def("multivariate_residuals", &residuals, nb::arg("isa"), nb::arg("values").noconvert(), nb::arg("mean").noconvert(),
        nb::arg("factors").noconvert(), nb::arg("coded").noconvert(), nb::arg("threads"));
  m.def("multivariate_reconstruct", &reconstruct, nb::arg("isa"), nb::arg("coded").noconvert(), nb::arg("mean").noconvert(),
        nb::arg("factors").noconvert(), nb::arg("values").noconvert(), nb::arg("threads"));
  m.def("multivariate_residuals_integer", &residuals_integer, nb::arg("isa"), nb::arg("values").noconvert(),
        nb::arg("mean").noconvert(), nb::arg("factors").noconvert(), nb::arg("coded").noconvert(),
        nb::arg("fractions").noconvert(), nb::arg("threads"));
  m.def("multivariate_predict_integer", &predict_integer, nb::arg("isa"), nb::arg("component"), nb::arg("residuals").noconvert(),
        nb::arg("mean").noconvert(), nb::arg("factors").noconvert(), nb::arg("shifts").noconvert(),
        nb::arg("fractions").noconvert(), nb::arg("threads"));
  m.def("multivariate_settle_integer", &settle_integer, nb::arg("component"), nb::arg("residuals").noconvert(),
        nb::arg("shifts").noconvert(), nb::arg("coded").noconvert(), nb::arg("values").noconvert(),
        nb::arg("threads"));
}
