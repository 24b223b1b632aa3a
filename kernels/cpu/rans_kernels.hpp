// What each instruction set implements of the table coder. Plain pointers only: the files that are compiled with special
// flags must not instantiate shared templates, or the linker may keep a copy that other CPUs cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.hpp"

namespace siglum::rans {

enum class IndexKind : uint8_t { same, u8, u16, i32 };
enum class SymbolKind : uint8_t { i8, u8, i16, u16, i32 };

SIGLUM_INLINE constexpr size_t index_size(IndexKind kind) {
  return kind == IndexKind::same ? 0 : kind == IndexKind::u8 ? 1 : kind == IndexKind::u16 ? 2 : 4;
}
SIGLUM_INLINE constexpr size_t symbol_size(SymbolKind kind) {
  return kind == SymbolKind::i32 ? 4 : kind == SymbolKind::i16 || kind == SymbolKind::u16 ? 2 : 1;
}

// Which table each symbol uses: an array of a kind, or one table for all.
struct Indexes {
  IndexKind kind;
  uint32_t same;
  const void* data;
  SIGLUM_INLINE uint32_t operator[](size_t i) const {
    switch (kind) {
      case IndexKind::same: return same;
      case IndexKind::u8: return static_cast<const uint8_t*>(data)[i];
      case IndexKind::u16: return static_cast<const uint16_t*>(data)[i];
      default: return static_cast<uint32_t>(static_cast<const int32_t*>(data)[i]);
    }
  }
  SIGLUM_INLINE Indexes operator+(size_t i) const {
    return {kind, same, static_cast<const uint8_t*>(data) + i * index_size(kind)};
  }
};

struct Symbols {
  SymbolKind kind;
  const void* data;
  SIGLUM_INLINE int32_t operator[](size_t i) const {
    switch (kind) {
      case SymbolKind::i8: return static_cast<const int8_t*>(data)[i];
      case SymbolKind::u8: return static_cast<const uint8_t*>(data)[i];
      case SymbolKind::i16: return static_cast<const int16_t*>(data)[i];
      case SymbolKind::u16: return static_cast<const uint16_t*>(data)[i];
      default: return static_cast<const int32_t*>(data)[i];
    }
  }
  SIGLUM_INLINE Symbols operator+(size_t i) const { return {kind, static_cast<const uint8_t*>(data) + i * symbol_size(kind)}; }
};

struct MutableSymbols {
  SymbolKind kind;
  void* data;
  SIGLUM_INLINE MutableSymbols operator+(size_t i) const { return {kind, static_cast<uint8_t*>(data) + i * symbol_size(kind)}; }
};

constexpr size_t kMostInFlight = 4;  // streams that are decoded at once, for their latencies to overlap

// The part of a decoder that whole rows of lanes change.
struct Stream {
  uint32_t* states;
  const uint8_t* words;
  const uint8_t* end;
  Indexes indexes;
  uint8_t* numbers;  // of the entries, lanes a row
  size_t rows;       // wanted, then done
};

// What numbering needs of tables.
struct Ranges {
  const int32_t* offsets;
  const uint32_t* ranges;  // start:24 | last - 1:8
  size_t count;
};

struct Kernels {
  // Rows of lanes of one to kMostInFlight streams, as long as a stream's words surely suffice: 2 * lanes bytes before a
  // row. `lookup` as in Tables. All streams have indexes of one kind, and the same index if that is one for all.
  void (*decode)(uint32_t lanes, const uint32_t* lookup, unsigned precision, Stream* streams, size_t count);

  // Numbers of entries -> symbols, offset + number; true if one of the numbers is 255.
  bool (*place)(const uint8_t* numbers, size_t count, const int32_t* offsets, size_t tables, Indexes indexes,
                MutableSymbols symbols);

  // The same in place for bytes and one table: adds its offset, modulo 256.
  bool (*shift)(uint8_t* numbers, size_t count, uint8_t offset);

  // Symbols -> numbers of entries; true if one of them has none of its own (and got that of the escape).
  bool (*number)(const Ranges& ranges, const int32_t* symbols, size_t count, Indexes indexes, uint16_t* numbers);

  // The first position of a value, or count.
  size_t (*find)(const uint16_t* values, size_t count, uint16_t value);

  // Codes rows of lanes, the last row first, words downwards from `out`; returns the first word. Writes at most 16 bytes
  // below it.
  uint8_t* (*encode)(uint32_t lanes, const uint64_t* entries, unsigned precision, const uint16_t* numbers, size_t rows,
                     uint32_t* states, uint8_t* out);
};

// nullptr where the compiler or the target has no such instructions.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* neon_kernels();

const Kernels* best_kernels();                   // of this CPU
const Kernels* kernels_named(const char* name);  // "scalar", "avx2" ...; nullptr: not here

}  // namespace siglum::rans
