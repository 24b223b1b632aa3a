// Thin bindings of the precise profile, and fast ways between lists of int and arrays for entropy/compat.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <atomic>
#include <stdexcept>
#include <string>

#include "precise.hpp"

namespace nb = nanobind;
namespace precise = siglum::precise;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Slots = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A coder is one stream: two threads in it at once would race on its pointers.
template <class Coder>
struct Guarded {
  template <class... Arguments>
  explicit Guarded(Arguments... arguments) : coder(arguments...) {}

  // Calls work(coder) without the GIL, unless another thread is in it.
  template <class Work>
  auto run(Work work) {
    nb::gil_scoped_release release;
    struct Busy {
      explicit Busy(std::atomic_flag& flag) : flag(flag) {
        if (flag.test_and_set()) throw std::runtime_error("this coder is in use by another thread");
      }
      ~Busy() { flag.clear(); }
      std::atomic_flag& flag;
    } guard(busy);
    return work(coder);
  }

  Coder coder;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

using Encoder = Guarded<precise::Encoder>;
using Decoder = Guarded<precise::Decoder>;
using Stack = Guarded<precise::Stack>;

void require(bool fine, const char* what) {
  if (!fine) throw std::invalid_argument(what);
}

template <class Index>
void check_indexes(const precise::Tables& tables, Index indexes, size_t count) {
  require(precise::valid_indexes(tables, indexes, count), "an index names no table");
}

precise::Same flat(size_t, uint32_t index) { return {index}; }
template <class T>
const T* flat(size_t symbols, const Array<T>& indexes) {
  require(symbols == indexes.size(), "symbols and indexes differ in size");
  return indexes.data();
}

template <class Indexes>
void push(Encoder& self, const precise::Tables& tables, Array<int32_t> symbols, Indexes indexes) {
  const auto which = flat(symbols.size(), indexes);
  self.run([&](precise::Encoder& coder) {
    check_indexes(tables, which, symbols.size());
    coder.append(tables, symbols.data(), symbols.size(), which);
  });
}

template <class Indexes>
int decode(Decoder& self, const precise::Tables& tables, Indexes indexes, Output symbols) {
  const auto which = flat(symbols.size(), indexes);
  return self.run([&](precise::Decoder& coder) {
    check_indexes(tables, which, symbols.size());
    return static_cast<int>(coder.decode(tables, which, symbols.size(), symbols.data()));
  });
}

template <class Indexes>
void push_stack(Stack& self, const precise::Tables& tables, Array<int32_t> symbols, Indexes indexes) {
  const auto which = flat(symbols.size(), indexes);
  self.run([&](precise::Stack& stack) {
    check_indexes(tables, which, symbols.size());
    stack.push(tables, symbols.data(), symbols.size(), which);
  });
}

template <class Indexes>
int pop_stack(Stack& self, const precise::Tables& tables, Indexes indexes, Output symbols) {
  const auto which = flat(symbols.size(), indexes);
  return self.run([&](precise::Stack& stack) {
    check_indexes(tables, which, symbols.size());
    return static_cast<int>(stack.pop(tables, which, symbols.size(), symbols.data()));
  });
}

void check_precision(uint32_t precision) {
  require(precision >= 1 && precision <= precise::kMaxPrecision, "precision must be 1 to 24 bits");
}

void check_rows(const Rows& rows, const Output& numbers, uint32_t precision) {
  check_precision(precision);
  require(rows.shape(0) == numbers.size() && rows.shape(1) >= 2, "a row of at least 2 values is due for each symbol");
}

nb::bytes as_bytes(const std::vector<uint8_t>& data) { return nb::bytes(data.data(), data.size()); }

// ---- lists ----

long small_int(PyObject* item, long low, long high) {
  if (!PyLong_Check(item)) throw nb::type_error("the list must hold integers");
  int overflow = 0;
  const long value = PyLong_AsLongAndOverflow(item, &overflow);
  if (overflow || value < low || value > high) throw nb::value_error("an integer of the list is out of range");
  return value;
}

// Owner of the memory that NumPy sees.
template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> numpy_array(std::unique_ptr<T[]> data, size_t count) {
  T* const raw = data.get();
  nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  data.release();
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(raw, {count}, owner);
}

nb::ndarray<nb::numpy, int32_t, nb::ndim<1>> list_to_array(nb::list list) {
  const size_t count = list.size();
  std::unique_ptr<int32_t[]> data(new int32_t[count ? count : 1]);
  for (size_t i = 0; i < count; ++i)
    data[i] = static_cast<int32_t>(small_int(PyList_GET_ITEM(list.ptr(), i), INT32_MIN, INT32_MAX));
  return numpy_array(std::move(data), count);
}

nb::list array_to_list(Array<int32_t> values) {
  const size_t count = values.size();
  const int32_t* data = values.data();
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(count));
  if (!list) throw nb::python_error();
  for (size_t i = 0; i < count; ++i) {
    PyObject* item = PyLong_FromLong(data[i]);
    if (!item) {
      Py_DECREF(list);
      throw nb::python_error();
    }
    PyList_SET_ITEM(list, i, item);
  }
  return nb::steal<nb::list>(list);
}

