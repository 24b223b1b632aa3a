// Plain variant of the latents' arithmetic, and the choice among the variants.
#include <cstring>

#include "isa.hpp"
#include "latents_rows.hpp"

namespace siglum::latents {
namespace {
#include "latents_rows.inc"
}  // namespace

const Rows* scalar_rows() { return &rows; }

const Rows* find_rows(const char* isa) {
  if (!cpu_has(isa)) return nullptr;
  if (!std::strcmp(isa, "avx2")) return avx2_rows();
  if (!std::strcmp(isa, "avx512")) return avx512_rows();
  return scalar_rows();  // of NEON too: compilers vectorise it for that
}

}  // namespace siglum::latents
