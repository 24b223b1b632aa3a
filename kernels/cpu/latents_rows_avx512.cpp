// AVX-512 variant of the latents' arithmetic.
#include "latents_rows.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define SIGLUM_ROWS_OF_16 1
#include <immintrin.h>
#endif

namespace siglum::latents {

#if defined(SIGLUM_ROWS_OF_16)
namespace {
#include "latents_rows.inc"
}  // namespace

const Rows* avx512_rows() { return &rows; }
#else
const Rows* avx512_rows() { return nullptr; }
#endif

}  // namespace siglum::latents
