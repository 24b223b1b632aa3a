// CRC32C (Castagnoli, reflected polynomial 0x82F63B78): the checksum of every part of a .sgl file.
// Hardware instructions where the processor has them, otherwise slicing by eight tables
// (Kounavis and Berry, "A systematic approach to building high performance software-based CRC generators", 2005).
#include "checksum.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define SIGLUM_CRC_X86 1
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_CRC32) || defined(__APPLE__))
#include <arm_acle.h>
#define SIGLUM_CRC_ARM 1
#define SIGLUM_CRC_ARM_TARGET
#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
// GCC's arm_acle.h declares the intrinsics under its own target pragma, so the base flags need not have them.
#include <arm_acle.h>
#include <sys/auxv.h>
#define SIGLUM_CRC_ARM 1
#define SIGLUM_CRC_ARM_PROBE 1
#define SIGLUM_CRC_ARM_TARGET __attribute__((target("+crc")))
#endif

namespace siglum {
namespace {

using Slices = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Slices make_slices() {
  Slices slices{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0x82F63B78u : 0u);
    slices[0][byte] = crc;
  }
  for (std::size_t slice = 1; slice < 8; ++slice)
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = slices[slice - 1][byte];
      slices[slice][byte] = (before >> 8) ^ slices[0][before & 0xFFu];
    }
  return slices;
}

constexpr Slices kSlices = make_slices();

// All functions below take and return the inverted register, without the final complement.
std::uint32_t update_portable(std::uint32_t crc, const std::uint8_t* data, std::size_t size) {
  for (; size >= 8; data += 8, size -= 8) {
    // Bytes, not a 64-bit load: the same on a big-endian machine; compilers merge them.
    const std::uint32_t low = crc ^ (std::uint32_t(data[0]) | std::uint32_t(data[1]) << 8 |
                                     std::uint32_t(data[2]) << 16 | std::uint32_t(data[3]) << 24);
    crc = kSlices[7][low & 0xFFu] ^ kSlices[6][(low >> 8) & 0xFFu] ^ kSlices[5][(low >> 16) & 0xFFu] ^
          kSlices[4][low >> 24] ^ kSlices[3][data[4]] ^ kSlices[2][data[5]] ^ kSlices[1][data[6]] ^
          kSlices[0][data[7]];
  }
  for (; size > 0; ++data, --size) crc = (crc >> 8) ^ kSlices[0][(crc ^ *data) & 0xFFu];
  return crc;
}

#if defined(SIGLUM_CRC_X86)

