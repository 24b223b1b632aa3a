// NumPy arrays as grids of latents: what the bindings of these kernels share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "latents.hpp"

namespace nb = nanobind;

namespace siglum::latents {

template <class T, int D>
using Array = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T>
using Latents = nb::ndarray<T, nb::ndim<3>, nb::device::cpu>;

template <class T>
Grid<T> grid_of(const Latents<T>& array) {
  if (array.shape(2) > 1 && array.stride(2) != 1) throw std::invalid_argument("the channels must be contiguous");
  return {array.data(), array.shape(0), array.shape(1), array.shape(2), array.stride(0), array.stride(1)};
}

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class A, class B>
bool same(const Grid<A>& a, const Grid<B>& b) {
  return a.rows == b.rows && a.columns == b.columns && a.channels == b.channels;
}

inline void check_threads(std::size_t threads) {
  require(threads >= 1 && threads <= 1024, "the number of threads must be 1 to 1024");
}

inline const Rows& require_rows(const std::string& isa) {
  const Rows* const found = find_rows(isa.c_str());
  if (!found) throw std::invalid_argument("this CPU or this build has no " + isa);
  return *found;
}

}  // namespace siglum::latents
