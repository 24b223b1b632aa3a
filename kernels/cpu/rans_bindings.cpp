#include <nanobind/nanobind.h>

void register_rans(nanobind::module_&) {}
