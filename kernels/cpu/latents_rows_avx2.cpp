// AVX2 variant of the latents' arithmetic.
#include "latents_rows.hpp"

namespace siglum::latents {

#if defined(__AVX2__)
namespace {
#include "latents_rows.inc"
}  // namespace

const Rows* avx2_rows() { return &rows; }
#else
const Rows* avx2_rows() { return nullptr; }
#endif

}  // namespace siglum::latents