__attribute__((target("sse4.2"))) std::uint32_t update_words(std::uint32_t crc, const std::uint8_t* data,
                                                             std::size_t size) {
  std::uint64_t wide = crc;
  for (; size >= 8; data += 8, size -= 8) {
    std::uint64_t word;
    std::memcpy(&word, data, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<std::uint32_t>(wide);
  for (; size > 0; ++data, --size) crc = _mm_crc32_u8(crc, *data);
  return crc;
}

constexpr std::size_t kPart = 1024;  // bytes of each of the three parts that are in flight at once

// What kPart zero bytes make of a register: linear, so a table a byte and an exclusive or.
struct Shift {
  std::uint32_t of[4][256];
  Shift() {
    const std::array<std::uint8_t, kPart> zeros{};
    for (int k = 0; k < 4; ++k) {
      of[k][0] = 0;
      for (std::uint32_t bit = 1; bit < 256; bit *= 2) {
        of[k][bit] = update_words(bit << (8 * k), zeros.data(), kPart);
        for (std::uint32_t low = 1; low < bit; ++low) of[k][bit + low] = of[k][bit] ^ of[k][low];
      }
    }
  }
  std::uint32_t operator()(std::uint32_t crc) const {
    return of[0][crc & 0xff] ^ of[1][crc >> 8 & 0xff] ^ of[2][crc >> 16 & 0xff] ^ of[3][crc >> 24];
  }
};

// Three parts at once, since an instruction waits three cycles for the one before (Gopal et al., "Fast CRC computation
// for iSCSI polynomial using CRC32 instruction", 2011).
__attribute__((target("sse4.2"))) std::uint32_t update_parts(std::uint32_t crc, const std::uint8_t* data,
                                                             std::size_t size) {
  static const Shift shift;
  for (; size >= 3 * kPart; data += 3 * kPart, size -= 3 * kPart) {
    std::uint64_t part[3] = {crc, 0, 0};
    for (std::size_t i = 0; i < kPart; i += 8) {
      for (std::size_t k = 0; k < 3; ++k) {
        std::uint64_t word;
        std::memcpy(&word, data + k * kPart + i, 8);
        part[k] = _mm_crc32_u64(part[k], word);
      }
    }
    crc = shift(shift(static_cast<std::uint32_t>(part[0])) ^ static_cast<std::uint32_t>(part[1])) ^
          static_cast<std::uint32_t>(part[2]);
  }
  return update_words(crc, data, size);
}

// x^n modulo the polynomial, its bits reflected and moved up by one, as a carry-less product of reflected words wants it.
long long power_of_x(unsigned n) {
  std::uint32_t power = 0x80000000u;
  for (; n > 0; --n) power = (power >> 1) ^ ((power & 1u) ? 0x82F63B78u : 0u);
  return static_cast<long long>(std::uint64_t{power} << 1);
}

constexpr std::size_t kFolded = 256;  // bytes: four vectors that are in flight at once

// Folds kFolded bytes onto the next ones by carry-less products, then takes the checksum of the last (Gopal et al., "Fast
// CRC computation for generic polynomials using PCLMULQDQ instruction", 2009). At least kFolded bytes.
__attribute__((target("avx512f,vpclmulqdq,sse4.2"))) std::uint32_t update_folding(std::uint32_t crc,
                                                                                const std::uint8_t* data,
                                                                                std::size_t size) {
  static const long long low = power_of_x(8 * kFolded + 32), high = power_of_x(8 * kFolded - 32);
  const __m512i distance = _mm512_set_epi64(high, low, high, low, high, low, high, low);
  __m512i part[4];
  for (int k = 0; k < 4; ++k) part[k] = _mm512_loadu_si512(data + 64 * k);
  part[0] = _mm512_xor_si512(part[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(crc))));
  data += kFolded, size -= kFolded;
  for (; size >= kFolded; data += kFolded, size -= kFolded) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k)
      part[k] = _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(part[k], distance, 0x00),
                                          _mm512_clmulepi64_epi128(part[k], distance, 0x11),
                                          _mm512_loadu_si512(data + 64 * k), 0x96);
  }
  alignas(64) std::uint8_t last[kFolded];
  for (int k = 0; k < 4; ++k) _mm512_store_si512(last + 64 * k, part[k]);
  return update_words(update_words(0, last, kFolded), data, size);
}

bool has_folding() {
  static const bool found = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
  }();
  return found;
}

std::uint32_t update_hardware(std::uint32_t crc, const std::uint8_t* data, std::size_t size) {
  return size >= 4 * kFolded && has_folding() ? update_folding(crc, data, size) : update_parts(crc, data, size);
}

bool has_hardware() {
  static const bool found = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0;
  }();
  return found;
}

#elif defined(SIGLUM_CRC_ARM)

SIGLUM_CRC_ARM_TARGET std::uint32_t update_hardware(std::uint32_t crc, const std::uint8_t* data,
                                                    std::size_t size) {
  for (; size >= 8; data += 8, size -= 8) {
    std::uint64_t word;
    std::memcpy(&word, data, 8);
    crc = __crc32cd(crc, word);
  }
  for (; size > 0; ++data, --size) crc = __crc32cb(crc, *data);
  return crc;
}

bool has_hardware() {
#if defined(SIGLUM_CRC_ARM_PROBE)
  static const bool found = (getauxval(AT_HWCAP) & (1ul << 7)) != 0;  // HWCAP_CRC32
  return found;
#else
  return true;
#endif
}

#else

std::uint32_t update_hardware(std::uint32_t crc, const std::uint8_t* data, std::size_t size) {
  return update_portable(crc, data, size);
}

bool has_hardware() { return false; }

#endif

}  // namespace

bool crc32c_in_hardware() { return has_hardware(); }

std::uint32_t crc32c(const std::uint8_t* data, std::size_t size, std::uint32_t value) {
  return ~(has_hardware() ? update_hardware : update_portable)(~value, data, size);
}

std::uint32_t crc32c_portable(const std::uint8_t* data, std::size_t size, std::uint32_t value) {
  return ~update_portable(~value, data, size);
}

}  // namespace siglum
