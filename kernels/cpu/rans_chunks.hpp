// Long arrays as chunks that decode alone: several in flight on each thread, every payload with its checksum.
//
// Frame, little-endian: varint symbols, varint symbols a chunk (the last may have fewer), u32 fingerprint of the tables;
// for each chunk varint bytes of its payload and u32 CRC32C of it; u32 CRC32C of all that; then the payloads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rans.hpp"

namespace siglum::rans {

// The frame in pieces, to be put one after the other. Throws as Encoder::append does. Indexes must be valid.
std::vector<std::vector<uint8_t>> compress(const Tables& tables, Symbols symbols, size_t count, Indexes indexes,
                                           size_t chunk, uint32_t lanes, size_t threads, const Kernels* kernels);

// What a frame says of itself; every number is checked against the bytes that are there.
struct Frame {
  uint64_t count = 0, chunk = 1;
  uint32_t fingerprint = 0;
  std::vector<size_t> starts;  // of the payloads; one more than there are chunks
  std::vector<uint32_t> checksums;
};
enum class FrameStatus { ok = 0, truncated = 1, malformed = 2, corrupt = 3, checksum = 4, other_tables = 5 };
FrameStatus parse(const uint8_t* data, size_t size, Frame& frame);

// Symbols [first, first + count), at most what there is, of a frame that `parse` accepted; indexes are those of the whole
// frame. The status is that of the first chunk with an error; its symbols mean nothing.
FrameStatus decompress(const Tables& tables, const uint8_t* data, const Frame& frame, size_t first, size_t count,
                       Indexes indexes, MutableSymbols symbols, size_t threads, const Kernels* kernels);

}  // namespace siglum::rans
