// The Python module siglum.kernels._native: each kernel family registers its own functions.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void register_checksum(nb::module_& m);         // checksum_bindings.cpp
void register_rans(nb::module_& m);             // rans_bindings.cpp
void register_integer_network(nb::module_& m);  // integer_network_bindings.cpp
void register_float_network(nb::module_& m);    // float_network_bindings.cpp
void register_latents(nb::module_& m);          // latents_bindings.cpp
void register_phases(nb::module_& m);          // phases_bindings.cpp
void register_walk(nb::module_& m);             // walk_bindings.cpp
void register_lossless(nb::module_& m);         // lossless_bindings.cpp
void register_precise(nb::module_& m);         // precise_bindings.cpp
void register_multivariate(nb::module_& m);     // multivariate_bindings.cpp
void register_codebook(nb::module_& m);         // codebook_bindings.cpp
void register_mixture(nb::module_& m);          // mixture_bindings.cpp
void register_nearest(nb::module_& m);          // nearest_bindings.cpp
void register_kv(nb::module_& m);               // kv_bindings.cpp
void register_patches(nb::module_& m);          // patches_bindings.cpp
void register_code_prior(nb::module_& m);       // code_prior_bindings.cpp

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels of siglum. Use them through siglum.entropy and siglum.kernels.dispatch.";
  register_checksum(m);
  register_rans(m);
  register_integer_network(m);
  register_float_network(m);
  register_latents(m);
  register_phases(m);
  register_walk(m);
  register_lossless(m);
  register_precise(m);
  register_multivariate(m);
  register_codebook(m);
  register_mixture(m);
  register_nearest(m);
  register_kv(m);
  register_patches(m);
  register_code_prior(m);
}
