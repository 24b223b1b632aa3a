// Thin bindings: buffers are checked here, loops run without the GIL, statuses become errors in entropy/rans.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "rans.hpp"
#include "rans_chunks.hpp"

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

const rans::Kernels* require(const std::string& isa) {
  const rans::Kernels* kernels = rans::kernels_named(isa.c_str());
  return kernels ? kernels : rans::scalar_kernels();  // dispatch.isa() has refused what this machine does not run
}

struct Encoder {
  Encoder(uint32_t lanes, const std::string& isa) : coder(lanes, require(isa)) {}
  rans::Encoder coder;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

struct Decoder {
  explicit Decoder(const std::string& isa) : coder(require(isa)) {}
  rans::Decoder coder;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

using AnyArray = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyOutput = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

rans::SymbolKind kind_of(nb::dlpack::dtype type) {
  if (type == nb::dtype<int8_t>()) return rans::SymbolKind::i8;
  if (type == nb::dtype<uint8_t>()) return rans::SymbolKind::u8;
  if (type == nb::dtype<int16_t>()) return rans::SymbolKind::i16;
  if (type == nb::dtype<uint16_t>()) return rans::SymbolKind::u16;
  if (type == nb::dtype<int32_t>()) return rans::SymbolKind::i32;
  throw std::invalid_argument("symbols must be int8, uint8, int16, uint16 or int32");
}

rans::Symbols symbols_of(const AnyArray& array) { return {kind_of(array.dtype()), array.data()}; }
rans::MutableSymbols symbols_of(const AnyOutput& array) { return {kind_of(array.dtype()), array.data()}; }

rans::Indexes indexes_of(const AnyArray& array, size_t count) {
  if (array.size() != count) throw std::invalid_argument("symbols and indexes differ in size");
  if (array.dtype() == nb::dtype<uint8_t>()) return {rans::IndexKind::u8, 0, array.data()};
  if (array.dtype() == nb::dtype<uint16_t>()) return {rans::IndexKind::u16, 0, array.data()};
  if (array.dtype() == nb::dtype<int32_t>()) return {rans::IndexKind::i32, 0, array.data()};
  throw std::invalid_argument("indexes must be uint8, uint16 or int32");
}
rans::Indexes indexes_of(uint32_t index, size_t) { return {rans::IndexKind::same, index, nullptr}; }

void check(const rans::Tables& tables, rans::Indexes indexes, size_t count) {
  if (!rans::valid_indexes(tables, indexes, count)) throw std::invalid_argument("an index names no table");
}

template <class Index>
void push(Encoder& self, const rans::Tables& tables, AnyArray symbols, Index index) {
  const rans::Indexes indexes = indexes_of(index, symbols.size());
  const rans::Symbols values = symbols_of(symbols);
  nb::gil_scoped_release release;
  Busy busy(self.busy);
  check(tables, indexes, symbols.size());
  self.coder.append(tables, values, symbols.size(), indexes);
}

template <class Index>
int pull(Decoder& self, const rans::Tables& tables, Index index, AnyOutput symbols) {
  const rans::Indexes indexes = indexes_of(index, symbols.size());
  const rans::MutableSymbols values = symbols_of(symbols);
  nb::gil_scoped_release release;
  Busy busy(self.busy);
  check(tables, indexes, symbols.size());
  return static_cast<int>(self.coder.decode(tables, indexes, symbols.size(), values));
}

nb::bytes as_bytes(const std::vector<uint8_t>& bytes) { return nb::bytes(bytes.data(), bytes.size()); }

template <class Index>
nb::bytes compress(const rans::Tables& tables, AnyArray symbols, Index index, size_t chunk, uint32_t lanes,
                   size_t threads, const std::string& isa) {
  const rans::Indexes indexes = indexes_of(index, symbols.size());
  const rans::Symbols values = symbols_of(symbols);
  std::vector<std::vector<uint8_t>> parts;
  {
    nb::gil_scoped_release release;
    if (chunk < 1) throw std::invalid_argument("a chunk needs a symbol");
    check(tables, indexes, symbols.size());
    parts = rans::compress(tables, values, symbols.size(), indexes, chunk, lanes, threads, require(isa));
  }
  size_t size = 0;
  for (const std::vector<uint8_t>& part : parts) size += part.size();
  PyObject* frame = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
  if (!frame) throw nb::python_error();
  char* to = PyBytes_AS_STRING(frame);
  for (const std::vector<uint8_t>& part : parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  return nb::steal<nb::bytes>(frame);
}

// A frame whose head has been read; it keeps the data.
struct Frame {
  Frame(Array<uint8_t> bytes) : data(bytes), status(rans::parse(data.data(), data.size(), frame)) {}
  Array<uint8_t> data;
  rans::Frame frame;
  rans::FrameStatus status;
};

template <class Index>
int decompress(const Frame& self, const rans::Tables& tables, Index index, size_t first, AnyOutput symbols,
               size_t threads, const std::string& isa) {
  const rans::Indexes indexes = indexes_of(index, self.frame.count);
  const rans::MutableSymbols values = symbols_of(symbols);
  nb::gil_scoped_release release;
  if (self.status != rans::FrameStatus::ok) return static_cast<int>(self.status);
  if (first > self.frame.count || symbols.size() > self.frame.count - first)
    throw std::invalid_argument("the frame has fewer symbols");
  check(tables, indexes, self.frame.count);
  return static_cast<int>(rans::decompress(tables, self.data.data(), self.frame, first, symbols.size(), indexes, values,
                                           threads, require(isa)));
}

}  // namespace

void register_rans(nb::module_& m) {
  nb::set_leak_warnings(false);  // tables kept in a module or a cache outlive the interpreter's last collection
  nb::class_<rans::Tables>(m, "RansTables")
      .def("__init__",
           [](rans::Tables* self, Array<uint32_t> frequencies, Array<uint32_t> sizes, Array<int32_t> offsets,
              uint32_t precision, bool closed) {
             if (sizes.size() != offsets.size()) throw std::invalid_argument("sizes and offsets differ in number");
             new (self) rans::Tables(rans::Tables::build(frequencies.data(), frequencies.size(), sizes.data(),
                                                         offsets.data(), sizes.size(), precision, closed));
           })
      .def("__len__", &rans::Tables::size)
      .def_ro("lowest", &rans::Tables::lowest)
      .def_ro("highest", &rans::Tables::highest)
      .def_ro("fingerprint", &rans::Tables::fingerprint);

  nb::class_<Encoder>(m, "RansEncoder")
      .def(nb::init<uint32_t, const std::string&>(), nb::arg("lanes"), nb::arg("isa"))
      .def("push", &push<uint32_t>, nb::keep_alive<1, 2>())
      .def("push", &push<AnyArray>, nb::keep_alive<1, 2>())
      .def("push_direct",
           [](Encoder& self, Array<uint32_t> starts, Array<uint32_t> frequencies, uint32_t precision) {
             if (starts.size() != frequencies.size())
               throw std::invalid_argument("starts and frequencies differ in size");
             nb::gil_scoped_release release;
             Busy busy(self.busy);
             self.coder.append_direct(starts.data(), frequencies.data(), starts.size(), precision);
           })
      .def("finish", [](Encoder& self) {
        std::vector<uint8_t> payload;
        {
          nb::gil_scoped_release release;
          Busy busy(self.busy);
          self.coder.finish(payload);
        }
        return as_bytes(payload);
      });

  nb::class_<Decoder>(m, "RansDecoder")
      .def(nb::init<const std::string&>(), nb::arg("isa"))
      .def("open", [](Decoder& self, Array<uint8_t> data) {
        return static_cast<int>(self.coder.open(data.data(), data.size()));
      }, nb::keep_alive<1, 2>())
      .def("decode", &pull<uint32_t>)
      .def("decode", &pull<AnyArray>)
      .def("decode_direct",
           [](Decoder& self, nb::ndarray<const uint16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> cumulative,
              uint32_t precision, nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> numbers) {
             if (numbers.size() != cumulative.shape(0)) throw std::invalid_argument("there must be a row a symbol");
             nb::gil_scoped_release release;
             Busy busy(self.busy);
             return static_cast<int>(self.coder.decode_direct(cumulative.data(), cumulative.shape(1),
                                                              cumulative.shape(0), precision, numbers.data()));
           })
      .def("peek",
           [](Decoder& self, nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> slots,
              uint32_t precision) {
             Busy busy(self.busy);
             self.coder.peek(slots.size(), precision, slots.data());
           })
      .def("advance",
           [](Decoder& self, Array<uint32_t> starts, Array<uint32_t> frequencies, uint32_t precision) {
             if (starts.size() != frequencies.size())
               throw std::invalid_argument("starts and frequencies differ in size");
             Busy busy(self.busy);
             return static_cast<int>(self.coder.advance(starts.data(), frequencies.data(), starts.size(), precision));
           })
      .def("begin_step", [](Decoder& self) {
        Busy busy(self.busy);
        self.coder.begin_step();
      })
      .def_prop_ro("lanes", [](Decoder& self) { return self.coder.lanes(); })
      .def("finish", [](Decoder& self) {
        Busy busy(self.busy);
        return static_cast<int>(self.coder.finish());
      });

  nb::class_<Frame>(m, "RansFrame")
      .def(nb::init<Array<uint8_t>>())
      .def_prop_ro("status", [](const Frame& self) { return static_cast<int>(self.status); })
      .def_prop_ro("count", [](const Frame& self) { return self.frame.count; })
      .def_prop_ro("chunk", [](const Frame& self) { return self.frame.chunk; })
      .def_prop_ro("starts", [](const Frame& self) { return nb::cast(self.frame.starts); })
      .def_prop_ro("checksums", [](const Frame& self) { return nb::cast(self.frame.checksums); })
      .def_prop_ro("fingerprint", [](const Frame& self) { return self.frame.fingerprint; })
      .def("decode", &decompress<uint32_t>)
      .def("decode", &decompress<AnyArray>);

  m.def("rans_compress", &compress<uint32_t>);
  m.def("rans_compress", &compress<AnyArray>);
  m.def("rans_choose_lanes", &rans::choose_lanes);
}
