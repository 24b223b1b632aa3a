// Thin bindings: buffers are checked here, loops run without the GIL, statuses become errors in entropy/rans.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <atomic>
#include <stdexcept>

#include "rans.hpp"

namespace nb = nanobind;
namespace rans = siglum::rans;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A coder is one stream: two threads in it at once would race on its pointers.
class Busy {
 public:
  explicit Busy(std::atomic_flag& flag) : flag_(flag) {
    if (flag_.test_and_set()) throw std::runtime_error("this coder is in use by another thread");
  }
  ~Busy() { flag_.clear(); }

 private:
  std::atomic_flag& flag_;
};

struct Encoder {
  explicit Encoder(uint32_t lanes) : coder(lanes) {}
  rans::Encoder coder;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

struct Decoder {
  rans::Decoder coder;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

template <class Index>
void push(Encoder& self, const rans::Tables& tables, const int32_t* symbols, size_t count, Index indexes) {
  nb::gil_scoped_release release;
  Busy busy(self.busy);
  if (!rans::valid_indexes(tables, indexes, count)) throw std::invalid_argument("an index names no table");
  self.coder.append(tables, symbols, count, indexes);
}

template <class T>
void push_array(Encoder& self, const rans::Tables& tables, Array<int32_t> symbols, Array<T> indexes) {
  if (symbols.size() != indexes.size()) throw std::invalid_argument("symbols and indexes differ in size");
  push(self, tables, symbols.data(), symbols.size(), indexes.data());
}

void push_same(Encoder& self, const rans::Tables& tables, Array<int32_t> symbols, uint32_t index) {
  push(self, tables, symbols.data(), symbols.size(), rans::Same{index});
}

template <class Index>
int pull(Decoder& self, const rans::Tables& tables, Index indexes, size_t count, int32_t* symbols) {
  nb::gil_scoped_release release;
  Busy busy(self.busy);
  if (!rans::valid_indexes(tables, indexes, count)) throw std::invalid_argument("an index names no table");
  return static_cast<int>(self.coder.decode(tables, indexes, count, symbols));
}

using Output = nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
int pull_array(Decoder& self, const rans::Tables& tables, Array<T> indexes, Output symbols) {
  if (symbols.size() != indexes.size()) throw std::invalid_argument("symbols and indexes differ in size");
  return pull(self, tables, indexes.data(), symbols.size(), symbols.data());
}

int pull_same(Decoder& self, const rans::Tables& tables, uint32_t index, Output symbols) {
  return pull(self, tables, rans::Same{index}, symbols.size(), symbols.data());
}

}  // namespace

void register_rans(nb::module_& m) {
  nb::set_leak_warnings(false);  // tables kept in a module or a cache outlive the interpreter's last collection
  nb::class_<rans::Tables>(m, "RansTables")
      .def("__init__",
           [](rans::Tables* self, Array<uint32_t> frequencies, Array<uint32_t> sizes, Array<int32_t> offsets,
              uint32_t precision) {
             if (sizes.size() != offsets.size()) throw std::invalid_argument("sizes and offsets differ in number");
             new (self) rans::Tables(rans::Tables::build(frequencies.data(), frequencies.size(), sizes.data(),
                                                         offsets.data(), sizes.size(), precision));
           })
      .def("__len__", &rans::Tables::size);

  nb::class_<Encoder>(m, "RansEncoder")
      .def(nb::init<uint32_t>(), nb::arg("lanes") = 0)
      .def("push", &push_same, nb::keep_alive<1, 2>())
      .def("push", &push_array<uint8_t>, nb::keep_alive<1, 2>())
      .def("push", &push_array<uint16_t>, nb::keep_alive<1, 2>())
      .def("push", &push_array<int32_t>, nb::keep_alive<1, 2>())
      .def("finish", [](Encoder& self) {
        std::vector<uint8_t> payload;
        {
          nb::gil_scoped_release release;
          Busy busy(self.busy);
          payload = self.coder.finish();
        }
        return nb::bytes(payload.data(), payload.size());
      });

  nb::class_<Decoder>(m, "RansDecoder")
      .def(nb::init<>())
      .def("open", [](Decoder& self, Array<uint8_t> data) {
        return static_cast<int>(self.coder.open(data.data(), data.size()));
      }, nb::keep_alive<1, 2>())
      .def("decode", &pull_same)
      .def("decode", &pull_array<uint8_t>)
      .def("decode", &pull_array<uint16_t>)
      .def("decode", &pull_array<int32_t>)
      .def("finish", [](Decoder& self) {
        Busy busy(self.busy);
        return static_cast<int>(self.coder.finish());
      });

  m.def("rans_choose_lanes", &rans::choose_lanes);
}
