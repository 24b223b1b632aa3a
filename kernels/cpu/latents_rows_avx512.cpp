// AVX-512 variant of the latents' arithmetic.
#include "latents_rows.hpp"

namespace siglum::latents {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
namespace {
#include "latents_rows.inc"
}  // namespace

const Rows* avx512_rows() { return &rows; }
#else
const Rows* avx512_rows() { return nullptr; }
#endif

}  // namespace siglum::latents
