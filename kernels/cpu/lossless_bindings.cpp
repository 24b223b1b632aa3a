#include <nanobind/nanobind.h>

void register_lossless(nanobind::module_&) {}
