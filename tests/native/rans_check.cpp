// Every instruction set of the table coder against plain C++, without Python: for cross-compiled builds under an emulator.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "rans.hpp"
#include "rans_chunks.hpp"

using namespace siglum::rans;

namespace {

std::mt19937 random_bits(1);

uint32_t below(uint32_t bound) { return static_cast<uint32_t>(random_bits() % bound); }

Tables random_tables(uint32_t count, uint32_t precision, bool closed) {
  std::vector<uint32_t> frequencies, sizes;
  std::vector<int32_t> offsets;
  for (uint32_t t = 0; t < count; ++t) {
    const uint32_t most = (1u << precision) / 2 < 256 ? (1u << precision) / 2 : 256;
    const uint32_t size = 2 + below(most - 1);
    uint32_t left = (1u << precision) - size;
    for (uint32_t j = 0; j < size; ++j) {
      const uint32_t more = j + 1 == size ? left : below(left / 2 + 1);
      frequencies.push_back(1 + more);
      left -= more;
    }
    sizes.push_back(size);
    offsets.push_back(static_cast<int32_t>(below(200)) - 100);
  }
  return Tables::build(frequencies.data(), frequencies.size(), sizes.data(), offsets.data(), count, precision, closed);
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::printf("failed: %s\n", what);
  std::exit(1);
}

}  // namespace

int main() {
  std::vector<const Kernels*> all;
  std::string names;
  for (const char* name : {"scalar", "neon", "avx2", "avx512"}) {
    if (const Kernels* kernels = kernels_named(name)) {
      all.push_back(kernels);
      names += std::string(" ") + name;
    }
  }
  size_t rounds = 0;
  for (; rounds < 400; ++rounds) {
    const bool closed = below(4) == 0;
    const Tables tables = random_tables(1 + below(rounds % 3 ? 5 : 300), 3 + below(10), closed);
    const size_t count = below(5000);
    std::vector<uint16_t> wide(count + 1);
    std::vector<uint8_t> narrow(count + 1);
    std::vector<int32_t> symbols(count + 1);
    const bool same = below(3) == 0, bytes = tables.size() <= 256 && below(2);
    for (size_t i = 0; i < count; ++i) {
      wide[i] = same ? 0 : static_cast<uint16_t>(below(static_cast<uint32_t>(tables.size())));
      narrow[i] = static_cast<uint8_t>(wide[i]);
      const Table& table = tables.tables[wide[i]];
      symbols[i] = table.offset + static_cast<int32_t>(below(table.last));
      if (!closed && below(100) == 0) symbols[i] += static_cast<int32_t>(below(2000)) - 1000;
    }
    Indexes indexes = {IndexKind::same, 0, nullptr};
    if (!same) indexes = bytes ? Indexes{IndexKind::u8, 0, narrow.data()} : Indexes{IndexKind::u16, 0, wide.data()};
    const uint32_t lanes = 1u << below(6);
    std::vector<std::vector<uint8_t>> first;
    std::vector<uint8_t> frame;
    for (const Kernels* kernels : all) {
      const auto parts =
          compress(tables, {SymbolKind::i32, symbols.data()}, count, indexes, 700, lanes, 1, kernels);
      if (first.empty()) {
        first = parts;
        for (const auto& part : parts) frame.insert(frame.end(), part.begin(), part.end());
      }
      require(parts == first, "the bytes of all instruction sets are the same");
      Frame head;
      require(parse(frame.data(), frame.size(), head) == FrameStatus::ok, "the frame is read");
      std::vector<int32_t> back(count + 1);
      require(decompress(tables, frame.data(), head, 0, count, indexes, {SymbolKind::i32, back.data()}, 1, kernels) ==
                  FrameStatus::ok,
              "the frame is decoded");
      back[count] = symbols[count];
      require(back == symbols, "the symbols come back");
    }
  }
  std::printf("%zu rounds,%s\n", rounds, names.c_str());
  return 0;
}