// The first sizes[t] values of each list, in a row.
nb::ndarray<nb::numpy, uint32_t, nb::ndim<1>> rows_to_array(nb::list rows, Array<int32_t> sizes) {
  require(rows.size() == sizes.size(), "there must be as many sizes as tables");
  size_t total = 0;
  for (size_t t = 0; t < sizes.size(); ++t) {
    PyObject* row = PyList_GET_ITEM(rows.ptr(), t);
    if (!PyList_Check(row)) throw nb::type_error("every table must be a list");
    require(sizes.data()[t] >= 0 && sizes.data()[t] <= PyList_GET_SIZE(row), "a size is larger than its table");
    total += static_cast<size_t>(sizes.data()[t]);
  }
  std::unique_ptr<uint32_t[]> data(new uint32_t[total ? total : 1]);
  uint32_t* out = data.get();
  for (size_t t = 0; t < sizes.size(); ++t) {
    PyObject* row = PyList_GET_ITEM(rows.ptr(), t);
    for (int32_t j = 0; j < sizes.data()[t]; ++j)
      *out++ = static_cast<uint32_t>(small_int(PyList_GET_ITEM(row, j), 0, 1 << 16));
  }
  return numpy_array(std::move(data), total);
}

}  // namespace

void register_precise(nb::module_& m) {
  nb::class_<precise::Tables>(m, "PreciseTables")
      .def("__init__",
           [](precise::Tables* self, Array<uint32_t> frequencies, Array<uint32_t> sizes, Array<int32_t> offsets,
              uint32_t precision, bool closed) {
             require(sizes.size() == offsets.size(), "sizes and offsets differ in number");
             nb::gil_scoped_release release;
             new (self) precise::Tables(precise::Tables::build(frequencies.data(), frequencies.size(), sizes.data(),
                                                               offsets.data(), sizes.size(), precision, closed));
           })
      .def("__len__", &precise::Tables::size);

  nb::class_<Encoder>(m, "PreciseEncoder")
      .def(nb::init<uint32_t>(), nb::arg("lanes") = 0)
      .def("push", &push<uint32_t>, nb::keep_alive<1, 2>())
      .def("push", &push<Array<uint8_t>>, nb::keep_alive<1, 2>())
      .def("push", &push<Array<uint16_t>>, nb::keep_alive<1, 2>())
      .def("push", &push<Array<int32_t>>, nb::keep_alive<1, 2>())
      .def("push_direct",
           [](Encoder& self, Array<uint32_t> starts, Array<uint32_t> frequencies, uint32_t precision) {
             require(starts.size() == frequencies.size(), "starts and frequencies differ in size");
             self.run([&](precise::Encoder& coder) {
               coder.append_direct(starts.data(), frequencies.data(), starts.size(), precision);
             });
           })
      .def("finish", [](Encoder& self) {
        return as_bytes(self.run([](precise::Encoder& coder) { return coder.finish(); }));
      });

  nb::class_<Decoder>(m, "PreciseDecoder")
      .def(nb::init<>())
      .def("open", [](Decoder& self, Array<uint8_t> data) {
        return static_cast<int>(self.run([&](precise::Decoder& coder) { return coder.open(data.data(), data.size()); }));
      }, nb::keep_alive<1, 2>())
      .def("decode", &decode<uint32_t>)
      .def("decode", &decode<Array<uint8_t>>)
      .def("decode", &decode<Array<uint16_t>>)
      .def("decode", &decode<Array<int32_t>>)
      .def("decode_direct",
           [](Decoder& self, Rows rows, uint32_t precision, Output numbers) {
             check_rows(rows, numbers, precision);
             return static_cast<int>(self.run([&](precise::Decoder& coder) {
               return coder.decode_direct(rows.data(), rows.shape(1) - 1, numbers.size(), precision, numbers.data());
             }));
           })
      .def("begin_step", [](Decoder& self) { self.run([](precise::Decoder& coder) { coder.begin_step(); }); })
      .def("peek",
           [](Decoder& self, uint32_t precision, Slots slots) {
             check_precision(precision);
             self.run([&](precise::Decoder& coder) {
               require(slots.size() <= coder.lanes(), "at most as many symbols as there are lanes");
               coder.peek(static_cast<uint32_t>(slots.size()), precision, slots.data());
             });
           })
      .def("advance",
           [](Decoder& self, Array<uint32_t> starts, Array<uint32_t> frequencies, uint32_t precision) {
             require(starts.size() == frequencies.size(), "starts and frequencies differ in size");
             return static_cast<int>(self.run([&](precise::Decoder& coder) {
               require(starts.size() <= coder.lanes(), "at most as many symbols as there are lanes");
               precise::check_intervals(starts.data(), frequencies.data(), starts.size(), precision);
               require(coder.advance(starts.data(), frequencies.data(), static_cast<uint32_t>(starts.size()), precision),
                       "an interval does not hold its slot");
               return coder.status();
             }));
           })
      .def_prop_ro("lanes", [](Decoder& self) { return self.coder.lanes(); })
      .def("finish", [](Decoder& self) {
        return static_cast<int>(self.run([](precise::Decoder& coder) { return coder.finish(); }));
      });

  nb::class_<Stack>(m, "PreciseStack")
      .def(nb::init<>())
      .def("restore", [](Stack& self, Array<uint8_t> data) {
        return static_cast<int>(self.run([&](precise::Stack& s) { return s.restore(data.data(), data.size()); }));
      })
      .def("fill", [](Stack& self, Array<uint8_t> data) {
        return static_cast<int>(self.run([&](precise::Stack& s) { return s.fill(data.data(), data.size()); }));
      })
      .def("to_bytes", [](Stack& self) {
        return as_bytes(self.run([](precise::Stack& s) { return s.to_bytes(); }));
      })
      .def("push", &push_stack<uint32_t>)
      .def("push", &push_stack<Array<uint8_t>>)
      .def("push", &push_stack<Array<uint16_t>>)
      .def("push", &push_stack<Array<int32_t>>)
      .def("pop", &pop_stack<uint32_t>)
      .def("pop", &pop_stack<Array<uint8_t>>)
      .def("pop", &pop_stack<Array<uint16_t>>)
      .def("pop", &pop_stack<Array<int32_t>>)
      .def("push_direct",
           [](Stack& self, Array<uint32_t> starts, Array<uint32_t> frequencies, uint32_t precision) {
             require(starts.size() == frequencies.size(), "starts and frequencies differ in size");
             self.run([&](precise::Stack& s) {
               s.push_direct(starts.data(), frequencies.data(), starts.size(), precision);
             });
           })
      .def("pop_direct",
           [](Stack& self, Rows rows, uint32_t precision, Output numbers) {
             check_rows(rows, numbers, precision);
             return static_cast<int>(self.run([&](precise::Stack& s) {
               return s.pop_direct(rows.data(), rows.shape(1) - 1, numbers.size(), precision, numbers.data());
             }));
           })
      .def("peek",
           [](Stack& self, uint32_t precision) {
             check_precision(precision);
             return self.run([&](precise::Stack& s) { return s.peek(precision); });
           })
      .def("advance",
           [](Stack& self, uint32_t start, uint32_t frequency, uint32_t precision) {
             return static_cast<int>(self.run([&](precise::Stack& s) {
               precise::check_intervals(&start, &frequency, 1, precision);
               return s.advance(start, frequency, precision);
             }));
           })
      .def_prop_ro("state", [](Stack& self) { return self.coder.state(); })
      .def_prop_ro("words", [](Stack& self) { return self.coder.words(); });

  m.def("precise_normalise", [](Array<uint64_t> weights, uint32_t precision, Slots frequencies) {
    require(weights.size() == frequencies.size(), "weights and frequencies differ in size");
    nb::gil_scoped_release release;
    precise::normalise(weights.data(), weights.size(), precision, frequencies.data());
  });
  m.def("ints_from_list", &list_to_array);
  m.def("list_from_ints", &array_to_list);
  m.def("ints_from_rows", &rows_to_array);
}
