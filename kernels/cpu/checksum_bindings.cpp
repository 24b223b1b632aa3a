// CRC32C of any object with a contiguous buffer.
#include <nanobind/nanobind.h>

#include "checksum.hpp"

namespace nb = nanobind;

namespace {

// The buffer is neither copied nor kept. Raises what the object's own buffer raises.
template <typename Checksum>
std::uint32_t checksum(nb::handle data, std::uint32_t value, Checksum function) {
  Py_buffer view;
  if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
  {
    nb::gil_scoped_release released;
    value = function(static_cast<const std::uint8_t*>(view.buf), static_cast<std::size_t>(view.len), value);
  }
  PyBuffer_Release(&view);
  return value;
}

}  // namespace

void register_checksum(nb::module_& m) {
  m.def("crc32c", [](nb::handle data, std::uint32_t value) { return checksum(data, value, siglum::crc32c); },
        nb::arg("data"), nb::arg("value") = 0u, "CRC32C of a contiguous buffer.");
  m.def("crc32c_portable",
        [](nb::handle data, std::uint32_t value) { return checksum(data, value, siglum::crc32c_portable); },
        nb::arg("data"), nb::arg("value") = 0u, "The same by tables, whatever the processor offers.");
  m.def("crc32c_in_hardware", &siglum::crc32c_in_hardware, "Whether crc32c uses the processor's instruction.");
}
