// CRC32C of bytes; `value` is that of what stands before them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace siglum {

std::uint32_t crc32c(const std::uint8_t* data, std::size_t size, std::uint32_t value = 0);
std::uint32_t crc32c_portable(const std::uint8_t* data, std::size_t size, std::uint32_t value = 0);  // by tables
bool crc32c_in_hardware();

}  // namespace siglum
